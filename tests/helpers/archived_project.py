"""A written project with its runs, for what keeps a project as a whole."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from lora_bootstrap.trainer.bootstrap.status import style_run
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.training.config import TrainConfig

from .written_project import write_project

LAYER = "lora_unet_down_blocks_0_attentions_0_proj_in"


def write_whole_project(output: Path, name: str = "akane", candidates: int = 3) -> Path:
    """A project with a round of candidates, picks, and two finished runs; returns its folder."""
    folder = write_project(output, name, candidates=candidates)
    write_json(folder / "round_1" / "picks.json", {"revision": 1, "picks": {}, "history": []})
    for run, kind in ((style_run(name, 1), "style"), (name, "character")):
        write_whole_run(output, run, kind=kind, project=name)
    record = read_json(folder / "project.json")
    record["stages"]["character"] = {
        "name": "character", "title": "Train", "summary": "100 steps", "seconds": 1.0, "finished": "now",
        "facts": {"run": f"loras/{name}", "lora": f"loras/{name}/{name}.safetensors"}}
    write_json(folder / "project.json", record)
    return folder


def write_whole_run(output: Path, name: str, *, kind: str = "style", project: str = "akane",
                    losses: tuple[float, ...] = (0.5, 0.25), **lineage: object) -> Path:
    """A finished run, as the registry reads it."""
    folder = output / "loras" / name
    folder.mkdir(parents=True)
    save_file({f"{LAYER}.lora_down.weight": torch.zeros(1, 4), f"{LAYER}.lora_up.weight": torch.zeros(4, 1)},
              folder / f"{name}.safetensors")
    write_json(folder / "run.json", {
        "format": 1, "key": name, "status": "finished", "step": 100, "stem": name,
        "lineage": {"base": "b", "dataset": "d", "project": project, **lineage},
        "config": TrainConfig(name=name, kind=kind).to_dict()})
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rewrite(archive: Path, target: Path, **changes: bytes | None) -> Path:
    """A copy of an archive with these members replaced, added, or left out (None)."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as out:
        for name in source.namelist():
            if name not in changes:
                out.writestr(name, source.read(name))
        for name, data in changes.items():
            if data is not None:
                out.writestr(name, data)
    return target
