"""`lora-bootstrap farm`: the cells of a sweep, or the candidates of a bootstrap round, shared among several ComfyUI
servers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...cast.comfy_host import check_address
from ...common.errors import UserError
from ..terminal.console import Console
from ..terminal.options import add_output_option, chosen_name

LARGEST_ROUND = 9
"""As View Prompts has it."""


def add_farm_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("workflow", type=Path, help="a workflow in API format with a Checkpoint Sweep, a Strength "
                         "Grid or Save Candidates, such as those in workflows/api")
    command.add_argument("--hosts", nargs="+", required=True, metavar="ADDRESS", help="ComfyUI servers with this pack "
                         "and the same models, such as http://192.168.1.5:8188")
    command.add_argument("--name", default="", help="name of the sweep, there and here; default: the workflow's name")
    command.add_argument("--round", type=int, metavar="NUMBER", help="round whose candidates are drawn, if the "
                         "workflow draws several; 0 for the base model's own images")
    add_output_option(command)


def check_farm(options: argparse.Namespace) -> None:
    options.hosts = list(dict.fromkeys(map(check_address, options.hosts)))
    if not options.workflow.is_file():
        raise UserError(f"{options.workflow} is not a file; give a workflow in API format.")
    if options.round is not None and not 0 <= options.round <= LARGEST_ROUND:
        raise UserError(f"--round is {options.round}; it must be from 0 to {LARGEST_ROUND}.")


def handle_farm(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...cast.farm import read_workflow
    from ...cast.farm_graph import list_saves
    from ...cast.farm_sweep import list_sweepers

    graph = read_workflow(options.workflow)
    rounds = list(list_saves(graph))
    if options.round is None and rounds and list_sweepers(graph):
        raise UserError(f"the workflow draws a sweep and candidates of round {', '.join(map(str, rounds))}; choose a "
                        "round with --round, or give a workflow with the sweep alone.")
    if rounds or options.round is not None:
        return _share_round(graph, options, console)
    return _share_sweep(graph, options, console)


def _share_round(graph: Mapping[str, Any], options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...cast.comfy_host import ComfyHost
    from ...cast.farm import run_farm
    from ...cast.farm_candidates import CandidateWork, RoundGathered

    if options.name:
        raise UserError(f"--name is {options.name!r}, but a round is drawn; its project is named in the workflow. "
                        "Leave --name out.")
    with CandidateWork(graph, options.round, options.output, len(options.hosts)) as work:
        console.say(f"round {work.round.number} of {work.project.name}, by {work.made_by}, in {work.count} shares for "
                    f"{len(options.hosts)} servers")
        last = console.follow(run_farm(work, [ComfyHost(address) for address in options.hosts],
                                       console.asked_to_stop))
    if not isinstance(last, RoundGathered):
        return {"finished": False, "folder": work.folder}
    console.say(f"{last.planned} candidates are in {work.folder}, {last.fetched} of them fetched now. Run the workflow "
                "here to go on.")
    return {"finished": True, "folder": work.folder, "project": work.project.name, "round": work.round.number,
            "candidates": last.planned, "fetched": last.fetched}


def _share_sweep(graph: Mapping[str, Any], options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...cast.comfy_host import ComfyHost
    from ...cast.farm import run_farm
    from ...cast.farm_sweep import FarmFinished, SweepWork, split_workflow
    from ...sweeps.html import write_html
    from ...sweeps.log import refuse_name_of_the_log
    from ...sweeps.sheets import write_sheets

    name = chosen_name(options.name, options.workflow.stem, "sweep")
    refuse_name_of_the_log(name)
    axis, parts = split_workflow(graph, name, len(options.hosts))
    folder = options.output / "sweeps" / name
    console.say(f"{len(parts)} parts, by {axis}, for {len(options.hosts)} servers")
    last = console.follow(run_farm(SweepWork(parts, axis, folder), [ComfyHost(address) for address in options.hosts],
                                   console.asked_to_stop))
    if not isinstance(last, FarmFinished):
        return {"finished": False, "folder": folder}
    sheets, page = write_sheets(last.sweep), write_html(last.sweep)
    counts = last.sweep.counts()
    console.say(f"{counts['done']} of {counts['total']} cells\nsheet  {sheets[0]}\npage   {page}")
    return {"finished": True, "folder": folder, "grid": sheets[0], "page": page, "cells": counts["total"],
            "failed": counts["failed"]}
