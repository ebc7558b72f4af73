"""Training states that were damaged, or are another run's: none of them is resumed, and all of them are reported."""

import json
import random
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.training.checkpoint import DamagedState, resume
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import RunStarted
from lora_bootstrap.trainer.training.loop import train

from ...helpers.states import save_state

STEPS = 6
FIRST = "tensor.adapter.0"


def build():
    """(trained tensors, optimizer, scaler) after a step."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    network(torch.ones(1, 6)).square().sum().backward()
    optimizer.step()
    tensors = {f"adapter.{row}": parameter.detach() for row, parameter in enumerate(network.parameters())}
    return tensors, optimizer, torch.amp.GradScaler("cpu", enabled=False)


def save(path):
    tensors, optimizer, scaler = build()
    save_state(path, 3, tensors, optimizer, {"scaler": scaler.state_dict()})


def rewrite(path, tensors=lambda found: None, facts=lambda found: found, digest=True):
    """Change a state's tensors in place, and its facts; the digest stays as it was, or is removed."""
    found = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    tensors(found)
    values = facts(json.loads(metadata["training_state"]))
    metadata["training_state"] = values if isinstance(values, str) else json.dumps(values)
    if not digest:
        del metadata["digest"]
    save_file(found, path, metadata)


def of(name, value):
    return lambda facts: {**facts, name: value}


def without(name):
    return lambda facts: {key: value for key, value in facts.items() if key != name}


def reshaped(*shape):
    def change(found):
        found[FIRST] = torch.zeros(shape)

    return change


def renamed(found):
    found["tensor.adapter.9"] = found.pop(FIRST)


def moment(found):
    found["optimizer.0.exp_avg"] = torch.zeros(1)


DEEP = "[" * 100_000
DAMAGES = {
    "a tensor is missing": {"tensors": lambda found: found.pop(FIRST)},
    "a moment is missing": {"tensors": lambda found: found.pop("optimizer.0.exp_avg")},
    "a tensor has another name": {"tensors": renamed},
    "a shape that broadcasts": {"tensors": reshaped(1)},
    "a shape that broadcasts in one dimension": {"tensors": reshaped(1, 6)},
    "another shape": {"tensors": reshaped(4, 4)},
    "a moment of another shape": {"tensors": moment},
    "another type": {"tensors": lambda found: found.update({FIRST: found[FIRST].half()})},
    "a negative step": {"facts": of("step", -3)},
    "a step behind the last": {"facts": of("step", 99)},
    "a step that is a text": {"facts": of("step", "3")},
    "a step that is null": {"facts": of("step", None)},
    "a step that is true": {"facts": of("step", True)},
    "no step": {"facts": without("step")},
    "another format": {"facts": of("format", 9)},
    "no optimizer": {"facts": without("optimizer")},
    "an empty optimizer": {"facts": of("optimizer", {})},
    "an optimizer without state": {"facts": lambda facts: of("optimizer", {
        **facts["optimizer"], "state": {"$kind": "dict", "items": []}})(facts)},
    "an optimizer that is a list": {"facts": of("optimizer", [])},
    "no extra": {"facts": without("extra")},
    "an empty extra": {"facts": of("extra", {"$kind": "dict", "items": []})},
    "an extra that is null": {"facts": of("extra", None)},
    "facts that are a list": {"facts": lambda facts: []},
    "facts that are null": {"facts": lambda facts: None},
    "facts that are not JSON": {"facts": lambda facts: "{"},
    "facts nested too deep": {"facts": lambda facts: DEEP},
}


