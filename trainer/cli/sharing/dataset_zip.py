"""`lora-bootstrap dataset-zip`: images, captions and settings as a plain zip, for trainers on the web."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..terminal.console import Console
from ..terminal.options import add_background_option


def add_dataset_zip_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("packed", type=Path, metavar="PATH", help="a run's folder, a project's, or one of images with "
                         "captions")
    command.add_argument("file", type=Path, metavar="FILE", help="zip to write; an existing one is replaced")
    command.add_argument("--dataset", type=Path, metavar="FOLDER", help="the images that the run was trained on; "
                         "default: those of its bootstrap project")
    command.add_argument("--trigger", default="", help="word that every caption begins with; default: the run's "
                         "or project's")
    command.add_argument("--layout", default="flat", choices=("flat", "kohya"), help="all images side by side, as "
                         "sites take them, or in folders of repeats, as kohya's trainers do (%(default)s)")
    command.add_argument("--format", default="png", choices=("png", "jpg"), help="format of the images: png loses "
                         "nothing, jpg takes less space (%(default)s)")
    add_background_option(command)
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER", help="folder in whose "
                         "bootstrap/ the project of a run is looked for (%(default)s)")


def check_dataset_zip(options: argparse.Namespace) -> None:
    if not options.packed.is_dir():
        raise UserError(f"{options.packed} is not a folder; give a run's folder, a project's, or one of images with "
                        "captions.")
    if "," in options.trigger:
        raise UserError(f"--trigger is {options.trigger!r}; it must be one word without commas.")


def handle_dataset_zip(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...release.hosted.contents import open_contents
    from ...release.hosted.pack import write_dataset_zip

    contents = open_contents(options.packed, dataset=options.dataset, projects=options.output / "bootstrap",
                             trigger=options.trigger.strip(), background=options.background)
    done = write_dataset_zip(options.file, contents, options.layout, options.format)
    console.say("\n".join((f"{done.file}: {done.images} images with captions, {done.bytes / 2**20:.1f} MB",
                           *done.notes)))
    return {"file": done.file, "images": done.images, "bytes": done.bytes, "notes": done.notes}
