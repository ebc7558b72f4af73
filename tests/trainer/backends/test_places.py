"""Text encoders and VAE leave the card for the steps, and are back where they are needed."""

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.backends import places
from lora_bootstrap.trainer.backends.places import Places
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Previewed, Proved, StepDone
from lora_bootstrap.trainer.training.loop import train

CARD = torch.device("cpu", 0)
"""Computes as the CPU does, and yet is another device."""


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
    assert steps == [AWAY, [], [("vae", "RAM")]]
    assert previews == [[("vae", "card")]] * 2, "their prompts are encoded before the first step"
    assert proofs[1] == [("network", "RAM"), ("network", "card")], "the network is away while latents are cached"


def test_a_text_encoder_that_is_trained_stays(tiny_backbone, dataset, moves, tmp_path):
    found = moved_by_event(train(tiny_backbone, dataset, a_config(**{"adapter.text_encoder": True}), tmp_path), moves)
    assert [moved for kind, moved in found if kind == "StepDone"] == [[("vae", "RAM")], [], []]


def test_they_are_back_when_a_training_ends_early(tiny_backbone, dataset, moves, tmp_path):
    events = train(tiny_backbone, dataset, a_config(), tmp_path)
    next(event for event in events if isinstance(event, StepDone))
    moves.clear()
    events.close()
    assert sorted(moves) == BACK


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