def flip(path):
    """Flip a bit in the last tensor."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def refuse(path):
    tensors, optimizer, scaler = build()
    before = {name: tensor.fill_(7).clone() for name, tensor in tensors.items()}
    with pytest.raises(DamagedState) as caught:
        resume(path, tensors, optimizer, scaler, STEPS)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and len(str(caught.value)) < 600
    assert "starts again at step 0" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("digest", [True, False], ids=["new", "of an older version"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_does_not_fit_is_refused_in_one_line_and_changes_nothing(tmp_path, damage, digest):
    save(tmp_path / "state")
    rewrite(tmp_path / "state", **DAMAGES[damage], digest=digest)
    refuse(tmp_path / "state")


def test_every_flipped_bit_in_the_tensors_and_facts_is_noticed(tmp_path):
    path = tmp_path / "state"
    save(path)
    data = path.read_bytes()
    rng = random.Random(0)
    text = data.index(b"training_state")
    places = [rng.randrange(8 + int.from_bytes(data[:8], "little"), len(data)) for _ in range(60)]
    places += [text + 30 + place for place in range(0, 600, 17)]
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1:])
        refuse(path)


def test_a_state_of_an_older_version_is_resumed_without_a_digest(tmp_path):
    save(tmp_path / "state")
    rewrite(tmp_path / "state", digest=False)
    tensors, optimizer, scaler = build()
    wanted = {name: tensor.clone() for name, tensor in tensors.items()}
    for tensor in tensors.values():
        tensor.fill_(7)
    assert resume(tmp_path / "state", tensors, optimizer, scaler, STEPS) == 3
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in tensors.items())


def test_a_state_that_cannot_be_read_now_is_not_called_damaged(tmp_path):
    (tmp_path / "state").mkdir()
    with pytest.raises(UserError, match="cannot be read") as caught:
        resume(tmp_path / "state", *build(), STEPS)
    assert not isinstance(caught.value, DamagedState)


CONFIG = TrainConfig(name="tiny", steps=STEPS, state_every=2, state_minutes=0, save_every=2).replace(**{
    "adapter.rank": 2, "optimizer.learning_rate": 1e-2, "data.resolution": 32, "data.batch_size": 2})


def test_a_run_with_a_damaged_state_says_so_and_ends_with_the_weights_of_an_unharmed_one(
        tiny_backbone, dataset, tmp_path):
    whole = load_file(list(train(tiny_backbone, dataset, CONFIG, tmp_path / "whole"))[-1].path)
    steps = iter(range(9))
    stopped = list(train(tiny_backbone, dataset, CONFIG, tmp_path / "stopped", should_stop=lambda: next(steps) == 2))
    assert stopped[-1].step == 3
    for number, damage in enumerate(("a step behind the last", "a shape that broadcasts", "a tensor is missing")):
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "stopped", root)
        rewrite(root / "tiny" / "state" / "state.safetensors", **DAMAGES[damage])
        events = list(train(tiny_backbone, dataset, CONFIG, root))
        warned = [event.message for event in events if isinstance(event, Warned)]
        assert len(warned) == 1 and "is damaged" in warned[0] and "step 0" in warned[0]
        assert next(event for event in events if isinstance(event, RunStarted)).first_step == 0
        final = load_file(events[-1].path)
        assert final.keys() == whole.keys() and all(torch.equal(final[key], whole[key]) for key in whole)
        folder = root / "tiny"
        assert len((folder / "metrics-1.jsonl").read_text().splitlines()) == 3, "what was measured before is kept"
        assert [path.name for path in (folder / "state").iterdir()] == ["lock"]


def test_a_damaged_lora_is_not_reused_and_a_finished_run_keeps_no_state(tiny_backbone, dataset, tmp_path):
    path = list(train(tiny_backbone, dataset, CONFIG, tmp_path))[-1].path
    state = path.parent / "state" / "state.safetensors"
    state.write_bytes(b"left by a process that died when it was about to delete it")
    assert list(train(tiny_backbone, dataset, CONFIG, tmp_path))[-1].reused
    assert not state.exists()
    flip(path)
    with pytest.raises(UserError, match="are not those that were saved"):
        list(train(tiny_backbone, dataset, CONFIG, tmp_path))
    path.unlink()
    again = list(train(tiny_backbone, dataset, CONFIG, tmp_path))
    assert any("so it is trained again" in event.message for event in again if isinstance(event, Warned))
    assert again[-1].path == path and not again[-1].reused
    assert len((path.parent / "metrics-1.jsonl").read_text().splitlines()) == STEPS


def test_a_network_gets_its_weights_back_when_the_state_cannot_be_read(tiny_backbone, dataset, tmp_path):
    steps = iter(range(9))
    list(train(tiny_backbone, dataset, CONFIG, tmp_path, should_stop=lambda: next(steps) == 2))
    state = tmp_path / "tiny" / "state" / "state.safetensors"
    state.unlink()
    state.mkdir()
    modules = len(list(tiny_backbone.network.modules()))
    with pytest.raises(UserError, match="cannot be read"):
        list(train(tiny_backbone, dataset, CONFIG, tmp_path))
    assert len(list(tiny_backbone.network.modules())) == modules


def test_a_whole_state_for_which_there_is_no_memory_is_not_called_damaged(tmp_path, monkeypatch):
    save(tmp_path / "state.safetensors")
    tensors, optimizer, scaler = build()

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(optimizer, "load_state_dict", fail)
    with pytest.raises(torch.OutOfMemoryError):
        resume(tmp_path / "state.safetensors", tensors, optimizer, scaler, STEPS)
