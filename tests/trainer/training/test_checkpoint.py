"""Training states: what is loaded is what was saved, to the bit, for every optimizer."""

import copy

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.checkpoint import (
    DamagedState,
    load_state,
    restore_optimizer,
    saved_step,
    take_snapshot,
    write_snapshot,
)
from lora_bootstrap.trainer.training.optimizers import OPTIMIZERS, build_optimizer

from ...helpers.states import save_state


def build(name):
    """Two layers in two parameter groups, and their optimizer; skips the test if its library is absent."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Conv2d(3, 4, 3))
    second_rate = 0.03 if name == "prodigy" else 0.01  # Prodigy wants one rate for all
    try:
        groups = [(list(network[0].parameters()), 0.03), (list(network[1].parameters()), second_rate)]
        return network, build_optimizer(name, groups, 0.01)
    except UserError as error:
        pytest.skip(str(error))


def train(network, optimizer, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        flat = network[0](torch.randn(4, 6, generator=generator))
        wide = network[1](torch.randn(2, 3, 5, 5, generator=generator))
        (flat.square().mean() + wide.square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()


def bits(value):
    """A comparable form that tells 1 from 1.0, tuples from lists, and a NaN's payload."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().flatten().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [bits(item) for item in value]
    return type(value).__name__, repr(value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_to_the_same_bits(tmp_path, name):
    network, optimizer = build(name)
    train(network, optimizer, range(3))
    tensors = {key: value.detach().clone() for key, value in network.state_dict().items()}
    save_state(tmp_path / "state", 3, tensors, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    train(network, optimizer, range(3, 6))

    resumed, fresh = build(name)
    state = load_state(tmp_path / "state")
    resumed.load_state_dict(state.tensors)
    restore_optimizer(fresh, state.optimizer_state)
    assert bits(dict(state.optimizer_state)) == bits(saved)
    assert bits(fresh.state_dict()) == bits(saved)
    train(resumed, fresh, range(state.step, 6))
    assert bits(resumed.state_dict()) == bits(network.state_dict())
    assert bits(fresh.state_dict()) == bits(optimizer.state_dict())


def test_an_8_bit_state_with_shared_tables_comes_back_to_the_bit(tmp_path):
    parameters = [torch.nn.Parameter(torch.ones(8)) for _ in range(2)]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    table = torch.linspace(-1, 1, 256)
    for row, parameter in enumerate(parameters):
        optimizer.state[parameter] = {
            "step": 7, "state1": torch.full((8,), 200 + row, dtype=torch.uint8), "qmap1": table,
            "absmax1": torch.rand(1), "blocks": [1, 2], "note": None,
        }
    save_state(tmp_path / "state", 7, {}, optimizer)
    assert bits(dict(load_state(tmp_path / "state").optimizer_state)) == bits(optimizer.state_dict())


def test_a_zero_dimensional_step_and_tensors_of_every_kind_keep_type_and_shape(tmp_path):
    network, optimizer = build("adamw")
    train(network, optimizer, range(1))
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool)
    tensors = {str(kind): torch.arange(4).to(kind) for kind in kinds}
    tensors |= {"scalar": torch.tensor(1.5), "none": torch.empty(0, 3), "turned": torch.arange(6.0).view(2, 3).T,
                "broken": torch.tensor([float("nan"), float("-inf"), -0.0])}
    save_state(tmp_path / "state", 1, tensors, optimizer)
    state = load_state(tmp_path / "state")
    assert bits(dict(state.tensors)) == bits({key: state.tensors[key] for key in tensors}) == bits(
        {key: tensors[key] for key in state.tensors})
    assert state.optimizer_state["state"][0]["step"].shape == ()


def test_extra_values_keep_their_types(tmp_path):
    optimizer = build("adamw")[1]
    extra = {"none": None, "flag": True, "whole": 3, "real": 0.1 + 0.2, "huge": float("inf"), "text": "ö\n",
             "pair": (1, [2.0, (3,)]), "by_number": {0: "a", 1: {}}, "$kind": "tuple", "rng": torch.get_rng_state()}
    save_state(tmp_path / "state", 0, {}, optimizer, extra)
    back = load_state(tmp_path / "state").extra
    assert bits(back) == bits(extra)
    with pytest.raises(TypeError, match=r"extra\.it is a set"):
        save_state(tmp_path / "state", 0, {}, optimizer, {"it": {1}})
    assert bits(load_state(tmp_path / "state").extra) == bits(extra)


def test_a_newer_state_replaces_the_older_and_leaves_nothing_else(tmp_path):
    optimizer = build("adamw")[1]
    for step in (1, 2):
        save_state(tmp_path / "state", step, {"a": torch.full((3,), step)}, optimizer)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    state = load_state(tmp_path / "state")
    assert (state.step, state.tensors["a"].tolist()) == (2, [2, 2, 2])


def test_saving_leaves_the_training_alone(tmp_path):
    network, optimizer = build("adamw")
    train(network, optimizer, range(2))
    before = bits([network.state_dict(), optimizer.state_dict(), torch.get_rng_state()])
    save_state(tmp_path / "state", 2, dict(network.named_parameters()), optimizer)
    assert bits([network.state_dict(), optimizer.state_dict(), torch.get_rng_state()]) == before


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: b"", lambda data: b"PK" + data])
def test_a_damaged_state_is_refused_and_says_what_becomes_of_the_run(tmp_path, damage):
    save_state(tmp_path / "state", 1, {"a": torch.ones(3)}, build("adamw")[1])
    (tmp_path / "state").write_bytes(damage((tmp_path / "state").read_bytes()))
    with pytest.raises(DamagedState, match="is damaged .*so the run starts again at step 0") as caught:
        load_state(tmp_path / "state")
    assert "\n" not in str(caught.value) and str(tmp_path / "state") in str(caught.value)


def test_another_optimizers_state_is_refused(tmp_path):
    save_state(tmp_path / "state", 1, {}, build("adamw")[1])
    other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(UserError, match=r"\[2, 2\] parameters by group, but this run has \[1\]"):
        restore_optimizer(other, load_state(tmp_path / "state").optimizer_state)


def test_steps_after_a_snapshot_do_not_change_it(tmp_path):
    network, optimizer = build("adamw")
    train(network, optimizer, range(2))
    before = bits([network.state_dict(), optimizer.state_dict()])
    snapshot = take_snapshot(2, network.state_dict(), optimizer)
    train(network, optimizer, range(2, 5))
    write_snapshot(tmp_path / "state", snapshot)
    state = load_state(tmp_path / "state")
    assert bits([{name: state.tensors[name] for name in network.state_dict()}, dict(state.optimizer_state)]) == before


def test_the_step_of_a_state_is_in_its_header(tmp_path):
    path = tmp_path / "state"
    assert saved_step(path) is None
    for step in (3, 12):
        save_state(path, step, {"a": torch.ones(step)}, build("adamw")[1])
        assert saved_step(path) == step
    path.write_bytes(b"half a state")
    assert saved_step(path) is None
