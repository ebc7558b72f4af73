"""Make the templates of sweeps and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_sweep_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make
from template_parts import DATA, GAP, GUIDES, Column, Drawn, add_drawing, add_figures, add_sampler

TRIGGER = "akane"
PROMPTS = (
    f"{TRIGGER}, 1girl, front view, full body, smile, grass, flat color",
    f"{TRIGGER}, 1girl, from side, upper body, sunset, flat color",
    f"{TRIGGER}, 1girl, front view, close-up, open mouth, night sky, flat color",
)
ANOTHER = f"{TRIGGER}, 1girl, from behind, full body, blue sky, flat color"
CHECKPOINTS = {"checkpoints": "all", "strengths": "0.8, 1.0", "prompts": "\n".join((*PROMPTS, ANOTHER))}

BASE = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
NOTE = ((-290, 60), (250, 910))
"""Place and size of the notes."""
TALL = 910

TRAINS = """Trains a character LoRA on 20 drawings, on the small base model that comes with the pack. A minute, no
download. The four templates that compare share it, so it is trained once."""
KEPT = """Every cell is saved as soon as it is drawn: after **Cancel** the next Run draws only what is missing. **Open
viewer** shows each image large, two at a time if you like, and lets you mark the best."""
OWN_MODEL = "1. Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE)."
OWN_LORA = """2. Replace *Train LoRA* with **Load Run** and link its *run*; or write LoRA names into *files*; or link a
   **LORA_STACK**, whose first LoRA is swept. Delete the nodes before it."""
OWN_PROMPTS = "3. Write prompts with your trigger into *prompts*, one per line."
MORE = f"**More:** [the words]({GUIDES}words) · [something looks wrong]({GUIDES}troubleshooting)"
YOUR_OWN = f"""## With a model and a LoRA of your own
{OWN_MODEL}
{OWN_LORA}
{OWN_PROMPTS}

{MORE}
"""

NOTES = {
    "6 Compare - strength grid": f"""# Strength grid
How strongly should a LoRA be applied?

1. Press **Run**. {TRAINS}
2. **Look** along each row, from *no LoRA* to 1.0. Choose the lowest strength at which she is fully herself while view,
   mood and background still follow the prompt. Only partly herself: go higher. Burnt colours, or the prompt ignored:
   go lower.

{KEPT}

{YOUR_OWN}""",
    "6 Compare - checkpoint sweep": f"""# Checkpoint sweep
Which of a run's checkpoints is best?

1. Press **Run**. {TRAINS}
2. **Look** along each row, from *no LoRA* to the last step: a sheet for each of two strengths. Early checkpoints are
   not her yet. Late ones may make every image look like the training drawings. Choose the earliest that is fully her at
   both strengths. *6 Compare - score and pick* measures this.

{KEPT}

{YOUR_OWN}""",
    "6 Compare - seed sweep": f"""# Seed sweep
Is it the LoRA, or just luck?

1. Press **Run**. {TRAINS}
2. **Look** along each row, two prompts at six seeds. Whatever stays the same comes from the LoRA; whatever changes is
   left to chance.

*Sweep Values* gives the box **Your own nodes** a LoRA, a strength, a prompt and a seed, and *Compose Grid* draws cell
by cell. Open the box with the sign in its corner: any sampler and any other nodes can stand there. What is not linked
to *Sweep Values* is the same in all cells.

{KEPT}

## With a model and a LoRA of your own
{OWN_MODEL}
{OWN_LORA}
{OWN_PROMPTS}

{MORE}
""",
    "6 Compare - score and pick": f"""# Score and pick
Which checkpoint, at which strength? Measured, not guessed.

1. Press **Run**. {TRAINS}
2. **Look** at the matrix: *likeness* to the training images, the share of the *prompt* that is shown, *diversity*,
   *copies* of training images, *burn*, *validation* loss. What is beyond a limit is out. Of the rest the best mix of
   likeness and prompt wins; among equals, the earliest.
