"""A frozen LoRA that is on while another is trained."""

import json

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.lora.tensors import TensorFile
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.training.events import Proved
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.short_runs import losses, run, run_in_two_parts, same_weights, short_config
from ...helpers.tiny import make_dataset


@pytest.fixture(scope="module")
def style(tiny_backbone, tmp_path_factory):
    """A LoRA that changes the base a lot, in its attention layers and its text encoder."""
    folder = tmp_path_factory.mktemp("style")
    settings = short_config(**{"name": "style", "steps": 6, "adapter.text_encoder": True,
                               "adapter.layers": "attention"})
    return run(tiny_backbone, make_dataset(folder / "data", seed=9), folder, settings)[-1].path


def test_the_first_loss_beside_a_lora_is_that_of_the_base_with_it(tiny_backbone, dataset, tmp_path, style):
    settings = short_config(steps=1)
    alone, together, off = (losses(run(tiny_backbone, dataset, tmp_path / name, settings, beside=beside))[0]
                            for name, beside in (("alone", ()), ("on", [StackEntry(path=style, strength=0.8)]),
                                                 ("off", [StackEntry(path=style, strength=0.0)])))
    assert off == alone and abs(together - alone) > 1e-3


def test_the_lora_beside_is_left_out_of_the_file_and_of_the_base(tiny_backbone, dataset, tmp_path, style):
    before = {name: value.clone() for name, value in tiny_backbone.network.state_dict().items()}
    events = run(tiny_backbone, dataset, tmp_path / "runs", short_config(), beside=[StackEntry(path=style)])
    alone = run(tiny_backbone, dataset, tmp_path / "alone", short_config())
    after = tiny_backbone.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    mine, plain = TensorFile(events[-1].path), TensorFile(alone[-1].path)
    assert mine.shapes == plain.shapes and not same_weights(events, alone)
    assert all(event.proof.passed for event in events if isinstance(event, Proved))
    (row,) = json.loads(mine.metadata["lora_bootstrap.lineage"])["beside"]
    assert (row["name"], row["strength"]) == ("style", 1.0)
    assert read_run(events[-1].path.parent).lineage["beside"] == [row]
    noted = [event.message for event in events if isinstance(event, Warned)]
    assert any("trained beside style at strength 1" in line and "layers in the text encoders" in line for line in noted)


def test_the_lora_beside_and_its_strength_make_another_run_whatever_its_file_is_called(
        tiny_backbone, dataset, tmp_path, style):
    def reused(beside):
        return run(tiny_backbone, dataset, tmp_path / "runs", short_config(steps=1), beside=beside)[-1].reused

    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(style.read_bytes())
    found = [reused(beside) for beside in ((), [StackEntry(path=style)], [StackEntry(path=style, strength=0.5)],
                                           [StackEntry(path=copy)], [StackEntry(path=style, strength=0.0)])]
    assert found == [False, False, False, True, True]


def test_a_lora_that_is_on_by_chance_is_on_in_the_same_steps_after_a_resume(tiny_backbone, dataset, tmp_path, style):
    beside, settings = [StackEntry(path=style)], short_config(beside_chance=0.5)
    whole = run(tiny_backbone, dataset, tmp_path / "whole", settings, beside=beside)
    parts = run_in_two_parts(tiny_backbone, dataset, tmp_path / "parts", settings, beside=beside)
    always = run(tiny_backbone, dataset, tmp_path / "always", short_config(), beside=beside)
    never = run(tiny_backbone, dataset, tmp_path / "never", short_config())
    assert same_weights(whole, parts)
    assert not same_weights(whole, always) and not same_weights(whole, never)


def test_a_lora_of_another_model_cannot_be_beside_a_training(tiny_backbone, dataset, tmp_path, style):
    with pytest.raises(UserError, match="style cannot be beside a fine-tune"):
        run(tiny_backbone, dataset, tmp_path, short_config(method="full", **{"optimizer.name": "adafactor"}),
            beside=[StackEntry(path=style)])
    with pytest.raises(UserError, match="cannot read .*gone.safetensors"):
        run(tiny_backbone, dataset, tmp_path, short_config(), beside=[StackEntry(path=tmp_path / "gone.safetensors")])
