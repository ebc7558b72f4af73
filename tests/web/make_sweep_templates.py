"""Make the templates of sweeps and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_sweep_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make

TRIGGER = "akane"
PROMPTS = (
    f"{TRIGGER}, 1girl, front view, full body, smile, grass, flat color",
    f"{TRIGGER}, 1girl, from side, upper body, sunset, flat color",
    f"{TRIGGER}, 1girl, front view, close-up, open mouth, night sky, flat color",
)
ANOTHER = f"{TRIGGER}, 1girl, from behind, full body, blue sky, flat color"
SWEPT = {"width": 128, "height": 128, "steps": 16, "cfg": 3.0}
"""How the sandbox is sampled in the nodes that draw a sweep themselves."""
CHECKPOINTS = {"checkpoints": "all", "strengths": "0.8, 1.0", "prompts": "\n".join((*PROMPTS, ANOTHER))}
SAMPLED = {"steps": 16, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}

TRAINS = """A character LoRA is trained on 20 drawings, on the small base model that comes with the pack. This takes
about a minute and downloads nothing. The four sweep templates share this LoRA, so it is trained once."""
KEPT = """Every cell is saved in `output/sweeps` as soon as it is drawn: **Cancel** loses nothing, and the next Run
draws only what is missing. **Open viewer** shows every image large, two at a time if you like, and lets you mark
the best."""
OWN_MODEL = "1. Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE)."
OWN_LORA = """2. Replace *Train LoRA* with **Load Run** and link its *run*; or write LoRA names into *files*; or link
   your own **LORA_STACK**, whose first LoRA is swept. You can delete the nodes before it."""
OWN_PROMPTS = """3. Write prompts with your trigger into *prompts*, one per line. *prompt_set* appends ready settings,
   outfits and poses to each."""
OWN_SIZE = "4. Set *width*, *height*, *steps*, *cfg* and the sampler as usual for that model."
SMALL = """*The sandbox draws 64-pixel images. Its VAE has 4 pixels per latent, not 8, so an empty latent of 128 px
gives 64 px.*
"""
YOUR_OWN = f"""## With a model and a LoRA of your own
{OWN_MODEL}
{OWN_LORA}
{OWN_PROMPTS}
{OWN_SIZE}

{SMALL}"""

NOTES = {
    "6 Compare - strength grid": f"""# Strength grid
How strongly should a LoRA be applied? Press **Run**. {TRAINS} Then the same prompts and seed are drawn without it and
at five strengths.

**Look** along each row, from *no LoRA* to 1.0. Choose the lowest strength at which she is fully herself while the view,
mood and background still follow the prompt. If she is only partly herself, go higher. If colours burn or the prompt is
ignored, go lower.

{KEPT}

{YOUR_OWN}""",
    "6 Compare - checkpoint sweep": f"""# Checkpoint sweep
Which of a run's checkpoints is best? Press **Run**. {TRAINS} Then each of its five checkpoints is drawn at two
strengths, with the same prompts and seed: a sheet for each strength.

**Look** along each row, from *no LoRA* to the last step. Early checkpoints are not her yet. Late ones may make every
image look like the training drawings, whatever the prompt says. Choose the earliest that is fully her at both
strengths. *6 Compare - score and pick* measures this.

{KEPT}

{YOUR_OWN}""",
    "6 Compare - seed sweep": f"""# Seed sweep
Is it the LoRA, or just luck? Press **Run**. {TRAINS} Then two prompts are drawn at six seeds, through your own nodes:
*Sweep Values* provides the LoRA, the strength, the prompt and the seed, and *Compose Grid* draws cell by cell.

**Look** along each row: whatever stays the same comes from the LoRA; whatever changes with the seed is left to chance.

You can put **any sampler** and any other nodes between the two. Whatever is not linked to *Sweep Values* is the same in
all cells.

{KEPT}

## With a model and a LoRA of your own
{OWN_MODEL}
{OWN_LORA}
{OWN_PROMPTS}
4. Set *Empty Latent Image* and *KSampler* as usual for that model.

{SMALL}""",
    "6 Compare - score and pick": f"""# Score and pick
