"""Make the templates of a training on the sandbox and of a dataset, and their API twins, serialized by the real front
end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_training_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make
from template_parts import DATA, GUIDES, LOADER, Column

TRIGGER = "akane"
DRAWINGS = f"sandbox/dataset/{TRIGGER}"
TRAITS = "red hair, short hair, green eyes, fox ears, fox tail, white dress"
NOTE = ((-310, 60), (270, 880))
"""Place and size of the notes beside training nodes."""
TALL = 880

SAFE = """**Stop & keep** in *Train LoRA* ends early and goes on with the LoRA trained so far. **Cancel** saves the
training: run again to continue."""
SAVED = f"""The LoRA is saved in `output/loras`. Press **R**, and choose it in {LOADER} of any
workflow."""
MORE = f"""**More:** [one image]({GUIDES}one_image) · [your images]({GUIDES}own_images) ·
[something looks wrong]({GUIDES}troubleshooting)"""
OWN_MODEL = "1. Replace *Load Sandbox* with **Load Checkpoint**, and link *MODEL*, *CLIP* and *VAE* the same way."

NOTES = {
    "2 Train a style LoRA": f"""# Train a style LoRA
On the small base model that comes with the pack. Half a minute, no download.

1. Press **Run**. The LoRA is trained on four crops of one drawing.
2. Look at the sheet: four seeds, above without the LoRA, below with it. No tag names the blue tip of her tail, so it
   can only come from the LoRA.

{SAFE}

{SAVED}

## On your own model and image
{OWN_MODEL}
2. Add **Load Image** and link it to *image* of *Crop Picture*. Write what it shows into *tags*.
3. Write a prompt with your trigger into *Strength Grid*.

{MORE}
""",
    "3 Train a character LoRA": f"""# Train a character LoRA
On the small base model that comes with the pack. Two minutes, no download.

1. Press **Run**. The LoRA is trained on 20 drawings.
2. Look along each row of the sheet: the prompts name her only by the trigger **akane**. Choose the lowest strength
   at which she is fully herself while view and background still follow
   the prompt.

*Edit Tags* removes the tags for what always belongs to her, so that the trigger comes to stand for them. View, mood
and background stay in the captions, so that you can still ask for them.

{SAFE}

{SAVED}

## On your own model and images
For SDXL and Illustrious, or for Krea 2, Flux and Qwen, open the forms of this template that are named so. For SD1.5:
{OWN_MODEL}
2. Write the folder of your images and captions into *Load Dataset*, your trigger into *Trigger*, and her tags into
   *remove* of *Edit Tags*.
3. In *Train LoRA*, choose another *name*, and set *steps* to 0: the model's preset.

{MORE}
""",
    "5 Prepare and tag a dataset": f"""# Prepare and tag a dataset
Twenty drawings are checked, cropped, tagged and saved. A few seconds, no download.

1. Press **Run**.
2. **Audit Dataset** says what is wrong with each image, and what the set lacks.
3. **Prepare Dataset** crops each image to its subject and to the model's size.
4. **Tag Images** writes what it sees. It takes two tails for a cat's: **Edit Tags** mends that by a rule. Change any
   caption by hand there, and run again.
5. **Absorb Tags** leaves out what always belongs to her. To overrule it, copy lines of its plan into *decisions* and
   change their first word.
6. **Save Dataset** writes a folder for *Train LoRA* and any other trainer.

## With images of your own
1. Write your folder in `ComfyUI/input` into *Load Dataset*.
2. Set *family* in *Audit Dataset* and *Prepare Dataset* to your model's.
3. Choose a *tagger* from `models/taggers`, or turn *download* on. For models that read sentences, use **Caption
   Images**. If your images have captions, set *merge* to *keep*: *replace*, as here, writes all anew.
4. Change *trigger* in *Edit Tags*, *Absorb Tags* and *Tag Statistics*. Clear *remove* and *replace*.

The folders are named after yours. What was saved from other images is never replaced. Load the result as
`datasets/<folder>`.

**Background**: on newer ComfyUI, link *Load Image (from Folder)* and *Load Background Removal Model* to *Remove
Background*, and the images and masks to *Dataset From Images*. Write *white* into *background* of *Prepare Dataset*.