3. Look at the cells with **Open viewer**: you see more than the numbers do. To decide yourself, press *Use this one*
   there, and set *which* in *Pick Checkpoint* to *picked in a sweep*.

## With a model and a LoRA of your own
{OWN_MODEL}
2. Replace *Train LoRA* with **Load Run**, and link its *run* to *Checkpoint Sweep* and *Pick Checkpoint*. *Load
   Dataset* loads the images it was trained on.
{OWN_PROMPTS}
4. Link **Load CLIP Vision** to *Score Sweep*: without likeness nothing is recommended. Choose a *tagger* there, to
   measure how well the prompt is followed.

A **LORA_STACK** of the winner is an output of *Score Sweep*.

{MORE}
""",
}


def begin(name: str, width: int = 280, training: int = 424) -> Graph:
    """The base, the images, and a run with five checkpoints and a validation loss, in two columns.

    Args:
        width: of the columns.
        training: height of Train LoRA.
    """
    graph = Graph(name, note=NOTE)
    images = Column(graph, 0, width)
    images.add("base", f"{NAMED}LoadSandbox", 166, picture="akane")
    images.add("data", f"{NAMED}LoadDataset", DATA, folder="sandbox/dataset/akane")
    images.add("absorb", f"{NAMED}AbsorbTags", 60 + TALL - images.y, {"dataset": ("data", "dataset")},
               purpose="character", trigger=TRIGGER)
    graph.group("1 · Images and captions", images.members)
    x = width + 60
    add_training(graph, (x, 60), (width, training))
    add_settings(graph, (x, 60 + training + GAP), (width, TALL - training - GAP))
    graph.group("2 · The LoRA", ["train", "settings"])
    return graph


def add_training(graph: Graph, place: tuple[int, int], size: tuple[int, int]) -> None:
    graph.add("train", f"{NAMED}TrainLora", place, size, {
        **BASE, "dataset": ("absorb", "dataset"), "settings": ("settings", "settings")}, name="sandbox_sweep",
        trigger=TRIGGER, kind="character", steps=200)


def add_settings(graph: Graph, place: tuple[int, int], size: tuple[int, int]) -> None:
    """Five checkpoints, and a validation loss at each."""
    graph.add("settings", f"{NAMED}TrainSettings", place, size, save_every=40, validate_every=40,
              validation_fraction=0.1, preview_every=0)


def draw_and_show(name: str, type_: str, title: str, **widgets: object) -> Graph:
    """A template with a node that draws the run by itself, and the sheet below it."""
    graph = begin(name)
    cells = Column(graph, 680, 430)
    cells.add("sweep", f"{NAMED}{type_}", 440, {**BASE, "run": ("train", "run")}, **widgets)
    cells.add("sheet", "PreviewImage", TALL - 490, {"images": ("sweep", "sheet")}, title="The sheet")
    graph.group(title, cells.members)
    return graph


def strength_grid() -> Graph:
    return draw_and_show("6 Compare - strength grid", "StrengthGrid", "3 · Five strengths: same prompts, same seed",
                         checkpoints="last", strengths="0.5, 0.7, 0.8, 0.9, 1.0", prompts="\n".join(PROMPTS))


def checkpoint_sweep() -> Graph:
    return draw_and_show("6 Compare - checkpoint sweep", "CheckpointSweep",
                         "3 · Five checkpoints at two strengths", **CHECKPOINTS)


def seed_sweep() -> Graph:
    graph = begin("6 Compare - seed sweep", 255)
    draws = Column(graph, 630, 265)
    draws.add("values", f"{NAMED}SweepValues", 420, {"run": ("train", "run")}, checkpoints="last", strengths="1",
              prompts="\n".join(PROMPTS[:2]), seeds="1-6", without=False)
    own_nodes(graph, draws)
    graph.group("3 · Values, and your own nodes", draws.members)
    sheet = Column(graph, 955, 395)
    sheet.add("compose", f"{NAMED}ComposeGrid", 440, {"sweep": ("values", "sweep"), "images": ("own decode", "IMAGE")},
              rows="prompt", columns="seed")
    sheet.add("sheet", "PreviewImage", TALL - 490, {"images": ("compose", "sheet")}, title="The sheet")
    graph.group("4 · The sheet", sheet.members)
    return graph


def own_nodes(graph: Graph, column: Column) -> None:
    """The host's own nodes between Sweep Values and Compose Grid, as one box."""
    box = [*add_figures(graph, "own", ("base", "MODEL"), ("base", "VAE")),
           graph.add("lora", "LoraLoader", (360, 60), (300, 138), {
               "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "lora_name": ("values", "lora_name"),
               "strength_model": ("values", "strength"), "strength_clip": ("values", "strength")},
               lora_name="sandbox_sweep/sandbox_sweep.safetensors"),
           graph.add("positive", "CLIPTextEncode", (360, 250), (300, 110), {
               "clip": ("lora", "CLIP"), "text": ("values", "prompt")}, title="Prompt, LoRA's text encoder"),
           graph.add("negative", "CLIPTextEncode", (360, 420), (300, 110), {"clip": ("base", "CLIP")}, text="",
                     title="Negative prompt"),
           *add_sampler(graph, "own", (720, 60), {
               "model": ("lora", "MODEL"), "positive": ("positive", "CONDITIONING"),
               "negative": ("negative", "CONDITIONING"), "seed": ("values", "seed")}, ("base", "VAE"), "own")]
    column.box("own", "Your own nodes", box, TALL - 470, [
        ("negative", "text", "negative prompt"), ("own figures", "steps", "steps"), ("own figures", "cfg", "cfg")],
        {"IMAGE": "images", "text": "prompt"})


