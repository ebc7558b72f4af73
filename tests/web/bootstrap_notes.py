"""The notes of the bootstrap templates: what to set where, and where to pick."""

from __future__ import annotations

from make_real_templates import FAMILIES, NETWORK, TURBO, XL

RUNS = """3. Press **Run**. The image is cut into 4 crops and a *style* LoRA is trained on them, which draws 48
   candidates. Then the workflow waits. **Pick 12** in *Gallery of round 1*.
4. Press **Run** again: retrained on 16 images, it draws 96 more. **Pick 24** in *Gallery of round 2*.
5. Press **Run** again: the *character* LoRA is trained on 40 images. *The sheet* shows it at each strength beside the
   model alone.
"""
PICKING = """In a gallery: the arrow keys move, **K** keeps, **X** rejects, **Z** shows an image large beside the
original, **Ctrl+Z** undoes, **?** shows all keys. *Keep proposed* accepts the proposal. A reload, a restart or Cancel
loses nothing: everything is saved in `output/bootstrap/<name>`.
"""
ONE_PLACE = """**How every round is drawn** is the one place for size, steps, cfg, sampler and the negative prompt. 0,
-1 and *by the model* stand for what the model's family is usually drawn with. Keep **cfg at 3 to 5**: above that, every
round burns a little more.
"""
EYE = """Link **Load CLIP Vision** (CLIP or DINOv2) to both galleries. Without it likeness is *not measured*, and you
judge by eye.
"""
OWN_LAST = """## With a model of your own
Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE) and **Load Image** (picture), and write **tags** for
everything the image shows into *Bootstrap Project*. Choose another trigger: a project belongs to one image. The
templates *4 Bootstrap a character (SDXL)* and *(diffusion model)* are wired so.
"""
OWN = f"""{OWN_LAST}
{EYE}"""

SANDBOX = f"""# Bootstrap a character
From **one image** to a character LoRA, in three Runs, on the small base model that comes with the pack. Nothing is
downloaded.

1. Choose the image in *Load Sandbox*.
2. *Bootstrap Project* shows where the project stands, and what the next Run will do.
{RUNS}
{PICKING}
{ONE_PLACE}
{OWN}"""

REAL = """# Bootstrap a character ({name})
From **one image** of a character to a LoRA of her, in three Runs.

1. {choose}
2. Choose the image in *Load Image*: the whole figure, and nobody else. In *Bootstrap Project*, write **tags** for
   everything it shows, separated by commas, and a **trigger**: a word that has no meaning yet. Or turn on *Tag Images*
   (select it, Ctrl+B) and its *download*: the first Run writes the tags and shows whose each is, for you to mend.
   For another image, choose another trigger.
{runs}
{picking}
{place} Leave Flux dev at its cfg of 1.

{eye}
{more}"""

PART = """# {title}
{what}

{picking}{place}{own}"""

PARTS = {
    "8 Bootstrap in parts - 1 pick 16": ("Bootstrap 1: from 4 crops to 16", """The first part by itself. Press **Run**:
the image is cut into 4 crops, and a style LoRA is trained on them and draws 48 candidates. **Pick 12** in *Gallery of
round 1* and press **Run** again to write the next training set. Then open *8 Bootstrap in parts - 2 pick 40*."""),
    "8 Bootstrap in parts - 2 pick 40": ("Bootstrap 2: from 16 to 40", """The second part by itself. Do *8 Bootstrap in
parts - 1 pick 16* first, with the same image and trigger. Press **Run**: a style LoRA is trained on the 16 images and
draws 96 candidates. **Pick 24** more in *Gallery of round 2* and press **Run** again. Then open *8 Bootstrap in parts -
3 character LoRA*."""),
    "8 Bootstrap in parts - 3 character LoRA": ("Bootstrap 3: the character LoRA", """The last part by itself. Do
*8 Bootstrap in parts - 2 pick 40* first, with the same image and trigger. Press **Run**: the character's own tags are
left out of the captions, so that the trigger comes to stand for them, and the LoRA is trained on the 40 images. *The
sheet* shows it at each strength beside the model alone."""),
    "8 Bootstrap in parts - repair one image": ("Repair one image", """Sends one candidate to nodes of your own, and
takes the result back. Do *8 Bootstrap in parts - 1 pick 16* first, with the same image and trigger.

1. In *Gallery of round 1*, press **Z** on an image to see it large, then **S**, or the button *Send*. The image is now
   in *Load Candidate*.
2. Press **Run**. It is drawn over at a *denoise* of 0.4, with its own prompt. Each Run tries another seed.
3. Each result is saved beside the old one, which is then left out as replaced. If the old one was kept, the new one is
   kept in its place. Undo in the gallery brings the old one back; nothing is deleted.

Replace the nodes of group 2 with an inpainting, a detailer or an upscaler. The last image goes into *Save Repaired
Candidate*, and *candidate* stays linked. To draw a view anew with another seed, press **A** in the gallery of a part
that draws."""),
    "8 Bootstrap in parts - seed sweep": ("Bootstrap seed sweep", """Draws more candidates to choose from: each Run uses
another seed, and all candidates stay side by side in the gallery.

Set the number beside **Run** to N and press it: *seed* counts up with every Run, and round 1 gets N x 16 more
candidates. Then pick in the gallery. Existing candidates are never drawn again."""),
}


def note_of(name: str) -> str:
    """The note of a template."""
    if name in PARTS:
        title, what = PARTS[name]
        last = name.endswith(("character LoRA", "repair one image"))
        if last:
            return PART.format(title=title, what=what, picking="", place="", own=OWN_LAST)
        return PART.format(title=title, what=what, picking=f"{PICKING}\n", place=f"{ONE_PLACE}\n", own=OWN)
    if XL in name:
        return _real(XL, "Choose your model in *Load Checkpoint*: SDXL, Illustrious, NoobAI or Pony.",
                     "For Krea 2, Flux, Qwen, Z-Image or Anima, open *4 Bootstrap a character (diffusion model)*.\n")
    if NETWORK in name:
        return _real(NETWORK, "In **Your model**, choose your files and the *type* of the text encoder, by the table "
                              "below. For DualCLIPLoader, open that box and put it in place of *Load CLIP*.",
                     f"{FAMILIES}\n{TURBO}")
    return SANDBOX


def _real(name: str, choose: str, more: str) -> str:
    return REAL.format(name=name, choose=choose, runs=RUNS, picking=PICKING, place=ONE_PLACE.rstrip(), eye=EYE,
                       more=more)