{MORE}
""",
}

TRAINED = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}


def compare(graph: Graph, x: int, width: int, title: str, links: dict[str, tuple[str, str]] | None = None,
            **widgets: object) -> None:
    """The grid of strengths, and its sheet below."""
    column = Column(graph, x, width)
    column.add("grid", f"{NAMED}StrengthGrid", 440, {
        **TRAINED, "run": ("train", "run"), **(links or {})}, **widgets)
    column.add("sheet", "PreviewImage", TALL - 490, {"images": ("grid", "sheet")}, title="The sheet")
    graph.group(title, column.members)


def train_style() -> Graph:
    graph = Graph("2 Train a style LoRA", note=NOTE)
    left = Column(graph, 0, 300)
    left.add("base", f"{NAMED}LoadSandbox", 166, picture=TRIGGER)
    left.add("crops", f"{NAMED}CropPicture", 240, {"image": ("base", "picture"), "tags": ("base", "tags")},
             name="akane_crops")
    left.add("crops seen", f"{NAMED}PreviewDataset", TALL - 506, {"dataset": ("crops", "dataset")})
    graph.group("1 · One image, four crops", left.members)
    graph.add("train", f"{NAMED}TrainLora", (360, 60), (300, TALL), {
        **TRAINED, "dataset": ("crops seen", "dataset")}, name="sandbox_style", trigger=TRIGGER, kind="style")
    graph.group("2 · The LoRA", ["train"])
    compare(graph, 720, 420, "3 · With and without it", strengths="1", seeds="1-4", rows="strength", columns="seed",
            prompts=f"{TRIGGER}, 1girl, {TRAITS}, from side, upper body, smile, sunset, flat color")
    graph.show_as_app([("base", "picture"), ("train", "name"), ("train", "trigger"), ("train", "training", 420),
                       ("grid", "prompts")], ["sheet"])
    return graph


def train_character() -> Graph:
    graph = Graph("3 Train a character LoRA", note=NOTE)
    left = Column(graph, 0, 290)
    left.add("base", f"{NAMED}LoadSandbox", 166, picture=TRIGGER)
    left.add("data", f"{NAMED}LoadDataset", DATA, folder=DRAWINGS)
    trigger = ("trigger", "STRING")
    left.add("edit", f"{NAMED}EditTags", 60 + TALL - left.y, {"dataset": ("data", "dataset"), "trigger": trigger},
             remove=TRAITS)
    graph.group("1 · Images and captions", left.members)
    middle = Column(graph, 350, 300)
    middle.add("trigger", "PrimitiveString", 95, value=TRIGGER, title="Trigger")
    middle.add("train", f"{NAMED}TrainLora", 60 + TALL - middle.y, {
        **TRAINED, "dataset": ("edit", "dataset"), "trigger": trigger}, name="sandbox_akane", kind="character",
        steps=200)
    graph.group("2 · The LoRA", middle.members)
    compare(graph, 710, 430, "3 · Which strength? Same prompts, same seed", {"prompts": trigger},
            strengths="0.4, 0.6, 0.8, 1", rows="prompt", columns="strength", prompt_set="settings")
    graph.show_as_app([("data", "folder"), ("trigger", "value"), ("train", "name"), ("train", "training", 420),
                       ("grid", "prompt_set")], ["sheet"])
    return graph


def prepare_and_tag() -> Graph:
    graph = Graph("5 Prepare and tag a dataset", note=((-290, 60), (250, 910)))
    tall, width = 910, 240
    look = Column(graph, 0, width)
    look.add("data", f"{NAMED}LoadDataset", DATA, folder=DRAWINGS)
    look.add("audit", f"{NAMED}AuditDataset", 60 + tall - look.y, {"dataset": ("data", "dataset")}, family="sandbox",
             columns=5)
    graph.group("1 · Look", look.members)
    ready = Column(graph, 300, width)
    ready.add("prepare", f"{NAMED}PrepareDataset", 430, {"dataset": ("audit", "dataset")}, name="", family="sandbox",
              shape="square")
    ready.add("tag", f"{NAMED}TagImages", tall - 480, {"dataset": ("prepare", "dataset")}, tagger="sandbox",
              merge="replace")
    edit = Column(graph, 555, width)
    edit.add("base", f"{NAMED}LoadSandbox", 166, picture=TRIGGER, title="Load Sandbox: counts tokens")
    edit.add("edit", f"{NAMED}EditTags", tall - 216, {
        "dataset": ("tag", "dataset"), "scores": ("tag", "scores"), "clip": ("base", "CLIP")}, trigger=TRIGGER,
        remove="red eyes", replace="cat tail = fox tail\nlong hair = short hair", order=True, token_limit=75)
    graph.group("2 · Prepare, tag, edit", [*ready.members, *edit.members])
    count = Column(graph, 855, width)
    count.add("absorb", f"{NAMED}AbsorbTags", 430, {"dataset": ("edit", "dataset")}, purpose="character",
              trigger=TRIGGER)
    count.add("statistics", f"{NAMED}TagStatistics", tall - 480, {"dataset": ("absorb", "dataset"), **TRAINED},
              trigger=TRIGGER, most=16)
    save = Column(graph, 1110, width)
    save.add("seen", f"{NAMED}PreviewDataset", tall - 260, {"dataset": ("statistics", "dataset")}, columns=4)
    save.add("save", f"{NAMED}SaveDataset", 210, {"dataset": ("seen", "dataset")}, name="", concept="1girl")
    graph.group("3 · Absorb, count, save", [*count.members, *save.members])
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (train_style(), train_character(), prepare_and_tag()), NOTES)
