"""`lora-bootstrap release`: a run's LoRA, or a LoRA file, as a folder and a zip that others can use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...release.settings import FIRST_VERSION, ReleaseSettings
from ..terminal.console import Console
from ..terminal.options import add_output_option
from ..terminal.rights import add_rights_options, read_rights

TEXTS = (
    ("title", "title of the model card; default: the name"),
    ("author", "name of the author"),
    ("changes", "what changed since the last release of this name"),
    ("description", "what the LoRA is, in Markdown"),
    ("licence", "licence, as Hugging Face spells it (cc-by-4.0), or in words"),
    ("tags", "tags for sites, separated by commas"),
    ("base-model", "the base model's name on Hugging Face, as owner/name"),
    ("civitai-base", "the base model's name on Civitai; default: that of the LoRA's family"),
    ("trigger", "trigger; default: the one that the file records"),
    ("negative", "negative prompt to recommend; default: the sweep's"))


def add_release_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("released", type=Path, metavar="PATH", help="a run's folder, or a .safetensors LoRA")
    command.add_argument("--sweep", type=Path, metavar="FOLDER", help="a sweep that was drawn with it, for previews, "
                         "strength and limits, such as output/sweeps/my_character-checkpoints")
    command.add_argument("--name", default="", help="name of the release and its file; default: the run's or file's")
    command.add_argument("--version", default=FIRST_VERSION, help="version of this release (%(default)s)")
    for name, words in TEXTS:
        command.add_argument(f"--{name}", default="", help=words)
    command.add_argument("--strength", type=float, help="strength to recommend; default: what was measured")
    command.add_argument("--step", type=int, help="checkpoint of the run to release; default: the one that the "
                         "sweep's scores recommend, or else the last")
    command.add_argument("--previews", type=int, default=6, metavar="N", help="number of previews (%(default)s)")
    command.add_argument("--strip", action="store_true", help="leave out what the file says about its training")
    command.add_argument("--captions", action="store_true", help="keep captions, prompts and names of folders in the "
                         "file's metadata, and captions as prompts of previews, which are left out otherwise")
    command.add_argument("--workflow", action="store_true", help="keep workflows in the previews")
    add_rights_options(command, "What is not given is taken from the answers at the start of the run's project, or "
                       "released as 'not stated'.")
    add_output_option(command, "the release to, in loras/releases,")


def check_release(options: argparse.Namespace) -> None:
    _settings(options)


def handle_release(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...release.release import release_lora

    done = release_lora(options.released, options.output / "loras" / "releases", _settings(options),
                        sweep=options.sweep, strengths_file=options.output / "lora_strengths.json",
                        projects=options.output / "bootstrap")
    console.say(f"\n{done.text()}")
    return {"folder": done.folder, "zip": done.zip, "lora": done.lora, "files": done.files,
            "warnings": done.warnings, "lines": done.lines}


def _settings(options: argparse.Namespace) -> ReleaseSettings:
    texts = {name: getattr(options, name) for name in (
        "name", "version", "title", "author", "changes", "description", "licence", "base_model", "civitai_base",
        "trigger", "negative")}
    tags = tuple(filter(None, map(str.strip, options.tags.split(","))))
    return ReleaseSettings(**texts, tags=tags, strength=options.strength, step=options.step,
                           previews=options.previews, strip=options.strip, captions=options.captions,
                           workflow=options.workflow, rights=read_rights(options))
