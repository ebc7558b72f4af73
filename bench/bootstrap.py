"""What the bootstrap loop gains, measured by the sandbox's judge on characters and views that were not trained on.

`python -m lora_bootstrap.bench.bootstrap --seeds 2` runs the loop on one picture of each new character (characters.py)
and writes bench/results/bootstrap.md and .json after each; what is there already is not measured again. Tune on
`--characters-from held-out`. `--quick` measures only what the shares of the ceiling need.

The arms. "4 crops", "16" and "40" are character LoRAs trained alike (settings, optimizer steps, seed, identity tags
absorbed into the trigger); only the training pictures differ: the crops of the one picture, the first round's
dataset, the second round's. "40 drawn" is the ceiling: the crops, and true drawings of views dealt by the loop's own
plan in place of what the loop generated. "trigger" prompts hold the trigger, 1girl and the view; "tags" prompts all
tags too. "style 4 crops" is the loop's first LoRA, whose captions keep all tags. Prompts, seeds and sampler are the
same in every arm; no prompt's combination of angle, framing, expression, background and style is among those that the
loop generated, the ceiling is trained on, or the picture shows. The loop itself never sees what the judge reads here:
it has the judge's likeness to the crops and its reading of requested tags. Where a guard stopped the loop, the rounds
not reached stand on the last dataset before.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..sandbox import world
from ..sandbox.judge import Judge, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.bootstrap.candidates import picture_seed
from ..trainer.bootstrap.config import IMAGES, MARKS, CurationSettings
from ..trainer.bootstrap.events import BootstrapFinished, StageFinished
from ..trainer.bootstrap.loop import BootstrapConfig, run_bootstrap
from ..trainer.bootstrap.project import key_of
from ..trainer.bootstrap.rounds import Project
from ..trainer.captions.tags import absorb, join_tags, split_tags
from ..trainer.cli.terminal.options import parse_settings
from ..trainer.common.files import read_json, write_json
from ..trainer.datasets.dataset import Dataset, load_folder
from ..trainer.measures import pixels as metrics
from ..trainer.models.sampler import Sampler, save_picture
from ..trainer.pictures.duplicates import copies_of
from ..trainer.pictures.images import to_image, to_tensor
from ..trainer.pictures.sheet import contact_sheet
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import preset_config
from .ceiling import drawn_dataset, planned_views, share_table
from .characters import NEW
from .report import write_result

TRIGGER = "zqx"
SETS = {"new": NEW, "held-out": world.HELD_OUT}
CHARACTERS = {**NEW, **world.HELD_OUT}
ARMS = (("base", "tags"), ("style 4 crops", "tags"),
        *((size, prompts) for prompts in ("trigger", "tags") for size in ("4 crops", "16", "40", "40 drawn")))
"""(what was trained on, how it is prompted), in the order of the table."""
QUICK = (("40", "trigger"), ("40 drawn", "trigger"))
FIGURES = ("identity", "signature", "prompt", "copied", "copies")
TARGETS = {"identity": 15, "signature": 20, "prompt": 15}
"""Wanted gain of "40" over "4 crops", trigger alone, in points."""
TITLE = "Bootstrap: what each arm draws on unseen views (sandbox judge, percent)"


@dataclass(frozen=True)
class Arm:
    """A LoRA (None: the base alone), how it is prompted, and what it was trained on (for memorisation)."""

    name: str
    prompts: str
    lora: Path | None
    trained_on: Dataset


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    backbone, judge = load_backbone("sandbox"), load_judge()
    names = options.only or list(SETS[options.characters_from])[: options.characters]
    facts = {"views": options.views, "candidates": options.candidates,
             "style_settings": parse_settings(options.set_style),
             "character_settings": parse_settings(options.set_character), "base": backbone.fingerprint,
             **({"candidate_curve": options.candidate_curve} if options.candidate_curve else {}),
             **_changed_loop(options)}
    store = options.work / "measured.json"
    measured = read_json(store) if store.exists() else []
    for seed in range(options.seeds):
        for name in names:
            case = {"character": name, "seed": seed, **facts}
            known = {(row["arm"], row["prompts"]) for row in measured if row["case"] == case}
            missing = [arm for arm in (QUICK if options.quick else ARMS) if arm not in known]
            if missing:
                started = time.monotonic()
                rows = list(measure_character(name, seed, missing, options, backbone, judge))
                measured += [{"case": case, **row} for row in rows]
                write_json(store, measured)
                print(f"{name} seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
                write_tables(_rows_of(names, facts, measured), options)
    if rows := _rows_of(names, facts, measured):  # also if all of it was there already
        write_tables(rows, options)


def _rows_of(names: Sequence[str], facts: Mapping[str, Any],
             measured: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was measured of these characters with these facts, and with no others."""
    keys = {"character", "seed", *facts}
    return [row for row in measured if row["case"]["character"] in names and row["case"].keys() == keys
            and all(row["case"][key] == facts[key] for key in facts)]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--characters-from", choices=SETS, default="new", help="held-out ones are for tuning")
    parser.add_argument("--characters", type=int, default=8, help="how many of them")
    parser.add_argument("--only", nargs="+", choices=CHARACTERS, metavar="NAME", help="these characters instead")
    parser.add_argument("--quick", action="store_true", help="only 40 and 40 drawn, by the trigger alone")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--views", type=int, default=48, help="unseen views per arm")
    parser.add_argument("--candidates", type=int, nargs=2, default=[48, 96])
    parser.add_argument("--candidate-curve", type=float, nargs=3, default=[], metavar=("EARLY", "LATE", "FROM"))
    parser.add_argument("--candidate-strengths", type=float, nargs="+", default=[0.6])
    parser.add_argument("--redraw-marks", action="store_true")
    parser.add_argument("--style-on", choices=(IMAGES, MARKS), default=IMAGES)
    parser.add_argument("--mark-weight", type=float, default=0.0)
    parser.add_argument("--set-style", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--set-character", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--work", type=Path, default=Path("output/bench-bootstrap"), help="LoRAs and pictures")
    parser.add_argument("--name", default="bootstrap", help="of the result files")
    return parser.parse_args(argv)


