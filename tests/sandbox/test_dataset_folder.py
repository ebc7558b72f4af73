"""The shipped example datasets: what is in them, and that their command still draws them."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.sandbox import SANDBOX_DIR
from lora_bootstrap.sandbox.make_dataset import (
    COUNT,
    INK,
    PAPER,
    SIDE,
    STORYBOOK_COUNT,
    STORYBOOK_SIDE,
    make_dataset,
    make_storybook,
    storybook_scenes,
    views,
)
from lora_bootstrap.sandbox.world import (
    ATTRIBUTES,
    HELD_OUT,
    IDENTITY,
    attribute_of,
    caption_tags,
    is_held_out,
    visible,
)
from lora_bootstrap.trainer.datasets.dataset import load_folder

AKANE, STORYBOOK = SANDBOX_DIR / "dataset" / "akane", SANDBOX_DIR / "dataset" / "storybook"


@pytest.fixture(scope="module")
def dataset():
    return load_folder(AKANE)


def test_it_is_twenty_small_pictures_each_with_its_tags(dataset):
    assert len(dataset) == COUNT == 20 and dataset.notes == ()
    assert {sample.size for sample in dataset} == {(SIDE, SIDE)} == {(128, 128)}
    assert all(sample.caption.startswith("1girl, red hair, short hair") for sample in dataset)
    assert sum(file.stat().st_size for file in AKANE.iterdir()) <= 400_000
    assert len({sample.load().tobytes() for sample in dataset}) == COUNT


def test_its_captions_name_what_each_view_shows_and_never_the_signature(dataset):
    captions = [sample.caption.split(", ") for sample in dataset]
    assert captions == [caption_tags(scene) for scene in views("akane")]
    assert {tag for tags in captions for tag in tags if attribute_of(tag) is None} == {"1girl"}


def test_it_shows_every_angle_in_every_framing_and_every_mood_place_and_style():
    scenes = views("akane")
    assert {scene.character for scene in scenes} == {HELD_OUT["akane"]}
    pairs = Counter((scene.angle, scene.framing) for scene in scenes)
    assert len(pairs) == 15 and max(pairs.values()) == 2
    for attribute in ("expression", "background", "style"):
        shown = Counter(scene.tag(attribute) for scene in scenes)
        assert set(shown) == set(ATTRIBUTES[attribute]) and min(shown.values()) >= 3
    assert sum(visible(scene, "signature") for scene in scenes) >= 12


def test_its_first_picture_is_the_plainest():
    first = views("akane")[0]
    assert first.tag("angle") == "front view" and first.tag("framing") == "full body"
    assert (first.expression, first.background, first.style) == ("smile", "white background", "flat color")


def test_the_storybook_is_sixteen_small_pictures_whose_captions_name_no_style():
    pictures = load_folder(STORYBOOK)
    assert len(pictures) == STORYBOOK_COUNT == 16 and pictures.notes == ()
    assert {sample.size for sample in pictures} == {(STORYBOOK_SIDE, STORYBOOK_SIDE)}
    assert sum(file.stat().st_size for file in STORYBOOK.iterdir()) <= 200_000
    said = {attribute_of(tag) for sample in pictures for tag in sample.caption.split(", ")}
    assert said == {None, *ATTRIBUTES} - {"style"}


def test_the_storybook_shows_everything_about_as_often_and_nobody_like_a_held_out_character():
    scenes = storybook_scenes()
    assert len({scene.character for scene in scenes}) == len(scenes)
    assert not any(is_held_out(scene.character) for scene in scenes)
    for attribute in (*IDENTITY, "angle", "framing", "expression", "background"):
        shown = Counter(scene.tag(attribute) for scene in scenes)
        assert set(shown) == set(ATTRIBUTES[attribute]) and max(shown.values()) - min(shown.values()) <= 1


def test_the_storybook_has_no_darker_colour_than_its_ink_and_no_lighter_one_than_its_paper():
    for sample in load_folder(STORYBOOK):
        values = np.asarray(sample.load()).reshape(-1, 3)
        assert (values >= INK).all() and (values <= PAPER).all()


@pytest.mark.parametrize(("shipped_in", "make"), [(AKANE, lambda folder: make_dataset(folder, "akane")),
                                                  (STORYBOOK, make_storybook)], ids=["akane", "storybook"])
def test_their_command_draws_them_again(tmp_path, shipped_in, make):
    make(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in shipped_in.iterdir())
    for file in shipped_in.iterdir():
        if file.suffix == ".txt":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes()
        else:
            # Another version of Pillow may round otherwise.
            drawn, shipped = (np.asarray(Image.open(folder / file.name), float) for folder in (tmp_path, shipped_in))
            assert np.abs(drawn - shipped).mean() < 1
