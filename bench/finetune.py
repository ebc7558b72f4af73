"""Which is better at the same rank, steps and data: a LoRA trained directly, or one extracted from a fine-tune.

`python -m lora_bootstrap.bench.finetune` trains both on true drawings of each new character (characters.py) and lets
the sandbox's judge read what they draw of unseen views, prompted by the trigger alone. It writes
bench/results/finetune.md and .json after each character; what is measured already is not measured again. Tune
rates on `--characters-from held-out`. Text encoders are frozen in all arms, so a LoRA here is below what the preset
reaches, which trains them too.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ..sandbox import world
from ..sandbox.judge import Judge, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.captions.tags import absorb, join_tags
from ..trainer.common.files import read_json, write_json
from ..trainer.datasets.dataset import Dataset, load_folder, save_samples
from ..trainer.extraction.extract import extract_lora
from ..trainer.extraction.saved import Written
from ..trainer.extraction.settings import ExtractSettings
from ..trainer.extraction.sides import open_side
from ..trainer.training.config import TrainConfig
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import preset_config
from .bootstrap import CHARACTERS, SETS, TRIGGER, Arm, draw_scenes, figures, scenes_beside, view_of
from .report import write_result

FIGURES = ("identity", "signature", "prompt", "copied")
TITLE = "Fine-tune and extract against a LoRA trained directly (sandbox judge, percent)"
HELD = "energy"
"""Share of the squared norm of the fine-tune's difference that an extracted LoRA holds."""
WHY = """A rank that holds little of the difference loses what the fine-tune learnt: a fine-tune changes every layer in
many directions, because nothing keeps it to a few. A LoRA that is trained directly learns the same in the directions
that it has. So train a LoRA directly where its rank is given. Extract one where a fine-tune is at hand, at a rank that
holds most of it, or keep the difference whole."""
BASE, DIRECT, WHOLE = "base", "LoRA trained directly", "fine-tune itself"


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    backbone, judge = load_backbone("sandbox"), load_judge()
    names = options.only or list(SETS[options.characters_from])[: options.characters]
    store = options.work / "measured.json"
    measured: list[dict[str, Any]] = read_json(store) if store.exists() else []
    for name in names:
        case = {"character": name, "images": options.images, "views": options.views, "steps": options.steps,
                "rate": options.rate, "ranks": options.ranks, "base": backbone.fingerprint}
        if all(row["case"] != case for row in measured):
            started = time.monotonic()
            measured += [{"case": case, **row} for row in measure_character(name, options, backbone, judge)]
            write_json(store, measured)
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        alike = [row for row in measured if {**row["case"], "character": ""} == {**case, "character": ""}
                 and row["case"]["character"] in names]
        write_tables(alike, options)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--characters-from", choices=SETS, default="new", help="held-out ones are for tuning")
    parser.add_argument("--characters", type=int, default=8, help="how many of them")
    parser.add_argument("--only", nargs="+", choices=CHARACTERS, metavar="NAME", help="these characters instead")
    parser.add_argument("--images", type=int, default=16, help="drawings to train on")
    parser.add_argument("--views", type=int, default=48, help="unseen views per arm")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the fine-tune")
    parser.add_argument("--ranks", type=int, nargs="+", default=[8, 32], help="the first is also the direct LoRA's")
    parser.add_argument("--work", type=Path, default=Path("output/bench-finetune"), help="LoRAs and drawings")
    parser.add_argument("--name", default="finetune", help="of the result files")
    return parser.parse_args(argv)


def measure_character(name: str, options: argparse.Namespace, backbone: Any, judge: Judge) -> Iterator[dict[str, Any]]:
    """A row of figures for each arm."""
    character, rank = CHARACTERS[name], options.ranks[0]
    dataset, seen = drawings(name, options.images, options.work)
    shared = {"data.trigger": TRIGGER, "data.upscale": True, "steps": options.steps, "adapter.rank": rank,
              "adapter.alpha": float(rank), "adapter.conv_rank": rank, "adapter.text_encoder": False,
              "optimizer.text_encoder_learning_rate": None, "data.batch_size": 8}
    direct = preset_config(backbone.family, "character", {**shared, "name": f"{name}-direct"})
    whole = preset_config(backbone.family, "character", {
        **shared, "name": f"{name}-whole", "method": "full", "optimizer.learning_rate": options.rate,
        "optimizer.schedule": direct.optimizer.schedule})
    difference = train_file(backbone, dataset, whole, options.work)
    taken = {f"extracted, rank {rank}": _extract(difference, rank) for rank in options.ranks}
    files = {BASE: None, DIRECT: train_file(backbone, dataset, direct, options.work), WHOLE: difference,
             **{arm: written.path for arm, written in taken.items()}}
    scenes = unseen_scenes(character, seen, options.views)
    for arm, file in files.items():
        pictures = draw_scenes(backbone, Arm(arm, "trigger", file, dataset), scenes, character, 0)
        held = {HELD: 1 - taken[arm].report.error ** 2} if arm in taken else {}
        yield {"arm": arm, **figures(pictures, scenes, dataset, judge), **held}


