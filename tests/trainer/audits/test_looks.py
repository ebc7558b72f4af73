"""Someone else among the images of one character is named, in proportion to how alike the others are."""

import dataclasses
import random

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.audits.audit import AuditConfig, audit
from lora_bootstrap.trainer.audits.looks import look_findings
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.measures.eyes import SandboxEye


def save_drawings(folder, wrong=()):
    """Sixteen drawings of akane, those numbered in `wrong` of midori."""
    rng = random.Random(3)
    scenes = [world.sample_scene(rng, world.HELD_OUT["akane"]) for _ in range(16)]
    shown = [dataclasses.replace(scene, character=world.HELD_OUT["midori"]) if number in wrong else scene
             for number, scene in enumerate(scenes)]
    save_samples(folder, [(world.draw(scene, 64), "zqx", {"name": f"d{number:02d}"})
                          for number, scene in enumerate(shown)])
    return load_folder(folder)


class CountingEye(SandboxEye):
    count = 0

    def embed(self, pixels):
        self.count += len(pixels)
        return super().embed(pixels)


def other_looks(dataset, cache=None, eye=None, purpose="character"):
    config = AuditConfig(family="sandbox", purpose=purpose)
    *_, last = audit(dataset, config, cache, eye=eye or CountingEye())
    return [picture.name for picture in last.audit.pictures
            if any(finding.code == "other look" for finding in picture.findings)]


def test_two_images_of_someone_else_are_named_with_their_likeness(tmp_path):
    dataset = save_drawings(tmp_path, wrong=(4, 11))
    assert other_looks(dataset) == ["d04.png", "d11.png"]
    assert other_looks(dataset, purpose="style") == [], "images of a style show many characters"


def test_a_second_audit_looks_at_nothing_again(tmp_path):
    dataset, eye = save_drawings(tmp_path / "images"), CountingEye()
    assert other_looks(dataset, tmp_path / "cache", eye) == other_looks(dataset, tmp_path / "cache", eye) == []
    assert eye.count == 16 + 2, "each audit looks at one more image, which tells the eye from others of its name"


def test_another_eye_of_the_same_name_looks_at_every_image_itself(tmp_path):
    class OtherEye(CountingEye):
        def embed(self, pixels):
            return super().embed(pixels).flip(1)

    dataset, other = save_drawings(tmp_path / "images"), OtherEye()
    other_looks(dataset, tmp_path / "cache", CountingEye())
    other_looks(dataset, tmp_path / "cache", other)
    assert other.count == 16 + 1


@pytest.mark.parametrize("spread", [0.02, 0.08])
def test_the_threshold_follows_from_the_folder_itself(spread):
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(
        torch.tensor([1.0, *[0.0] * 31]) + spread * torch.randn(24, 32, generator=generator), dim=1)
    stranger = torch.nn.functional.normalize(torch.tensor([[0.2, 1.0, *[0.0] * 30]]), dim=1)
    found = look_findings([*rows, *stranger, None])
    assert [number for number, finding in enumerate(found) if finding] == [24]
    assert found[24].value < found[24].threshold
    assert look_findings([*rows[:6], *stranger]) == [None] * 7, "too few to say"
