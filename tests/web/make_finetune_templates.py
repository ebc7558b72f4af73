"""Make the template of a fine-tune and of the LoRA that is extracted from it, and its API twin, serialized by the real
front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_finetune_templates.py http://127.0.0.1:8188
Look at it in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make
from template_parts import DATA, GUIDES, Column

TRIGGER = "akane"
PROMPTS = f"""{TRIGGER}, 1girl, front view, full body, smile, grass, flat color
{TRIGGER}, 1girl, from side, upper body, sunset, flat color
{TRIGGER}, 1girl, front view, close-up, open mouth, night sky, flat color"""
BASE = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
NAME = "6 Fine-tune and extract"
TALL = 940

NOTES = {NAME: f"""# Fine-tune and extract
Trains the whole diffusion model, picks a checkpoint, and takes a LoRA out of it. On the small base model that comes
with the pack. A few minutes, no download.

1. Press **Run**.
2. **Fine-tune Model** trains all weights of the model. The model that you linked is left unchanged.
3. **Checkpoint Sweep** draws its checkpoints, and **Pick Checkpoint** takes the last one. To take another, press **Open
   viewer**, choose a cell, press *Use this one*, set *which* to *picked in a sweep*, and run again.
4. **Extract LoRA** writes the difference to the base as a LoRA, and reports how much of it is lost.
5. **Look** along each row of the sheet: without LoRA, the fine-tune (its step), the extracted LoRA. Where the LoRA
   lacks what the fine-tune has, raise *rank*.

A fine-tune takes far more memory and disk than a LoRA. [LoRA or fine-tune?]({GUIDES}kinds_of_training)

## With a model and images of your own
1. Replace *Load Sandbox* with **Load Checkpoint**. The model must be in 16 or 32 bits.
2. Write your folder into *Load Dataset*, your trigger into *Absorb Tags*, *Fine-tune Model* and the prompts.
3. Set *steps* and *batch_size* of *Fine-tune Model* to 0, and *epochs* to 100, for example. The rate is 4e-6 then, and
   the batch 2.
4. Choose *kohya guide* as *preset* of *Extract LoRA*: rank 64.

**More:** [the words]({GUIDES}words) · [something looks wrong]({GUIDES}troubleshooting)
"""}


def fine_tune_and_extract() -> Graph:
    graph = Graph(NAME, note=((-255, 60), (215, TALL)))
    images = Column(graph, 0, 225)
    images.add("base", f"{NAMED}LoadSandbox", 166, picture=TRIGGER)
    images.add("data", f"{NAMED}LoadDataset", DATA, folder=f"sandbox/dataset/{TRIGGER}")
    images.add("absorb", f"{NAMED}AbsorbTags", 60 + TALL - images.y, {"dataset": ("data", "dataset")},
               purpose="character", trigger=TRIGGER)
    graph.group("1 · Images and captions", images.members)
    graph.add("train", f"{NAMED}FineTune", (275, 60), (255, TALL), {**BASE, "dataset": ("absorb", "dataset")},
              name="sandbox_tuned", trigger=TRIGGER, steps=120, batch_size=8, save="difference")
    graph.group("2 · The fine-tune", ["train"])
    graph.add("sweep", f"{NAMED}CheckpointSweep", (580, 60), (230, TALL), {**BASE, "run": ("train", "run")},
              checkpoints="all", strengths="1", prompts=PROMPTS)
    graph.group("3 · Look", ["sweep"])
    taken = Column(graph, 860, 230)
    taken.add("pick", f"{NAMED}PickCheckpoint", 260, {
        "run": ("train", "run"), "model": ("base", "MODEL")}, which="final")
    taken.add("extract", f"{NAMED}ExtractLora", 60 + TALL - taken.y, {
        "model": ("pick", "MODEL"), "base": ("base", "MODEL")}, name="sandbox_tuned_lora", rank=16)
    graph.group("4 · Pick, extract", taken.members)
    compared = Column(graph, 1140, 265)
    compared.add("grid", f"{NAMED}StrengthGrid", 600, {
        **BASE, "LORA_STACK": ("pick", "LORA_STACK"), "compare": ("extract", "LORA_STACK")}, name="sandbox_tuned-lora",
        strengths="1", prompts=PROMPTS)
    compared.add("sheet", "PreviewImage", 60 + TALL - compared.y, {"images": ("grid", "sheet")},
                 title="Base, fine-tune, LoRA")
    graph.group("5 · Compare", compared.members)
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (fine_tune_and_extract(),), NOTES)
