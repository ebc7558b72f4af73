"""What is asked for in the gallery: views drawn again, and images repaired elsewhere."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
from PIL import Image, ImageOps

from lora_bootstrap.trainer.bootstrap import repairs
from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.curation import curate_round as curating
from lora_bootstrap.trainer.bootstrap.curation.curate_round import curate_round
from lora_bootstrap.trainer.bootstrap.planning.view_plan import Source, is_kept, keep_candidates, lineage_of
from lora_bootstrap.trainer.bootstrap.repairs import (
    MOST_WISHES,
    Wish,
    change_wishes,
    find_candidate,
    follow_prompt,
    keep_repaired,
    list_wished,
    wishes_file,
)
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.bootstrap.status import project_status
from lora_bootstrap.trainer.bootstrap.training_sets import round_dataset
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset
from lora_bootstrap.trainer.pictures.images import open_image

from ...helpers.drawn_project import draw_project, draw_round


@pytest.fixture
def round_(tmp_path):
    return draw_round(draw_project(tmp_path, targets=(3, 8), candidates=(6,)), 1)


@pytest.fixture
def names(round_):
    return [path.stem for path in round_.list_candidates()]


def decide(round_, **changes):
    changed = round_.picks.changed("by hand", changes.items(), round_.collect_facts(changes))
    changed.save(round_.picks_file)


def wish(candidate, **values):
    return Wish.of({"candidate": candidate, "seed": 5, **values})


def darker(path):
    return ImageOps.invert(open_image(path))


def curated(round_):
    return curate_round(round_, wanted=5, size=(64, 64), reference=None, eye=None)


def test_a_wish_waits_until_it_is_drawn_and_can_be_taken_back(round_, names):
    first, second = wish(names[0], strength=0.9), wish(names[0])
    change_wishes(round_, [first, second])
    change_wishes(round_, remove=[second.id])
    (waiting,) = list_wished(round_)
    assert waiting.wish == first and waiting.name == f"r1-000-{first.id}"
    old = Lineage.read(find_candidate(round_, names[0]))
    assert (waiting.view.text, waiting.view.seed, waiting.view.prompt.tags) == (old.prompt, 5, tuple(old.tags))
    lineage = waiting.lineage(lineage_of(round_, waiting.view, Source(None, 0.0, "drawn")), 0.9)
    assert (lineage.again_of, lineage.strength, lineage.view) == (names[0], 0.9, old.view)
    keep_candidates(round_, lineage, [darker(find_candidate(round_, names[0]))])
    assert list_wished(round_) == [] and is_kept(round_, lineage)
    assert [path.stem for path in round_.list_candidates() if path.stem not in names] == [waiting.name]
    change_wishes(round_)
    assert Project.load(round_.project.folder).round(1).list_candidates() and '"wishes": []' in wishes_file(
        round_).read_text("utf-8")


def test_an_image_drawn_again_never_stands_for_the_old_one(round_, names):
    """Same prompt, seed and pixels: a plan's image would keep its old name and lose its lineage."""
    path = find_candidate(round_, names[0])
    old, pixels = Lineage.read(path), path.read_bytes()
    change_wishes(round_, [wish(names[0], seed=old.seed)])
    (waiting,) = list_wished(round_)
    planned = lineage_of(round_, waiting.view, Source(None, 0.0, "drawn"))
    kept = keep_candidates(round_, waiting.lineage(planned), [open_image(path)])
    assert [one.stem for one in kept] == [waiting.name] and Lineage.read(path) == old
    moved = lineage_of(round_, waiting.view, Source(None, 0.0, "another workflow"))
    assert keep_candidates(round_, replace(moved, name="r1-000-abcdef"), [open_image(path)]) == [path]
    assert path.read_bytes() == pixels and Lineage.read(kept[0]).again_of == names[0]


def test_tags_follow_a_prompt_that_was_changed(round_, names):
    old = Lineage.read(find_candidate(round_, names[0]))
    changed = old.prompt.replace(old.view["angle"], "from below") + ", rain"
    change_wishes(round_, [wish(names[0], prompt=changed)])
    (waiting,) = list_wished(round_)
    assert waiting.view.text == changed and "angle" not in waiting.view.prompt.view
    assert {"from below", "rain"} <= set(waiting.view.prompt.tags) and old.view["angle"] not in waiting.view.prompt.tags
    assert follow_prompt(["zqx", "Red_Hair", "smile"], "best, red hair, smile", "best, smile, wink") == [
        "zqx", "smile", "wink"]


def test_weights_loras_and_embeddings_of_a_prompt_are_not_tags():
    after = "1girl, (hairpin:1.3), <lora:detail:0.5>, embedding:x, (embedding:y:0.5), (wink, rain:1.2)"
    assert follow_prompt(["1girl", "hairpin"], "1girl, hairpin", after) == ["1girl", "hairpin", "wink", "rain"]


@pytest.mark.parametrize(("values", "says"), [
    ({"seed": -1}, "seed is -1"), ({"seed": True}, "seed is True"), ({"strength": 9}, "strength is 9"),
    ({"strength": float("nan")}, "strength is nan"), ({"prompt": "x" * 20_000}, "at most 10000"),
    ({"prompt": ["a"]}, "prompt must be")])
