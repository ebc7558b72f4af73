"""A fine-tune of the host's MODEL, which is left bit-identical, and what it saves."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_backbone, make_dataset
from unchanged import facts

from lora_bootstrap.host.backbone.loras import apply_lora
from lora_bootstrap.host.backbone.memory_plan import count_training
from lora_bootstrap.host.finetune.weights import patched_weights, save_fine_tuned, size_of
from lora_bootstrap.trainer.models.backbone import Backbone
from lora_bootstrap.trainer.models.blocks_in_ram import takes_memory
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Previewed, Proved, StepDone
from lora_bootstrap.trainer.training.loop import train


def config(**changes):
    return TrainConfig(name="tuned", method="full", steps=2).replace(**{
        "data.batch_size": 2, "data.resolution": 64, "optimizer.name": "adafactor", "optimizer.learning_rate": 1e-3,
        **changes})


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "pictures")


def run(backbone, dataset, root, **settings):
    return list(train(backbone, dataset, config(**settings), root))


def all_passed(events):
    return all(event.proof.passed for event in events if isinstance(event, Proved))


@pytest.mark.parametrize("name, precision, checkpointing", [("sdxl", "fp32", True), ("flux", "bf16", False)])
def test_the_hosts_model_is_bit_identical_after_a_fine_tune_that_proves_its_file(
        name, precision, checkpointing, dataset, tmp_path):
    backbone = make_backbone(name)
    assert isinstance(backbone, Backbone)
    backbone._bring("network")  # what the host itself marks in its layers when it first loads them
    backbone.unload()
    backbone.model.model.requires_grad_(False)  # as the host leaves every weight that a LoRA file was once applied to
    before = facts(backbone.model.model)
    events = run(backbone, dataset, tmp_path, precision=precision, gradient_checkpointing=checkpointing,
                 preview_every=1, preview_prompts=("a disc",))
    assert all_passed(events), [event.proof for event in events if isinstance(event, Proved)]
    assert any(isinstance(event, Previewed) for event in events)
    backbone.unload()
    assert facts(backbone.model.model) == before
    assert not any(p.requires_grad for p in backbone.network.parameters())


def test_a_fine_tune_that_was_cancelled_in_the_host_ends_with_the_same_bits_although_its_blocks_are_then_in_ram(
        dataset, tmp_path):
    whole = run(make_backbone("sdxl"), dataset, tmp_path / "whole", precision="bf16")[-1].path
    events = train(make_backbone("sdxl"), dataset, config(precision="bf16"), tmp_path / "broken")
    while not isinstance(next(events), StepDone):
        pass
    events.close()
    backbone = make_backbone("sdxl")
    backbone._bring("network")
    backbone.unload()
    backbone.model.model.requires_grad_(False)
    before = facts(backbone.model.model)
    resumed = run(backbone, dataset, tmp_path / "broken", precision="bf16", offload_blocks=1.0)
    assert all_passed(resumed) and facts(backbone.model.model) == before
    wanted, found = load_file(whole), load_file(resumed[-1].path)
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_the_whole_model_file_holds_what_the_difference_makes_of_the_model(dataset, tmp_path):
    backbone = make_backbone("sdxl")
    path = run(backbone, dataset, tmp_path, steps=1)[-1].path
    backbone.unload()
    before = facts(backbone.model.model)
    save_fine_tuned(backbone.model, path, tmp_path / "whole" / "tuned.safetensors")
    assert facts(backbone.model.model) == before
    saved = load_file(tmp_path / "whole" / "tuned.safetensors")
    own = backbone.model.model.diffusion_model.state_dict()
    assert saved.keys() == {f"model.diffusion_model.{name}" for name in own}
    tuned, _ = apply_lora(backbone.model, None, path)
    for name, weight in patched_weights(tuned).items():
        assert torch.equal(saved[f"model.diffusion_model.{name}"], weight) and not torch.equal(weight, own[name])


@pytest.mark.parametrize("dtype, cast", [(torch.float32, None), (torch.float16, torch.float32)])
def test_the_weights_that_a_fine_tune_trains_are_counted_whatever_type_the_model_has(dtype, cast):
    backbone = make_backbone("sdxl", dtype=dtype, cast=cast)
    count = count_training(backbone, config(precision="fp32"), "a disc", seconds=60)
    assert count.adapter == 4 * sum(p.numel() for p in backbone.network.parameters()) and count.peak > count.adapter
    assert count.weights < 0.1 * count.adapter


def test_a_fine_tune_starts_from_what_other_nodes_have_made_of_the_model(dataset, tmp_path):
    first = make_backbone("sdxl")
    path = run(first, dataset, tmp_path, steps=1)[-1].path
    tuned, _ = apply_lora(first.model, None, path)
    first._use(tuned, first.clip)
    first.unload()
    wanted = patched_weights(tuned)
    with first.training(), first.own_weights(torch.float32) as own:
        assert wanted and all(torch.equal(own.before[name], weight) for name, weight in wanted.items())
        assert all(torch.equal(first.network.get_parameter(name), weight) for name, weight in wanted.items())


def test_blocks_in_ram_stay_there_while_the_others_go_to_the_card():
    backbone = make_backbone("sdxl")
    with backbone.training(), backbone.own_weights(torch.bfloat16, 0.5) as own:
        half = size_of(backbone.network)
        backbone.set_offload(1.0)
        assert size_of(backbone.network) < half < sum(p.nbytes for p in backbone.network.parameters())
        shadow = backbone._shadows["network"]
        shadow._home = torch.device("cpu", 0)  # to torch another device: it stands for a card
        in_ram = {p: own.blocks.weight(p) for p in backbone.network.parameters() if not takes_memory(p)}
        shadow.refresh()
        assert in_ram and not any(takes_memory(p) for p in in_ram)
        assert all(own.blocks.weight(p) is weight and takes_memory(weight) for p, weight in in_ram.items())
