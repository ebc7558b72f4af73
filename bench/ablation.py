"""What each training option does on the sandbox, against the default at the same steps.

`python -m lora_bootstrap.bench.ablation --images 16` trains a LoRA for every row of ROWS on true drawings of each
held-out character, and lets the sandbox's judge read what it draws of unseen views, prompted by the trigger alone.
Results are written to bench/results/ablation.md and .json after each case. What the latter holds is not measured again,
so numbers of images may be measured one after another, also on several machines. The default is trained with several
seeds: how far those lie apart says which differences are chance.

A row is a name and settings by their dotted names. Rows whose settings or libraries are unknown here are skipped.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean, variance
from typing import Any

from torch import Tensor

from ..sandbox import world
from ..sandbox.judge import Judge, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.bootstrap.candidates import picture_seed
from ..trainer.captions.tags import join_tags
from ..trainer.common.errors import UserError
from ..trainer.common.files import read_json, write_json
from ..trainer.datasets.dataset import Dataset
from ..trainer.models.sampler import Sampler
from ..trainer.training.config import TrainConfig, setting_names
from ..trainer.training.optimizers import build_optimizer
from ..trainer.training.presets import preset_config
from ..trainer.training.runs import read_run
from ..trainer.training.trained.average import average_checkpoints
from .bootstrap import TRIGGER, Arm, draw_scenes, figures
from .finetune import drawings, train_file, unseen_scenes
from .report import RESULTS, write_result

FIGURES = ("identity", "signature", "prompt", "copied", "drift")
TITLE = "What each training option does (sandbox judge, percent; differences to the default in points)"
DEFAULT = "default"
CHECKPOINTS = 10
"""Checkpoints of each run, for the rows that average the last of them."""
OTHERS = 8
"""Pictures without the trigger, for *drift*."""
CHANCE = 2.0
"""Standard errors within which a difference is taken for chance."""


@dataclass(frozen=True)
class Row:
    """Attributes:
        settings: by dotted name.
        last: number of last checkpoints to average; 0: the final file is read.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    last: int = 0


@dataclass(frozen=True)
class Instruments:
    """Attributes:
        trained: the last file of each training, for rows that differ only in what they make of its checkpoints.
    """

    backbone: Any
    judge: Judge
    trained: dict[tuple[str, TrainConfig], Path] = field(default_factory=dict)

    @cached_property
    def of_the_base(self) -> Tensor:
        return self.draw_others()

    def draw_others(self) -> Tensor:
        """[OTHERS, 3, H, W] in 0..1: other characters, prompted by their own tags."""
        rng = random.Random("others")
        scenes = [world.sample_scene(rng, world.sample_character(rng)) for _ in range(OTHERS)]
        return Sampler.of(self.backbone).pictures(
            self.backbone, [join_tags(world.caption_tags(scene)) for scene in scenes],
            [picture_seed(0, 778, row) for row in range(OTHERS)])


