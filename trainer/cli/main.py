"""`lora-bootstrap`: the library from a command line, as thin as the nodes.

VERBS is the one table of commands. Help and imports follow from it: the general help loads no verb's file, and a
command loads only its own. The file of a verb holds `add_<verb>_options(command)` and
`handle_<verb>(options, console)`, which returns what `--json` prints. It may hold `check_<verb>(options)`: see
`terminal/mistakes.py`. A user's mistake ends with one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper

from ..common.errors import UserError
from ..training.parallel.launched import launched_rank
from .terminal.console import Console
from .terminal.mistakes import check_options


@dataclass(frozen=True)
class Verb:
    """One command: its name, its module in this room, and what it does in one line."""

    name: str
    module: str
    summary: str


VERBS = (
    Verb("demo", "bootstrap", "run the whole loop on a shipped image and the embedded base model"),
    Verb("bootstrap", "bootstrap", "one image -> crops -> style LoRA -> ... -> character LoRA"),
    Verb("audit", "audit", "report what is wrong with a folder of images, and what it lacks"),
    Verb("plan", "plan", "say what a training takes before it starts: memory, time by card, disk"),
    Verb("train", "train", "train a LoRA on a folder of captioned images"),
    Verb("finetune", "train", "train the base model's denoiser itself, and save what that adds to it"),
    Verb("tag", "tag", "tag or describe a folder of images, and edit and count its captions"),
    Verb("generate", "generate", "generate images with a base model and LoRAs"),
    Verb("grid", "sweep", "compare one LoRA at several strengths, side by side"),
    Verb("sweep", "sweep", "compare checkpoints of a run at several strengths, side by side"),
    Verb("score", "score", "recommend a checkpoint and strength from a sweep, and say why"),
    Verb("average", "runs", "average the last checkpoints of a run into one more"),
    Verb("conflict", "stacks", "measure how much LoRAs override each other, from their files alone"),
    Verb("merge", "stacks", "merge several LoRAs into one file"),
    Verb("extract", "extraction", "extract a LoRA from a fine-tuned checkpoint and its base"),
    Verb("resize", "extraction", "make a LoRA file smaller, and say what that loses"),
    Verb("release", "sharing.release", "write a LoRA with card, previews, sidecars and rights, as a folder and a zip"),
    Verb("pack", "sharing.pack", "write a training with its images, sweep and scoring into one zip, as a job"),
    Verb("run", "sharing.jobs", "run a job on this machine: train, sweep, score, and write the result into one zip"),
    Verb("import-result", "sharing.jobs", "read the result of a job, or a LoRA file, into the output folder"),
    Verb("dataset-zip", "sharing.dataset_zip", "write images, captions and settings into a plain zip for trainers on "
                                               "the web"),
    Verb("batch", "sharing.batch", "many characters at once, each from a .toml file, on this machine or a cluster"),
    Verb("farm", "sharing.farm", "share the cells of a sweep, or a round's candidates, among several ComfyUI servers"),
    Verb("prove", "prove", "try a base model on this machine: proofs, memory, time, and a table for a report"),
    Verb("project", "project", "write a project and its runs into one zip, or read such a zip"),
    Verb("diff", "runs", "show what differs between two runs: settings, images, captions, figures"),
    Verb("import-config", "import_config", "read the settings of another trainer: kohya, OneTrainer, AI Toolkit"),
    Verb("info", "runs", "show what is in a LoRA file, a run, or a project"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 for success, 2 for a user's mistake, 130 if interrupted."""
    words = sys.argv[1:] if argv is None else argv
    options = _build_parser(words).parse_args(words)
    console = Console(options.json, rank=launched_rank())
    _silence_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not every terminal can show every letter of a file's name
            stream.reconfigure(errors="backslashreplace")
    try:
        options.check(options)
        check_options(options.verb, options)
        result = options.handler(options, console)
    except UserError as error:  # printed by each process: a launcher ends the others when the first one has failed
        print(f"lora-bootstrap: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        console.complain("interrupted. All results so far are saved.")
        return 130
    if options.json and not console.rank:
        print(json.dumps(result, ensure_ascii=False, default=str))
    return 130 if console.stopping else 0


def _build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with every verb's name and summary, and the options of the verbs that are among the words."""
    from ... import __version__

    parser = argparse.ArgumentParser(prog="lora-bootstrap", description="From one image of a character to a tested, "
                                     "shareable character LoRA.")
    parser.add_argument("--version", action="version", version=f"lora-bootstrap {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb in VERBS:
        summary = verb.summary
        command = commands.add_parser(verb.name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if verb.name in words:
            _add_verb(command, verb)
    return parser


def _add_verb(command: argparse.ArgumentParser, verb: Verb) -> None:
    """Import the verb's file, and give the parser its options and its handler."""
    module, name = import_module(f".{verb.module}", __package__), verb.name.replace("-", "_")
    getattr(module, f"add_{name}_options")(command)
    command.add_argument("--json", action="store_true", help="print one JSON object at the end, for scripts")
    command.set_defaults(verb=verb.name, handler=getattr(module, f"handle_{name}"),
                         check=getattr(module, f"check_{name}", lambda options: None))


def _silence_libraries() -> None:
    """Turn off the libraries' advice, which would garble our own progress."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    warnings.simplefilter("ignore", FutureWarning)
