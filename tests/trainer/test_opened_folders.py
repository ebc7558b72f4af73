"""What a killed process left half written goes when its run, sweep, project, merge or report is next opened."""

import os

import pytest
from PIL import Image

from lora_bootstrap.trainer.bootstrap.project import open_project
from lora_bootstrap.trainer.common.leftovers import temporary_path
from lora_bootstrap.trainer.common.revisions import save_change
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset
from lora_bootstrap.trainer.stacks.blocks import filter_lora
from lora_bootstrap.trainer.stacks.conflict import measure_conflict
from lora_bootstrap.trainer.stacks.conflict_picture import write_conflict
from lora_bootstrap.trainer.stacks.merged_file import merge_to_file
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.sweeps.cells import Axis, Choice, Sweep
from lora_bootstrap.trainer.sweeps.marks import Marks
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run

from ..helpers.lora_files import lora


def stack(folder):
    return [StackEntry(path=lora(folder / f"{name}.safetensors", seed)) for name, seed in (("one", 1), ("two", 200))]


def save_a_dataset(folder, sources):
    save_samples(sources / "images", [(Image.new("RGB", (8, 8)), "a", {"name": "a"})])
    list(save_dataset(load_folder(sources / "images"), folder, "girl"))


OPENED = {
    "sweep": lambda folder, _: Sweep(folder, "t", (Axis("seed", (Choice("1", {"seed": 1}),)),)).write(),
    "marks": lambda folder, _: save_change(folder / "marks.json", Marks, lambda marks: marks.changed(None, ())),
    "run": lambda folder, _: open_run(folder, TrainConfig(name="a"), "k" * 64),
    "project": lambda folder, _: open_project(folder, {}, "hash"),
    "merge": lambda folder, sources: merge_to_file(folder, "m", stack(sources)),
    "filter": lambda folder, sources: filter_lora(stack(sources)[0].path, "* = 0.5", folder),
    "conflict": lambda folder, sources: write_conflict(measure_conflict(stack(sources)), folder),
    "dataset": save_a_dataset, "cache": lambda folder, _: TensorCache(folder),
}


@pytest.mark.parametrize("kind", OPENED)
def test_opening_it_removes_what_dead_processes_left(kind, tmp_path):
    folder, sources = tmp_path / "opened", tmp_path / "sources"
    sources.mkdir()
    below = {"sweep": ["cells"], "project": ["round_1", "round_1/candidates"], "dataset": ["10_girl"]}.get(kind, [])
    dead = temporary_path(folder / "a.png").name.replace(f"-{os.getpid()}-", "-999999999-")
    alive = temporary_path(folder / "a.png").name
    for place in (folder, *(folder / name for name in below)):
        place.mkdir()
        (place / dead).write_bytes(b"half")
        (place / alive).write_bytes(b"half")
    OPENED[kind](folder, sources)
    assert not list(folder.rglob(dead)) and len(list(folder.rglob(alive))) == 1 + len(below)