def score_and_pick() -> Graph:
    """In two rows: what is drawn above, what is measured and picked below."""
    graph = Graph("6 Compare - score and pick", note=((-290, 60), (250, 940)))
    high, width = 492, 240
    images = Column(graph, 0, width)
    images.add("base", f"{NAMED}LoadSandbox", 166, picture="akane")
    images.add("data", f"{NAMED}LoadDataset", high - 216, folder="sandbox/dataset/akane")
    graph.add("absorb", f"{NAMED}AbsorbTags", (255, 60), (width, high), {"dataset": ("data", "dataset")},
              purpose="character", trigger=TRIGGER)
    graph.group("1 · Images and captions", [*images.members, "absorb"])
    add_training(graph, (827, 60), (240, high))
    add_settings(graph, (555, 60), (257, high))
    graph.group("2 · The LoRA", ["settings", "train"])
    graph.add("sweep", f"{NAMED}CheckpointSweep", (1127, 60), (233, high), {**BASE, "run": ("train", "run")},
              **CHECKPOINTS, seeds="1, 2")
    graph.group("3 · Draw", ["sweep"])
    place, low = high + 170, 338
    graph.add("score", f"{NAMED}ScoreSweep", (0, place), (width, low), {
        "sweep": ("sweep", "sweep"), "dataset": ("absorb", "dataset")})
    graph.add("table", "PreviewImage", (255, place), (320, low), {"images": ("score", "table")}, title="The matrix")
    graph.group("4 · Score", ["score", "table"])
    graph.add("pick", f"{NAMED}PickCheckpoint", (635, place), (225, low), {
        "run": ("train", "run"), "step": ("score", "step"), "strength": ("score", "strength"),
        "model": ("base", "MODEL"), "clip": ("base", "CLIP")}, which="step")
    drawn = add_drawing(Column(graph, 875, 225, place), "draw", "Draw with it", [
        Drawn("picked", ("pick", "MODEL"), ("pick", "CLIP"), ("base", "CLIP"))], base=("base", "MODEL"),
        vae=("base", "VAE"), prompt=f"{TRIGGER}, 1girl, front view, upper body, smile, sunset, flat color", height=low)
    graph.add("show", "PreviewImage", (1115, place), (245, low), {"images": drawn}, title="With what was picked")
    graph.group("5 · Pick and use it", ["pick", "draw", "show"])
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (strength_grid(), checkpoint_sweep(), seed_sweep(), score_and_pick()), NOTES)
