"""Short trainings of the tiny model by a team, and what its processes report of them.

The processes are forked from one that has imported what they need, and joined as `accelerate launch` joins them.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.parallel.processes import join_team
from lora_bootstrap.trainer.training.parallel.team import ALONE
from lora_bootstrap.trainer.training.watched import watch
from lora_bootstrap.trainer.training.watched.outliers import MISFIT, Outlier

READY = "lora_bootstrap.tests.helpers.tiny_ready"
FOREVER = 99
PATIENCE = 600
"""Seconds for all cases of a team, which take about 15 on a machine of its own."""


@dataclass(frozen=True)
class Case:
    """A training, and what happens in it.

    Attributes:
        root: folder of its runs, below that of the test.
        classes: whether there are regularisation images too.
        stop: steps after which the last process asks to stop.
        killed: steps after which the last process is killed.
        failing: (number of a prediction in the last process, from 0; the error that its backward pass raises).
    """

    root: str
    settings: dict[str, Any] = field(default_factory=dict)
    classes: bool = False
    stop: int = FOREVER
    killed: int = FOREVER
    failing: tuple[int, BaseException] | None = None

    @property
    def config(self) -> TrainConfig:
        return TrainConfig(name="team", steps=4, state_minutes=0, state_every=1).replace(**{
            "adapter.rank": 2, "data.resolution": 32, "data.trigger": "zqx", "optimizer.learning_rate": 1e-3,
            **self.settings})


@dataclass
class Outcome:
    """What a process reports of a case.

    Attributes:
        error: name of the error's class, and its words; "" without.
        seconds: from the last step to the error.
        written: names of the files that it changed, outside of the cache that all runs share.
        encoded: images that it encoded.
    """

    steps: list[tuple[int, float, float, tuple[float, ...]]] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    written: list[str] = field(default_factory=list)
    encoded: int = 0


def make_images(folder: Path) -> None:
    """Five squares, and three that are twice as wide as high, all with a mask of one half, and two of the class."""
    for name, sizes in {"own": [(32, 32)] * 5 + [(44, 22)] * 3, "class": [(32, 32)] * 2}.items():
        items = [(Image.effect_noise(size, 40 + 10 * row).convert("RGB"), f"{name}, number {row}",
                  {"name": f"{name}{row}"}) for row, size in enumerate(sizes)]
        masks = [Image.new("L", size) for size in sizes]
        for mask in masks:
            mask.paste(255, (0, 0, mask.width // 2, mask.height))
        save_samples(folder / name, items, masks)


def run_case(case: Case, backbone: Any, folder: Path, team: Any = ALONE) -> Outcome:
    """Train, in this process, its part of a case."""
    last, outcome = team.rank == team.size - 1, Outcome()
    own, classes = load_folder(folder / "own"), load_folder(folder / "class") if case.classes else None

    def should_stop() -> bool:
        done = len(outcome.steps)
        if last and done == case.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return last and done == case.stop

    with _encodings_counted(backbone, outcome), _failing(backbone, case.failing if last and team.size > 1 else None):
        began = time.monotonic()
        try:
            for event in train(backbone, own, case.config, folder / case.root, regularisation=classes,
                               should_stop=should_stop, team=team):
                if isinstance(event, StepDone):
                    outcome.steps.append((event.step, event.loss, event.grad_norm, event.image_losses))
                    began = time.monotonic()
        except Exception as error:
            outcome.error, outcome.seconds = f"{type(error).__name__}: {error}", time.monotonic() - began
    return outcome


@contextlib.contextmanager
def _encodings_counted(backbone, outcome):
    encode = backbone.encode_images

    def counted(pixels):
        outcome.encoded += len(pixels)
        return encode(pixels)

    backbone.encode_images = counted
    try:
        yield
    finally:
        del backbone.encode_images


@contextlib.contextmanager
def _failing(backbone, failing):
    if failing is None:
        yield
        return
    predict, count, (number, error) = backbone.predict, itertools.count(), failing

    def fail(gradient):
        raise error

    def failing_predict(*given):
        prediction = predict(*given)
        if prediction.requires_grad and next(count) == number:
            prediction.register_hook(fail)
        return prediction

    backbone.predict = failing_predict
    try:
        yield
    finally:
        del backbone.predict


def third_is_outlier(table):
    """In place of `find_outliers`: the third image, once it was drawn."""
    return [Outlier(2, table.names[2], MISFIT, 6.0, 1.5, 12)] if 2 in table.images else []


def _note_writes(folder: Path, written: list[str]) -> None:
    """Record from here on which files below the folder are made, replaced or removed by this process."""
    paths = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1}

    def look(event, args):
        if event == "open" and not isinstance(args[0], int) and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        for path in args[:paths.get(event, event == "open")]:
            if isinstance(path, (str, os.PathLike)) and Path(path).is_relative_to(folder):
                inner = Path(path).relative_to(folder)
                if not inner.parts[0].endswith("-cache"):  # where every process that uses it says so
                    written.append(inner.name)

    sys.addaudithook(look)


def _member(rank: int, size: int, port: int, cases: list[Case], folder: Path) -> None:
    torch.set_num_threads(1)  # makes a pool in place of the parent's
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    torch.cuda.is_available = lambda: False  # the tiny model is on the CPU, and two cannot share a card
    backbone, written = importlib.import_module(READY).BACKBONE, list[str]()
    watch.find_outliers, watch.MOST_ASIDE = third_is_outlier, 0.5
    _note_writes(folder, written)
    with join_team() as team:
        for number, case in enumerate(cases):
            written.clear()
            outcome = run_case(case, backbone, folder, team)
            outcome.written = [*written]
            text = json.dumps(vars(outcome))
            (folder.parent / f"outcome{number}-{rank}.json").write_text(text)


def run_team(cases: list[Case], folder: Path, size: int = 2) -> list[list[Outcome | None]]:
    """What each process of a team reports of each case; None for one that was killed in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([READY, __name__])
    members = [context.Process(target=_member, args=(rank, size, port, cases, folder)) for rank in range(size)]
    for member in members:
        member.start()
    until = time.monotonic() + PATIENCE
    for member in members:
        member.join(max(0.0, until - time.monotonic()))
    hanging = [member for member in members if member.exitcode is None]
    for member in hanging:
        member.kill()
    assert not hanging, "a process of the team hangs"
    return [[_read(folder.parent / f"outcome{number}-{rank}.json") for rank in range(size)]
            for number in range(len(cases))]


def _read(path: Path) -> Outcome | None:
    if not path.is_file():
        return None
    values = json.loads(path.read_text())
    return Outcome(**{**values, "steps": [(*step[:3], tuple(step[3])) for step in values["steps"]]})


