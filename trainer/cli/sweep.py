"""`lora-bootstrap grid` and `sweep`: one LoRA, or a run's checkpoints, at several strengths, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..sweeps.prompt_sets import FROM_CAPTIONS
from .terminal.cells import add_cell_options, add_checkpoints_option
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_run_options, build_sampler, chosen_name


def add_grid_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--lora", type=Path, required=True, metavar="FILE")
    _add_axis_options(command, [0.5, 0.7, 0.8, 0.9, 1.0])


def check_grid(options: argparse.Namespace) -> None:
    _check_prompts(options)


def handle_grid(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    return _draw_sweep(options, console, [options.lora],
                       chosen_name(options.name, options.lora.stem, "sweep"))


def add_sweep_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", type=Path, metavar="FOLDER", help="run to sweep, such as output/loras/my_character")
    add_checkpoints_option(command)
    command.add_argument("--lora", type=Path, action="append", default=[], metavar="FILE",
                         help="LoRA to add to the run's, or to sweep without a run; may be repeated")
    _add_axis_options(command, [0.8, 1.0])


def check_sweep(options: argparse.Namespace) -> None:
    if not (options.run or options.lora):
        raise UserError("there is no LoRA to sweep; give --run FOLDER or --lora FILE.")
    _check_prompts(options)


def handle_sweep(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..sweeps.axis_text import choose_checkpoints
    from ..training.runs import read_run

    files = list(options.lora)
    if options.run:
        run = read_run(options.run)
        files += [path for _, path in choose_checkpoints(run.checkpoints(), options.checkpoints, run.averages())]
    if not files:
        raise UserError("there is no LoRA to sweep; give --run FOLDER or --lora FILE.")
    name = chosen_name(options.name, f"{options.run.stem}-checkpoints" if options.run else files[0].stem, "sweep")
    return _draw_sweep(options, console, files, name)


def _add_axis_options(command: argparse.ArgumentParser, strengths: list[float]) -> None:
    command.add_argument("--name", default="", help="name of the sweep; default: the LoRA's name")
    add_run_options(command)
    add_cell_options(command, strengths)


def _check_prompts(options: argparse.Namespace) -> None:
    if not options.prompt and options.prompt_set != FROM_CAPTIONS:
        raise UserError("there is no prompt; give --prompt TEXT, or --prompt-set 'from captions'.")


def _draw_sweep(options: argparse.Namespace, console: Console, files: list[Path], name: str) -> dict[str, Any]:
    from ..sweeps import draw
    from ..sweeps.axis_text import parse_seeds
    from ..sweeps.cells import prompt_axis, recorded_captions
    from ..sweeps.html import write_html
    from ..sweeps.log import SHEET, add_to_log, refuse_name_of_the_log
    from ..sweeps.prompt_sets import prompts
    from ..sweeps.sheets import write_sheets

    refuse_name_of_the_log(name)
    backbone = load_backbone_quietly(options.base, options.base_precision)
    sampler = build_sampler(options, backbone)
    seeds = parse_seeds(options.seeds or str(options.seed))
    captions = recorded_captions(files) if options.prompt_set == FROM_CAPTIONS else ()
    texts = prompts(options.prompt, options.prompt_set, backbone.family.name, captions)
    plan = draw.lora_sweep(options.output / "sweeps" / name, backbone, sampler, files, strengths=options.strengths,
                           prompts=prompt_axis(texts), seeds=seeds, title=name, without=options.without)
    console.follow(draw.run_sweep(backbone, plan, files, sampler, console.asked_to_stop))
    sheets, page = write_sheets(plan), write_html(plan)
    counts = plan.counts()
    if note := add_to_log(plan, sheets[0], SHEET):
        console.say(note)
    console.say(f"sheet  {sheets[0]}\npage   {page}")
    return {"folder": plan.folder, "grid": sheets[0], "sheets": sheets, "page": page, "cells": counts["total"],
            "failed": counts["failed"], "strengths": options.strengths}
