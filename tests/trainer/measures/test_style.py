"""The measure of style: told from colours, tones and lines alone, whoever is drawn and however she stands."""

import random
from itertools import combinations

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.measures.style import AT_ONCE, StyleScale, style_figures
from lora_bootstrap.trainer.pictures.images import to_tensor

VIEWS = 3
AROUND = ("angle", "framing", "expression", "background")


def drawn(*scenes):
    return style_figures(torch.stack([to_tensor(world.draw(scene, 64)) for scene in scenes]))


def scene(rng, view, style, girl=None, moved=0):
    """A girl in a view, `moved` of whose tags are others."""
    others = {name: rng.choice(world.ATTRIBUTES[name]) for name in rng.sample(AROUND, moved)}
    return world.Scene(girl or world.sample_character(rng), **{**view, **others, "style": style})


def told_apart(rng, styles, moved):
    """Shares of pictures of a character in the first style and in the second, if the style LoRA is of the first."""
    mine, other = styles
    girl = rng.choice(list(world.HELD_OUT.values()))
    views = [{name: rng.choice(world.ATTRIBUTES[name]) for name in AROUND} for _ in range(VIEWS)]
    neither, style, character, with_it, without = (
        drawn(*(scene(rng, view, look, who, moved) for view in views))
        for look, who in ((other, None), (mine, None), (other, girl), (mine, girl), (other, girl)))
    scale = StyleScale.learnt(neither, style, character)
    return scale.share(with_it, character), scale.share(without, character)


@pytest.mark.slow
def test_it_tells_which_of_two_styles_a_picture_has_though_pose_and_scene_differ():
    rng = random.Random(1)
    pairs = [told_apart(rng, rng.sample(styles, 2), moved=1 + number % 2)
             for number, styles in enumerate(combinations(world.ATTRIBUTES["style"], 2))]
    with_it, without = (torch.cat(shares) for shares in zip(*pairs, strict=True))
    assert (with_it > without).float().mean() >= 0.95
    assert (with_it > 0.5).float().mean() >= 0.9 and (without < 0.5).float().mean() >= 0.9
    assert with_it.mean() > 0.8 and without.mean() < 0.15


def three(seed=0, style="lineart", alone="flat color"):
    """Figures with neither, with the style alone and with the character alone."""
    rng = random.Random(seed)
    views = [{"background": background} for background in ("grass", "sunset", "night sky")]
    return [drawn(*(scene(rng, view, look, girl) for view in views))
            for look, girl in (("flat color", None), (style, None), (alone, world.HELD_OUT["akane"]))]


def test_the_character_alone_is_0_the_style_alone_about_1_and_between_them_it_rises():
    neither, style, character = three()
    scale = StyleScale.learnt(neither, style, character)
    assert scale.share(character, character).tolist() == [0, 0, 0]
    assert scale.share(style, character).mean() > 0.85
    steps = [scale.share(character + part * (style - character), character).mean().item() for part in (0.2, 0.5, 0.8)]
    assert steps == sorted(steps) and 0.3 < steps[1] < 0.7


def test_what_the_character_changes_counts_for_little():
    neither, style, character = three()
    scale = StyleScale.learnt(neither, style, character)
    assert scale.share(character - (character - neither), character).mean() < 0.2, "less of her is no more style"


def test_a_style_that_changes_nothing_is_not_measured():
    neither, _, character = three()
    assert StyleScale.learnt(neither, neither.clone(), character) is None
    assert StyleScale.learnt(neither, neither + 0.1, character) is None


def test_a_style_that_the_character_has_too_is_not_measured():
    assert StyleScale.learnt(*three(style="dark", alone="dark")) is None
    assert StyleScale.learnt(*three(style="dark")) is not None


def test_pictures_of_any_size_and_number_are_read_alike():
    pictures = torch.rand(AT_ONCE + 3, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    figures = style_figures(pictures)
    assert figures.shape[0] == AT_ONCE + 3 and figures.isfinite().all()
    torch.testing.assert_close(figures[-1:], style_figures(pictures[-1:]))
    assert style_figures(torch.zeros(1, 3, 16, 16)).isfinite().all()
