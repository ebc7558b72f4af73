"""The drawn world: its tags, captions, characters and drawings."""
import random

import numpy as np
import pytest

from lora_bootstrap.sandbox import PICTURES_DIR
from lora_bootstrap.sandbox.captions import training_caption
from lora_bootstrap.sandbox.world import (
    ATTRIBUTES,
    CONTEXT,
    HELD_OUT,
    IDENTITY,
    SIGNATURE_KINDS,
    Character,
    Scene,
    Signature,
    attribute_of,
    caption_tags,
    differences,
    draw,
    sample_character,
    sample_scene,
    visible,
)

PLAIN = Character("red hair", "short hair", "green eyes", "human ears", "fox tail", "blue dress")


def difference(a: Scene, b: Scene) -> float:
    """The mean difference of two drawings, in 0..255."""
    return float(np.abs(np.asarray(draw(a), float) - np.asarray(draw(b), float)).mean())


def test_every_tag_names_one_value_of_one_attribute():
    tags = [tag for tags in ATTRIBUTES.values() for tag in tags]
    assert len(tags) == len(set(tags)) == 49
    assert tuple(ATTRIBUTES) == IDENTITY + CONTEXT
    assert attribute_of("fox ears") == "ears" and attribute_of("1girl") is None


def test_a_caption_names_the_subject_and_then_exactly_the_visible_attributes():
    rng = random.Random(1)
    for scene in (sample_scene(rng) for _ in range(300)):
        subject, *tags = caption_tags(scene)
        assert subject == "1girl"
        assert [attribute_of(tag) for tag in tags] == [name for name in ATTRIBUTES if visible(scene, name)]
        assert len(caption_tags(scene, hidden=True)) == 12


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_what_is_visible_changes_the_drawing_and_what_is_hidden_hardly_does(attribute):
    rng = random.Random(2)
    for _ in range(40):
        scene = sample_scene(rng, sample_character(rng), background="white background", style="flat color")
        values = {name: scene.tag(name) for name in ATTRIBUTES}
        other = rng.choice([tag for tag in ATTRIBUTES[attribute] if tag != values[attribute]])
        changed = {**values, attribute: other}
        twin = Scene(Character(**{name: changed[name] for name in IDENTITY}),
                     **{name: changed[name] for name in CONTEXT})
        if visible(scene, attribute):
            assert difference(scene, twin) > 0.25
        else:
            assert difference(scene, twin) < 3


@pytest.mark.parametrize("kind", SIGNATURE_KINDS)
def test_a_visible_signature_covers_at_least_a_few_pixels_and_a_hidden_one_none(kind):
    signed = Character(*PLAIN.identity, Signature(kind, "cyan"))
    for angle in ATTRIBUTES["angle"]:
        for framing in ATTRIBUTES["framing"]:
            with_it, without = (np.asarray(draw(Scene(who, angle, framing)), int) for who in (signed, PLAIN))
            changed = (np.abs(with_it - without).max(axis=2) > 60).sum()
            if visible(Scene(signed, angle, framing), "signature"):
                assert changed >= 12
            elif (kind, framing) != ("two-coloured tail", "close-up"):
                assert changed == 0


def test_held_out_characters_are_never_sampled_nor_any_that_differ_in_one_attribute():
    rng = random.Random(3)
    assert len({who.identity for who in HELD_OUT.values()}) == len(HELD_OUT) == 8
    assert {who.signature.kind for who in HELD_OUT.values()} == set(SIGNATURE_KINDS)
    for who in (sample_character(rng) for _ in range(5000)):
        assert all(differences(who, held) >= 2 for held in HELD_OUT.values())


def test_sampling_and_drawing_are_deterministic():
    first, second = (sample_scene(random.Random(4)) for _ in range(2))
    assert first == second and draw(first).tobytes() == draw(second).tobytes()
    assert draw(first, size=200).size == (200, 200)


def test_sampled_scenes_keep_what_is_fixed_and_signatures_are_only_given_on_request():
    rng = random.Random(5)
    scene = sample_scene(rng, PLAIN, angle="from behind")
    assert scene.character == PLAIN and scene.angle == "from behind"
    assert sample_character(rng).signature is None and sample_character(rng, signature=True).signature


def test_wrong_tags_are_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="'from afar' is not a tag of angle; valid tags are front view"):
        Scene(PLAIN, angle="from afar")
    with pytest.raises(ValueError, match="needs a tail"):
        Character(*PLAIN.identity[:4], "no tail", "red dress", Signature("two-coloured tail", "cyan"))
    with pytest.raises(ValueError, match="not a context attribute: mood"):
        sample_scene(random.Random(0), mood="sad")


def test_training_captions_are_sometimes_empty_and_never_name_a_tag_that_is_not_the_scenes():
    rng = random.Random(6)
    scene = sample_scene(rng)
    captions = [training_caption(rng, scene) for _ in range(2000)]
    assert 0.07 < captions.count("") / 2000 < 0.13
    own = set(caption_tags(scene, hidden=True))
    known = {tag for text in captions for tag in text.split(", ") if attribute_of(tag)}
    assert known == own - {"1girl"}


def test_each_shipped_picture_has_its_tags_beside_it_and_no_signature_in_them():
    pictures = sorted(PICTURES_DIR.glob("*.png"))
    assert len(pictures) >= 2
    for picture in pictures:
        tags = picture.with_suffix(".txt").read_text().strip().split(", ")
        assert tags == caption_tags(Scene(HELD_OUT[picture.stem]))