def test_a_wish_that_cannot_be_is_refused(values, says):
    with pytest.raises(UserError, match=says):
        wish("r1-000", **values)


def test_wishes_for_what_is_not_there_and_too_many_are_refused(round_, names):
    with pytest.raises(UserError, match="no candidate 'r1-999'"):
        change_wishes(round_, [wish("r1-999")])
    with pytest.raises(UserError, match="501 images would wait"):
        change_wishes(round_, [wish(names[0])] * (MOST_WISHES + 1))
    assert not wishes_file(round_).exists()


def test_what_was_asked_for_counts_in_the_plans_total(round_, names):
    def told():
        stages = project_status(round_.project.folder, round_.project.folder).stages
        return next((stage.done, stage.text) for stage in stages if stage.name == "candidates-1")

    assert told() == (True, "6 of 6")
    change_wishes(round_, [wish(names[0])])
    assert told() == (False, "6 of 7")
    keep_repaired(round_, names[1], darker(find_candidate(round_, names[1])))
    assert told() == (False, "7 of 8")


def test_a_repaired_image_takes_the_place_of_the_old_one_with_what_was_decided_on_it(round_, names):
    decide(round_, **{names[1]: {"state": "keep", "tags": ["zqx", "wink"], "note": "hand", "flip": True,
                                 "crop": [0, 0, 32, 64]}})
    old = find_candidate(round_, names[1])
    large = darker(old).resize((128, 128))
    new = keep_repaired(round_, names[1], large)
    told = Lineage.read(new)
    assert (told.repaired_from, told.width, told.prompt) == (names[1], 128, Lineage.read(old).prompt)
    facts, picks = round_.collect_facts(), round_.picks
    pick = picks.of(new.stem, facts[new.stem])
    assert (pick.state, pick.tags, pick.note, pick.flip, pick.crop) == (
        "keep", ("zqx", "wink"), "hand", True, (0, 0, 64, 128))
    assert picks.of(names[1], facts[names[1]]).state == "reject" and old.is_file()
    assert picks.history[-1].label == f"repairing {names[1]}"
    assert [kept.path for kept in round_.list_kept()] == [new]
    assert len(round_dataset(round_, round_.list_kept()).dataset) == 4
    assert keep_repaired(round_, names[1], large) == new and round_.picks.revision == picks.revision
    with pytest.raises(UserError, match="without a change"):
        keep_repaired(round_, names[1], open_image(old))


def test_decisions_that_could_not_be_saved_are_carried_over_by_the_next_run(round_, names, monkeypatch):
    decide(round_, **{names[1]: {"state": "keep", "note": "hand"}})
    image = darker(find_candidate(round_, names[1]))
    with monkeypatch.context() as patch:
        patch.setattr(repairs, "save_change", Mock(side_effect=UserError("the disk is full")))
        with pytest.raises(UserError, match="full"):
            keep_repaired(round_, names[1], image)
    new = keep_repaired(round_, names[1], image)
    assert [kept.path for kept in round_.list_kept()] == [new] and round_.picks.picks[new.stem][0].note == "hand"


def test_curation_leaves_the_old_one_out_and_does_not_take_the_new_one_for_its_copy(round_, names):
    old = find_candidate(round_, names[2])
    almost = open_image(old)
    almost.putpixel((3, 3), (1, 2, 3))
    new = keep_repaired(round_, names[2], almost)
    reasons = {decision.candidate: decision.reason for decision in curated(round_).curation.decisions}
    assert reasons[names[2]] == f"replaced by {new.stem}, which was repaired"
    assert "duplicate" not in reasons[new.stem] and curated(round_).reused
    twins = round_.read_decisions().values.twins
    assert not any(names[2] in group for group in twins)


def test_the_old_image_can_be_picked_where_its_repair_was_rejected_by_hand(round_, names):
    old = find_candidate(round_, names[2])
    almost = open_image(old)
    almost.putpixel((3, 3), (1, 2, 3))
    new = keep_repaired(round_, names[2], almost)
    decide(round_, **{new.stem: {"state": "reject"}})
    reasons = {decision.candidate: decision.reason for decision in curated(round_).curation.decisions}
    assert "replaced" not in reasons[names[2]] and reasons[new.stem] == "rejected by hand"


def test_a_round_without_repairs_keeps_the_key_that_it_had(round_, monkeypatch):
    """Decisions made before there were repairs are not made anew: the key is that of commit f504383."""
    monkeypatch.setattr(curating, "file_hash", lambda path: path.name)
    monkeypatch.setattr(Dataset, "fingerprint", "crops")
    curated(round_)
    assert round_.read_decisions().values.key == "c71ad39452d988b326cead0c"


def test_a_kept_image_of_an_earlier_round_is_repaired_in_the_later_one(tmp_path):
    project = draw_project(tmp_path, candidates=(6, 9))
    first = draw_round(project, 1)
    name = first.list_candidates()[0].stem
    decide(first, **{name: {"state": "keep"}})
    second = draw_round(project, 2)
    new = keep_repaired(second, name, Image.new("RGB", (64, 64), "red"))
    assert new.stem.startswith("r2-000-") and second.list_kept()[-1].path == new
    assert second.carried[0].stem == name and not any(kept.path.stem == name for kept in second.list_kept())