def drawings(name: str, images: int, work: Path) -> tuple[Dataset, set[tuple[str, ...]]]:
    """True drawings of the character in random views, captioned without what the trigger stands for; and the views."""
    character, rng = CHARACTERS[name], random.Random(f"drawings-{name}")
    scenes = [world.sample_scene(rng, character) for _ in range(images)]
    folder = work / "drawings" / f"{name}-{images}"
    if not folder.is_dir():
        save_samples(folder, [
            (world.draw(scene, 64), join_tags(absorb(world.caption_tags(scene), character.identity)),
             {"name": f"drawn-{number:03d}"}) for number, scene in enumerate(scenes)])
    return load_folder(folder), {view_of(scene) for scene in scenes}


def unseen_scenes(character: world.Character, seen: set[tuple[str, ...]], count: int) -> list[world.Scene]:
    """Scenes of the character in views that are not among those seen."""
    return scenes_beside(character, seen, count, random.Random("unseen"))


def train_file(backbone: Any, dataset: Dataset, config: TrainConfig, work: Path) -> Path:
    """Train under `work`; the path of the LoRA."""
    for event in train(backbone, dataset, config, work / "loras"):
        if isinstance(event, Finished):
            return event.path
    raise RuntimeError("the training yielded no end")


def _extract(difference: Path, rank: int) -> Written:
    """The LoRA of that rank that *Extract LoRA* takes out of the fine-tune: all layers, no biases and norms."""
    settings = ExtractSettings(rank=rank, conv_rank=rank, vectors=False, dtype="float32")
    with contextlib.closing(open_side(difference)) as side:
        *_, last = extract_lora(side, None, difference.parent, f"{difference.stem}-rank{rank}", settings)
    assert isinstance(last, Written), "the last event has the file and its report"
    return last


def write_tables(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """The mean of each arm, then every case."""
    rows = []
    for arm in dict.fromkeys(row["arm"] for row in measured):
        mine = [row for row in measured if row["arm"] == arm]
        rows.append({"arm": arm, "characters": len(mine),
                     **{name: round(100 * mean(row[name] for row in mine), 1) for name in FIGURES}})
    notes = (f"{options.images} true drawings each, {options.steps} steps of batch 8, text encoders frozen, "
             f"{options.views} unseen views, prompted by the trigger alone. The fine-tune's rate is {options.rate:g} "
             "(Adafactor): it learns there, but no others were compared. The LoRA's is that of its preset.\n\n"
             f"{_which(measured)}\n\n{_gains(measured, options)}\n\n{_cases(measured)}")
    path = write_result(options.name, TITLE, rows, notes)
    values = read_json(path.with_suffix(".json"))
    write_json(path.with_suffix(".json"), {**values, "cases": list(measured)})


def _which(measured: Sequence[Mapping[str, Any]]) -> str:
    """Which arm is better than the LoRA trained directly, by how much, and how much of the fine-tune each holds."""
    lines = ["## Which is better, and when", ""]
    of_arm: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in measured:
        of_arm.setdefault(row["arm"], {})[row["case"]["character"]] = row
    for arm, rows in of_arm.items():
        if arm in (BASE, DIRECT):
            continue
        points = [100 * (row["identity"] - of_arm[DIRECT][one]["identity"]) for one, row in rows.items()]
        held = [100 * row[HELD] for row in rows.values() if HELD in row]
        share = (f" It holds {mean(held):.0f} % of the squared norm of the fine-tune's difference ({len(held)} "
                 "measured).") if held else ""
        lines.append(f"- {arm}: identity {mean(points):+.1f} points against the LoRA trained directly, better for "
                     f"{sum(point > 0 for point in points)} of {len(points)}.{share}")
    return "\n".join([*lines, "", WHY])


def _gains(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> str:
    """By how much the extracted LoRA of the same rank is better than the direct one, character by character."""
    arm = f"extracted, rank {options.ranks[0]}"
    figure = {(row["arm"], row["case"]["character"]): row for row in measured}
    names = [name for kind, name in figure if kind == arm]
    lines = ["## Extracted minus trained directly, at the same rank", "",
             "| | points | least | most | better for |", "|" + " --- |" * 5]
    for name in FIGURES[:3]:
        gains = [100 * (figure[arm, one][name] - figure[DIRECT, one][name]) for one in names]
        lines.append(f"| {name} | {mean(gains):+.1f} | {min(gains):+.1f} | {max(gains):+.1f} | "
                     f"{sum(gain > 0 for gain in gains)} of {len(gains)} |")
    return "\n".join(lines)


def _cases(measured: Sequence[Mapping[str, Any]]) -> str:
    lines = ["## Every case", "", f"| character | arm | {' | '.join(FIGURES)} |", "|" + " --- |" * (2 + len(FIGURES))]
    lines += [f"| {row['case']['character']} | {row['arm']} | "
              f"{' | '.join(f'{100 * row[name]:.1f}' for name in FIGURES)} |" for row in measured]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
