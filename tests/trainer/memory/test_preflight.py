"""On the command line, as many blocks are recomputed as the card needs, before the first step."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress, Warned
from lora_bootstrap.trainer.memory import plan, preflight
from lora_bootstrap.trainer.memory.counter import TookTooLong
from lora_bootstrap.trainer.memory.fit import Fit
from lora_bootstrap.trainer.memory.measured import peak_memory
from lora_bootstrap.trainer.memory.plan import GAPS, GIB, Estimate
from lora_bootstrap.trainer.memory.preflight import fit_to_card, fitted, words_of
from lora_bootstrap.trainer.memory.step import StepCount
from lora_bootstrap.trainer.models import ram
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import RunStarted, StepDone

STARTED = RunStarted(Path(), 2, 0, 1, 0, 10, 100)
STEP = StepDone(1, 0, 0.5, 1e-4, 1.0, 0.1)


@pytest.fixture
def backbone(tiny_backbone):
    """The tiny one, as if it were on a GPU and in training."""
    shares = [0.0]
    return SimpleNamespace(device=torch.device("cuda"), network=tiny_backbone.network, precision="auto",
                           recompute=0.0, set_recompute=shares.append, shares=shares, half_precision="bf16",
                           text_network=tiny_backbone.text_network)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_loaded_network_itself_is_counted(backbone):
    config = TrainConfig().replace(**{"data.resolution": 256, "adapter.rank": 4})
    roomy = fit_to_card(backbone, config, 8 * GIB)
    weights = sum(parameter.nbytes for parameter in backbone.network.parameters())
    assert (roomy.share, roomy.fits) == (0.0, True) and roomy.needed > weights
    tight = fit_to_card(backbone, config, 1)
    assert (tight.share, tight.fits) == (1.0, False) and weights < tight.needed < roomy.needed
    some = fit_to_card(backbone, config, (tight.needed + roomy.needed) // 2)
    assert 0 < some.share < 1 and some.fits and tight.needed < some.needed < roomy.needed


def test_a_training_that_starts_on_a_card_is_fitted_to_what_is_free_there(backbone, monkeypatch):
    rooms = []
    monkeypatch.setattr(preflight, "free_memory", lambda device: 8 * GIB)
    monkeypatch.setattr(preflight, "fit_to_card", lambda backbone, config, room: rooms.append(room) or Fit(
        0.35, 7 * GIB, True))
    events = list(fitted((event for event in (STARTED, STEP)), backbone, TrainConfig()))
    assert [type(event) for event in events] == [RunStarted, Progress, Progress, Warned, StepDone]
    assert events[3].message == ("a step fits this card, as 35% of the blocks are computed again in the backward pass "
                                 "(about 7.0 GiB), which is slower.")
    assert backbone.shares == [0.0, 0.35] and rooms == [8 * GIB - GAPS]


@pytest.mark.parametrize(("settings", "device"), [({"fit_memory": False}, "cuda"), ({}, "cpu")])
def test_nothing_is_counted_where_nothing_follows_from_it(settings, device, backbone, monkeypatch):
    monkeypatch.setattr(preflight, "free_memory", None)
    backbone.device = torch.device(device)
    events = list(fitted((event for event in (STARTED, STEP)), backbone, TrainConfig().replace(**settings)))
    assert events == [STARTED, STEP] and backbone.shares == [0.0]


def test_a_network_that_cannot_be_counted_is_trained_all_the_same(backbone, monkeypatch):
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1)
    backbone.network = torch.nn.Linear(2, 2)
    assert list(fitted((event for event in (STARTED, STEP)), backbone, TrainConfig()))[::3] == [STARTED, STEP]


def test_a_fine_tune_whose_state_has_no_room_in_ram_is_not_started(backbone, monkeypatch):
    backbone.device = torch.device("cpu")
    config = TrainConfig(method="full", precision="fp32")
    weights = sum(4 * parameter.numel() for parameter in backbone.network.parameters())
    for name, needed in (("adamw", weights + 2 * 2 * weights), ("adafactor", None)):
        settings = config.replace(**{"optimizer.name": name})
        monkeypatch.setattr(ram, "free_ram", lambda: 2 * weights)
        if needed is None:
            assert list(fitted(iter_of(STARTED, STEP), backbone, settings)) == [STARTED, STEP]
            continue
        with pytest.raises(UserError, match=f"about {needed / GIB:.1f} GiB of RAM.*choose optimizer adafactor"):
            list(fitted(iter_of(STARTED, STEP), backbone, settings))
        monkeypatch.setattr(ram, "free_ram", lambda: 5 * weights)
        assert list(fitted(iter_of(STARTED, STEP), backbone, settings)) == [STARTED, STEP]


def iter_of(*events):
    return (event for event in events)


def test_what_fits_no_way_is_said_with_what_helps():
    assert words_of(Fit(1.0, 9 * GIB, False)).endswith(
        "To make it fit, set offload_blocks to 1, or give --base-precision fp8, or lower data.resolution or "
        "data.batch_size.")
    assert words_of(Fit(1.0, 9 * GIB, False), 1.0, "nf4").endswith(
        "To make it fit, lower data.resolution or data.batch_size.")


def test_a_step_that_does_not_fit_with_all_blocks_recomputed_is_reported(backbone, monkeypatch):
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1)
    backbone.recompute = 1.0
    config = TrainConfig(gradient_checkpointing=True).replace(**{"data.resolution": 64})
    warned = [event for event in fitted((event for event in (STARTED,)), backbone, config) if isinstance(event, Warned)]
    assert len(warned) == 1 and "does not fit this card" in warned[0].message and backbone.shares == [0.0]


def test_a_fine_tune_that_does_not_fit_is_refused_with_what_helps(backbone, monkeypatch):
    monkeypatch.setattr(preflight, "free_memory", lambda device: 8 * GIB)
    monkeypatch.setattr(preflight, "fit_to_card", lambda *_: Fit(1.0, 11 * GIB, False))
    config = TrainConfig(method="full").replace(**{"optimizer.name": "adafactor"})
    with pytest.raises(UserError, match="takes about 11.0 GiB") as refused:
        list(fitted((event for event in (STARTED, STEP)), backbone, config))
    assert "offload" not in str(refused.value) and "fp8" not in str(refused.value)


def test_a_fine_tune_moves_as_many_blocks_to_ram_as_the_card_needs(backbone, monkeypatch):
    moved = []
    backbone.offload, backbone.set_offload = 0.0, moved.append
    config = TrainConfig(method="full", gradient_checkpointing=True, precision="fp32").replace(**{
        "optimizer.name": "adafactor", "data.resolution": 64, "data.batch_size": 1})
    roomy = fit_to_card(backbone, config, 8 * GIB)
    some = fit_to_card(backbone, config, roomy.needed - 200_000)
    assert roomy.offload == 0 and 0 < some.offload < 1 and some.fits and some.share == 1
    assert roomy.needed - some.needed >= 200_000
    least = fit_to_card(backbone, config, 1)
    assert (least.offload, least.fits) == (1.0, False) and least.needed < some.needed
    monkeypatch.setattr(preflight, "free_memory", lambda device: some.needed + GAPS)
    said = [event.message for event in fitted(iter_of(STARTED, STEP), backbone, config) if isinstance(event, Warned)]
    assert moved == [some.offload] and len(said) == 1
    assert f"and {some.offload:.0%} of the blocks are held in RAM" in said[0].replace("half", "50%")
    monkeypatch.setattr(preflight, "free_memory", lambda device: 1)
    with pytest.raises(UserError, match="and all blocks are held in RAM, and this card has no room"):
        list(fitted(iter_of(STARTED, STEP), backbone, config))
    assert moved == [some.offload]


def test_the_optimizers_moments_of_blocks_in_ram_are_counted_off_the_card():
    count = StepCount(weights=0, adapter=1000, state=2000, peak=5000, modules=1, parameters=500, operations=0,
                      traffic=0, kernels=0, movable=800)
    in_ram = {name: Estimate(TrainConfig(method="full").replace(**{"optimizer.name": name}), "bf16", count,
                             offload=0.5, blocks=(0.75, 0.25)).in_ram for name in ("adamw", "adafactor")}
    assert in_ram == {"adamw": 0.25 * (800 + 1600), "adafactor": 0.25 * 800}


def test_blocks_in_ram_a_trained_text_encoder_and_the_precision_decide_what_a_step_takes(backbone):
    def needed(**settings):
        return fit_to_card(backbone, TrainConfig().replace(**{"data.resolution": 256, **settings}), 8 * GIB).needed

    plain = needed()
    assert needed(offload_blocks=1.0) < plain < needed(**{"adapter.text_encoder": True})
    assert needed(precision="bf16") != plain, "the base is in float32, in which auto trains it"


def test_a_count_that_takes_too_long_is_not_tried_again(backbone, monkeypatch):
    tried = []

    def late(*args, **kwargs):
        tried.append(1)
        raise TookTooLong

    monkeypatch.setattr(plan, "count_step", late)
    for _ in range(2):
        with pytest.raises(TookTooLong):
            fit_to_card(backbone, TrainConfig(), 8 * GIB)
    assert tried == [1]


def test_the_memory_of_this_process_is_known():
    assert peak_memory(torch.device("cpu")) > 50 * 2**20
