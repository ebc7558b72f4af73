"""`lora-bootstrap audit`: report what is wrong with a folder of images, and what it lacks."""

from __future__ import annotations

import argparse
from typing import Any

from ..audits.config import AuditConfig
from ..captions.coverage import PURPOSES
from .terminal.console import Console
from .terminal.options import add_dataset_option, add_likeness_option, add_output_option, chosen_name


def add_audit_options(command: argparse.ArgumentParser) -> None:
    add_dataset_option(command)
    command.add_argument("--name", default="", help="name of the audit; default: the folder's name")
    command.add_argument("--family", default="sdxl", help="model family to train: sandbox, sd15, sdxl (%(default)s)")
    command.add_argument("--resolution", type=int,
                         help="side of the square to train at, in pixels; default: the family's")
    command.add_argument("--purpose", default="character",
                         help=f"what to train: {', '.join(PURPOSES)} (%(default)s)")
    command.add_argument("--trigger", default="", help="word that every caption should contain")
    command.add_argument("--workers", type=int, default=0, help="images to measure at once; 0: one per core")
    command.add_argument("--copies-only", action="store_true",
                         help="search for copies alone, which is faster than all checks")
    add_likeness_option(command)
    add_output_option(command, "the table, the contact sheet and the measurements")


def check_audit(options: argparse.Namespace) -> None:
    _config(options)


def handle_audit(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..audits.audit import AuditFinished, audit
    from ..audits.report import as_json, table, write_audit
    from ..datasets.dataset import load_folder
    from ..measures.eyes import open_eye

    config = _config(options)
    name = chosen_name(options.name, options.dataset.resolve().name, "audit")
    dataset, home = load_folder(options.dataset, background=options.background), options.output / "audits"
    last = console.follow(audit(dataset, config, home / "measured", eye=open_eye(config.family, options.likeness),
                                should_stop=console.asked_to_stop))
    if not isinstance(last, AuditFinished):
        return {"finished": False}
    paths = write_audit(last.audit, home / name)
    console.say(f"\n{table(last.audit)}\nsheet  {paths['sheet']}\ntable  {paths['table']}\njson   {paths['json']}")
    return {"finished": True, **paths, **as_json(last.audit)}


def _config(options: argparse.Namespace) -> AuditConfig:
    return AuditConfig(family=options.family, resolution=options.resolution, purpose=options.purpose,
                       trigger=options.trigger, workers=options.workers, copies_only=options.copies_only)
