"""`lora-bootstrap conflict` and `merge`: how several LoRAs get on, and one file from them."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from .console import Console
from .options import add_output_option, parse_lora


def add_conflict_options(command: argparse.ArgumentParser) -> None:
    _add_stack_options(command)
    command.add_argument("--tolerance", type=float, default=0.2, metavar="SHARE",
                         help="of a LoRA's output that another may write over (%(default)s)")


def handle_conflict(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.conflict import measure_conflict
    from ..stacks.conflict_picture import write_conflict
    from ..stacks.conflict_table import report_dict

    report = console.count("layers", partial(measure_conflict, tolerance=options.tolerance), _read_stack(options))
    paths = write_conflict(report, options.output / "conflicts")
    console.say(f"\n{report.text()}\n\npicture  {paths['png']}\njson     {paths['json']}")
    return {**report_dict(report), **paths}


def add_merge_options(command: argparse.ArgumentParser) -> None:
    _add_stack_options(command)
    command.add_argument("--method", default="sum", help="sum, null_space, ties or even (%(default)s)")
    command.add_argument("--preset", default="balanced",
                         help="of null_space: balanced, identity_first or style_first (%(default)s)")
    command.add_argument("--mu", type=float, default=0.5, help="of null_space: how much gives way; 0 is the plain sum "
                         "(%(default)s)")
    command.add_argument("--density", type=float, default=0.6, help="of ties: the share of values kept (%(default)s)")
    command.add_argument("--rank", type=int, default=0, help="compress to this; 0 keeps all (%(default)s)")
    command.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16 (%(default)s)")
    command.add_argument("--name", default="", help="of the merged LoRA; the names of all if not given")


def handle_merge(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.merge import MergeSettings
    from ..stacks.merged_file import merge_to_file

    settings = MergeSettings(method=options.method, preset=options.preset, mu=options.mu, density=options.density,
                             rank=options.rank or None, dtype=options.dtype)
    merged = console.count("layers", merge_to_file, options.output / "loras" / "merged", options.name,
                           _read_stack(options), settings)
    console.say("\n".join(("", *merged.lines, "", f"LoRA  {merged.path}" + (
        " (an identical merge was already there)" if merged.reused else ""))))
    return {"lora": merged.path, "reused": merged.reused, "lines": merged.lines}


def _add_stack_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("lora", nargs="+", metavar="FILE[:STRENGTH]", help="two or more; strength 1 if not given")
    add_output_option(command)


def _read_stack(options: argparse.Namespace) -> list[Any]:
    from ..stacks.stack import StackEntry

    return [StackEntry(path=path, strength=strength) for path, strength in map(parse_lora, options.lora)]
