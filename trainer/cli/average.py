"""`lora-bootstrap average`: the average of a run's last checkpoints, as one more file beside them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .terminal.console import Console


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
