"""torch.compile of the repeated blocks. A graph takes seconds to compile here, so most of this compiles for show."""

import shutil

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import run_key
from lora_bootstrap.trainer.training.step import compiled
from lora_bootstrap.trainer.training.step.compiled import CompiledBlocks, repeated_blocks

NO_COMPILER = not shutil.which("g++")


def config(**settings):
    return TrainConfig(name="compiled", steps=2, validate_every=2).replace(**{
        "adapter.rank": 2, "data.resolution": 32, "data.batch_size": 2, "optimizer.learning_rate": 1e-2, **settings})


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))

    def forward(self, x):
        return self.b(self.a(x)).relu()


def test_an_error_of_the_compiler_without_a_message_is_named_by_its_kind():
    from torch._dynamo.exc import TorchDynamoException

    assert "could not be compiled (TorchDynamoException)" in compiled.compile_problem(TorchDynamoException())


def test_the_innermost_blocks_are_compiled_and_no_single_layers(tiny_backbone):
    blocks = list(repeated_blocks(tiny_backbone.network))
    assert {type(block).__name__ for block in blocks} == {"BasicTransformerBlock"} and len(blocks) > 1


@pytest.fixture
def traced(monkeypatch):
    """The compiler only traces, and the graphs run as they are."""
    compile_block = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **options: compile_block(call, backend="eager", **options))


def test_a_compiled_training_says_how_long_compiling_took_and_leaves_the_network_as_it_was(
        tiny_backbone, dataset, tmp_path, traced):
    settings = config(gradient_checkpointing=True)
    plain = list(train(tiny_backbone, dataset, settings, tmp_path / "a", validation=dataset))
    events = list(train(tiny_backbone, dataset, settings.replace(compile=True), tmp_path / "b", validation=dataset))
    said = [event.message for event in events if isinstance(event, Warned) and "compiled" in event.message]
    assert len(said) == 1 and said[0].startswith("step 1: ")  # one bucket: one warm-up
    for one, other in zip(*([event.loss for event in run if isinstance(event, StepDone)] for run in (plain, events)),
                          strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert all("_compiled_call_impl" not in block.__dict__ for block in tiny_backbone.network.modules())


def test_blocks_of_one_shape_share_a_graph_and_each_size_has_its_own(traced):
    network = nn.Module()
    network.blocks = nn.ModuleList(Block() for _ in range(3))
    made, said = CompiledBlocks(network, torch.device("cpu")), []
    with made.applied():
        for rows in (*range(2, 14), 2, 13):  # torch's own limit is 8 graphs
            x = torch.ones(rows, 4, requires_grad=True)
            for block in network.blocks:
                x = block(x)
            said.append(made.report(1)[:25])
    assert made.count == 3 and said == ["step 1: 1 graphs were com"] * 12 + [""] * 2


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER, reason="no C++ compiler")
def test_a_block_that_is_really_compiled_has_the_same_gradients():
    network, plain = nn.Module(), Block()
    network.blocks = nn.ModuleList([plain])
    x = torch.linspace(-1, 1, 8).view(2, 4)
    expected = torch.autograd.grad(plain(x).sum(), list(plain.parameters()))
    made = CompiledBlocks(network, torch.device("cpu"))
    with made.applied():
        found = torch.autograd.grad(plain(x).sum(), list(plain.parameters()))
    assert made.report(1)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


def test_what_cannot_be_compiled_is_refused_before_the_first_step(tiny_backbone, dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compiled.shutil, "which", lambda name: None)
        with pytest.raises(UserError, match=r"no C\+\+ compiler was found .* or turn compile off"):
            list(train(tiny_backbone, dataset, config(compile=True), tmp_path / "a"))
    block = next(repeated_blocks(tiny_backbone.network))
    layer = next(m for m in block.modules() if isinstance(m, nn.Linear))
    monkeypatch.setitem(layer.__dict__, "forward", type(layer).forward.__get__(layer))
    with pytest.raises(UserError, match="weights of this model are cast or moved at each use"):
        list(train(tiny_backbone, dataset, config(compile=True), tmp_path / "b"))
    with pytest.raises(UserError, match="Linear has no repeated blocks: turn compile off"):
        CompiledBlocks(nn.Linear(2, 2), torch.device("cpu"))


def test_compile_counts_as_another_run_only_if_it_is_on():
    plain, on = (run_key(config(compile=value), "base", "dataset") for value in (False, True))
    assert plain != on
    assert run_key(TrainConfig(precision="fp32"), "base", "dataset") == OLD_KEY


OLD_KEY = "d36675e5a55fa007bd2c951330dae3604d557ec26dd6ea0640faceb07122d1b1"
"""As versions before `compile` made it."""
