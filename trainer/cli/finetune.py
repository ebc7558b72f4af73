"""`lora-bootstrap finetune`: the base model's denoiser itself, trained on a folder of captioned images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .terminal.console import Console
from .train import add_train_options, run_training


def add_finetune_options(command: argparse.ArgumentParser) -> None:
    add_train_options(command)
    command.add_argument("--difference-only", action="store_true",
                         help="save only what the training adds to the base, which loads like a LoRA, and no whole "
                              "model beside it")


def handle_finetune(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..training.trained.model_file import model_path, save_model

    last, backbone = run_training(options, console, {"method": "full"})
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
