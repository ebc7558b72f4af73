"""Make the bootstrap templates and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_bootstrap_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make

TRIGGER = "eiei21girl"

WITH_YOUR_OWN = """## With a model of your own
1. Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE) and **Load Image** (picture). In *Bootstrap
   Project*, write tags for everything the image shows, separated by commas.
2. Choose a trigger: a word that has no meaning yet. A project belongs to one image. For another image, choose
   another trigger or name.
3. Set *Empty Latent Image* to the model's size. Set the *KSamplers* as usual for it, at a **low CFG, 3 to 5**.
4. Link **Load CLIP Vision** (CLIP or DINOv2) to *Curate Images*. Without it likeness is *not measured*, and you
   judge by eye.

*The sandbox draws 64-pixel images. Its VAE has 4 pixels per latent, not 8, so an empty latent of 128 px gives 64
px.*
"""

PICKING = """In the gallery: the arrow keys move, **K** keeps, **X** rejects, **Z** shows an image large beside the
original, **Ctrl+Z** undoes, **?** shows all keys. *Keep proposed* accepts the proposal. A reload, a restart or
Cancel loses nothing: everything is saved in `output/bootstrap/<name>`.
"""

NOTES = {
    "4 Bootstrap a character": f"""# Bootstrap a character
From **one image** to a character LoRA, in three Runs, on the small base model that comes with the pack. Nothing is
downloaded.

1. Press **Run**. The image is cut into 4 crops and a *style* LoRA is trained on them. It draws 48 candidates from
   all around, and the rest of the workflow waits. **Pick 12** in the gallery of round 1.
2. Press **Run** again: retrained on 16 images, it draws 96 more. **Pick 24** more in the gallery of round 2; what
   you kept in round 1 is shown there too.
3. Press **Run** again: the *character* LoRA is trained on 40 images. On the right you see the same prompt with the
   LoRA and without it.

{PICKING}
Every LoRA is trained from the base model, the real crops stay at least a third of every training set, and likeness
is measured against the original. To skip a part, bypass its group.

{WITH_YOUR_OWN}""",
    "8 Bootstrap in parts - 1 pick 16": f"""# Bootstrap 1: from 4 crops to 16
The first stage by itself. Press **Run**: the image is cut into 4 crops, and a style LoRA is trained on them and
draws 48 candidates. **Pick 12** in the gallery and press **Run** again to write the next stage's training set. Then
open *8 Bootstrap in parts - 2 pick 40*.

{PICKING}
{WITH_YOUR_OWN}""",
    "8 Bootstrap in parts - 2 pick 40": f"""# Bootstrap 2: from 16 to 40
The second stage by itself. Do *8 Bootstrap in parts - 1 pick 16* first, with the same image and trigger. Press **Run**:
a style LoRA is trained on the 16 images and draws 96 candidates. **Pick 24** more in the gallery and press **Run**
again. Then open *8 Bootstrap in parts - 3 character LoRA*.

{PICKING}
{WITH_YOUR_OWN}""",
    "8 Bootstrap in parts - 3 character LoRA": f"""# Bootstrap 3: the character LoRA
The last stage by itself. Do *8 Bootstrap in parts - 2 pick 40* first, with the same image and trigger. Press **Run**:
the character's own tags are left out of the captions, so that the trigger comes to stand for them, and the LoRA is
trained on the 40 images. On the right you see the same prompt with the LoRA and with the base model alone, at the
same seed.

{WITH_YOUR_OWN}""",
    "8 Bootstrap in parts - seed sweep": f"""# Bootstrap seed sweep
Draws more candidates to choose from: each Run uses another seed, and all candidates stay side by side in the
gallery.

Set the number beside **Run** to N and press it: *seed* counts up with every Run, and round 1 gets N x 16 more
candidates. Then pick in the gallery. You can sweep any other number the same way. Existing candidates are never
drawn again.

