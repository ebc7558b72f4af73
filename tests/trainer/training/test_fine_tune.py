"""A run of method "full" trains the network's own weights, and gives the base its own back."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.difference import load_difference
from lora_bootstrap.trainer.lora.layers import read_header
from lora_bootstrap.trainer.models import ram
from lora_bootstrap.trainer.models.own_weights import as_before, own_weights
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import CheckpointSaved, Finished, Proved, StepDone, Validated
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.optimizers import build_optimizer
from lora_bootstrap.trainer.training.presets import preset_config
from lora_bootstrap.trainer.training.trained.model_file import model_path, save_model
from lora_bootstrap.trainer.training.trained.on_arrival import OnArrival

CPU = torch.device("cpu")


def config(**settings):
    return TrainConfig(name="whole", method="full", steps=4, state_every=2, state_minutes=0).replace(**{
        "optimizer.name": "adafactor", "optimizer.learning_rate": 1e-3, "data.resolution": 32, "data.batch_size": 2,
        **settings})


def state_of(backbone):
    return {name: value.clone() for name, value in backbone.network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(backbone, dataset, root, settings, **options):
    return list(train(backbone, dataset, settings, root, **options))


def test_a_fine_tune_learns_proves_its_file_and_leaves_the_base_bit_identical(tiny_backbone, dataset, tmp_path):
    before, memory = state_of(tiny_backbone), [p.data_ptr() for p in tiny_backbone.network.parameters()]
    events = run(tiny_backbone, dataset, tmp_path,
                 config(steps=20, validate_every=20, save_every=10), validation=dataset)
    assert next(event for event in events if isinstance(event, Validated)).ratio < 0.9
    assert all(event.proof.passed for event in events if isinstance(event, Proved)), events
    assert same(before, state_of(tiny_backbone))
    assert memory == [p.data_ptr() for p in tiny_backbone.network.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in tiny_backbone.network.parameters())
    saved = [event.path for event in events if isinstance(event, CheckpointSaved)]
    assert [path.name for path in saved] == ["whole-step000010.safetensors", "whole.safetensors"]


def test_every_weight_is_trained_and_saved_as_a_difference_that_lora_readers_read(tiny_backbone, dataset, tmp_path):
    path = run(tiny_backbone, dataset, tmp_path, config())[-1].path
    names = {f"unet.{name}": p for name, p in tiny_backbone.network.named_parameters()}
    found, strangers = load_difference(path, names, "kohya")
    assert strangers == () and found.keys() == names.keys()
    assert all(found[name].shape == names[name].shape and found[name].any() for name in names)
    header = read_header(path, [name.rpartition(".")[0] for name in names])
    header.tensors.close()
    assert len(header.entries) + len(header.vectors) == len(names) and not header.beside


def test_a_saved_difference_gives_other_images_at_strength_one_and_the_bases_own_at_zero(
        tiny_backbone, dataset, tmp_path):
    path = run(tiny_backbone, dataset, tmp_path, config())[-1].path
    ask = {"seeds": [1], "width": 32, "height": 32, "steps": 2, "cfg": 1.0}
    plain = tiny_backbone.generate(["disc"], **ask)
    with tiny_backbone.lora(path) as applied:
        tuned = tiny_backbone.generate(["disc"], **ask)
        applied.set_strength(0.0)
        assert torch.equal(plain, tiny_backbone.generate(["disc"], **ask))
    assert not torch.equal(plain, tuned)
    assert torch.equal(plain, tiny_backbone.generate(["disc"], **ask))


@pytest.mark.parametrize("precision, optimizer", [("bf16", "adafactor"), ("fp32", "adafactor"), ("bf16", "adamw8bit")])
def test_a_fine_tune_that_was_broken_off_ends_with_the_same_bits(
        tiny_backbone, dataset, tmp_path, precision, optimizer):
    if optimizer == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    settings = config(**{"precision": precision, "optimizer.name": optimizer})
    whole = run(tiny_backbone, dataset, tmp_path / "whole", settings)[-1].path
    events = train(tiny_backbone, dataset, settings, tmp_path / "broken")
    while not (isinstance(event := next(events), StepDone) and event.step == 3):
        pass
    events.close()
    ended = run(tiny_backbone, dataset, tmp_path / "broken", settings)
    assert isinstance(ended[-1], Finished) and same(load_file(whole), load_file(ended[-1].path))


def test_gradients_of_several_batches_are_applied_together(tiny_backbone, dataset, tmp_path):
    norms = {steps: [event.grad_norm for event in run(
        tiny_backbone, dataset, tmp_path, config(name=f"of{steps}", steps=1, accumulation_steps=steps))
        if isinstance(event, StepDone)] for steps in (1, 2)}
    assert 0 < norms[2][0] != norms[1][0] > 0


@pytest.mark.parametrize("settings, word", [
    ({"optimizer.name": "prodigy"}, "prodigy"), ({"precision": "fp16"}, "fp16"),
    ({"adapter.text_encoder": True}, "text_encoder"), ({"compile": True}, "compile"),
    ({"adapter.kind": "lokr"}, "adapter.kind is 'lokr'"), ({"adapter.block_ranks": "mid=8"}, "adapter.block_ranks"),
    ({"adapter.rank_stabilized": True}, "adapter.rank_stabilized"), ({"adapter.lokr_factor": 8}, "lokr_factor")])
def test_a_setting_that_a_fine_tune_cannot_have_is_refused(settings, word):
    with pytest.raises(UserError, match=word):
        config(**settings)


def test_a_fine_tune_that_ram_has_no_room_for_is_refused_before_a_weight_is_copied(
        tiny_backbone, dataset, tmp_path, monkeypatch):
    copied = []
    monkeypatch.setattr(type(tiny_backbone), "own_weights", lambda *args: copied.append(1))
    monkeypatch.setattr(ram, "free_ram", lambda: 1000)
    with pytest.raises(UserError, match="GiB of RAM, and 0.0 GiB are free. Close other programs, choose precision"):
        run(tiny_backbone, dataset, tmp_path, config())
    assert copied == []


def test_free_ram_is_the_least_of_the_system_and_its_container(tmp_path, monkeypatch):
    info, limit, used, stat = (tmp_path / name for name in ("meminfo", "max", "current", "stat"))
    info.write_text("MemTotal: 99 kB\nMemAvailable:    8000 kB\n")
    monkeypatch.setattr(ram, "MEMINFO", info)
    monkeypatch.setattr(ram, "LIMITS", ((limit, used, stat),))
    assert ram.free_ram() == 8000 * 1024
    used.write_text("1000")
    stat.write_text("anon 500\ninactive_file 300\nactive_file 50\n")
    limit.write_text("max")
    assert ram.free_ram() == 8000 * 1024
    limit.write_text("5000")
    assert ram.free_ram() == 4350, "the system gives up files that it holds"


def test_the_preset_of_a_fine_tune_is_its_own(tiny_backbone):
    planned = preset_config(tiny_backbone.family, "character", {"method": "full"})
    assert (planned.optimizer.name, planned.data.batch_size, planned.adapter.text_encoder) == ("adafactor", 2, False)
    assert preset_config(tiny_backbone.family, "character", {"method": "full", "data.batch_size": 3}
                         ).data.batch_size == 3


# -- the optimizer -----------------------------------------------------------------------------------------------------


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.LayerNorm(16), nn.Linear(16, 4))


def cancel(*_):
    raise KeyboardInterrupt


def optimizer_of(network, name="adafactor", rate=1e-2):
    return build_optimizer(name, [(list(network.parameters()), rate)], 0.01)


def test_adamw8bit_steps_each_gradient_as_it_arrives_with_its_state_in_eight_bits():
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    fused = nn.Linear(128, 64)
    plain, x = copy.deepcopy(fused), torch.randn(32, 128)
    arriving = OnArrival(optimizer_of(fused, "adamw8bit"), 0.0, lambda: None)
    optimizer = optimizer_of(plain, "adamw8bit")
    for _ in range(3):
        fused(x).square().mean().backward()
        plain(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(fused.parameters(), plain.parameters(), strict=True))
    assert arriving.optimizer.state[fused.weight]["state1"].dtype == torch.uint8


@pytest.mark.parametrize("name", ["adafactor", "adamw", "lion", "came"])
def test_stepping_each_gradient_as_it_arrives_equals_stepping_them_all_at_the_end(name):
    if name in ("lion", "came"):
        pytest.importorskip("pytorch_optimizer")
    fused, plain = small_network(), small_network()
    arriving, optimizer = OnArrival(optimizer_of(fused, name), 0.0, lambda: None), optimizer_of(plain, name)
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(5):
        fused(x).square().mean().backward()
        assert all(p.grad is None for p in fused.parameters())
        plain(x).square().mean().backward()
        norm = torch.stack([p.grad.square().sum() for p in plain.parameters()]).sum().sqrt()
        torch.testing.assert_close(arriving.norm(), norm)
        arriving.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(fused.parameters(), plain.parameters(), strict=True))


def test_no_more_than_one_gradient_is_held_at_a_time():
    network = small_network()
    held = []
    OnArrival(optimizer_of(network), 0.0, lambda: held.append(sum(p.grad is not None for p in network.parameters())))
    network(torch.ones(2, 8)).sum().backward()
    assert held == [1] * len(list(network.parameters()))


def test_a_factored_optimizer_is_given_convolutions_as_matrices():
    network = nn.Conv2d(4, 8, 3)
    start = network.weight.detach().clone()
    optimizer = OnArrival(optimizer_of(network), 0.0, lambda: None, matrices=True)
    network(torch.ones(1, 4, 5, 5)).square().sum().backward()
    state = optimizer.optimizer.state[network.weight]
    assert (state["exp_avg_sq_row"].shape, state["exp_avg_sq_col"].shape) == ((8,), (4 * 9,))
    assert network.weight.shape == start.shape and (network.weight != start).all()


def test_each_gradient_is_clipped_by_its_own_norm():
    network = nn.Linear(4, 4, bias=False)
    start = network.weight.detach().clone()
    OnArrival(torch.optim.SGD(network.parameters(), lr=1.0), 0.5, lambda: None)
    (100 * network(torch.ones(1, 4))).sum().backward()
    assert (network.weight - start).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_weights_in_bf16_learn_by_chance_where_plain_rounding_stands_still():
    """Steps of 1e-5 at weights of 1 are a 400th of bf16's distance there: 400 of them make about one such distance."""
    moved = {}
    for arrives in (True, False):
        weight = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = torch.optim.SGD([weight], lr=1e-5)
        if arrives:
            stepped = OnArrival(optimizer, 0.0, lambda: None)
        for step in range(400):
            if arrives:
                stepped.param_groups[0]["rounded"] = step
            weight.float().sum().backward()
            if not arrives:
                optimizer.step()
                optimizer.zero_grad()
        moved[arrives] = 1 - weight.detach().float().mean().item()
    assert moved[False] == 0
    assert moved[True] == pytest.approx(400e-5, rel=0.05)


