"""The works that are killed and refused: whatever the pack writes that a user would miss."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.picks import CandidateFacts, Picks
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.bootstrap.training_sets import make_crops
from lora_bootstrap.trainer.common.files import atomic_write
from lora_bootstrap.trainer.common.revisions import save_change
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset
from lora_bootstrap.trainer.models.own_weights import own_weights
from lora_bootstrap.trainer.stacks.blocks import filter_lora
from lora_bootstrap.trainer.stacks.known_strengths import FILE, KnownLora, MeasuredPair, remember
from lora_bootstrap.trainer.stacks.merge import MergeSettings
from lora_bootstrap.trainer.stacks.merged_file import merge_to_file
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.sweeps.log import SHEET, log_picture
from lora_bootstrap.trainer.sweeps.marks import Marks
from lora_bootstrap.trainer.tagging.hand_edits import HandEdits
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import open_run
from lora_bootstrap.trainer.training.trained.kept_weights import kept_in

from .drawings import draw_once
from .drawn_sweep import AKANE, draw_cell, draw_sweep, write_run
from .interruptions import Work
from .lora_files import lora


def _nothing(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _drawing(number: int, side: int = 32) -> Image.Image:
    image = Image.new("RGB", (side, side), (40 * number % 256, 90, 200 - 20 * number))
    image.paste((255, 255, 255), (number, number, number + side // 3, number + side // 3))
    return image


def _images(folder: Path, count: int, first: int = 0) -> None:
    save_samples(folder, [(_drawing(number), f"1girl, number {number}", {"name": f"drawing{number}"})
                          for number in range(first, first + count)])


# -- sweeps ------------------------------------------------------------------------------------------------------------


def _run(folder: Path) -> None:
    write_run(folder / "loras", steps=(50,))


def _sweep(folder: Path) -> None:
    sweep = draw_sweep(folder / "sweeps", sorted(folder.glob("loras/*/*.safetensors")), strengths=(0.5, 1.0),
                       prompts=("akane, smile",), seeds=(1,), side=32, make=False)
    for cell in sweep.missing():
        draw_cell(sweep, cell)
    if not sweep.sheet.is_file():
        atomic_write(sweep.sheet, _encoded(_drawing(1)))
    log_picture(sweep, sweep.sheet, SHEET)
    save_change(sweep.folder / "marks.json", Marks, lambda marks: marks.changed(None, ["x"]))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


# -- what people decide ------------------------------------------------------------------------------------------------


def _decide(folder: Path) -> None:
    facts = {"a": CandidateFacts("content of a", (64, 64))}
    save_change(folder / "round_1" / "picks.json", Picks,
                lambda picks: picks.changed("keep", [("a", {"state": "keep"})], facts))
    save_change(folder / "edits" / "tags.json", HandEdits, lambda edits: edits.changed({"x": "1girl"}, {"x": "girl"}))


def _pair(number: int) -> MeasuredPair:
    names = (f"character{number}", f"style{number}")
    loras = [KnownLora(name=name, sha256=name, bytes=number, strength=0.5) for name in names]
    return MeasuredPair(base="base", character=loras[0], style=loras[1], scores={"harmonic": 1.0}, eye="eye",
                        sweep="sweep", at="2026-01-01")


def _remember(number: int) -> Callable[[Path], object]:
    return lambda folder: remember(folder / FILE, f"base{number}", _pair(number))


# -- LoRA files --------------------------------------------------------------------------------------------------------


def _two_loras(folder: Path) -> None:
    _nothing(folder)
    for name, seed in (("hero", 1), ("ink", 100)):
        lora(folder / f"{name}.safetensors", seed)


def _merge(folder: Path) -> None:
    entries = [StackEntry(path=folder / f"{name}.safetensors", strength=0.5) for name in ("hero", "ink")]
    merge_to_file(folder / "merged", "both", entries, MergeSettings())


def _filter(folder: Path) -> None:
    filter_lora(folder / "hero.safetensors", "down_blocks.1.attentions.0 = 0.5", folder / "filtered")


# -- datasets ----------------------------------------------------------------------------------------------------------


def _saved_before(folder: Path) -> None:
    _images(folder / "mine", 3)
    _save(folder)
    for ending in (".png", ".txt"):
        (folder / "mine" / f"drawing0{ending}").unlink()
    _images(folder / "mine", 1, first=3)


def _save(folder: Path) -> None:
    for _ in save_dataset(load_folder(folder / "mine"), folder / "saved", "1girl"):
        pass


# -- projects ----------------------------------------------------------------------------------------------------------


def _project(folder: Path) -> Project:
    config = BootstrapConfig(picture=str(folder / "picture.png"), tags=("1girl", "red hair"), trigger="akane",
                             name="akane", targets=(3, 6), candidates=(6,))
    return Project(folder / "akane", config)


def _own_images(folder: Path) -> None:
    _nothing(folder)
    _drawing(0, 64).save(folder / "picture.png")
    crops = folder / "akane" / "crops"
    crops.mkdir(parents=True)
    for number in range(3):
        _drawing(number, 64).save(crops / f"mine{number}.png")
        (crops / f"mine{number}.txt").write_text(f"akane, number {number}", encoding="utf-8")
    (crops / "notes.md").write_text("Drawn by hand.", encoding="utf-8")


def _crops_of_own(folder: Path) -> None:
    project = _project(folder)
    with Image.open(folder / "picture.png") as picture:
        make_crops(project, picture.convert("RGB"), "picture", load_folder(project.crops_folder))


def _crops(folder: Path) -> None:
    with Image.open(folder / "picture.png") as picture:
        make_crops(_project(folder), picture.convert("RGB"), "picture")


def _picture(folder: Path) -> None:
    _nothing(folder)
    draw_once(world.Scene(AKANE), 128).save(folder / "picture.png")


# -- runs --------------------------------------------------------------------------------------------------------------


def _register(folder: Path) -> None:
    run = open_run(folder / "loras", TrainConfig(name="mira", steps=5), "key")
    if run.finished:
        return
    with run.locked():
        run.truncate_metrics(0)
        for step in range(1, 4):
            run.append_metrics({"step": step, "loss": 1.0})
        for path in (run.state_path, run.final_path):
            atomic_write(path, save({"x": torch.ones(3)}))
        run.mark_finished(5, False)


def _tune(folder: Path) -> None:
    """A fine-tune that keeps the weights of before on disk, and records what it gives back."""
    run = open_run(folder / "loras", TrainConfig(name="tuned", steps=5), "key")
    if run.finished:
        run.forget_state()
        return
    torch.manual_seed(0)
    network = torch.nn.Linear(64, 64)
    with run.locked():
        with (kept_in(run.folder / "state") as keep,
              own_weights(network, torch.device("cpu"), torch.bfloat16, keep) as before):
            network.weight.data += 1
            difference = network.weight.detach().float() - before["weight"]
            atomic_write(run.final_path, save({"difference": difference}))
        atomic_write(run.folder / "given-back.safetensors", save({"weight": network.weight.detach()}))
        run.mark_finished(5, False)


TRAINING = TrainConfig(name="tiny", steps=4, state_every=1, state_minutes=0, save_every=2).replace(**{
    "adapter.rank": 2, "adapter.alpha": 2, "data.resolution": 32, "data.batch_size": 2, "data.trigger": "zqx",
    "optimizer.learning_rate": 1e-2})


def _ready_to_train(folder: Path) -> None:
    """Makes the model in the process that all are forked from: else each imports diffusers and builds its own."""
    from . import tiny_ready  # noqa: F401

    _images(folder / "data", 4)


def _train(folder: Path) -> None:
    from .tiny_ready import BACKBONE

    for _ in train(BACKBONE, load_folder(folder / "data"), TRAINING, folder / "loras"):
        pass


WORKS = (
    Work("sweep with log and marks", _run, _sweep, own=("loras/*/*",), spare=("sweeps/log/*/*.webp",)),
    Work("picks and edited captions", _decide, _decide),
    Work("measured strengths", _remember(1), _remember(2)),
    Work("merge", _two_loras, _merge, own=("*.safetensors",)),
    Work("LoRA reduced to blocks", _two_loras, _filter, own=("*.safetensors",)),
    Work("dataset saved again", _saved_before, _save, own=("mine/*",)),
    Work("crops", _picture, _crops, own=("picture.png",)),
    Work("crops over images of one's own", _own_images, _crops_of_own, own=("picture.png", "akane/crops/*")),
    Work("register of a run", _nothing, _register),
    Work("weights of before on disk", _nothing, _tune),
)
SLOW_WORKS = (Work("training", _ready_to_train, _train, own=("data/*",)),)
