"""`lora-bootstrap train` and `finetune`: one LoRA from a folder of captioned images, or the base's denoiser itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models.families import distilled_warning
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_dataset_option, add_run_options
from .terminal.trainings import add_beside_option, add_training_options, read_beside, read_training


def _add_shared_options(command: argparse.ArgumentParser) -> None:
    add_dataset_option(command)
    add_training_options(command)
    add_run_options(command)
    command.add_argument("--retrain", action="store_true", help="train again even if an identical run exists")
    command.add_argument("--tensorboard", action="store_true", help="also write a TensorBoard log beside the run")


def add_train_options(command: argparse.ArgumentParser) -> None:
    _add_shared_options(command)
    add_beside_option(command)


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
    from ..memory.preflight import fitted
    from ..training.events import Finished
    from ..training.loop import train
    from ..training.parallel.processes import join_team
    from ..training.presets import plan_training
    from .terminal.tensorboard import TensorBoardWriter

    settings = read_training(options, console, method)
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
        events = train(backbone, dataset, planned.config, options.output / "loras", retrain=options.retrain,
                       regularisation=regularisation, beside=read_beside(options), should_stop=console.asked_to_stop,
                       team=team)
        writers = [TensorBoardWriter()] if options.tensorboard and team.writes else []
        last = console.follow(fitted(events, backbone, planned.config), *writers)
    return last if isinstance(last, Finished) else None, backbone
