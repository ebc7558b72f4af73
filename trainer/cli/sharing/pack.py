"""`lora-bootstrap pack`: a training with its images, its sweep and its scoring as one zip, for any other machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...backends.given_base import SANDBOX
from ...common.errors import UserError
from ...common.names import with_ending
from ...common.schema import convert
from ...datasets.given_folder import find_given_folder
from ...sweeps.prompt_sets import FROM_CAPTIONS
from ..terminal.cells import add_cell_options, add_checkpoints_option
from ..terminal.console import Console
from ..terminal.options import add_background_option, add_base_option, add_seed_option, parse_settings
from ..terminal.trainings import add_beside_option, add_training_options, read_beside, read_training

SETTINGS = (".json", ".toml")


def add_pack_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, metavar="SOURCE",
                         help="a folder of captioned images; or a run's folder, to train the same elsewhere; or a JSON "
                              "or TOML of settings. The last two need --dataset")
    command.add_argument("--dataset", type=Path, metavar="FOLDER", help="images, if SOURCE is not their folder")
    command.add_argument("--out", type=Path, metavar="FILE", help="zip to write; default: NAME-job.zip")
    add_background_option(command)
    add_base_option(command)
    add_seed_option(command)
    command.add_argument("--base-source", default="", metavar="TEXT",
                         help="where to get the base, such as its page; its weights are not packed")
    add_training_options(command)
    add_beside_option(command)
    command.add_argument("--beside-inside", action="store_true",
                         help="pack the LoRAs beside the training; otherwise the job has only their hashes")
    cost = command.add_argument_group("cost")
    cost.add_argument("--price", type=float, default=0.0, help="price an hour of the rented card, in any currency")
    cost.add_argument("--card", default="", metavar="NAME", help="card to tell time and cost for, such as 'RTX 4090'; "
                      "default: all that can hold the training")
    sweep = command.add_argument_group("sweep", "What is drawn and scored after the training. Without --prompt and "
                                       "--prompt-set, nothing is.")
    add_checkpoints_option(sweep)
    add_cell_options(sweep, [0.8, 1.0])
    sweep.add_argument("--no-scores", action="store_true", help="draw the sweep without scoring it")


def check_pack(options: argparse.Namespace) -> None:
    source = options.source
    if source.suffix.lower() in SETTINGS and source.is_file():
        if options.config:
            raise UserError(f"both {source} and --config give settings; give one of them.")
        options.config = source
    elif not (source / "run.json").is_file():
        if options.dataset:
            raise UserError(f"{source} is neither a run's folder nor a file of settings. Leave --dataset out if it is "
                            "the folder of the images.")
        options.dataset = find_given_folder(source)
        return
    if options.dataset is None:
        raise UserError(f"{source} does not hold the images; give their folder with --dataset FOLDER.")


def handle_pack(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...backends.diffusers import base_family, base_fingerprint, base_precision
    from ...datasets.dataset import load_folder
    from ...jobs.bases import check_trainable
    from ...jobs.costs import count_costs, describe_costs
    from ...jobs.job import Desk, JobBase
    from ...jobs.pack import JobRequest, JobSets, find_desk_precision

    family, precision = base_family(options.base), options.base_precision
    check_trainable(family.name, family.title)
    dataset = load_folder(options.dataset, background=options.background)
    for note in dataset.notes:
        console.say(f"note: {note}")
    regularisation = load_folder(options.regularisation, background=options.background) \
        if options.regularisation else None
    sets = JobSets(dataset, None, regularisation)
    config = _config(options, console, family, sets)
    fingerprint = base_fingerprint(options.base, precision)
    beside = read_beside(options)
    for note in _list_differences(options.source, sets, config, beside):
        console.say(f"note: {note}")
    request = JobRequest(
        config, sets, JobBase(Path(options.base).name, family.name, fingerprint, precision, options.base_source),
        Desk(fingerprint, family.name, find_desk_precision(config, base_precision(options.base))), beside,
        options.beside_inside, _sweep_plan(options, config.name))
    done = request.write(options.out or Path(f"{config.name}-job.zip"))
    costs = count_costs(options.base, config)
    lines = describe_costs(costs, options.price, options.card)
    sweep = f"sweep {done.job.sweep.name}" if done.job.sweep else "no sweep, as no prompt was given"
    there = f"lora-bootstrap run {done.file.name}{'' if options.base == SANDBOX else ' --base PATH'}"
    console.say("\n".join((
        f"job   {done.file}: {done.bytes / 2**20:.1f} MB, {done.images} images, {config.steps} steps",
        f"base  {done.job.base.name} ({family.title}, {fingerprint[:12]}), not packed", sweep, *lines,
        f"\nOn the other machine:  {there}")))
    return {"job": done.file, "id": done.job.id, "bytes": done.bytes, "images": done.images, "steps": config.steps,
            "seconds": {cost.card: cost.seconds for cost in costs},
            "cost": {cost.card: cost.price(options.price) for cost in costs} if options.price else {}}


def _config(options: argparse.Namespace, console: Console, family: Any, sets: Any) -> Any:
    """The settings of the training: those of the run that is packed, or else of the options."""
    from ...training.presets import plan_training
    from ...training.runs import read_run

    if not (options.source / "run.json").is_file():
        planned = plan_training(family, options.kind, read_training(options, console), sets.train,
                                regularisation=sets.regularisation)
        console.say(planned.length)
        return planned.config
    own = {"name": options.name} if options.name else {}
    return read_run(options.source).config.replace(**{**parse_settings(options.set), **own})


def _list_differences(source: Path, sets: Any, config: Any, beside: Sequence[Any]) -> Iterator[str]:
    """What the run that is packed was given otherwise, so that the job is another training; nothing for other
    sources."""
    from ...training.preserving.beside import beside_key, check_beside
    from ...training.runs import read_run

    if not (source / "run.json").is_file():
        return
    run, packed = read_run(source), sets.fingerprints(config)
    if run.lineage.get("dataset") not in (None, packed["dataset"]):
        yield (f"the images are not those that {run.name} was trained on, or their captions have changed since, so "
               "this is another training.")
    if run.lineage.get("regularisation", "") != packed["regularisation"]:
        yield (f"the regularisation images are not those of {run.name}, so this is another training. Give their folder "
               "with --regularisation FOLDER.")
    recorded = [[lora["tensors"], lora["strength"]] for lora in convert(
        run.lineage.get("beside", []), list[dict[str, Any]], "beside") if {"tensors", "strength"} <= lora.keys()]
    if recorded != beside_key(check_beside(beside, config)):
        yield (f"the LoRAs beside the training are not those of {run.name}, so this is another training. Give each "
               "with --beside FILE:STRENGTH.")


def _sweep_plan(options: argparse.Namespace, name: str) -> Any:
    """What is drawn after the training; None if no prompt was given."""
    from ...jobs.job import SweepPlan
    from ...sweeps.axis_text import parse_seeds

    if not options.prompt and options.prompt_set != FROM_CAPTIONS:
        return None
    return SweepPlan(
        name=with_ending(name, "-checkpoints"), checkpoints=options.checkpoints, strengths=tuple(options.strengths),
        prompts=tuple(options.prompt), prompt_set=options.prompt_set,
        seeds=parse_seeds(options.seeds or str(options.seed)), without=options.without, width=options.width,
        height=options.height, steps=options.sample_steps, cfg=options.cfg, scored=not options.no_scores)
