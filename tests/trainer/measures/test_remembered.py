"""Figures of images are measured once."""

import pytest
import torch
from safetensors.torch import save

from lora_bootstrap.trainer.measures import pixels as metrics
from lora_bootstrap.trainer.measures.remembered import RememberedEye, remember_figures


class CountingEye:
    """Reads each image's mean colour, and counts the images that it is shown."""

    def __init__(self, name="an eye", factor=1.0):
        self.name, self.factor, self.shown, self.read = name, factor, 0, 0

    def embed(self, pixels):
        self.shown += len(pixels)
        return pixels.mean((2, 3)) * self.factor

    def read_tags(self, pixels, tags):
        self.read += len(pixels)
        return torch.stack([pixels.flatten(1).mean(1) * len(tag) for tag in tags], 1)


@pytest.fixture
def images():
    return torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def test_a_second_time_only_new_images_are_measured(images, tmp_path):
    for count, new in ((4, 4), (6, 2), (6, 0)):
        eye, some = CountingEye(), images[:count].clone()
        with remember_figures(tmp_path / "figures") as store:
            known = RememberedEye(eye, store)
            shown = eye.shown
            figures = metrics.sharpness(some), known.embed(some), known.read_tags(some, ["a", "bb"])
            assert (eye.shown - shown, eye.read, store.measured) == (new, new, 4 * new)
        expected = metrics.sharpness(some), eye.embed(some), eye.read_tags(some, ["a", "bb"])
        for measured, plain in zip(figures, expected, strict=True):
            torch.testing.assert_close(measured, plain)


def test_a_new_tag_is_read_without_forgetting_the_others(images, tmp_path):
    with remember_figures(tmp_path / "figures") as store:
        RememberedEye(CountingEye(), store).read_tags(images, ["a", "bb"])
    with remember_figures(tmp_path / "figures") as store:
        eye = CountingEye()
        known = RememberedEye(eye, store)
        read = known.read_tags(images, ["bb", "ccc"])
        assert eye.read == 6
        assert torch.equal(known.read_tags(images, ["a", "ccc", "bb"])[:, 1:], read.flip(1)) and eye.read == 6


def test_another_model_of_the_same_name_measures_anew(images, tmp_path):
    for factor in (1.0, 2.0):
        with remember_figures(tmp_path / "figures") as store:
            read = RememberedEye(CountingEye(factor=factor), store).embed(images)
        torch.testing.assert_close(read, images.mean((2, 3)) * factor)


def test_a_store_whose_metadata_has_another_shape_is_measured_anew(images, tmp_path):
    file = tmp_path / "figures"
    file.write_bytes(save({}, {"version": "1", "places": "[]", "images": "[]"}))
    with remember_figures(file) as store:
        metrics.hue_shares(images)
    assert store.measured == 6


def test_a_damaged_store_is_measured_anew_and_images_that_are_gone_leave_it(images, tmp_path):
    file = tmp_path / "figures"
    file.write_bytes(b"no figures")
    with remember_figures(file):
        metrics.hue_shares(images)
    large = file.stat().st_size
    with remember_figures(file) as store:
        metrics.hue_shares(images[:1].clone())
        metrics.chroma(images[:1].clone())
        assert store.measured == 1
    assert file.stat().st_size < large
    assert metrics.hue_shares(images).shape == (6, metrics.HUES)
