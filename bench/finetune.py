"""Which is better at the same rank, steps and data: a LoRA trained directly, or one extracted from a fine-tune.

`python -m lora_bootstrap.bench.finetune` trains both on true drawings of each new character (characters.py) and lets
the sandbox's judge read what they draw of unseen views, prompted by the trigger alone. It writes
bench/results/finetune.md and .json after each character; what is measured already is not measured again. Tune
rates on `--characters-from held-out`. Text encoders are frozen in all arms, so a LoRA here is below what the preset
reaches, which trains them too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from ..sandbox import world
from ..sandbox.judge import Judge, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.captions.tags import absorb, join_tags
from ..trainer.common.files import read_json, write_json
from ..trainer.datasets.dataset import Dataset, load_folder, save_samples
from ..trainer.lora.difference import load_difference
from ..trainer.lora.file import Factors, LoraWeights, save_lora
from ..trainer.models.layers import select_modules
from ..trainer.training.config import TrainConfig
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import preset_config
from .bootstrap import CHARACTERS, SETS, TRIGGER, Arm, draw_scenes, figures
from .report import write_result

FIGURES = ("identity", "signature", "prompt", "copied")
TITLE = "Fine-tune and extract against a LoRA trained directly (sandbox judge, percent)"
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
    files = {BASE: None, DIRECT: train_file(backbone, dataset, direct, options.work), WHOLE: difference,
             **{f"extracted, rank {rank}": _extract(backbone, difference, direct, rank) for rank in options.ranks}}
    scenes = unseen_scenes(character, seen, options.views)
    for arm, file in files.items():
        pictures = draw_scenes(backbone, Arm(arm, "trigger", file, dataset), scenes, character, 0)
        yield {"arm": arm, **figures(pictures, scenes, dataset, judge)}


def drawings(name: str, images: int, work: Path) -> tuple[Dataset, set[tuple[str, ...]]]:
    """True drawings of the character in random views, captioned without what the trigger stands for; and the views."""
    character, rng = CHARACTERS[name], random.Random(f"drawings-{name}")
    scenes = [world.sample_scene(rng, character) for _ in range(images)]
    folder = work / "drawings" / f"{name}-{images}"
    if not folder.is_dir():
        save_samples(folder, [
            (world.draw(scene, 64), join_tags(absorb(world.caption_tags(scene), character.identity)),
             {"name": f"drawn-{number:03d}"}) for number, scene in enumerate(scenes)])
    return load_folder(folder), {_view(scene) for scene in scenes}


def unseen_scenes(character: world.Character, seen: set[tuple[str, ...]], count: int) -> list[world.Scene]:
    """Scenes of the character in views that are not among those seen."""
    rng, scenes = random.Random("unseen"), list[world.Scene]()
    while len(scenes) < count:
        scene = world.sample_scene(rng, character)
        if _view(scene) not in seen:
            scenes.append(scene)
    return scenes


def _view(scene: world.Scene) -> tuple[str, ...]:
    return tuple(scene.tag(axis) for axis in world.CONTEXT)


def train_file(backbone: Any, dataset: Dataset, config: TrainConfig, work: Path) -> Path:
    """Train under `work`; the path of the LoRA."""
    for event in train(backbone, dataset, config, work / "loras"):
        if isinstance(event, Finished):
            return event.path
    raise RuntimeError("the training yielded no end")


def _extract(backbone: Any, difference: Path, direct: TrainConfig, rank: int) -> Path:
    """The best LoRA of that rank in the layers that the direct one has: the first singular vectors of what the
    fine-tune added to each."""
    prefix, family = backbone.network_prefix, backbone.family
    layers = select_modules(backbone.network, direct.adapter.layers, family.blocks, direct.adapter.conv_rank,
                            family.excluded)
    added, _ = load_difference(difference, [f"{prefix}.{name}.weight" for name in layers], backbone.key_style)
    modules = {f"{prefix}.{name}": _truncated(added[f"{prefix}.{name}.weight"], rank) for name in layers}
    path = difference.with_name(f"{difference.stem}-rank{rank}.safetensors")
    save_lora(path, LoraWeights(modules), key_style=backbone.key_style)
    return path


def _truncated(weight: torch.Tensor, rank: int) -> Factors:
    left, values, right = torch.linalg.svd(weight.float().flatten(1), full_matrices=False)
    roots = values[:rank].sqrt()
    up, down = left[:, :rank] * roots, right[:rank] * roots[:, None]
    kernel = weight.shape[2:]
    return Factors(down.unflatten(1, (-1, *kernel)) if kernel else down, up[(..., *(None for _ in kernel))],
                   float(len(roots)))


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
             f"{_gains(measured, options)}\n\n{_cases(measured)}")
    path = write_result(options.name, TITLE, rows, notes)
    values = read_json(path.with_suffix(".json"))
    write_json(path.with_suffix(".json"), {**values, "cases": list(measured)})


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
