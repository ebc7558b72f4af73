"""Which number format a training computes in, and what its runs are called by."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lora_bootstrap.trainer.models.precision import autocast
from lora_bootstrap.trainer.training import adapters, runs
from lora_bootstrap.trainer.training.adapters import attach
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.events import RunStarted
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import read_run, settle_precision

AUTO = TrainConfig(name="tiny", steps=3).replace(**{
    "adapter.rank": 2, "adapter.text_encoder": True, "optimizer.learning_rate": 1e-2, "data.resolution": 32})


def a_base(device, dtype, half="bf16"):
    network = nn.Module()
    network.weight = nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)
    return SimpleNamespace(device=torch.device(device), network=network, half_precision=half)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """The tiny base is trained as one in 16 bits on a GPU would be."""
    monkeypatch.setattr(runs, "choose_precision", lambda backbone: "bf16")


def finish(backbone, dataset, root, config, **options):
    *_, last = train(backbone, dataset, config, root, **options)
    return last


@pytest.mark.parametrize(("device", "dtype", "half", "expected"), [
    ("cpu", torch.bfloat16, "bf16", "fp32"), ("cuda", torch.float32, "bf16", "fp32"),
    ("cuda", torch.float16, "bf16", "bf16"), ("cuda", torch.float8_e4m3fn, "bf16", "bf16"),
    ("cuda", torch.float16, "fp16", "fp16")])
def test_auto_is_the_format_that_suits_the_base_and_its_device(device, dtype, half, expected):
    assert settle_precision(AUTO, a_base(device, dtype, half)).precision == expected


def test_a_precision_that_is_written_is_respected():
    assert settle_precision(AUTO.replace(precision="fp32"), a_base("cuda", torch.bfloat16)).precision == "fp32"


def test_a_run_records_what_auto_stood_for_and_is_found_again_under_either_name(tiny_backbone, dataset, tmp_path,
                                                                                on_a_gpu):
    first = finish(tiny_backbone, dataset, tmp_path, AUTO)
    assert read_run(first.path.parent).config.precision == "bf16"
    assert finish(tiny_backbone, dataset, tmp_path, AUTO.replace(precision="bf16")).reused
    assert finish(tiny_backbone, dataset, tmp_path, AUTO).reused


def test_auto_over_a_float32_base_is_the_run_that_earlier_versions_made(tiny_backbone, dataset, tmp_path):
    finish(tiny_backbone, dataset, tmp_path, AUTO.replace(precision="fp32"))
    assert finish(tiny_backbone, dataset, tmp_path, AUTO).reused


def test_auto_goes_on_with_a_run_that_was_begun_in_fp32(tiny_backbone, dataset, tmp_path, on_a_gpu):
    steps = iter(range(9))
    stopped = finish(tiny_backbone, dataset, tmp_path, AUTO.replace(precision="fp32"),
                     should_stop=lambda: next(steps) == 1)
    assert stopped.stopped
    events = list(train(tiny_backbone, dataset, AUTO, tmp_path))
    started = next(event for event in events if isinstance(event, RunStarted))
    assert (started.folder, started.first_step) == (stopped.path.parent, 2)
    assert finish(tiny_backbone, dataset, tmp_path, AUTO).reused
    again = finish(tiny_backbone, dataset, tmp_path, AUTO, retrain=True)
    assert read_run(again.path.parent).config.precision == "bf16"


def test_without_pefts_own_cast_the_weights_are_the_same_to_the_bit(tiny_backbone, dataset, tmp_path, monkeypatch):
    config = AUTO.replace(precision="bf16", **{"data.batch_size": 2})
    ours = finish(tiny_backbone, dataset, tmp_path / "ours", config)
    monkeypatch.setattr(adapters, "_leave_cast_to_autocast", lambda layer, inputs: None)
    plain = finish(tiny_backbone, dataset, tmp_path / "plain", config)
    one, other = load_file(ours.path), load_file(plain.path)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_an_adapter_keeps_no_float32_copy_of_its_input_under_autocast():
    network = nn.ModuleDict({"blocks": nn.ModuleList([nn.ModuleDict({"to_q": nn.Linear(8, 8)})])}).bfloat16()
    handle = attach(network, AdapterConfig(rank=2, layers="attention"), ("blocks",), 0)
    layer, x = network["blocks"][0]["to_q"], torch.randn(4, 8).bfloat16()

    def kept(precision):
        found = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: found.append(tensor) or tensor, lambda kept: kept):
            with autocast(torch.device("cpu"), precision):
                layer(x)
        return {tensor.dtype for tensor in found if tensor.shape == x.shape}

    assert kept("bf16") == {torch.bfloat16}
    assert kept("fp32") == {torch.float32}, "without autocast, as a proof runs, peft's cast is needed"
    handle.detach()
    assert layer.cast_input_dtype_enabled and not layer._forward_pre_hooks
