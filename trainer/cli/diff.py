"""`lora-bootstrap diff`: what differs between two runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from .terminal.console import Console


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
