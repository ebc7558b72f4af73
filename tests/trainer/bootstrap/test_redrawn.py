"""Kept images drawn again with a LoRA of the marks: which, and what of them changes."""

from dataclasses import replace

import pytest
import torch

from lora_bootstrap.trainer.bootstrap.candidates import Lineage, PictureMaker, PlannedView
from lora_bootstrap.trainer.bootstrap.curation.redrawn import MarksLora, MarksPainter
from lora_bootstrap.trainer.bootstrap.picks import Pick
from lora_bootstrap.trainer.bootstrap.rounds import KeptCandidate
from lora_bootstrap.trainer.captions.views import ViewPrompt
from lora_bootstrap.trainer.common.files import file_hash
from lora_bootstrap.trainer.models.sampler import Sampler
from lora_bootstrap.trainer.pictures.images import load_pixels
from lora_bootstrap.trainer.stacks.local_lora import Local
from lora_bootstrap.trainer.stacks.time_split import Curve

from ...helpers.backbone_contract import a_lora

CURVE = Curve(0.5, 2.0, until=0.5, begin=0.5)
FRAMINGS = ("full body", "upper body", "close-up")


class GreenEye:
    """Likeness by how green an image is."""

    name = "green"

    def embed(self, pixels):
        return pixels.flatten(2).mean(2) - 0.5


@pytest.fixture(scope="module")
def drawn(tiny_backbone, tmp_path_factory):
    """(what draws, the LoRA, the images of a round that it drew)."""
    folder = tmp_path_factory.mktemp("round")
    lora = a_lora(tiny_backbone, folder / "style.safetensors")
    maker = PictureMaker(tiny_backbone, Sampler(64, 64, 4, 3.0), lambda: False)
    views = [PlannedView(row, ViewPrompt((framing,), {"framing": framing}), f"1girl, {framing}", 10 + row)
             for row, framing in enumerate(FRAMINGS)]
    for _ in maker.make("round 1", folder, views, number=1, lora=lora, strengths=(0.4, 0.8), curve=CURVE):
        pass
    return maker, lora, [folder / f"r1-00{row}.png" for row in range(3)]


@pytest.fixture
def redraw(drawn, tmp_path):
    """`redraw(local, **lineage)`: the images after the marks were drawn into them, with that changed in the first's
    lineage, and the folder of those that were drawn again."""
    maker, lora, paths = drawn

    def redraw(local=Local(), **changed):  # noqa: B008 (frozen)
        lineages = [Lineage.read(path) for path in paths]
        kept = [KeptCandidate(path, replace(lineage, **(changed if row == 0 else {})), Pick())
                for row, (path, lineage) in enumerate(zip(paths, lineages, strict=True))]
        green = torch.zeros(1, 3, 64, 64)
        green[:, 1] = 1.0
        painter = MarksPainter(maker, tmp_path / "marked", {file_hash(lora): lora}, CURVE,
                               MarksLora(lora, frozenset({"close-up"}), local), GreenEye(), green)
        work = painter.redraw(kept)
        while True:
            try:
                next(work)
            except StopIteration as end:
                return end.value, tmp_path / "marked"

    return redraw


def test_an_image_is_drawn_again_as_it_was_if_the_marks_change_nothing(redraw, drawn):
    done, folder = redraw(Local(strength=0.0))
    before, after = load_pixels(drawn[2][:2], (64, 64)), load_pixels(sorted(folder.glob("*.png")), (64, 64))
    assert (before - after).abs().max() <= 2 / 255 and done.drawn == 2 and done.taken == 0
    assert [item.path for item in done.images] == drawn[2]


def test_what_changes_is_a_part_of_the_image_and_framings_that_hide_the_marks_stay(redraw, drawn):
    done, folder = redraw(Local(strength=2.0, weight=4.0, share=0.1))
    assert sorted(path.stem for path in folder.glob("*.png")) == ["r1-000", "r1-001"] and done.drawn == 2
    change = (load_pixels(drawn[2][:2], (64, 64)) - load_pixels(sorted(folder.glob("*.png")), (64, 64))).abs().amax(1)
    same = (change == 0).float().mean((1, 2))
    assert change.amax((1, 2)).min() > 0.02 and same.min() > 0.4
    assert Lineage.read(folder / "r1-000.png").marks.endswith("2 x 4 in 10 % from 25 %")
    assert done.images[2].path == drawn[2][2]


@pytest.mark.parametrize("changed", [{"recipe": "a-workflow"}, {"edits": True}, {"repaired_from": "r1-009"},
                                     {"base": "another"}, {"parent_lora_sha256": "another"}, {"steps": 5}, {"cfg": 2.0},
                                     {"width": 128}, {"curve": ""}])
def test_what_the_loop_did_not_draw_so_stays_as_it_is(redraw, changed):
    done, folder = redraw(**changed)
    assert done.drawn == 1 and [path.stem for path in folder.glob("*.png")] == ["r1-001"]