{PICKING}
{WITH_YOUR_OWN}""",
}


def begin(name: str, reference: bool = True) -> Graph:
    """The base, the project, and what all samplers share; the base's own pictures if wanted."""
    graph = Graph(name)
    graph.add("base", f"{NAMED}LoadSandbox", (0, 60), (420, 138), picture="akane")
    graph.add("project", f"{NAMED}Project", (0, 250), (420, 860), {
        "picture": ("base", "picture"), "tags": ("base", "tags"), "model": ("base", "MODEL")}, trigger=TRIGGER)
    graph.add("negative", "CLIPTextEncode", (470, 60), (360, 110), {"clip": ("base", "CLIP")}, text="")
    graph.add("latent", "EmptyLatentImage", (470, 220), (360, 106), width=128, height=128, batch_size=1)
    members = ["base", "project", "negative", "latent"]
    if reference:
        members += draw(graph, "0", 0, (470, 376), "project", model=("base", "MODEL"), clip=("base", "CLIP"))
    graph.group("1 · The image, and what the base model draws by itself" if reference else "1 · The project", members)
    return graph


def draw(graph: Graph, key: str, number: int, place: tuple[int, int], project: str, *, model: tuple[str, str],
         clip: tuple[str, str], stack: tuple[str, str] | None = None, count: int = 0,
         seed: tuple[str, str] | None = None, dataset: tuple[str, str] | None = None) -> list[str]:
    """View prompts, a sampler of the host's own nodes, and Save Candidates."""
    x, y = place
    views = graph.add(f"views{key}", f"{NAMED}ViewPrompts", (x, y), (360, 330), {
        "project": (project, "project"), **({"seed": seed} if seed else {}),
        **({"dataset": dataset} if dataset else {})}, round=number, count=count)
    graph.add(f"encode{key}", "CLIPTextEncode", (x, y + 380), (360, 88), {"clip": clip, "text": (views, "prompt")})
    graph.add(f"sample{key}", "KSampler", (x, y + 518), (360, 262), {
        "model": model, "positive": (f"encode{key}", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"), "seed": (views, "seed")}, steps=16, cfg=3.0, sampler_name="euler",
        scheduler="normal", denoise=1.0)
    graph.add(f"decode{key}", "VAEDecode", (x, y + 830), (360, 46), {
        "samples": (f"sample{key}", "LATENT"), "vae": ("base", "VAE")})
    graph.add(f"save{key}", f"{NAMED}SaveCandidates", (x, y + 926), (360, 340), {
        "project": (project, "project"), "views": (views, "views"), "images": (f"decode{key}", "IMAGE"),
        **({"LORA_STACK": stack} if stack else {})})
    return [f"{part}{key}" for part in ("views", "encode", "sample", "decode", "save")]


def train(graph: Graph, key: str, number: int, place: tuple[int, int], project: tuple[str, str],
          purpose: str) -> list[str]:
    """The round's dataset and the training."""
    x, y = place
    graph.add(f"data{key}", f"{NAMED}RoundDataset", (x, y), (420, 190), {"project": project}, round=number,
              purpose=purpose)
    graph.add(f"train{key}", f"{NAMED}TrainLora", (x, y + 240), (420, 900), {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE"),
        "dataset": (f"data{key}", "dataset"), "name": (f"data{key}", "run_name"),
        "trigger": (f"data{key}", "trigger")}, kind=purpose)
    return [f"data{key}", f"train{key}"]


def grow(graph: Graph, number: int, left: int, before: str, *, count: int = 0,
         seed: tuple[str, str] | None = None) -> list[str]:
    """One round: train a style LoRA on what there is, draw with it, curate."""
    key = str(number)
    members = train(graph, key, number - 1, (left, 60), (before, "project"), "style")
    members.append(graph.add(f"pick{key}", f"{NAMED}PickCheckpoint", (left, 1250), (420, 210), {
        "run": (f"train{key}", "run"), "model": ("base", "MODEL"), "clip": ("base", "CLIP")}, strength=0.6))
    members += draw(graph, key, number, (left + 470, 60), before, model=(f"pick{key}", "MODEL"),
                    clip=(f"pick{key}", "CLIP"), stack=(f"pick{key}", "LORA_STACK"), count=count, seed=seed,
                    dataset=(f"data{key}", "dataset"))
    members.append(graph.add(f"curate{key}", f"{NAMED}CurateImages", (left + 880, 60), (640, 1400), {
        "project": (f"save{key}", "project")}, round=number, mode="manual"))
    return members


def finish(graph: Graph, left: int, before: str) -> list[str]:
    """The character LoRA, and the same prompt with it and without."""
    members = train(graph, "3", 2, (left, 60), (before, "project"), "character")
    x = left + 470
    members.append(graph.add("prompt", "PrimitiveStringMultiline", (x, 60), (400, 120),
                             value=f"{TRIGGER}, 1girl, from side, full body, smile, sunset, flat color"))
    members.append(graph.add("four", "EmptyLatentImage", (x, 230), (400, 106), width=128, height=128, batch_size=4))
    for row, (key, source, title) in enumerate((("with", "train3", "With the LoRA"), ("without", "base",
                                                                                      "The base alone"))):
        y = 386 + row * 560
        members += [
            graph.add(f"encode_{key}", "CLIPTextEncode", (x, y), (400, 88), {
                "clip": (source, "CLIP"), "text": ("prompt", "STRING")}),
            graph.add(f"sample_{key}", "KSampler", (x, y + 138), (400, 262), {
                "model": (source, "MODEL"), "positive": (f"encode_{key}", "CONDITIONING"),
                "negative": ("negative", "CONDITIONING"), "latent_image": ("four", "LATENT")}, seed=7, steps=16,
                cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0),
            graph.add(f"decode_{key}", "VAEDecode", (x, y + 450), (400, 46), {
                "samples": (f"sample_{key}", "LATENT"), "vae": ("base", "VAE")}),
            graph.add(f"larger_{key}", "ImageScaleToTotalPixels", (x + 450, y), (400, 106), {
                "image": (f"decode_{key}", "IMAGE")}, upscale_method="nearest-exact", megapixels=0.5),
            graph.add(f"show_{key}", "PreviewImage", (x + 450, y + 156), (400, 340), {
                "images": (f"larger_{key}", "IMAGE")}, title=title)]
    return members


def whole() -> Graph:
    graph = begin("4 Bootstrap a character")
    graph.group("2 · Round 1: from 4 to 16", grow(graph, 1, 920, "save0"))
    graph.group("3 · Round 2: from 16 to 40", grow(graph, 2, 2530, "curate1"))
    graph.group("4 · The character LoRA", finish(graph, 4140, "curate2"))
    return graph


def first_stage() -> Graph:
    graph = begin("8 Bootstrap in parts - 1 pick 16")
    graph.group("2 · Round 1: from 4 to 16", grow(graph, 1, 920, "save0"))
    graph.group("3 · For the next stage", [graph.add(
        "next", f"{NAMED}RoundDataset", (2530, 60), (420, 190), {"project": ("curate1", "project")}, round=1,
        purpose="style"), graph.add("sheet", f"{NAMED}PreviewDataset", (2530, 340), (420, 900), {
            "dataset": ("next", "dataset")}, columns=4)])
    return graph


def second_stage() -> Graph:
    graph = begin("8 Bootstrap in parts - 2 pick 40", reference=False)
    graph.group("2 · Round 2: from 16 to 40", grow(graph, 2, 920, "project"))
    graph.group("3 · For the next stage", [graph.add(
        "next", f"{NAMED}RoundDataset", (2530, 60), (420, 190), {"project": ("curate2", "project")}, round=2,
        purpose="character"), graph.add("sheet", f"{NAMED}PreviewDataset", (2530, 340), (420, 900), {
            "dataset": ("next", "dataset")}, columns=6, shown=64)])
    return graph


def last_stage() -> Graph:
    graph = begin("8 Bootstrap in parts - 3 character LoRA", reference=False)
    graph.group("2 · The character LoRA", finish(graph, 920, "project"))
    return graph


def seed_sweep() -> Graph:
    graph = begin("8 Bootstrap in parts - seed sweep", reference=False)
    graph.add("seed", "PrimitiveInt", (470, 376), (360, 82), value=1, control="increment")
    graph.groups[0]["title"] = "1 · The project, and the seed that counts up"
    graph.group("2 · Round 1: candidates of more seeds", grow(graph, 1, 920, "project", count=16,
                                                             seed=("seed", "INT")))
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (whole(), first_stage(), second_stage(), last_stage(), seed_sweep()), NOTES)
