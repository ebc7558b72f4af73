"""Make the templates to begin with and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_start_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).

What is set, watched and looked at stands in the upper row, which a window of 1600 x 1000 shows at full size. Captions
and the node that draws stand below it: they work as they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from make_real_templates import NEGATIVE, load_checkpoint
from template_graph import NAMED, Graph, make
from template_parts import LOADER

HIGH = 784
"""Height of the upper row, as far as a window of 1600 x 1000 shows it at full size."""
SHEET = 550
"""Height of the sheet, which ends above the front end's minimap."""
BELOW = 1040
"""Where the lower row begins."""

LOOK = """**Look** down each column of *The sheet*. Choose the **lowest** strength at which the character is fully
   there and the view still follows the prompt."""
USE = f"""Press **R**. Add the node {LOADER} (double-click here below), choose the
   LoRA that *Train LoRA* names, and set that strength."""
SANDBOX = f"""# Start here
Some 15 images of one character become a LoRA. This is a rehearsal: it trains the small base model that comes with the
pack on 20 drawings, takes about two minutes, and downloads nothing.

1. *Load Dataset* holds the images. Leave the drawings for now.
2. *Trigger* is the word that calls the character. Leave it for now.
3. Press **Run**. The images are checked and the LoRA is trained.
4. {LOOK}
5. {USE}

For your own images open *1 Start here (your model)*.
"""
OWN = f"""# Start here (your model)
1. Choose your base in *Load Checkpoint*: SDXL, Illustrious, NoobAI, Pony or SD 1.5.
2. Drop some 15 images of one character onto *Load Dataset*, or write the name of a folder in ComfyUI's *input* folder.
   Captions beside them (a.txt for a.png) are kept.
3. Write a word that has no meaning yet into *Trigger*.
4. For SD 1.5, set *family* in *Audit Dataset* below to *sd15*.
5. If images have no captions, turn on *download* in *Tag Images* below: the tagger is fetched once (0.4 GB).
6. Press **Run**.
7. {LOOK}
8. {USE}

Write what always belongs to the character into *remove* of *Edit Tags* (red hair, fox ears): the trigger comes to stand
for it.
"""


@dataclass(frozen=True)
class Form:
    """One of the two templates: its base model, its images and how they are tagged and drawn.

    Attributes:
        removed: tags of what the trigger is to stand for.
        drawn: widgets of Strength Grid.
        read: height of the note; below it is room for a node.
    """

    name: str
    note: str
    folder: str
    trigger: str
    family: str
    tagger: str
    removed: str
    steps: int
    drawn: dict[str, Any]
    read: int

    def load(self, graph: Graph) -> None:
        if self.family == "sandbox":
            graph.add("base", f"{NAMED}LoadSandbox", (0, 60), (300, 138))
        else:
            load_checkpoint(graph, 60)


FORMS = (
    Form("1 Start here", SANDBOX, "sandbox/dataset/akane", "akane", "sandbox", "sandbox",
         "red hair, short hair, green eyes, fox ears, fox tail, white dress", 200,
         {}, 440),
    Form("1 Start here (your model)", OWN, "my_character", "mychar", "sdxl", "wd-swinv2-tagger-v3", "", 0,
         {"negative": NEGATIVE}, 600),
)


def start(form: Form) -> Graph:
    graph = Graph(form.name, note=((-350, 60), (320, form.read)))
    base = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
    trigger = ("trigger", "STRING")
    form.load(graph)
    graph.add("data", f"{NAMED}LoadDataset", (0, 300), (300, 370), folder=form.folder)
    graph.add("trigger", "PrimitiveString", (0, 740), (300, 104), value=form.trigger, title="Trigger")
    graph.group("1 · Your images and a trigger", ["base", "data", "trigger"])
    graph.add("audit", f"{NAMED}AuditDataset", (-350, BELOW), (320, 900), {"dataset": ("data", "dataset")},
              family=form.family)
    graph.add("tag", f"{NAMED}TagImages", (0, BELOW), (300, 640), {"dataset": ("audit", "dataset")},
              tagger=form.tagger, merge="keep")
    graph.add("edit", f"{NAMED}EditTags", (340, BELOW), (340, 1240), {
        "dataset": ("tag", "dataset"), "scores": ("tag", "scores"), "trigger": trigger}, remove=form.removed)
    graph.group("2 · Captions: images are checked, and tagged where they have none", ["audit", "tag", "edit"])
    graph.add("train", f"{NAMED}TrainLora", (360, 60), (320, HIGH), {
        **base, "dataset": ("edit", "dataset"), "name": trigger, "trigger": trigger}, kind="character",
        steps=form.steps)
    graph.group("3 · The LoRA", ["train"])
    graph.add("sheet", "PreviewImage", (740, 60), (400, SHEET), {"images": ("grid", "sheet")}, title="The sheet")
    graph.add("grid", f"{NAMED}StrengthGrid", (740, BELOW), (400, 960), {
        **base, "run": ("train", "run"), "prompts": trigger}, prompt_set="poses", strengths="0.6, 0.8, 1.0",
        rows="strength", columns="prompt", **form.drawn)
    graph.group("4 · Which strength?", ["sheet", "grid"])
    chosen = [] if form.family == "sandbox" else [("base", "ckpt_name")]
    fetched = [] if form.family == "sandbox" else [("tag", "download")]
    graph.show_as_app([*chosen, ("data", "folder"), ("trigger", "value"), *fetched, ("train", "training", 420)],
                      ["sheet"])
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), map(start, FORMS), {form.name: form.note for form in FORMS})
