"""A step on a card waits for nothing but its own figures, and its blocks can be compiled."""

import re

import pytest
import torch
from tiny_models import CAPTIONS, FAMILIES, make_backbone, make_dataset
from torch.utils._python_dispatch import TorchDispatchMode

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train


def config(**changes):
    return TrainConfig(name="steps", steps=3).replace(**{
        "adapter.rank": 2, "data.resolution": 64, "data.batch_size": 2, "optimizer.learning_rate": 1e-4, **changes})


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in ("sdxl", "sd3") if name in FAMILIES])
def test_a_step_reads_the_device_once_at_most(name, tmp_path):
    stream = train(make_backbone(name), make_dataset(tmp_path / "data", CAPTIONS[:1] * 2), config(), tmp_path)
    while not isinstance(next(stream), StepDone):
        pass
    with Reads() as reads:
        assert isinstance(next(stream), StepDone)
    stream.close()
    assert reads.count <= 1


@pytest.mark.parametrize("name", [name for name in ("sdxl", "sd3", "flux") if name in FAMILIES])
def test_noise_levels_are_found_without_the_hosts_own_tables_which_it_moves_to_the_card(name):
    backbone, t = make_backbone(name), torch.linspace(0.1, 0.9, 5)
    levels = backbone.schedule.sigmas(t)
    backbone.sampling.to("meta")  # a device from which nothing can be read
    assert torch.equal(levels, backbone.schedule.sigmas(t))


@pytest.mark.skipif("z_image" not in FAMILIES, reason="this host does not have the family")
def test_compiled_blocks_train_as_they_do_uncompiled_also_where_they_are_recomputed(tmp_path, monkeypatch):
    compile_block = torch.compile  # the graphs run as they are: what is tried is whether the host's blocks are traced
    monkeypatch.setattr(torch, "compile", lambda call, **options: compile_block(call, backend="eager", **options))
    data, losses = make_dataset(tmp_path / "data", CAPTIONS[:1] * 2), []
    for on in (False, True):
        settings = config(compile=on, gradient_checkpointing=True, steps=2)
        events = list(train(make_backbone("z_image"), data, settings, tmp_path / str(on)))
        losses.append([event.loss for event in events if isinstance(event, StepDone)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[1]) == 2
    said = [event.message for event in events if isinstance(event, Warned) and "compiled" in event.message]
    graphs = int(re.match(r"step 1: (\d+) graphs", said[0])[1])
    assert graphs < 10, "the trial of the gradients, whose hooks break graphs in pieces, is not compiled"


def test_weights_that_the_host_casts_at_each_use_are_not_compiled(tmp_path):
    backbone = make_backbone("sdxl", dtype=torch.float16, cast=torch.float32)
    with pytest.raises(UserError, match="weights of this model are cast or moved at each use"):
        list(train(backbone, make_dataset(tmp_path / "data", CAPTIONS[:1]), config(compile=True), tmp_path))
