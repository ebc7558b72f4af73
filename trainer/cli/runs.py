"""`lora-bootstrap info`, `diff` and `average`: what is in a LoRA file, a run or a project; what differs between two
runs; the average of a run's last checkpoints, as one more file beside them."""

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


def add_diff_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("first", type=Path, help="folder of a run, such as output/loras/NAME")
    command.add_argument("second", type=Path, help="folder of the run to compare it with")


def check_diff(options: argparse.Namespace) -> None:
    for folder in (options.first, options.second):
        if not (folder / "run.json").is_file():
            raise UserError(f"{folder} is not the folder of a training run: it has no run.json. Choose a run's own "
                            "folder.")


def handle_diff(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..records.differences import compare_runs, describe_differences
    from ..training.runs import read_run

    first, second = read_run(options.first), read_run(options.second)
    found = compare_runs(first, second)
    for line in describe_differences(first.name, second.name, found):
        console.say(line)
    return {"first": first.name, "second": second.name, **found.to_dict()}


def add_average_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="folder of the run, such as output/loras/my_character")
    command.add_argument("--last", type=int, default=4, metavar="N",
                         help="number of last checkpoints to average (%(default)s)")
    command.add_argument("--checkpoint", type=Path, action="append", default=[], metavar="FILE",
                         help="checkpoint of the run to average, instead of the last ones; repeat for each")


def handle_average(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..training.runs import read_run
    from ..training.trained.average import average_checkpoints

    averaged = average_checkpoints(read_run(options.run), last=options.last, files=options.checkpoint)
    steps = ", ".join(map(str, averaged.steps))
    console.say(f"average of the checkpoints at steps {steps}\n\nLoRA  {averaged.path}"
                + (" (it already existed)" if averaged.reused else ""))
    return {"lora": averaged.path, "steps": averaged.steps, "reused": averaged.reused}


def _read_folder(path: Path) -> dict[str, Any]:
    file = next((path / name for name in ("project.json", "run.json") if (path / name).is_file()), None)
    if file is None:
        raise UserError(f"{path} is neither a run nor a project: it has no run.json or project.json. Give the folder "
                        "of a run or project, or a .safetensors LoRA.")
    facts = {"kind": file.stem, **read_record(file, dict)}
    return facts | (_outliers_of(path) if file.stem == "run" else {})


def _outliers_of(run: Path) -> dict[str, Any]:
    from ..training.watched.outliers import word_outliers  # it imports torch, which takes seconds

    outliers = word_outliers(run)
    return {"outliers": dict(line.split(": ", 1) for line in outliers)} if outliers else {}


def _read_lora(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"found no file or folder at {path}. Give a .safetensors LoRA, or the folder of a run or "
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