ROWS = (
    Row(DEFAULT),
    Row("adamw_schedule_free", {"optimizer.name": "adamw_schedule_free"}),
    Row("lion", {"optimizer.name": "lion"}),
    Row("came", {"optimizer.name": "came"}),
    Row("prodigy", {"optimizer.name": "prodigy"}),
    Row("adafactor", {"optimizer.name": "adafactor"}),
    Row("adamw_bf16", {"optimizer.name": "adamw_bf16"}),
    Row("schedule constant", {"optimizer.schedule": "constant"}),
    Row("schedule linear", {"optimizer.schedule": "linear"}),
    Row("schedule rex", {"optimizer.schedule": "rex"}),
    Row("ema 0.99", {"optimizer.ema_decay": 0.99}),
    Row("constant, ema 0.99", {"optimizer.schedule": "constant", "optimizer.ema_decay": 0.99}),
    Row("average of the last 4", {}, last=4),
    Row("constant, average of the last 4", {"optimizer.schedule": "constant"}, last=4),
    Row("huber, exponential", {"objective.loss": "huber"}),
    Row("huber, snr", {"objective.loss": "huber", "objective.huber_schedule": "snr"}),
    Row("smooth_l1, exponential", {"objective.loss": "smooth_l1"}),
    Row("weighting none", {"objective.weighting": "none"}),
    Row("weighting debiased", {"objective.weighting": "debiased"}),
    Row("noise_offset 0.05", {"objective.noise_offset": 0.05}),
    Row("ip_noise_gamma 0.1", {"objective.ip_noise_gamma": 0.1}),
    Row("times from 0.2", {"objective.min_timestep": 0.2}),
    Row("times to 0.8", {"objective.max_timestep": 0.8}),
    Row("max_norm 1", {"optimizer.max_norm": 1.0}),
    Row("DoRA", {"adapter.kind": "dora"}),
    Row("LoHa", {"adapter.kind": "loha"}),
    Row("LoKr", {"adapter.kind": "lokr"}),
    Row("rsLoRA", {"adapter.rank_stabilized": True}),
    Row("preservation 0.1", {"preservation.weight": 0.1}),
    Row("preservation 0.3", {"preservation.weight": 0.3}),
    Row("preservation 1", {"preservation.weight": 1.0}),
    Row("preservation 1, every 4th step", {"preservation.weight": 1.0, "preservation.every": 4}),
)


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    instruments = Instruments(load_backbone("sandbox"), load_judge())
    measured = _measured(options)
    for images, row, seed, name in _cases(options):
        if (missing := _missing(row)) or (options.rows and row.name not in options.rows):
            if missing:
                print(f"{row.name}: skipped, {missing}", flush=True)
            continue
        case = {"row": row.name, "settings": dict(row.settings), "last": row.last, "images": images, "seed": seed,
                "character": name, "views": options.views, "steps": options.steps,
                "base": instruments.backbone.fingerprint}
        if all(found["case"] != case for found in measured):
            started = time.monotonic()
            measured.append({"case": case, **measure(row, images, seed, name, options, instruments)})
            print(f"{images} {row.name} {seed} {name}: {time.monotonic() - started:.0f} s", flush=True)
            write_tables(measured, options)
    write_tables(measured, options)


def _measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The cases of the result file, of all steps, views and characters."""
    file = RESULTS / f"{options.name}.json"
    return read_json(file)["cases"] if file.exists() else []


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[16], help="drawings to train on")
    parser.add_argument("--only", nargs="+", choices=world.HELD_OUT, default=["hinata", "akane"],
                        metavar="NAME", help="these characters")
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="these rows only")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the default for each character")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--views", type=int, default=32, help="unseen views of each case")
    parser.add_argument("--work", type=Path, default=Path("output/bench-ablation"), help="drawings and LoRAs")
    parser.add_argument("--name", default="ablation", help="of the result files")
    return parser.parse_args(argv)


def _cases(options: argparse.Namespace) -> Iterator[tuple[int, Row, int, str]]:
    """(images, row, seed, character): the default's seeds, which say what chance does, then every other row."""
    for images in options.images:
        yield from ((images, ROWS[0], seed, name) for seed in range(options.seeds) for name in options.only)
        yield from ((images, row, 0, name) for row in ROWS[1:] for name in options.only)


def _is_asked(case: Mapping[str, Any], options: argparse.Namespace) -> bool:
    return case["steps"] == options.steps and case["views"] == options.views and case["character"] in options.only


def _missing(row: Row) -> str:
    """Why a row cannot be measured here; "" if it can be."""
    if unknown := row.settings.keys() - set(setting_names()):
        return f"this version has no setting {min(unknown)}"
    try:
        build_optimizer(row.settings.get("optimizer.name", "adamw"), [], 0.0)
    except UserError as error:
        return str(error)
    except ValueError:  # the library is there, and objects to having nothing to train
        pass
    return ""


def measure(row: Row, images: int, seed: int, name: str, options: argparse.Namespace,
            instruments: Instruments) -> dict[str, float]:
    """The figures of one LoRA, each in 0..1."""
    backbone = instruments.backbone
    dataset, seen = drawings(name, images, options.work)
    config = _config(backbone, row, images, seed, name, options)
    if (name, config) not in instruments.trained:
        instruments.trained[name, config] = train_file(backbone, dataset, config, options.work)
    file = instruments.trained[name, config]
    if row.last:
        file = average_checkpoints(read_run(file.parent), last=row.last).path
    return read_file(instruments, file, dataset, unseen_scenes(world.HELD_OUT[name], seen, options.views))


