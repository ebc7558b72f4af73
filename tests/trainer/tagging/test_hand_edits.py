"""Captions changed by hand, kept by the picture's content and laid over what rules make."""

import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, load_folder, save_samples
from lora_bootstrap.trainer.tagging.hand_edits import HandEdit, HandEdits


@pytest.fixture
def dataset(tmp_path):
    save_samples(tmp_path / "girl", [
        (Image.new("RGB", (8, 8), colour), f"akane, {colour} hair, smile", {"name": colour})
        for colour in ("red", "blue")])
    return load_folder(tmp_path / "girl")


def captions(dataset):
    return [sample.caption for sample in dataset]


def test_an_edit_gives_the_caption_as_it_was_typed():
    assert HandEdit("a, b", "b, a, c").apply_to("a, b") == "b, a, c"


def test_where_the_rules_have_changed_what_was_put_in_and_taken_out_stays_so():
    edit = HandEdit("akane, red hair, smile, grass", "akane, auburn hair, smile, hat")
    assert edit.apply_to("eiei, Red_Hair, smile, grass, dark") == "eiei, auburn hair, smile, hat, dark"
    assert edit.apply_to("akane, red hair, smile, grass, dark") == "akane, auburn hair, smile, hat, dark"


def test_a_tag_put_in_stands_behind_what_it_was_put_behind_else_before_what_it_was_put_before():
    assert HandEdit("a, b", "a, new, b").apply_to("x, a, y") == "x, a, new, y"
    assert HandEdit("a, b", "a, new, b").apply_to("x, b, y") == "x, new, b, y"
    assert HandEdit("a, b", "a, new, b").apply_to("x, y") == "x, y, new"


def test_a_tag_that_the_rules_have_put_in_meanwhile_is_not_doubled():
    assert HandEdit("a", "a, hat").apply_to("a, b, Hat") == "a, b, Hat"


def test_edits_are_found_by_content_wherever_the_file_lies(dataset, tmp_path):
    red = next(sample for sample in dataset if "red" in sample.caption)
    edits = HandEdits().changed({red.content_hash: "akane, frown"}, {red.content_hash: red.caption})
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "other.png").write_bytes(red.path.read_bytes())
    moved = load_folder(tmp_path / "moved")
    assert captions(edits.apply_to(moved)[0]) == ["frown"]
    edited, count = edits.apply_to(dataset)
    assert captions(edited) == ["akane, blue hair, smile", "akane, frown"] and count == 1
    assert captions(dataset) == ["akane, blue hair, smile", "akane, red hair, smile"]


def test_what_is_saved_is_read_again(tmp_path):
    edits = HandEdits().changed({"p": "b"}, {"p": "a"}).changed({"q": "d"}, {"q": "c"})
    edits.save(tmp_path / "edits" / "one.json")
    assert HandEdits.load(tmp_path / "edits" / "one.json") == edits and edits.revision == 2
    assert HandEdits.load(tmp_path / "none.json") == HandEdits()


def test_setting_a_caption_back_is_no_edit_and_leaves_the_fingerprint_as_it_was():
    edits = HandEdits().changed({"p": "b"}, {"p": "a"})
    back = edits.changed({"p": "a"}, {"p": "a"})
    assert back.edits == {} and back.revision == 2
    assert back.fingerprint == HandEdits().fingerprint == "" != edits.fingerprint


def test_a_file_that_is_none_of_ours_is_told_in_one_line(tmp_path):
    (tmp_path / "x.json").write_text('{"revision": 1, "edits": ["a"]}')
    with pytest.raises(UserError, match="does not hold edited captions"):
        HandEdits.load(tmp_path / "x.json")


def test_no_edits_leave_even_a_picture_that_is_gone_alone(dataset):
    dataset.samples[0].path.unlink()
    assert HandEdits().apply_to(dataset) == (dataset, 0)
    assert HandEdits().apply_to(Dataset(())) == (Dataset(()), 0)
