"""`lora-bootstrap train` and `finetune`: one LoRA from a folder of captioned images, or the base's denoiser itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..captions.kinds import KINDS
from ..models.families import distilled_warning
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_dataset_option, add_run_options, chosen_name, parse_lora, parse_settings


def _add_shared_options(command: argparse.ArgumentParser) -> None:
    add_dataset_option(command)
    command.add_argument("--name", default="", help="name of the run and its LoRA; default: the folder's name")
    command.add_argument("--kind", default="character",
                         help=f"{', '.join(KINDS)}; selects the family's preset (%(default)s)")
    command.add_argument("--trigger", default="", help="word to put first in every caption")
    command.add_argument("--epochs", type=int, default=0,
                         help="passes over the images, instead of --set steps=...; default: the preset's steps for so "
                              "many images")
    command.add_argument("--config", type=Path, metavar="FILE",
                         help="JSON or TOML of settings by their dotted names, as `lora-bootstrap import-config` "
                              "writes it; --set and the other options come after it")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="setting by its dotted name, such as adapter.rank=8 or steps=500; may be repeated")
    command.add_argument("--regularisation", type=Path, default=None, metavar="FOLDER",
                         help="images of the class with captions of their own; every second batch is of them")
    command.add_argument("--retrain", action="store_true", help="train again even if an identical run exists")
    command.add_argument("--tensorboard", action="store_true", help="also write a TensorBoard log beside the run")
    add_run_options(command)


def add_train_options(command: argparse.ArgumentParser) -> None:
    _add_shared_options(command)
    command.add_argument("--beside", action="append", default=[], metavar="FILE[:STRENGTH]",
                         help="LoRA that is on in the training, frozen and not saved, so that both work together; may "
                              "be repeated")


def handle_train(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    last, _ = _run_training(options, console)
    if last is None:
        return {"finished": False}
    console.say(f"\nLoRA  {last.path}" + (" (an identical run already existed)" if last.reused else ""))
    return {"finished": not last.stopped, "lora": last.path, "step": last.step, "reused": last.reused}


def add_finetune_options(command: argparse.ArgumentParser) -> None:
    _add_shared_options(command)
    command.set_defaults(beside=[])
    command.add_argument("--difference-only", action="store_true",
                         help="save only what the training adds to the base, which loads like a LoRA, and no whole "
                              "model beside it")


def handle_finetune(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..training.trained.model_file import model_path, save_model

    last, backbone = _run_training(options, console, {"method": "full"})
    if last is None:
        return {"finished": False}
    again = " (an identical run already existed)" if last.reused else ""
    console.say(f"\ndifference  {last.path}{again}")
    result = {"finished": not last.stopped, "difference": last.path, "step": last.step, "reused": last.reused}
    if options.difference_only:
        return result
    whole: Path = model_path(last.path)
    with backbone.lora(last.path):
        save_model(whole, backbone.network.state_dict(), last.path)
    console.say(f"model       {whole}")
    return {**result, "model": whole}


def _run_training(options: argparse.Namespace, console: Console,
                  method: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """Train as the options say, with the settings of `method`. Returns (its Finished, None if it was interrupted; the
    backbone)."""
    from ..datasets.dataset import load_folder
    from ..imports.reading import read_settings
    from ..memory.preflight import fitted
    from ..stacks.stack import StackEntry
    from ..training.events import Finished
    from ..training.loop import train
    from ..training.parallel.processes import join_team
    from ..training.presets import plan_training
    from .terminal.tensorboard import TensorBoardWriter

    given = read_settings(options.config) if options.config else {}
    if method:
        given = _without_loras(given, console)
    name = chosen_name(options.name or str(given.get("name", "")), options.dataset.resolve().name, "run")
    settings = _combined(given, {"name": name, "seed": options.seed, "epochs": options.epochs,
                                 "data.trigger": options.trigger}, {**(method or {}), **parse_settings(options.set)})
    dataset = load_folder(options.dataset, background=options.background)
    for note in dataset.notes:
        console.say(f"note: {note}")
    with join_team() as team:  # before the base is loaded, onto this process's own GPU
        backbone = load_backbone_quietly(options.base, options.base_precision)
        if caution := distilled_warning(backbone.family, Path(options.base).name):
            console.say(f"note: {caution}")
        regularisation = load_folder(options.regularisation, background=options.background) \
            if options.regularisation else None
        planned = plan_training(backbone.family, options.kind, settings, dataset, regularisation=regularisation)
        console.say(planned.length)
        beside = [StackEntry(path=path, strength=strength) for path, strength in map(parse_lora, options.beside)]
        events = train(backbone, dataset, planned.config, options.output / "loras", retrain=options.retrain,
                       regularisation=regularisation, beside=beside, should_stop=console.asked_to_stop, team=team)
        writers = [TensorBoardWriter()] if options.tensorboard and team.writes else []
        last = console.follow(fitted(events, backbone, planned.config), *writers)
    return last if isinstance(last, Finished) else None, backbone


def _without_loras(given: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """The settings of --config for a fine-tune: those of a LoRA are left out with a note, as configurations of other
    trainers hold both."""
    from ..training.config import is_of_loras

    if left := sorted(filter(is_of_loras, given)):
        console.say(f"note: {', '.join(left)} of --config are for a LoRA, and are left out.")
    return {name: value for name, value in given.items() if not is_of_loras(name)}


def _combined(given: Mapping[str, Any], named: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of --config, the options' own, and those of --set, each over what stands before it. An option that
    is left at nothing leaves what --config says, and a length takes the place of the other kind of length there."""
    over = {name: value for name, value in named.items() if value or name not in given} | dict(chosen)
    if over.get("steps") or over.get("epochs"):
        given = {name: value for name, value in given.items() if name not in ("steps", "epochs")}
    return {**given, **over}
