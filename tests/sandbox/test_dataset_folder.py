"""The shipped example dataset: what is in it, and that its command still draws it."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.sandbox import SANDBOX_DIR
from lora_bootstrap.sandbox.make_dataset import COUNT, SIDE, make_dataset, views
from lora_bootstrap.sandbox.world import ATTRIBUTES, HELD_OUT, attribute_of, caption_tags, visible
from lora_bootstrap.trainer.dataset import load_folder

AKANE = SANDBOX_DIR / "dataset" / "akane"


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


def test_its_command_draws_it_again(tmp_path):
    make_dataset(tmp_path, "akane")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in AKANE.iterdir())
    for file in AKANE.iterdir():
        if file.suffix == ".txt":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes()
        else:
            # Another version of Pillow may round otherwise.
            drawn, shipped = (np.asarray(Image.open(folder / file.name), float) for folder in (tmp_path, AKANE))
            assert np.abs(drawn - shipped).mean() < 1