Which checkpoint, at which strength? Measured, not guessed. Press **Run**. {TRAINS} Then five checkpoints are drawn at
two strengths and scored, and the recommended one draws the four images on the right.

**Look** at the table: *likeness* to the training images, the share of the *prompt* that is shown, *diversity*, *copies*
of training images, *burn*, *validation* loss. Anything beyond a limit is out. Of the rest, the best mix of likeness and
prompt wins; among equals, the earliest. Then look at the sheets: you see more than the numbers do.

**To decide yourself**, press *Use this one* in the viewer, and set *which* in *Pick Checkpoint* to *picked in a sweep*.

{KEPT}

## With a model and a LoRA of your own
{OWN_MODEL}
2. Replace *Train LoRA* with **Load Run**, and link its *run* to *Checkpoint Sweep* and *Pick Checkpoint*. Let *Load
   Dataset* load the images it was trained on.
{OWN_PROMPTS}
4. Link **Load CLIP Vision** to *Score Sweep*: it measures likeness, and without likeness nothing is recommended. Choose
   a *tagger* there as well, to measure how well the prompt is followed.
5. Set the sizes and samplers as usual for that model.

{SMALL}""",
}


def begin(name: str) -> Graph:
    """The base, the pictures, and a run with five checkpoints and a validation loss."""
    graph = Graph(name)
    graph.add("base", f"{NAMED}LoadSandbox", (0, 60), (420, 138), picture="akane")
    graph.add("data", f"{NAMED}LoadDataset", (0, 300), (420, 178), folder="sandbox/dataset/akane")
    graph.add("absorb", f"{NAMED}AbsorbTags", (0, 590), (420, 586), {"dataset": ("data", "dataset")},
              purpose="character", trigger=TRIGGER)
    graph.group("1 · Images and captions", ["base", "data", "absorb"])
    graph.add("settings", f"{NAMED}TrainSettings", (490, 60), (420, 1116), save_every=40, validate_every=40,
              validation_fraction=0.1, preview_every=0)
    graph.add("train", f"{NAMED}TrainLora", (960, 60), (420, 1116), {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE"),
        "dataset": ("absorb", "dataset"), "settings": ("settings", "settings")}, name="sandbox_sweep",
        trigger=TRIGGER, kind="character", steps=200)
    graph.group("2 · The LoRA", ["settings", "train"])
    return graph


def sweep(graph: Graph, type_: str, **widgets: object) -> str:
    """A node that draws the run's checkpoints by itself."""
    return graph.add("sweep", f"{NAMED}{type_}", (1450, 60), (420, 1116), {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE"), "run": ("train", "run")},
        **{**SWEPT, **widgets})


def sheet(graph: Graph, source: str, place: tuple[int, int], size: tuple[int, int]) -> str:
    return graph.add("sheet", "PreviewImage", place, size, {"images": (source, "sheet")}, title="The sheet")


def strength_grid() -> Graph:
    graph = begin("6 Compare - strength grid")
    members = [sweep(graph, "StrengthGrid", checkpoints="last", strengths="0.5, 0.7, 0.8, 0.9, 1.0",
                     prompts="\n".join(PROMPTS)), sheet(graph, "sweep", (1920, 60), (1100, 700))]
    graph.group("3 · Five strengths: same prompts, same seed", members)
    return graph


def checkpoint_sweep() -> Graph:
    graph = begin("6 Compare - checkpoint sweep")
    members = [sweep(graph, "CheckpointSweep", **CHECKPOINTS), sheet(graph, "sweep", (1920, 60), (1100, 1116))]
    graph.group("3 · Five checkpoints at two strengths: same prompts, same seed", members)
    return graph


def seed_sweep() -> Graph:
    graph = begin("6 Compare - seed sweep")
    graph.add("values", f"{NAMED}SweepValues", (1450, 60), (420, 560), {"run": ("train", "run")}, checkpoints="last",
              strengths="1", prompts="\n".join(PROMPTS[:2]), seeds="1-6", without=False)
    graph.add("negative", "CLIPTextEncode", (1450, 700), (420, 110), {"clip": ("base", "CLIP")}, text="",
              title="Negative prompt")
    graph.add("latent", "EmptyLatentImage", (1450, 880), (420, 106), width=128, height=128, batch_size=1,
              title="Empty Latent Image (sandbox: makes 64 px)")
    x = 1920
    graph.add("lora", "LoraLoader", (x, 60), (360, 126), {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora_name": ("values", "lora_name"),
        "strength_model": ("values", "strength"), "strength_clip": ("values", "strength")},
        lora_name="sandbox_sweep/sandbox_sweep.safetensors")
    graph.add("positive", "CLIPTextEncode", (x, 260), (360, 110), {
        "clip": ("lora", "CLIP"), "text": ("values", "prompt")}, title="Prompt, LoRA's text encoder")
    graph.add("sample", "KSampler", (x, 440), (360, 262), {
        "model": ("lora", "MODEL"), "positive": ("positive", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"), "seed": ("values", "seed")}, **SAMPLED)
    graph.add("decode", "VAEDecode", (x, 880), (360, 46), {"samples": ("sample", "LATENT"), "vae": ("base", "VAE")})
    graph.group("3 · Values, and your own nodes", ["values", "negative", "latent", "lora", "positive", "sample",
                                                     "decode"])
    graph.add("compose", f"{NAMED}ComposeGrid", (2350, 60), (420, 640), {
        "sweep": ("values", "sweep"), "images": ("decode", "IMAGE")}, rows="prompt", columns="seed")
    graph.group("4 · The sheet", ["compose", sheet(graph, "compose", (2820, 60), (1100, 640))])
    return graph


def score_and_pick() -> Graph:
    graph = begin("6 Compare - score and pick")
    members = [sweep(graph, "CheckpointSweep", **CHECKPOINTS, seeds="1, 2"),
               sheet(graph, "sweep", (1920, 60), (620, 1116))]
    graph.group("3 · Draw", members)
    graph.add("score", f"{NAMED}ScoreSweep", (2610, 60), (720, 520), {
        "sweep": ("sweep", "sweep"), "dataset": ("absorb", "dataset")})
    graph.add("table", "PreviewImage", (2610, 660), (720, 516), {"images": ("score", "table")}, title="The matrix")
    graph.group("4 · Score", ["score", "table"])
    x = 3400
    members = [
        graph.add("pick", f"{NAMED}PickCheckpoint", (x, 60), (400, 240), {
            "run": ("train", "run"), "step": ("score", "step"), "strength": ("score", "strength"),
            "model": ("base", "MODEL"), "clip": ("base", "CLIP")}, which="step"),
        graph.add("positive", "CLIPTextEncode", (x, 380), (400, 130), {"clip": ("pick", "CLIP")},
                  text=f"{TRIGGER}, 1girl, front view, upper body, smile, sunset, flat color"),
        graph.add("negative", "CLIPTextEncode", (x, 590), (400, 130), {"clip": ("base", "CLIP")}, text="",
                  title="Negative prompt"),
        graph.add("latent", "EmptyLatentImage", (x, 800), (400, 106), width=128, height=128, batch_size=4,
                  title="Empty Latent Image (sandbox: makes 64 px)"),
        graph.add("sample", "KSampler", (x + 450, 60), (400, 262), {
            "model": ("pick", "MODEL"), "positive": ("positive", "CONDITIONING"),
            "negative": ("negative", "CONDITIONING"), "latent_image": ("latent", "LATENT")}, seed=7, **SAMPLED),
        graph.add("decode", "VAEDecode", (x + 450, 440), (400, 46), {
            "samples": ("sample", "LATENT"), "vae": ("base", "VAE")}),
        graph.add("larger", "ImageScaleToTotalPixels", (x + 450, 566), (400, 106), {"image": ("decode", "IMAGE")},
                  upscale_method="lanczos", megapixels=0.5, title="Enlarge for looking"),
        graph.add("show", "PreviewImage", (x + 450, 752), (400, 424), {"images": ("larger", "IMAGE")},
                  title="With what was picked")]
    graph.group("5 · Pick and use it", members)
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (strength_grid(), checkpoint_sweep(), seed_sweep(), score_and_pick()), NOTES)
