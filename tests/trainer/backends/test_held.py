"""A base whose weights are in fewer bits or in RAM trains, and its LoRA is used as any other."""

import sys

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.backends.held import HeldWeights, check_precision
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, StepDone, Validated
from lora_bootstrap.trainer.training.loop import train

from ...helpers.tiny import make_tiny_backbone

CPU = torch.device("cpu")


def has_bitsandbytes():
    try:
        check_precision("int8")
    except UserError:
        return False
    return True


PACKED = ["fp8", *(pytest.param(name, marks=pytest.mark.skipif(not has_bitsandbytes(), reason="no bitsandbytes"))
                   for name in ("int8", "nf4"))]
BYTES = {"fp8": 1, "int8": 1, "nf4": 0.5}
ROUNDING = {"fp8": 0.1, "int8": 0.1, "nf4": 0.3}
"""How far the prediction of random weights may be off, relative to its size."""


def a_config(**settings):
    return TrainConfig(name="tiny", steps=3).replace(**{
        "adapter.rank": 4, "adapter.layers": "all", "adapter.conv_rank": 2, "data.resolution": 32,
        "optimizer.learning_rate": 1e-2, **settings})


def weights_of(network):
    return {name: parameter.clone() for name, parameter in network.named_parameters()}


def predicted(backbone):
    generator = torch.Generator().manual_seed(1)
    noisy, t = torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([0.5])
    with torch.no_grad():
        return backbone.predict(noisy, t, backbone.encode_text(["red, disc"]))


@pytest.mark.parametrize("precision", PACKED)
def test_a_packed_base_learns_and_its_lora_is_applied_as_it_was_trained(precision, dataset, tmp_path):
    backbone = make_tiny_backbone()
    plain = predicted(backbone)
    layers = [layer for layer in backbone.network.mid_block.modules() if isinstance(layer, nn.Linear)]
    count = layers[0].weight.numel()
    backbone._held.pack(precision, CPU)
    base = predicted(backbone)
    assert 0 < (base - plain).abs().mean() < ROUNDING[precision] * plain.abs().mean()
    assert layers[0].weight.untyped_storage().nbytes() < 16
    packed = backbone._held._held[id(layers[0])].packed.tensors
    assert packed[0].nbytes == BYTES[precision] * count
    events = list(train(backbone, dataset, a_config(steps=30, validate_every=30), tmp_path, validation=dataset))
    assert next(event for event in events if isinstance(event, Validated)).ratio < 0.95
    assert torch.equal(predicted(backbone), base)
    finished = events[-1]
    assert isinstance(finished, Finished)
    with backbone.lora(finished.path) as applied:
        assert not applied.unmatched and (predicted(backbone) - base).abs().max() > 1e-3


def test_blocks_in_ram_train_to_the_same_loss_and_come_back(dataset, tmp_path):
    backbone = make_tiny_backbone()
    before, losses = weights_of(backbone.network), []
    for share in (0.0, 1.0):
        events = train(backbone, dataset, a_config(offload_blocks=share), tmp_path / str(share))
        losses.append([event.loss for event in events if isinstance(event, StepDone)])
    assert losses[1] == pytest.approx(losses[0])
    with backbone.training(offload=1.0):
        storages = {layer.weight.untyped_storage().nbytes() for layer in backbone.network.mid_block.modules()
                    if isinstance(layer, nn.Linear)}
        assert max(storages) <= 4
        assert backbone.network.conv_in.weight.untyped_storage().nbytes() > 1000
    after = weights_of(backbone.network)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all("forward" not in module.__dict__ for module in backbone.network.modules())


def test_the_last_blocks_are_the_first_in_ram():
    network = nn.Module()
    network.blocks = nn.ModuleList(nn.Sequential(nn.Sequential(nn.Linear(8, 8))) for _ in range(4))
    weights = HeldWeights(network)
    weights.offload(0.5, CPU)
    assert ["forward" in block[0][0].__dict__ for block in network.blocks] == [False, False, True, True]
    weights.offload(0.0, CPU)
    assert not any("forward" in module.__dict__ for module in network.modules())


def test_a_precision_that_is_not_known_or_has_no_library_is_one_line(monkeypatch):
    with pytest.raises(UserError, match=r"base precision.*fp9.*auto"):
        check_precision("fp9")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(UserError, match="bitsandbytes, which is not installed. Install lora-bootstrap"):
        check_precision("nf4")
