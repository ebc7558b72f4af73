"""`lora-bootstrap extract` and `resize`: a LoRA taken out of two checkpoints, and a smaller one made of a LoRA."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..extraction.settings import (
    DTYPE_NAMES,
    EXTRACT_RULES,
    OWN_VALUES,
    PRESETS,
    RULES,
    ExtractSettings,
    RankSettings,
    preset_settings,
)
from .terminal.console import Console
from .terminal.options import add_output_option

_RULE = {
    "fixed": "every layer gets --rank", "energy": "the share of squared singular values that is kept",
    "ratio": "the smallest singular value, as a part of the layer's largest", "size": "megabytes of the file",
    "cumulative": "the share of the sum of singular values that is kept",
}


def add_extract_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("tuned", type=Path, metavar="TUNED",
                         help="the fine-tuned checkpoint, or a file of whole differences, which needs no base")
    command.add_argument("base", type=Path, nargs="?", metavar="BASE", help="the checkpoint that it was trained from")
    _add_rank_options(command, EXTRACT_RULES)
    command.add_argument("--preset", default=OWN_VALUES,
                         help=f"values in place of those given: {', '.join(PRESETS)} (%(default)s)")
    command.add_argument("--min-difference", type=float, default=0.0, metavar="NUMBER",
                         help="skip layers where no weight differs by more (%(default)s)")
    command.add_argument("--clamp-quantile", type=float, default=1.0, metavar="SHARE",
                         help="clamp a layer's factors to this quantile of their values, as kohya does with 0.99; "
                              "1 does not, because clamping loses detail (%(default)s)")
    command.add_argument("--no-vectors", action="store_true", help="leave out differences of biases and norms")
    command.add_argument("--text-encoder", action="store_true", help="extract the text encoders' layers too")
    command.add_argument("--exact", action="store_true",
                         help="decompose every layer in full: slow, and hardly better")
    command.add_argument("--device", default="", metavar="NAME", help="cpu or cuda; default: cuda if there is one")


def check_extract(options: argparse.Namespace) -> None:
    _extract_settings(options)


def handle_extract(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from contextlib import ExitStack

    from ..common.errors import UserError
    from ..extraction.extract import extract_lora
    from ..extraction.sides import CheckpointFile, DifferenceFile, open_side

    settings = _extract_settings(options)
    with ExitStack() as opened:
        tuned = open_side(options.tuned)
        opened.callback(tuned.close)
        whole = isinstance(tuned, DifferenceFile)
        if whole == bool(options.base):
            raise UserError(f"{options.tuned} is a file of differences, which takes no base. Leave out BASE." if whole
                            else "a base is missing: give the checkpoint that the model was fine-tuned from, after it.")
        base = CheckpointFile(options.base) if options.base else None
        if base:
            opened.callback(base.close)
        last = console.follow(extract_lora(tuned, base, options.output / "loras" / "extracted",
                                           options.name or f"{options.tuned.stem}-extracted", settings,
                                           device=_device(options.device)))
    return _tell(last, console)


def add_resize_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, metavar="LORA",
                         help="a LoRA, LoCon, DoRA, LoHa, LoKr or file of whole differences")
    _add_rank_options(command, tuple(RULES))


def check_resize(options: argparse.Namespace) -> None:
    _rank_settings(options)


def handle_resize(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..extraction.resize import resize_lora

    return _tell(console.follow(resize_lora(options.source, options.output / "loras" / "resized",
                                            options.name or f"{options.source.stem}-resized", _rank_settings(options))),
                 console)


def _add_rank_options(command: argparse.ArgumentParser, rules: tuple[str, ...]) -> None:
    command.add_argument("--rank", type=int, default=64,
                         help="rank of every layer, or the largest with other rules than fixed (%(default)s)")
    command.add_argument("--conv-rank", type=int, default=0, help="the same for convolutions; 0: as --rank")
    command.add_argument("--rule", default=rules[0], metavar="NAME", help="how ranks are chosen: " + "; ".join(
        f"{rule} ({_RULE[rule]})" for rule in rules) + " (%(default)s)")
    command.add_argument("--target", type=float, default=0.0, metavar="NUMBER", help="the rule's number; default: " +
                         ", ".join(f"{RULES[rule].usual:g} for {rule}" for rule in rules if RULES[rule].target))
    command.add_argument("--dtype", default=DTYPE_NAMES[0],
                         help=f"number format of the file: {', '.join(DTYPE_NAMES)} (%(default)s)")
    command.add_argument("--name", default="", help="name of the file; default: that of the source and what was done")
    add_output_option(command)


def _rank_values(options: argparse.Namespace) -> dict[str, Any]:
    return {"rule": options.rule, "target": options.target, "rank": options.rank, "conv_rank": options.conv_rank,
            "dtype": options.dtype}


def _rank_settings(options: argparse.Namespace) -> RankSettings:
    return RankSettings(**_rank_values(options))


def _extract_settings(options: argparse.Namespace) -> ExtractSettings:
    return preset_settings(options.preset, **_rank_values(options), min_difference=options.min_difference,
                           clamp_quantile=options.clamp_quantile, vectors=not options.no_vectors,
                           text_encoder=options.text_encoder, exact=options.exact)


def _device(name: str) -> str:
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _tell(done: Any, console: Console) -> dict[str, Any]:
    console.say("\n".join(("", *done.report.lines, "", f"LoRA  {done.path}")))
    return {"lora": done.path, **done.report.to_dict()}
