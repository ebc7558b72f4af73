"""`lora-bootstrap farm`: the cells of a sweep, shared among several ComfyUI servers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...cast.comfy_host import check_address
from ...common.errors import UserError
from ..terminal.console import Console
from ..terminal.options import add_output_option, chosen_name


def add_farm_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("workflow", type=Path, help="a workflow in API format with a Checkpoint Sweep or a Strength "
                         "Grid, such as those in workflows/api")
    command.add_argument("--hosts", nargs="+", required=True, metavar="ADDRESS", help="ComfyUI servers with this pack "
                         "and the same models, such as http://192.168.1.5:8188")
    command.add_argument("--name", default="", help="name of the sweep, there and here; default: the workflow's name")
    add_output_option(command)


def check_farm(options: argparse.Namespace) -> None:
    options.hosts = list(dict.fromkeys(map(check_address, options.hosts)))
    if not options.workflow.is_file():
        raise UserError(f"{options.workflow} is not a file; give a workflow in API format.")


def handle_farm(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...cast.comfy_host import ComfyHost
    from ...cast.farm import FarmFinished, read_workflow, run_farm, split_workflow
    from ...sweeps.html import write_html
    from ...sweeps.log import refuse_name_of_the_log
    from ...sweeps.sheets import write_sheets

    name = chosen_name(options.name, options.workflow.stem, "sweep")
    refuse_name_of_the_log(name)
    axis, parts = split_workflow(read_workflow(options.workflow), name, len(options.hosts))
    folder = options.output / "sweeps" / name
    console.say(f"{len(parts)} parts, by {axis}, for {len(options.hosts)} servers")
    last = console.follow(run_farm(parts, axis, [ComfyHost(address) for address in options.hosts], folder,
                                   console.asked_to_stop))
    if not isinstance(last, FarmFinished):
        return {"finished": False, "folder": folder}
    sheets, page = write_sheets(last.sweep), write_html(last.sweep)
    counts = last.sweep.counts()
    console.say(f"{counts['done']} of {counts['total']} cells\nsheet  {sheets[0]}\npage   {page}")
    return {"finished": True, "folder": folder, "grid": sheets[0], "page": page, "cells": counts["total"],
            "failed": counts["failed"]}
