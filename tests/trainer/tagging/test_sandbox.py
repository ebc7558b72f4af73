"""The sandbox's tagger: what it finds in drawings nobody has seen, whole and cropped, and what views hide."""
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.sandbox.world import ATTRIBUTES, HELD_OUT, Scene, attribute_of, caption_tags, draw, sample_scene
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.tagging.sandbox import SandboxTagger
from lora_bootstrap.trainer.tagging.tagger import open_tagger, tag_dataset, tag_pictures, warn_of_strangers

SHIPPED = Path(__file__).parents[3] / "sandbox"

#: what the judge reads right of fresh drawings, for the attributes that fall short of 98 %
SHORT_OF_IT = {"expression": 0.94, "hair_style": 0.97}


@pytest.fixture(scope="module")
def tagger():
    return SandboxTagger()


@pytest.fixture(scope="module")
def read(tagger):
    rng = random.Random(4321)
    scenes = [sample_scene(rng) for _ in range(300)]
    return scenes, list(tag_pictures(tagger, map(draw, scenes), batch=50))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_fresh_drawings_get_the_tags_they_show(read, attribute):
    def of(tags):
        return {tag for tag in tags if attribute_of(tag) == attribute}

    right = np.mean([of(found.names) == of(caption_tags(scene)) for scene, found in zip(*read, strict=True)])
    assert right >= SHORT_OF_IT.get(attribute, 0.98)


def test_nearly_no_tag_is_missed_or_made_up(read):
    shown = [set(caption_tags(scene)) for scene in read[0]]
    found = [set(tags.names) for tags in read[1]]
    both = sum(len(a & b) for a, b in zip(shown, found, strict=True))
    assert both / sum(map(len, shown)) >= 0.99 and both / sum(map(len, found)) >= 0.99


def test_what_a_view_hides_gets_no_tag(tagger):
    scene = Scene(HELD_OUT["hinata"], angle="from behind", framing="close-up")
    found = next(tag_pictures(tagger, [draw(scene)])).names
    assert set(found) == set(caption_tags(scene)) and not {"purple eyes", "smile", "cat tail", "red dress"} & set(found)


def test_crops_that_are_no_squares_are_read_as_well(tagger):
    rng = random.Random(5)
    scenes = [sample_scene(rng, framing="upper body") for _ in range(100)]
    pictures = [draw(scene, 128).crop((24, 0, 104, 128)) for scene in scenes]
    found = [set(tags.names) for tags in tag_pictures(tagger, pictures)]
    shown = [set(caption_tags(scene)) for scene in scenes]
    assert sum(len(a & b) for a, b in zip(shown, found, strict=True)) / sum(map(len, shown)) >= 0.88


def test_a_score_does_not_depend_on_the_rest_of_the_batch(tagger):
    pictures = [draw(Scene(who), size) for who, size in zip(HELD_OUT.values(), (64, 100, 256, 64), strict=False)]
    together = tagger.scores(pictures)
    alone = np.concatenate([tagger.scores([picture]) for picture in pictures])
    assert together.shape == (4, len(tagger.labels)) and together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-5
    assert tagger.scores([]).shape == (0, len(tagger.labels))


def test_it_is_opened_by_its_name_and_kept():
    assert isinstance(open_tagger("sandbox"), SandboxTagger)
    assert open_tagger("sandbox") is open_tagger("sandbox")


# -- images of another world -------------------------------------------------------------------------------------------


def warnings_for(tagger, pictures):
    """What is said of the pictures, ten at a time."""
    sets = [pictures[start:start + 10] for start in range(0, len(pictures), 10)]
    return [warn_of_strangers(tagger, tagger.familiarity(some)) for some in sets]


def test_no_drawings_of_its_world_are_taken_for_strangers(tagger):
    rng = random.Random(99)
    fresh = [draw(sample_scene(rng), size) for size in (64, 64, 64, 256) for _ in range(50)]
    small = [picture.resize((48, 48)).resize((64, 64)) for picture in fresh[:50]]
    shipped = [Image.open(path).convert("RGB") for folder in ("dataset/akane", "dataset/storybook", "pictures")
               for path in sorted((SHIPPED / folder).rglob("*.png"))]
    assert len(shipped) == 39
    assert {text for some in (fresh, small, shipped) for text in warnings_for(tagger, some)} == {""}


def test_photographs_are_told_from_drawings(tagger):
    data = pytest.importorskip("skimage.data")
    photos = [Image.fromarray(make()) for make in (data.astronaut, data.chelsea, data.coffee, data.rocket,
                                                   data.immunohistochemistry)]
    parts = [photo.crop((x, y, x + photo.width // 2, y + photo.height // 2))
             for photo in photos for x in (0, photo.width // 2) for y in (0, photo.height // 2)]
    told = [*warnings_for(tagger, photos), *warnings_for(tagger, parts)]
    assert len(told) == 3 and all("Choose another tagger" in text for text in told)


def test_a_dataset_of_strangers_is_warned_of_in_its_notes(tagger, tmp_path):
    rng = np.random.default_rng(0)
    save_samples(tmp_path, [(Image.fromarray(rng.integers(0, 255, (80, 64, 3), np.uint8)), "", {"name": str(number)})
                            for number in range(4)])
    *events, done = tag_dataset(load_folder(tmp_path), tagger)
    note = done.dataset.notes[-1]
    assert note.startswith("4 of 4 images do not look like those that the tagger 'sandbox' knows")
    assert [event.message for event in events if isinstance(event, Warned)] == [note]
    *_, done = tag_dataset(load_folder(SHIPPED / "dataset" / "akane"), tagger)
    assert not any("Choose another tagger" in note for note in done.dataset.notes)
