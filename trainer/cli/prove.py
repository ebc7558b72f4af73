"""`lora-bootstrap prove`: whether a base trains right on this machine, as a table to paste into a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..models.families import distilled_warning
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_background_option, add_base_option, add_output_option, parse_settings


def add_prove_options(command: argparse.ArgumentParser) -> None:
    add_base_option(command)
    add_output_option(command)
    add_background_option(command)
    command.add_argument("--dataset", type=Path, metavar="FOLDER",
                         help="captioned images to train on; default: three drawings that come with the pack")
    command.add_argument("--steps", type=int, default=20, help="training steps (%(default)s)")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="setting by its dotted name, such as data.resolution=768; may be repeated")


def handle_prove(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    import diffusers

    from ...sandbox import PICTURES_DIR
    from ..datasets.dataset import load_folder
    from ..memory.preflight import fitted
    from ..sweeps.trial import Tried, run_trial, trial_facts

    settings = parse_settings(options.set)
    dataset = load_folder(options.dataset or PICTURES_DIR, background=options.background)
    backbone = load_backbone_quietly(options.base, options.base_precision)
    caution = distilled_warning(backbone.family, Path(options.base).name)
    last = console.follow(run_trial(backbone, dataset, options.output, steps=options.steps,
                                    host=f"command line, diffusers {diffusers.__version__}",
                                    settings=settings, caution=caution, follow=fitted))
    if not isinstance(last, Tried):
        return {"passed": False}
    trial = last.trial
    console.say(f"\n{trial.table()}")
    for name, path in (("grid", trial.grid), ("table", trial.report)):
        if path is not None:
            console.say(f"{name:6} {path}")
    if not trial.passed:
        raise UserError("this base is not proved on this machine: the table says what failed. Paste it into a report.")
    return trial_facts(trial)