def _changed_loop(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of the loop that are not the usual ones, so that cases measured before these existed stay valid."""
    usual = {"candidate_strengths": [0.6], "style_on": IMAGES, "mark_weight": 0.0, "redraw_marks": False}
    return {name: getattr(options, name) for name, value in usual.items() if getattr(options, name) != value}


def measure_character(name: str, seed: int, wanted: Sequence[tuple[str, str]], options: argparse.Namespace,
                      backbone: Any, judge: Judge) -> Iterator[dict[str, Any]]:
    """A row of figures for each wanted arm."""
    character = CHARACTERS[name]
    config = _config(name, seed, options)
    folder = _run_loop(config, options.work, backbone)
    project = Project(folder, config, backbone.family.name)
    datasets = {**_datasets(folder), "40 drawn": drawn_dataset(project, character, backbone.family.resolution)}
    loras = {size: _train_character(config, datasets[size], size, options.work, backbone)
             for size in dict.fromkeys(size for size, _ in wanted) if size in datasets}
    loras["style 4 crops"] = options.work / read_json(folder / "project.json")["stages"]["style-1"]["facts"]["lora"]
    scenes = unseen_scenes(character, folder, options.views, seed,
                           also=[view.prompt.view for view in planned_views(project)])
    for size, prompts in wanted:
        arm = Arm(size, prompts, loras.get(size), datasets.get(size, datasets["4 crops"]))
        pictures = draw_scenes(backbone, arm, scenes, character, seed)
        _save_sheet(options.work / "drawn" / config.name / f"{arm.name} {arm.prompts}.png", pictures)
        yield {"arm": arm.name, "prompts": arm.prompts, **figures(pictures, scenes, arm.trained_on, judge)}


def _datasets(project: Path) -> dict[str, Dataset]:
    """What each size of arm is trained on."""
    reached = read_json(project / "project.json")["stages"]
    result: dict[str, Dataset] = {}
    last = project / "crops"
    for size, stage, folder in (("4 crops", "crops", "crops"), ("16", "dataset-1", "round_1/dataset"),
                                ("40", "dataset-2", "round_2/dataset")):
        last = project / folder if stage in reached else last
        result[size] = load_folder(last)
    return result


def _config(name: str, seed: int, options: argparse.Namespace) -> BootstrapConfig:
    scene = world.Scene(CHARACTERS[name])
    picture = options.work / "pictures" / f"{name}.png"
    if not picture.exists():
        save_picture(picture, world.draw(scene, 512))
    changed = [options.candidates, options.set_style, options.set_character, options.candidate_curve]
    loop = _changed_loop(options)
    key = f"-{key_of(changed, *[loop] * bool(loop))[:6]}" if loop or changed != [[48, 96], [], [], []] else ""
    return BootstrapConfig(
        picture=str(picture), tags=tuple(world.caption_tags(scene)), trigger=TRIGGER, seed=seed,
        name=f"{name}-{seed}{key}", candidates=tuple(options.candidates), strengths=(1.0,),
        candidate_curve=tuple(options.candidate_curve), candidate_strengths=tuple(options.candidate_strengths),
        style_on=options.style_on, redraw_marks=options.redraw_marks,
        curation=CurationSettings(mark_weight=options.mark_weight),
        style=parse_settings(options.set_style), character=parse_settings(options.set_character))


def _run_loop(config: BootstrapConfig, root: Path, backbone: Any) -> Path:
    for event in run_bootstrap(config, root, backbone=backbone):
        if isinstance(event, StageFinished):
            print(f"  {config.name} {event.name}: {event.summary} ({event.seconds:.0f} s)", flush=True)
    assert isinstance(event, BootstrapFinished)
    if event.stopped_because:
        print(f"  {event.stopped_because}", flush=True)
    return event.folder


def _train_character(config: BootstrapConfig, dataset: Dataset, size: str, root: Path, backbone: Any) -> Path:
    """The loop's own character stage on this dataset; for the last round's, it finds the loop's LoRA again."""
    identity = CHARACTERS[config.name.split("-")[0]].identity
    absorbed = dataset.with_captions(lambda caption: join_tags(absorb(split_tags(caption), identity)))
    training = preset_config(backbone.family, "character", {
        "name": config.name if size == "40" else f"{config.name}-of-{size.replace(' ', '-')}", "seed": config.seed,
        "data.trigger": config.trigger, "data.upscale": True, **config.character})
    for event in train(backbone, absorbed, training, root / "loras"):
        if isinstance(event, Finished):
            return event.path
    raise RuntimeError("the training yielded no end")


def unseen_scenes(character: world.Character, project: Path, count: int, seed: int,
                  also: Sequence[Mapping[str, str]] = ()) -> list[world.Scene]:
    """Random scenes in none of the combinations of view that the loop generated, that `also` has, or that the picture
    shows."""
    sidecars = sorted(project.glob("round_*/candidates/*.json"))
    views = [*(json.loads(sidecar.read_text())["view"] for sidecar in sidecars), *also]
    seen = {view_of(world.Scene(character)), *(tuple(view[axis] for axis in world.CONTEXT) for view in views)}
    return scenes_beside(character, seen, count, random.Random(f"unseen-{seed}"))


def scenes_beside(character: world.Character, seen: Set[tuple[str, ...]], count: int, rng: random.Random
                  ) -> list[world.Scene]:
    """Random scenes of the character in views that are not among those seen."""
    scenes = list[world.Scene]()
    while len(scenes) < count:
        scene = world.sample_scene(rng, character)
        if view_of(scene) not in seen:
            scenes.append(scene)
    return scenes


def view_of(scene: world.Scene) -> tuple[str, ...]:
    return tuple(scene.tag(axis) for axis in world.CONTEXT)


@torch.no_grad()
def draw_scenes(backbone: Any, arm: Arm, scenes: Sequence[world.Scene], character: world.Character,
                seed: int) -> Tensor:
    """[N, 3, H, W] in 0..1: what the LoRA of an arm draws of each scene."""
    owned = character.identity if arm.prompts == "trigger" else ()
    head = [TRIGGER] if arm.lora else []
    prompts = [join_tags(head + absorb(world.caption_tags(scene), owned)) for scene in scenes]
    seeds = [picture_seed(seed, 777, row) for row in range(len(scenes))]
    sampler = Sampler.of(backbone)
    with backbone.lora(arm.lora, 1.0) if arm.lora else nullcontext():
        return torch.cat([sampler.pictures(backbone, prompts[start : start + sampler.batch],
                                           seeds[start : start + sampler.batch])
                          for start in range(0, len(prompts), sampler.batch)])


def figures(pictures: Tensor, scenes: Sequence[world.Scene], trained_on: Dataset, judge: Judge) -> dict[str, float]:
    """Shares in 0..1. `copied`: mean similarity to the nearest training picture; `copies`: share of near copies."""
    scores = judge.score(pictures, scenes)
    training = torch.stack([to_tensor(sample.load().resize(pictures.shape[-2:])) for sample in trained_on])
    copied = metrics.copied(pictures, training)
    return {"identity": scores.mean_identity, "signature": scores.mean_signature, "prompt": scores.mean_prompt,
            "copied": copied.mean().item(),
            "copies": sum(copies_of(metrics.fingerprints(pictures), metrics.fingerprints(training))) / len(pictures)}


def _save_sheet(path: Path, pictures: Tensor) -> None:
    save_picture(path, contact_sheet([to_image(picture) for picture in pictures], title=path.stem))


def write_tables(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """The mean of each arm, then the gain of "40" over "4 crops" with its spread over cases, then every case."""
    arms = list(dict.fromkeys((row["arm"], row["prompts"]) for row in measured))
    rows = []
    for arm, prompts in arms:
        mine = [row for row in measured if (row["arm"], row["prompts"]) == (arm, prompts)]
        rows.append({"arm": arm, "prompted by": prompts, "cases": len(mine),
                     **{name: round(100 * _mean([row[name] for row in mine]), 1) for name in FIGURES}})
    parts = [share_table(measured), _gains(measured), _notes(options), _cases(measured)]
    path = write_result(options.name, TITLE, rows, "\n\n".join(part for part in parts if part))
    values = read_json(path.with_suffix(".json"))
    write_json(path.with_suffix(".json"), {**values, "cases": list(measured)})


def _gains(measured: Sequence[Mapping[str, Any]]) -> str:
    """Per case, "40" minus "4 crops" by the trigger alone: mean, least and most; "" where no case has both."""
    if not _pairs(measured):
        return ""
    lines = ["## Gain of 40 over 4 crops, prompted by the trigger alone", "",
             "| | points | least | most | wanted |", "| --- | --- | --- | --- | --- |"]
    for name, wanted in TARGETS.items():
        gains = [100 * (later[name] - earlier[name]) for earlier, later in _pairs(measured)]
        lines.append(f"| {name} | {_mean(gains):+.1f} | {min(gains):+.1f} | {max(gains):+.1f} | +{wanted} |")
    return "\n".join(lines)


def _pairs(measured: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    def of(arm: str) -> dict[str, Mapping[str, Any]]:
        return {json.dumps(row["case"], sort_keys=True): row for row in measured
                if row["arm"] == arm and row["prompts"] == "trigger"}

    earlier, later = of("4 crops"), of("40")
    return [(earlier[case], later[case]) for case in earlier.keys() & later.keys()]


def _notes(options: argparse.Namespace) -> str:
    return ("identity, signature, prompt: share the judge reads right of what the view can show. copied: mean "
            "similarity to the nearest training picture (correlation of thumbnails). copies: share of pictures that "
            f"are near copies of one.\n\n{__doc__.split('The arms. ')[1].strip()}\n\n{options.views} views per arm, "
            f"candidates {options.candidates}, style settings {options.set_style or 'preset'}, character settings "
            f"{options.set_character or 'preset'}, factors on the candidates' strength "
            f"{options.candidate_curve or 'none'}, marks drawn into the kept images: "
            f"{'yes' if options.redraw_marks else 'no'}.")


def _cases(measured: Sequence[Mapping[str, Any]]) -> str:
    lines = ["## Every case", "", "| character | seed | arm | prompted by | identity | signature | prompt | copied |",
             "|" + " --- |" * 8]
    for row in measured:
        shares = " | ".join(f"{100 * row[name]:.1f}" for name in FIGURES[:4])
        lines.append(f"| {row['case']['character']} | {row['case']['seed']} | {row['arm']} | {row['prompts']} | "
                     f"{shares} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