def read_file(instruments: Instruments, file: Path, dataset: Dataset,
              scenes: Sequence[world.Scene]) -> dict[str, float]:
    """What the judge reads in the drawings of a LoRA, prompted by the trigger alone; and its drift."""
    backbone, judge, of_the_base = instruments.backbone, instruments.judge, instruments.of_the_base
    pictures = draw_scenes(backbone, Arm("", "trigger", file, dataset), scenes, scenes[0].character, 0)
    with backbone.lora(file, 1.0):
        drift = (instruments.draw_others() - of_the_base).abs().mean().item()
    found = {**figures(pictures, scenes, dataset, judge), "drift": drift}
    return {figure: found[figure] for figure in FIGURES}


def _config(backbone: Any, row: Row, images: int, seed: int, name: str, options: argparse.Namespace) -> TrainConfig:
    return preset_config(backbone.family, "character", {
        "name": f"{name}-{images}", "seed": seed, "steps": options.steps, "data.trigger": TRIGGER, "data.upscale": True,
        "save_every": max(1, options.steps // CHECKPOINTS), **row.settings})


# -- tables ------------------------------------------------------------------------------------------------------------


def write_tables(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """For each number of images the default's figures, and by how much each row differs. The table is of the cases
    that the options ask for; the file keeps all."""
    asked = [row for row in measured if _is_asked(row["case"], options)]
    rows = [line for images in sorted({row["case"]["images"] for row in asked})
            for line in difference_lines([row for row in asked if row["case"]["images"] == images])]
    if not rows:
        return
    notes = (
        f"LoRAs of the character preset, {options.steps} steps, on true drawings of {len(options.only)} held-out "
        f"characters ({', '.join(options.only)}); {options.views} unseen views each, prompted by the trigger alone.\n\n"
        "The default's line holds its figures. All other lines hold differences to it, each with ± its standard error, "
        "which follows from how far the default's trainings with other seeds lie apart. A difference within "
        f"{CHANCE:g} of these is chance, and only others have a star. With so many lines, one difference in twenty "
        "earns a star by chance.\n\n"
        "*drift* is by how much the LoRA changes what the base draws of others without the trigger: the mean "
        f"difference of {OTHERS} pictures, in percent of white.")
    path = write_result(options.name, TITLE, rows, notes)
    write_json(path.with_suffix(".json"), {**read_json(path.with_suffix(".json")), "cases": list(measured)})


def difference_lines(measured: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The table's lines for one number of images, from cases in 0..1. A character's default is the mean of its
    seeds."""
    default: dict[str, list[Mapping[str, Any]]] = {}
    for row in measured:
        if row["case"]["row"] == DEFAULT:
            default.setdefault(row["case"]["character"], []).append(row)
    for name in dict.fromkeys(row["case"]["row"] for row in measured):
        mine = [row for row in measured if row["case"]["row"] == name and row["case"]["character"] in default]
        if not mine:
            continue
        head = {"images": mine[0]["case"]["images"], "row": name,
                "characters": len({row["case"]["character"] for row in mine})}
        cell = (lambda figure, rows=mine: f"{100 * mean(row[figure] for row in rows):.1f}") if name == DEFAULT else (
            lambda figure, rows=mine: _difference(figure, rows, default))
        yield head | {figure: cell(figure) for figure in FIGURES}


def _difference(figure: str, mine: Sequence[Mapping[str, Any]],
                default: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """`+1.2 ± 0.8`, with a star if that is more than chance; `?` for the error while no default has two seeds."""
    gain = 100 * mean(row[figure] - mean(other[figure] for other in default[row["case"]["character"]]) for row in mine)
    error = _standard_error(figure, mine, default)
    if error is None:
        return f"{gain:+.1f} ± ?"
    return f"{gain:+.1f} ± {100 * error:.1f}" + (" *" if abs(gain) > CHANCE * 100 * error else "")


def _standard_error(figure: str, mine: Sequence[Mapping[str, Any]],
                    default: Mapping[str, Sequence[Mapping[str, Any]]]) -> float | None:
    """Standard error of the mean difference between the row's trainings, one for each character, and the default's.
    The variance between seeds is taken to be the same for all characters and rows."""
    spreads = [variance([row[figure] for row in rows]) for rows in default.values() if len(rows) > 1]
    if not spreads:
        return None
    spread = mean(spreads)
    return math.sqrt(sum(spread * (1 + 1 / len(default[row["case"]["character"]])) for row in mine)) / len(mine)


if __name__ == "__main__":
    main()
