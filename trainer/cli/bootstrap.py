"""`lora-bootstrap bootstrap` and `demo`: the whole loop, on your own image or on a shipped one."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..bootstrap.config import IMAGES, MARKS, BootstrapConfig, CurationSettings
from ..captions.tags import read_tags
from ..statements.consent import Statement
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import (
    add_likeness_option,
    add_output_option,
    add_run_options,
    add_sampler_options,
    add_seed_option,
    parse_settings,
)
from .terminal.rights import add_rights_options, read_rights

DEMO_PICTURE = "akane"


def add_demo_options(command: argparse.ArgumentParser) -> None:
    add_output_option(command)
    add_seed_option(command)


def handle_demo(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...sandbox import PICTURES_DIR

    picture = PICTURES_DIR / f"{DEMO_PICTURE}.png"
    tags = tuple(read_tags(picture.with_suffix(".txt").read_text("utf-8")))
    console.say(f"From one image ({picture.name}) of a drawn character to a tested LoRA, on the embedded base model.")
    config = BootstrapConfig(picture=str(picture), tags=tags, trigger="eiei21girl", name="demo", seed=options.seed,
                             redraw_marks=True)
    return _run_project(config, options, console)


def add_bootstrap_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--picture", type=Path, required=True, help="one image of the character")
    command.add_argument("--tags", required=True, help="everything the image shows, as tags separated by commas; +tag "
                         "makes it the character's, -tag only this image's")
    command.add_argument("--trigger", required=True, help="word that calls the character, such as eiei21girl")
    command.add_argument("--name", default="", help="name of the project; default: the trigger")
    command.add_argument("--targets", type=int, nargs="+", default=[4, 16, 40], metavar="N",
                         help="images to train on: first the crops, then after each round (4 16 40)")
    command.add_argument("--candidates", type=int, nargs="+", default=[48, 96], metavar="N",
                         help="images to generate in each round (48 96)")
    command.add_argument("--candidate-curve", type=float, nargs=3, default=[], metavar=("EARLY", "LATE", "FROM"),
                         help="factors on the style LoRA's strength early and late in sampling, and the share of the "
                         "steps from which the second holds, such as 0.7 2.3 0.4 (measured on the sandbox only); "
                         "default: the same throughout")
    command.add_argument("--candidate-strengths", type=float, nargs="+", default=[0.6], metavar="X",
                         help="strengths of the style LoRA that the candidates take in turn (0.6)")
    command.add_argument("--style-on", choices=(IMAGES, MARKS), default=IMAGES,
                         help="what the style LoRAs learn: the images so far, or the marks of the crops alone, which "
                         "are what the base never draws from the tags. On the sandbox, with --candidate-strengths 1.4 "
                         "--mark-weight 1 --set-style steps=200, more candidates show the marks, but the character "
                         "LoRA is less like the character")
    command.add_argument("--redraw-marks", action="store_true",
                         help="draw the marks of the original into the kept images of the last round: a LoRA of the "
                         "marks changes each where it changes it most, and the result is taken if it is more like the "
                         "original (measured on the sandbox only)")
    command.add_argument("--mark-weight", type=float, default=0.0, metavar="X",
                         help="weight of the marks when candidates are chosen; 0 only measures them (0)")
    command.add_argument("--strengths", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9, 1.0], metavar="X",
                         help="columns of the strength grid (0.5 0.7 0.8 0.9 1.0)")
    add_likeness_option(command)
    command.add_argument("--set-style", action="append", default=[], metavar="NAME=VALUE",
                         help="training setting of the style LoRAs, such as steps=400; may be repeated")
    command.add_argument("--set-character", action="append", default=[], metavar="NAME=VALUE",
                         help="training setting of the character LoRA; may be repeated")
    add_run_options(command)
    add_sampler_options(command)
    add_rights_options(command, "Saved with the project and taken over by its release. All of it may be left out.")
    command.add_argument("--licence", default="", help="licence of the images and of what is trained on them")


def check_bootstrap(options: argparse.Namespace) -> None:
    _config(options)
    _statement(options)


def handle_bootstrap(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    return _run_project(_config(options), options, console, _statement(options))


def _statement(options: argparse.Namespace) -> Statement:
    return Statement(read_rights(options), options.licence.strip())


def _config(options: argparse.Namespace) -> BootstrapConfig:
    return BootstrapConfig(
        picture=str(options.picture), tags=tuple(read_tags(options.tags)), trigger=options.trigger, base=options.base,
        name=options.name,
        targets=tuple(options.targets), candidates=tuple(options.candidates), seed=options.seed,
        candidate_strengths=tuple(options.candidate_strengths), candidate_curve=tuple(options.candidate_curve),
        style_on=options.style_on, redraw_marks=options.redraw_marks,
        curation=CurationSettings(mark_weight=options.mark_weight),
        strengths=tuple(options.strengths), likeness=options.likeness,
        sample_steps=options.sample_steps, cfg=options.cfg, style=parse_settings(options.set_style),
        character=parse_settings(options.set_character),
    )


def _run_project(config: Any, options: argparse.Namespace, console: Console,
                 statement: Statement | None = None) -> dict[str, Any]:
    from ..bootstrap import loop
    from ..bootstrap.events import BootstrapFinished

    load = partial(load_backbone_quietly, precision=getattr(options, "base_precision", "auto"))
    last = console.follow(loop.run_bootstrap(config, options.output, load=load, should_stop=console.asked_to_stop,
                                             statement=statement))
    if not isinstance(last, BootstrapFinished):
        return {"finished": False, "folder": str(options.output / "bootstrap" / config.name)}
    console.say(f"\nLoRA    {last.lora}\ngrid    {last.grid}\nreport  {last.report}\n"
                f"Prompt it with {config.trigger!r}.")
    return {"finished": True, "folder": last.folder, "lora": last.lora, "grid": last.grid, "report": last.report,
            "stopped_because": last.stopped_because}
