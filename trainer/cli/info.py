"""`lora-bootstrap info`: what is in a LoRA file, a run, or a project."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.schema import read_record
from .terminal.console import Console


def add_info_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", type=Path, help="a .safetensors LoRA, a run's folder, or a project's folder")


def handle_info(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    facts = _read_folder(options.path) if options.path.is_dir() else _read_lora(options.path)
    for name, value in facts.items():
        console.say(f"{name:20} {_shorten(value)}")
    return facts


def _read_folder(path: Path) -> dict[str, Any]:
    from ..training.watched.outliers import word_outliers

    file = next((path / name for name in ("project.json", "run.json") if (path / name).is_file()), None)
    if file is None:
        raise UserError(f"{path} is neither a run nor a project: it has no run.json or project.json. Give the folder "
                        "of a run or project, or a .safetensors LoRA.")
    facts = {"kind": file.stem, **read_record(file, dict)}
    if file.stem == "run" and (outliers := word_outliers(path)):
        facts["outliers"] = dict(line.split(": ", 1) for line in outliers)
    return facts


def _read_lora(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"there is no file or folder at {path}. Give a .safetensors LoRA, or the folder of a run or "
                        "project.")
    from ..lora.layers import read_header

    file = read_header(path)
    return {"kind": "lora", "file": str(path), "bytes": path.stat().st_size, **file.facts(),
            "metadata": dict(file.metadata)}


def _shorten(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {_shorten(item)}" for name, item in value.items())
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
