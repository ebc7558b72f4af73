"""White drawings on transparency: said, and shown on another ground, from public reports."""

import pytest
from PIL import Image, ImageDraw

from lora_bootstrap.trainer.audits.audit import AuditConfig
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.datasets.prepare import prepare
from lora_bootstrap.trainer.datasets.prepared_folder import PrepareConfig
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.feed import Feed

from ..helpers.audits import run_audit
from ..helpers.tiny import make_tiny_backbone

LINES = (((20, 20), (230, 60)), ((128, 10), (128, 240)), ((30, 220), (220, 30)))
CONFIG = AuditConfig(family="sandbox", workers=1)


def drawings(folder, ink):
    folder.mkdir()
    for number, line in enumerate(LINES):
        image = Image.new("RGBA", (256, 256), (*ink, 0))
        ImageDraw.Draw(image).line(line, (*ink, 255), 9)
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("1girl, line art")
    return folder


def codes(audit):
    return [{finding.code for finding in picture.findings} for picture in audit.pictures]


def test_different_white_drawings_are_hidden_by_white_and_are_not_called_copies(tmp_path):
    """Sixty-one different icons were deleted as copies of one blank image.
    https://github.com/ugurkocde/IntuneGet/pull/847, https://github.com/KilianB/JImageHash/issues/38,
    https://github.com/elisemercury/Duplicate-Image-Finder/issues/30"""
    folder = drawings(tmp_path / "white", (255, 255, 255))
    audit = run_audit(load_folder(folder), CONFIG)
    assert audit.duplicates == ()
    assert all("hidden" in found and not found & {"duplicate", "bright"} for found in codes(audit))
    text = next(finding.text for finding in audit.pictures[0].findings if finding.code == "hidden")
    assert text == ("nothing can be seen in it on white, which is put behind transparent parts; choose another "
                    "background in Load Dataset (--background), such as black.")


@pytest.mark.parametrize(("ink", "ground"), [((255, 255, 255), "black"), ((255, 255, 255), "#808080"),
                                             ((0, 0, 0), "white"), ((250, 250, 250), "gray")])
def test_on_another_ground_they_are_seen_and_told_apart(tmp_path, ink, ground):
    folder = drawings(tmp_path / "set", ink)
    dataset = load_folder(folder, background=ground)
    audit = run_audit(dataset, CONFIG)
    assert audit.duplicates == () and not any("hidden" in found for found in codes(audit))
    assert all(sample.load().getextrema()[0][1] - sample.load().getextrema()[0][0] > 100 for sample in dataset)


def test_black_drawings_are_hidden_by_black(tmp_path):
    folder = drawings(tmp_path / "black", (0, 0, 0))
    audit = run_audit(load_folder(folder, background="black"), CONFIG)
    assert audit.duplicates == () and all("hidden" in found for found in codes(audit))
    texts = [finding.text for finding in audit.pictures[0].findings if finding.code == "hidden"]
    assert "on black, which" in texts[0] and texts[0].endswith("such as gray.")


def test_a_preparation_says_so_and_keeps_the_chosen_ground(tmp_path):
    folder = drawings(tmp_path / "white", (255, 255, 255))
    config = PrepareConfig(family="sandbox", crop="none")
    *_, last = prepare(load_folder(folder), config, tmp_path / "blank")
    assert all("nothing can be seen in it on white" in picture.text for picture in last.pictures)
    *_, last = prepare(load_folder(folder, background="black"), config, tmp_path / "seen")
    assert not any("nothing can be seen" in picture.text for picture in last.pictures)
    assert all(sample.load().getextrema()[0][1] > 150 for sample in last.dataset)


def test_a_training_says_so_before_it_starts(tmp_path):
    folder = drawings(tmp_path / "white", (255, 255, 255))
    config = TrainConfig().replace(**{"data.resolution": 32})

    def warnings(background):
        feed = Feed(make_tiny_backbone(), load_folder(folder, background=background), config, TensorCache(None))
        return [event.message for event in feed.prepare() if isinstance(event, Warned)]

    assert [line.partition(",")[0] for line in warnings("white")] == [
        f"{number}.png: nothing can be seen in it on white" for number in range(3)]
    assert warnings("black") == []


def test_the_ground_counts_as_part_of_the_image_and_white_is_what_it_has_always_been(tmp_path):
    folder = drawings(tmp_path / "white", (255, 255, 255))
    plain, black = load_folder(folder), load_folder(folder, background="black")
    assert plain.fingerprint == load_folder(folder, background="white").fingerprint != black.fingerprint
    with pytest.raises(UserError, match="background 'nocolour' is not a colour; use a name"):
        load_folder(folder, background="nocolour")
