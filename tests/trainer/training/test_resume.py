"""A run killed with SIGKILL at random points ends with the same bits as one that was not."""

import importlib
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train

STEPS, KILLS = 60, 8
READY = "lora_bootstrap.tests.helpers.tiny_ready"
"""What the process that all runs are forked from has imported."""
CONFIG = TrainConfig(name="killed", steps=STEPS, state_every=2, state_minutes=0, save_every=5).replace(**{
    "adapter.rank": 2, "data.resolution": 32, "data.batch_size": 2, "data.shuffle_captions": True,
    "data.caption_dropout": 0.2, "optimizer.learning_rate": 1e-2})


def _train(data, root, progress, is_killed):
    """Runs in a child, which has its parent's model: trains, saying how far it is, until it is done or killed. One that
    is to be killed waits for that before its last step, however late it comes on a busy machine."""
    torch.set_num_threads(1)  # makes a pool in place of the parent's, before threads that read images race to do so
    backbone = importlib.import_module(READY).BACKBONE
    for event in train(backbone, load_folder(data), CONFIG, root):
        if isinstance(event, StepDone):
            progress.value = event.step
            if is_killed and event.step == STEPS - 1:
                signal.pause()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and forkserver are POSIX")
def test_a_run_killed_again_and_again_ends_with_the_same_bits(dataset, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([READY, train.__module__])

    def start(root, is_killed=False):
        progress = context.Value("i", 0)
        child = context.Process(target=_train, args=(tmp_path / "data", root, progress, is_killed))
        child.start()
        return child, progress

    child, _ = start(tmp_path / "whole")
    child.join(120)
    assert child.exitcode == 0
    rng = random.Random(0)
    for _ in range(KILLS):
        child, progress = start(tmp_path / "killed", is_killed=True)
        more = rng.randint(1, 3)
        while progress.value == 0 and child.is_alive():
            time.sleep(0.001)
        target = min(STEPS - 2, progress.value + more - 1)
        while progress.value < target and child.is_alive():
            time.sleep(0.0005)
        time.sleep(rng.random() * 0.02)  # into the middle of a step or of a save
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        for path in (tmp_path / "killed").rglob("*.safetensors"):
            if not path.name.startswith("."):
                with safe_open(path, "pt") as file:  # a partial file under a final name would not open
                    assert len(file.keys()) > 0
    child, _ = start(tmp_path / "killed")
    child.join(120)
    assert child.exitcode == 0
    whole, killed = (load_file(next((tmp_path / name).glob("*/killed.safetensors"))) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys() and all((whole[key] == killed[key]).all() for key in whole)
