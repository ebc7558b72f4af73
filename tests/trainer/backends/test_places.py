"""Text encoders and VAE leave the card for the steps, and are back where they are needed."""

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.backends import places
from lora_bootstrap.trainer.backends.diffusers import DiffusersBackbone
from lora_bootstrap.trainer.backends.places import Places
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Previewed, Proved, StepDone
from lora_bootstrap.trainer.training.loop import train

from ...helpers.tiny import make_tiny_backbone

CARD = torch.device("cpu", 0)
"""Computes as the CPU does, and yet is another device."""


@pytest.fixture
def tiny_backbone():
    """One that remembers no prompts of other tests."""
    return make_tiny_backbone()


@pytest.fixture
def moves(tiny_backbone, monkeypatch):
    """What moves on a backbone that is on a card: (part, "card" or "RAM")."""
    moves = []
    parts = {"network": tiny_backbone.network, **tiny_backbone.text_network, "vae": tiny_backbone.pipeline.vae}
    names = {id(part): name for name, part in parts.items()}
    monkeypatch.setattr(tiny_backbone, "places", Places(parts, CARD))
    monkeypatch.setattr(places, "_move", lambda part, device: moves.append(
        (names[id(part)], "card" if device == CARD else "RAM")))
    return moves


def a_config(**settings):
    return TrainConfig(name="tiny", steps=3).replace(**{"adapter.rank": 2, "data.resolution": 32, **settings})


def moved_by_event(events, moves):
    """{event: what moved since the event before}, for steps, previews and proofs."""
    found = []
    for event in events:
        if isinstance(event, (StepDone, Previewed, Proved)):
            found.append((type(event).__name__, sorted(moves)))
        if isinstance(event, (StepDone, Previewed, Proved)) or not found:
            moves.clear()
    return found


AWAY, BACK = ([("text_encoder", place), ("vae", place)] for place in ("RAM", "card"))


def test_the_steps_run_without_them_and_a_preview_brings_them_back(tiny_backbone, dataset, moves, tmp_path):
    config = a_config(preview_every=2, preview_prompts=["red, disc"])
    found = moved_by_event(train(tiny_backbone, dataset, config, tmp_path), moves)
    steps, previews, proofs = ([moved for kind, moved in found if kind == wanted]
                               for wanted in ("StepDone", "Previewed", "Proved"))
    assert steps == [[], [], [("vae", "RAM")]]
    assert previews == [[("vae", "card")]] * 2, "their prompts are encoded before the first step"
    assert proofs[1] == [*[("network", "RAM")] * 2, *[("network", "card")] * 2, *[("text_encoder", "RAM")] * 2,
                         ("text_encoder", "card"), ("vae", "RAM")], "the network is away whenever something is encoded"


def test_a_text_encoder_that_is_trained_stays(tiny_backbone, dataset, moves, tmp_path):
    found = moved_by_event(train(tiny_backbone, dataset, a_config(**{"adapter.text_encoder": True}), tmp_path), moves)
    assert [moved for kind, moved in found if kind == "StepDone"] == [[], [], []]
    assert [moved for kind, moved in found if kind == "Proved"][1] == [
        ("network", "RAM"), ("network", "card"), ("vae", "RAM")]


def test_they_come_back_when_they_are_needed_after_a_training_that_ends_early(tiny_backbone, dataset, moves, tmp_path):
    events = train(tiny_backbone, dataset, a_config(), tmp_path)
    next(event for event in events if isinstance(event, StepDone))
    moves.clear()
    events.close()
    assert moves == [], "after an error, the card may have no room for them"
    tiny_backbone.encode_text(["red"])
    tiny_backbone.encode_images(torch.rand(1, 3, 32, 32))
    assert moves == BACK


def test_a_base_is_loaded_into_ram_and_computes_on_the_card_whatever_is_there(moves, monkeypatch):
    pipeline = make_tiny_backbone().pipeline
    kind = type(pipeline).__name__
    backbone = DiffusersBackbone(pipeline, get_family("sandbox"), "tiny", home=CARD)
    assert all(backbone.places.is_away(name) for name in ("network", "text_encoder", "vae"))
    assert (backbone.device, pipeline._execution_device, type(pipeline).__name__) == (CARD, CARD, kind)


def test_a_network_that_the_card_cannot_hold_is_one_line(tiny_backbone, moves, monkeypatch):
    def fail(part, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    tiny_backbone.places.rest("network")
    monkeypatch.setattr(places, "_move", fail)
    with pytest.raises(UserError, match=r"does not fit this card.*--base-precision fp8.*offload_blocks"):
        tiny_backbone.generate(["red"], seeds=[0], width=32, height=32, steps=1, cfg=1.0)


def test_weights_that_find_no_room_at_the_end_stay_in_ram_and_hide_no_error(monkeypatch):
    backbone = make_tiny_backbone()

    def fail(share, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ValueError, match="the error itself"), backbone.training(offload=1.0):
        monkeypatch.setattr(backbone._held, "offload", fail)
        raise ValueError("the error itself")
    assert backbone.recompute == 0


def test_a_lora_and_weights_that_are_held_elsewhere_stay_where_they_are():
    part = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False)).requires_grad_(False)
    part.lora = nn.Parameter(torch.zeros(2, 4))
    part[1].weight.data = torch.empty(()).expand(4, 4)
    assert {id(tensor) for tensor in places._frozen(part)} == {id(part[0].weight), id(part[0].bias)}


def test_nothing_moves_on_the_cpu(monkeypatch):
    monkeypatch.setattr(places, "_move", None)
    here = Places({"vae": nn.Linear(2, 2)}, torch.device("cpu"))
    here.rest("vae")
    here.rest_untrained()
    here.bring()
