"""A sweep on disk whose cells are drawn, not sampled: what a person finds after a Run."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.sweeps import cells
from lora_bootstrap.trainer.sweeps.cells import Cell, Sweep

from .drawings import draw_once

AKANE = world.HELD_OUT["akane"]
PROMPTS = ("akane, smile, front view", "akane, open mouth, from above", "akane, night sky")
SHARED = {"width": 64, "height": 64, "steps": 12, "cfg": 4.0, "sampler": "euler", "scheduler": "normal",
          "negative": "", "base": "sandbox"}
GRAPH = {"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
         "2": {"class_type": "LatentFlip", "inputs": {"samples": ["1", 0], "flip_method": "x-axis: vertically"}}}
"""What is in a cell's picture for Load workflow."""


def write_lora(path: Path, step: int, run: str, value: float = 0.5) -> Path:
    """A file that is a LoRA by its form, as small as one can be."""
    head = json.dumps({"__metadata__": {"ss_steps": str(step), "ss_epoch": str(step // 10), "ss_output_name": run},
                       "a.lora_down.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(head)) + head + struct.pack("<2f", value, step))
    return path


def write_run(root: Path, run: str = "akane", steps: Sequence[int] = (50, 100, 150)) -> list[Path]:
    """A run's folder with its checkpoints, below `root` (output/loras)."""
    write_json(root / run / "run.json", {"name": run})
    return [write_lora(root / run / f"{run}-step{step:06d}.safetensors", step, run) for step in steps]


def draw_sweep(root: Path, files: Sequence[Path], *, name: str = "akane-sweep", strengths=(0.5, 0.8, 1.0),
               prompts=PROMPTS, seeds=(1, 2), title: str = "", without: bool = True, side: int = 64,
               names: Sequence[str] = (), make: bool = True) -> Sweep:
    """A sweep over these checkpoints, below `root` (output/sweeps), its cells drawn."""
    names = names or [f"{path.parent.name}/{path.name}" for path in files]
    axes = (cells.checkpoint_axis(files, names), cells.strength_axis(strengths), cells.prompt_axis(prompts),
            cells.seed_axis(seeds))
    sweep = Sweep(root / name, title or f"{name}, drawn", axes, SHARED | {"width": side, "height": side}, without)
    sweep.write()
    if make:
        for cell in sweep.missing():
            draw_cell(sweep, cell)
    return sweep


def draw_cell(sweep: Sweep, cell: Cell) -> Path:
    """The nearer to the middle of the axes, the more of the character there is to see."""
    facts = cell.facts
    look = {"expression": "smile" if "smile" in facts["prompt"] else "open mouth",
            "background": world.ATTRIBUTES["background"][facts["seed"] % 5],
            "style": "lineart" if facts["strength"] == 0 else "pastel" if facts["strength"] < 0.6 else "flat color"}
    picture = draw_once(world.Scene(AKANE, **look), facts["width"])
    return sweep.save(cell, picture, {"prompt": json.dumps(GRAPH)})


def write_scores(sweep: Sweep, recommended: tuple[int, int] = (1, 1)) -> dict:
    """Scores by checkpoint and strength; that place is recommended."""
    rows = []
    for checkpoint, strength in ((c, s) for c in range(len(sweep.axis("checkpoint").choices))
                                 for s in range(len(sweep.axis("strength").choices))):
        verdict = ("undertrained", "good", "overtrained")[min(2, checkpoint)]
        rows.append({"base": 0, "checkpoint": checkpoint, "strength": strength,
                     "label": f"{sweep.axis('checkpoint').choices[checkpoint].label} at "
                              f"{sweep.axis('strength').choices[strength].label}",
                     "likeness": 0.5 + 0.1 * checkpoint, "prompt": 0.8 - 0.1 * strength, "diversity": 0.4,
                     "copies": None, "burn": 0.1 * checkpoint, "validation": None,
                     "score": 0.55 + 0.1 * checkpoint,
                     "gates": ["burn"] if checkpoint == 2 else [], "verdict": verdict,
                     "advice": "train longer" if checkpoint == 0 else ""})
    index = next(at for at, row in enumerate(rows) if (row["checkpoint"], row["strength"]) == recommended)
    scores = {"version": 1, "eye": "drawn", "kind": "character", "rows": rows, "recommended": index,
              "why": "the likeliest of those that keep to the prompt.", "notes": ["validation was not measured."]}
    write_json(sweep.folder / "scores.json", scores)
    return scores
