"""`lora-bootstrap`: the library from a command line, as thin as the nodes.

A user's mistake ends with one line and exit code 2. `--json` prints one JSON object at the end, for scripts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from .console import Console, load_backbone_quietly
from .options import (
    audit_options,
    bootstrap_options,
    conflict_options,
    demo_options,
    free_path,
    generate_options,
    grid_options,
    info_options,
    lora_and_strength,
    merge_options,
    score_options,
    settings,
    slug,
    split,
    sweep_options,
    train_options,
)
from .tag import tag, tag_options

DEMO_PICTURE = "akane"



def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 2 a user's mistake, 130 interrupted."""
    options = _parser().parse_args(argv)
    console = Console(options.json)
    _quiet_libraries()
    try:
        result = options.handler(options, console)
    except UserError as error:
        print(f"lora-bootstrap: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lora-bootstrap: interrupted; everything made is kept.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(result, ensure_ascii=False, default=str))
    return 130 if console.stopping else 0


def _quiet_libraries() -> None:
    """Advice of the libraries would garble our own progress."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    warnings.simplefilter("ignore", FutureWarning)


# -- the commands ----------------------------------------------------------------------------------------------------


def demo(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...sandbox import PICTURES_DIR
    from ..bootstrap.loop import BootstrapConfig

    picture = PICTURES_DIR / f"{DEMO_PICTURE}.png"
    tags = split(picture.with_suffix(".txt").read_text("utf-8"))
    console.say(f"From one picture ({picture.name}) of a drawn character to a tested LoRA, on the embedded base model.")
    config = BootstrapConfig(picture=str(picture), tags=tags, trigger="eiei21girl", name="demo", seed=options.seed)
    return _run_project(config, options, console)


def bootstrap(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bootstrap.loop import BootstrapConfig

    config = BootstrapConfig(
        picture=str(options.picture), tags=split(options.tags), trigger=options.trigger, base=options.base,
        name=options.name, targets=tuple(options.targets), candidates=tuple(options.candidates), seed=options.seed,
        strengths=tuple(options.strengths), likeness=options.likeness, sample_steps=options.sample_steps,
        cfg=options.cfg, style=settings(options.set_style), character=settings(options.set_character),
    )
    return _run_project(config, options, console)


def _run_project(config: Any, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bootstrap.events import BootstrapFinished
    from ..bootstrap.loop import run_bootstrap

    last = console.follow(run_bootstrap(config, options.output, load=load_backbone_quietly,
                                        should_stop=console.asked_to_stop))
    if not isinstance(last, BootstrapFinished):
        return {"finished": False, "folder": str(options.output / "bootstrap" / config.name)}
    console.say(f"\nLoRA    {last.lora}\ngrid    {last.grid}\nreport  {last.report}\n"
                f"Prompt it with {config.trigger!r}.")
    return {"finished": True, "folder": last.folder, "lora": last.lora, "grid": last.grid, "report": last.report,
            "stopped_because": last.stopped_because}


def train(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..datasets.dataset import load_folder
    from ..training.events import Finished
    from ..training.loop import train as run_training
    from ..training.presets import preset_config
    from .tensorboard import TensorBoardWriter

    writers = [TensorBoardWriter()] if options.tensorboard else []
    dataset = load_folder(options.dataset)
    for note in dataset.notes:
        console.say(f"note: {note}")
    backbone = load_backbone_quietly(options.base)
    named = {"name": options.name or options.dataset.resolve().name, "seed": options.seed}
    if options.trigger:
        named["data.trigger"] = options.trigger
    config = preset_config(backbone.family, options.kind, {**named, **settings(options.set)})
    last = console.follow(run_training(backbone, dataset, config, options.output / "loras", retrain=options.retrain,
                                       should_stop=console.asked_to_stop), *writers)
    if not isinstance(last, Finished):
        return {"finished": False}
    console.say(f"\nLoRA  {last.path}" + (" (an identical run was already there)" if last.reused else ""))
    return {"finished": not last.stopped, "lora": last.path, "step": last.step, "reused": last.reused}


def audit(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..datasets.audit import AuditConfig, AuditFinished, audit as run_audit
    from ..datasets.audit_report import as_json, table, write_audit
    from ..datasets.dataset import load_folder

    config = AuditConfig(family=options.family, resolution=options.resolution, purpose=options.purpose,
                         trigger=options.trigger, workers=options.workers)
    dataset, home = load_folder(options.dataset), options.output / "audits"
    last = console.follow(run_audit(dataset, config, home / "measured", should_stop=console.asked_to_stop))
    if not isinstance(last, AuditFinished):
        return {"finished": False}
    paths = write_audit(last.audit, home / (options.name or options.dataset.resolve().name))
    console.say(f"\n{table(last.audit)}\nsheet  {paths['sheet']}\ntable  {paths['table']}\njson   {paths['json']}")
    return {"finished": True, **paths, **as_json(last.audit)}


def generate(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..models.sampler import save_picture
    from ..pictures.images import to_image

    backbone = load_backbone_quietly(options.base)
    sampler = _sampler(options, backbone)
    seeds = [options.seed + index for index in range(options.count)]
    folder, paths = options.output / "generated", []
    with ExitStack() as stack:
        for text in options.lora:
            path, strength = lora_and_strength(text)
            stack.enter_context(backbone.lora(path, strength))
        for start in range(0, len(seeds), sampler.batch):
            batch = seeds[start : start + sampler.batch]
            pictures = sampler.pictures(backbone, [options.prompt] * len(batch), batch)
            for seed, picture in zip(batch, pictures, strict=True):
                paths.append(free_path(folder, f"{slug(options.prompt)}-{seed}"))
                save_picture(paths[-1], to_image(picture))
                console.say(str(paths[-1]))
    return {"prompt": options.prompt, "pictures": paths, "seeds": seeds}


def grid(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    return _swept(options, console, [options.lora], options.name or options.lora.stem)


def sweep(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..sweeps.axis_text import choose_checkpoints
    from ..training.runs import read_run

    files = list(options.lora)
    if options.run:
        files += [path for _, path in choose_checkpoints(read_run(options.run).checkpoints(), options.checkpoints)]
    if not files:
        raise UserError("there is no LoRA to sweep; give --run FOLDER or --lora FILE.")
    name = options.name or (options.run or files[0]).stem
    return _swept(options, console, files, f"{name}-checkpoints" if options.run and not options.name else name)


def _swept(options: argparse.Namespace, console: Console, files: list[Path], name: str) -> dict[str, Any]:
    from ..sweeps.axis_text import numbers
    from ..sweeps.cells import prompt_axis
    from ..sweeps.draw import lora_sweep, run_sweep
    from ..sweeps.html import write_html
    from ..sweeps.log import SHEET, log_picture
    from ..sweeps.prompt_sets import prompts
    from ..sweeps.sheets import write_sheets

    backbone = load_backbone_quietly(options.base)
    sampler = _sampler(options, backbone)
    seeds = [int(seed) for seed in numbers(options.seeds or str(options.seed), "seeds", whole=True)]
    texts = prompts(options.prompt, options.prompt_set, backbone.family.name)
    plan = lora_sweep(options.output / "sweeps" / name, backbone, sampler, files, strengths=options.strengths,
                      prompts=prompt_axis(texts), seeds=seeds, title=name, without=options.without)
    console.follow(run_sweep(backbone, plan, files, sampler, console.asked_to_stop))
    sheets, page = write_sheets(plan), write_html(plan)
    states = list(plan.states().values())
    log_picture(plan, sheets[0], SHEET)
    console.say(f"sheet  {sheets[0]}\npage   {page}")
    return {"folder": plan.folder, "grid": sheets[0], "sheets": sheets, "page": page, "cells": len(states),
            "failed": states.count("failed"), "strengths": options.strengths}


def score(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..datasets.dataset import load_folder
    from ..measures.eyes import open_eye
    from ..sweeps.cells import Sweep
    from ..sweeps.log import SCORES, log_picture
    from ..sweeps.score import ScoreSettings, score_sweep, validation_of
    from ..sweeps.score_table import report, write_scores
    from ..training.runs import read_run

    plan = Sweep.load(options.sweep)
    told = plan.axis("checkpoint").choices[0].facts
    events = score_sweep(
        plan, eye=open_eye(told["family"], options.likeness or None),
        training=load_folder(options.dataset) if options.dataset else None, trigger=told["trigger"],
        validation=validation_of(read_run(options.run)) if options.run else None,
        settings=ScoreSettings(kind=options.kind or told["kind"] or "character"))
    scores = console.follow(events).scores
    paths = write_scores(plan, scores)
    log_picture(plan, paths["png"], SCORES, scores.why)
    console.say(f"\n{report(scores)}\n\ntable  {paths['png']}\ncsv    {paths['csv']}\njson   {paths['json']}")
    return {**scores.to_dict(), **paths}


def conflict(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.conflict import measure_conflict
    from ..stacks.conflict_picture import write_conflict
    from ..stacks.conflict_table import report_dict

    report = console.counted("layers", partial(measure_conflict, tolerance=options.tolerance), _entries(options))
    paths = write_conflict(report, options.output / "conflicts")
    console.say(f"\n{report.text()}\n\npicture  {paths['png']}\njson     {paths['json']}")
    return {**report_dict(report), **paths}


def merge(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..stacks.merge import MergeSettings
    from ..stacks.merged_file import merge_to_file

    settings = MergeSettings(method=options.method, preset=options.preset, mu=options.mu, density=options.density,
                             rank=options.rank or None, dtype=options.dtype)
    made = console.counted("layers", merge_to_file, options.output / "loras" / "merged", options.name,
                           _entries(options), settings)
    console.say("\n".join(("", *made.lines, "", f"LoRA  {made.path}" + (
        " (an identical merge was already there)" if made.reused else ""))))
    return {"lora": made.path, "reused": made.reused, "lines": made.lines}


def _entries(options: argparse.Namespace) -> list[Any]:
    from ..stacks.stack import StackEntry

    return [StackEntry(path=path, strength=strength) for path, strength in map(lora_and_strength, options.lora)]


def info(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    path: Path = options.path
    if path.is_dir():
        file = next((path / name for name in ("project.json", "run.json") if (path / name).is_file()), None)
        if file is None:
            raise UserError(f"{path} is neither a run nor a project (no run.json or project.json); give such a folder, "
                            "or a .safetensors LoRA.")
        from ..common.files import read_json

        facts = {"kind": file.stem, **read_json(file)}
    else:
        facts = _lora_facts(path)
    for name, value in facts.items():
        console.say(f"{name:20} {_brief(value)}")
    return facts


def _lora_facts(path: Path) -> dict[str, Any]:
    from ..lora.layers import read_header

    if not path.is_file():
        raise UserError(f"no file or folder at {path}.")
    file = read_header(path)
    return {"kind": "lora", "file": str(path), "bytes": path.stat().st_size, **file.facts(),
            "metadata": dict(file.metadata)}


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {name}: {_brief(item)}" for name, item in value.items())
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."


def _sampler(options: argparse.Namespace, backbone: Any) -> Any:
    from ..models.sampler import Sampler

    return Sampler.of(backbone, width=options.width, height=options.height, steps=options.sample_steps,
                      cfg=options.cfg)


def _parser() -> argparse.ArgumentParser:
    from ... import __version__

    parser = argparse.ArgumentParser(prog="lora-bootstrap", description="From one picture of a character to a tested, "
                                     "shareable character LoRA.")
    parser.add_argument("--version", action="version", version=f"lora-bootstrap {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, handler, add_options, text in (
        ("demo", demo, demo_options, "the whole loop on a shipped picture and the embedded base model"),
        ("bootstrap", bootstrap, bootstrap_options, "one picture -> crops -> style LoRA -> ... -> character LoRA"),
        ("audit", audit, audit_options, "what is wrong with a folder of pictures, and what it lacks"),
        ("train", train, train_options, "train a LoRA on a folder of captioned pictures"),
        ("tag", tag, tag_options, "tag, describe, edit and count the captions of a folder of pictures"),
        ("generate", generate, generate_options, "make pictures with a base model and LoRAs"),
        ("grid", grid, grid_options, "one LoRA at several strengths, side by side"),
        ("sweep", sweep, sweep_options, "checkpoints of a run at several strengths, side by side"),
        ("score", score, score_options, "which checkpoint and strength of a sweep to take, and why"),
        ("conflict", conflict, conflict_options, "how much LoRAs override each other, from their files alone"),
        ("merge", merge, merge_options, "several LoRAs into one file"),
        ("info", info, info_options, "what is in a LoRA file, a run, or a project"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_options(command)
        command.add_argument("--json", action="store_true", help="print one JSON object at the end, for scripts")
        command.set_defaults(handler=handler)
    return parser
