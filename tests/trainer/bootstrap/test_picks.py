"""What was decided by hand: it belongs to a picture, can be undone, and comes last."""

import json

import pytest
from PIL import Image

from lora_bootstrap.trainer.bootstrap.picks import REMEMBERED, CandidateFacts, Pick, Picks
from lora_bootstrap.trainer.common.errors import UserError

KNOWN = {"a": CandidateFacts("content of a", (64, 48)), "b": CandidateFacts("content of b", (64, 48))}


def change(picks, name, known=KNOWN, **values):
    return picks.changed(f"change {name}", [(name, values)], known)


def test_a_decision_changes_what_it_names_and_nothing_else():
    picks = change(change(Picks(), "a", state="keep", tags=["1girl", "fox ears"]), "a", flip=True)
    assert picks.of("a", KNOWN["a"]) == Pick(state="keep", tags=("1girl", "fox ears"), flip=True)
    assert picks.of("b", KNOWN["b"]) == Pick() and picks.revision == 2


def test_a_decision_on_another_picture_of_that_name_does_not_count():
    picks = change(Picks(), "a", state="reject")
    assert picks.of("a", CandidateFacts("drawn anew", (64, 48))) == Pick()


def test_what_an_earlier_round_decided_holds_until_something_else_is():
    earlier = {"a": CandidateFacts("content of a", (64, 48), Pick(tags=("kept",), crop=(0, 0, 32, 32)))}
    assert Picks().of("a", earlier["a"]).tags == ("kept",)
    picks = change(Picks(), "a", earlier, state="reject")
    assert picks.of("a", earlier["a"]) == Pick(state="reject", tags=("kept",), crop=(0, 0, 32, 32))
    assert change(picks, "a", earlier, state="").picks == {}


def test_the_history_tells_before_and_after_and_what_changed_nothing_is_not_in_it():
    picks = change(change(Picks(), "a", state="keep"), "a", state="keep")
    (step,) = picks.history
    assert step.label == "change a" and [(c.candidate, c.before.state, c.after.state) for c in step.changes] == [
        ("a", "", "keep")]
    assert picks.revision == 2


def test_the_history_ends_somewhere():
    picks = Picks()
    for number in range(REMEMBERED + 20):
        picks = change(picks, "a", note=str(number))
    assert len(picks.history) == REMEMBERED and picks.history[-1].changes[0].after.note == str(REMEMBERED + 19)


def test_picks_are_read_as_they_were_saved(tmp_path):
    picks = change(change(Picks(), "a", state="keep", crop=[0, 0, 32, 32], note=" two tails "), "b", tags=[])
    picks.save(tmp_path / "picks.json")
    assert Picks.load(tmp_path / "picks.json") == picks
    assert picks.of("a", KNOWN["a"]).note == "two tails" and picks.of("b", KNOWN["b"]).tags == ()
    assert Picks.load(tmp_path / "nothing.json") == Picks()


@pytest.mark.parametrize("text", ["[]", "{}", '{"revision": 1, "picks": {"a": {}}, "history": []}', "no json"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, text):
    (tmp_path / "picks.json").write_text(text)
    with pytest.raises(UserError, match="picks.json"):
        Picks.load(tmp_path / "picks.json")


@pytest.mark.parametrize(("values", "says"), [
    ({"state": "maybe"}, "state is 'maybe'"), ({"tags": "1girl"}, "tags must be"), ({"tags": [1]}, "tags must be"),
    ({"crop": [0, 0, 65, 48]}, "inside the 64 x 48 image"), ({"crop": [0, 0, 8, 48]}, "too small"),
    ({"crop": [0.5, 0, 32, 32]}, "whole pixels"), ({"flip": 1}, "flip is 1"), ({"note": 5}, "note must be"),
    ({"note": "x" * 3000}, "note must be"), ({"colour": "red"}, "no field 'colour'")])
def test_what_cannot_be_decided_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        change(Picks(), "a", **values)


def test_a_candidate_there_is_none_of_is_refused():
    with pytest.raises(UserError, match="no candidate 'c'"):
        change(Picks(), "c", {"a": KNOWN["a"]}, state="keep")


def test_a_crop_of_the_whole_picture_is_none_and_commas_do_not_split_tags():
    picks = change(Picks(), "a", crop=[0, 0, 64, 48], tags=["a,b", "  "])
    assert picks.of("a", KNOWN["a"]) == Pick(tags=("a b",))


def test_the_fingerprint_is_of_what_changes_the_training_set():
    noted = change(Picks(), "a", note="nice")
    kept = change(noted, "a", state="keep")
    assert Picks().fingerprint == noted.fingerprint == ""
    assert kept.fingerprint != change(kept, "a", flip=True).fingerprint
    assert kept.fingerprint == change(kept, "a", note="nicer").fingerprint
    assert json.dumps(kept.fingerprint)


def test_a_picture_is_cropped_then_flipped():
    picture = Image.new("RGB", (64, 48), "white")
    picture.paste("red", (0, 0, 16, 48))
    done = Pick(crop=(0, 0, 32, 32), flip=True).apply_to(picture)
    assert done.size == (32, 32) and done.getpixel((31, 0)) == (255, 0, 0) and done.getpixel((0, 0)) == (255, 255, 255)
