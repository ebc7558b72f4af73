"""`lora-bootstrap conflict` and `merge`: how much several LoRAs override each other, and one file made from them."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from ..stacks.merge_settings import MergeSettings
from .terminal.console import Console
from .terminal.options import add_output_option, parse_lora


def add_conflict_options(command: argparse.ArgumentParser) -> None:
    _add_stack_options(command)
    command.add_argument("--tolerance", type=float, default=0.2, metavar="SHARE",
                         help="share of a LoRA's output that another may write over (%(default)s)")


def handle_conflict(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.conflict import measure_conflict
    from ..stacks.conflict_picture import write_conflict
    from ..stacks.conflict_table import report_dict

    report = console.count("layers", partial(measure_conflict, tolerance=options.tolerance), _read_stack(options))
    paths = write_conflict(report, options.output / "conflicts")
    console.say(f"\n{report.text()}\n\nimage  {paths['png']}\njson   {paths['json']}")
    return {**report_dict(report), **paths}


def add_merge_options(command: argparse.ArgumentParser) -> None:
    _add_stack_options(command)
    command.add_argument("--method", default="sum", help="how to merge: sum, null_space, ties or even (%(default)s)")
    command.add_argument("--preset", default="balanced",
                         help="null_space only: balanced, identity_first or style_first (%(default)s)")
    command.add_argument("--mu", type=float, default=0.5,
                         help="null_space only: how much gives way; 0 is the plain sum (%(default)s)")
    command.add_argument("--density", type=float, default=0.6,
                         help="ties only: share of the values to keep (%(default)s)")
    command.add_argument("--rank", type=int, default=0, help="rank to compress to; 0 keeps all (%(default)s)")
    command.add_argument("--dtype", default="float32",
                         help="number format of the file: float32, float16 or bfloat16 (%(default)s)")
    command.add_argument("--name", default="", help="name of the merged LoRA; default: the names of all")


def check_merge(options: argparse.Namespace) -> None:
    _merge_settings(options)


def handle_merge(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.merged_file import merge_to_file

    settings = _merge_settings(options)
    merged = console.count("layers", merge_to_file, options.output / "loras" / "merged", options.name,
                           _read_stack(options), settings)
    console.say("\n".join(("", *merged.lines, "", f"LoRA  {merged.path}" + (
        " (an identical merge already existed)" if merged.reused else ""))))
    return {"lora": merged.path, "reused": merged.reused, "lines": merged.lines}


def _merge_settings(options: argparse.Namespace) -> MergeSettings:
    return MergeSettings(method=options.method, preset=options.preset, mu=options.mu, density=options.density,
                         rank=options.rank or None, dtype=options.dtype)


def _add_stack_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("lora", nargs="+", metavar="FILE[:STRENGTH]",
                         help="LoRA files, two or more; default: strength 1")
    add_output_option(command)


def _read_stack(options: argparse.Namespace) -> list[Any]:
    from ..stacks.stack import StackEntry

    return [StackEntry(path=path, strength=strength) for path, strength in map(parse_lora, options.lora)]