def test_the_optimizers_state_keeps_its_own_type_when_it_is_restored():
    network = small_network().bfloat16()
    first = OnArrival(optimizer_of(network), 0.0, lambda: None)
    network(torch.randn(4, 8).bfloat16()).float().square().mean().backward()
    saved = copy.deepcopy(first.state_dict())
    first.remove()
    second = OnArrival(optimizer_of(network), 0.0, lambda: None)
    second.load_state_dict(saved)
    for number, values in second.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == torch.float32 and torch.equal(value, saved["state"][number][name])


# -- weights of one's own ----------------------------------------------------------------------------------------------


def test_the_base_answers_while_the_network_trains_weights_of_its_own():
    network, x = small_network(), torch.ones(2, 8)
    asked = network(x).detach()
    with own_weights(network, CPU, torch.float32) as before, torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
        tuned = network(x)
        with as_before(network, before):
            assert torch.equal(asked, network(x))
        assert torch.equal(tuned, network(x)) and not torch.equal(tuned, asked)
    assert torch.equal(asked, network(x))


def test_a_pass_of_the_base_that_is_cancelled_leaves_the_trained_weights():
    network, x = small_network(), torch.ones(2, 8)
    with own_weights(network, CPU, torch.float32) as before, torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
        tuned = copy.deepcopy(network.state_dict())
        network[-1].register_forward_hook(cancel)
        with pytest.raises(KeyboardInterrupt), as_before(network, before):
            network(x)
        assert same(tuned, network.state_dict())


def test_weights_of_eight_bits_are_refused():
    network = nn.Linear(2, 2)
    network.weight = nn.Parameter(network.weight.data.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(UserError, match="float8_e4m3fn"), own_weights(network, CPU, torch.float32):
        pass


def test_a_whole_model_never_takes_the_place_of_another_file(tmp_path):
    difference = tmp_path / "loras" / "tuned" / "tuned.safetensors"
    difference.parent.mkdir(parents=True)
    save_file({"a.diff": torch.ones(2)}, difference)
    first = model_path(difference)
    assert first == tmp_path / "diffusion_models" / "tuned.safetensors"
    save_model(first, {"a": torch.ones(2)}, difference)
    assert model_path(difference) == first, "it holds this difference already"
    save_file({"a.diff": torch.zeros(3)}, difference)
    assert model_path(difference).name == "tuned-2.safetensors", "another training under the same name"
