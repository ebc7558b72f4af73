"""Which image an edit model is shown for which view."""

from pathlib import Path

import pytest
from PIL import Image

from lora_bootstrap.trainer.bootstrap.picks import Pick
from lora_bootstrap.trainer.bootstrap.planning.references import Reference, References, original_of
from lora_bootstrap.trainer.bootstrap.planning.view_plan import Source, keep_candidates, lineage_of, plan_views
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.sampler import save_picture
from lora_bootstrap.trainer.views.turns import Turn

from ...helpers.drawn_project import draw_project


def shown(name, *tags):
    return Reference(name, Path(f"{name}.png"), tags)


FIRST = References(shown("original", "front view"), {"face": shown("2-face"), "upper": shown("1-upper")})
KEPT = (shown("r1-000", "from behind", "full body"), shown("r1-001", "from side", "facing left", "full body"),
        shown("r1-002", "from side", "facing right", "full body"),
        shown("r1-003", "from side", "facing left", "close-up"))
LATER = References(FIRST.original, FIRST.crops, KEPT)


@pytest.mark.parametrize(("tags", "name"), [
    ("close-up", "2-face"), ("portrait", "2-face"), ("upper body", "1-upper"), ("full body", "original"),
    ("cowboy shot", "original"), ("", "original"), ("from behind, close-up", "original"),
    ("from side, close-up", "2-face")])
def test_a_close_view_starts_from_a_crop_and_others_from_the_whole_image(tags, name):
    assert FIRST.choose(tags.split(", ")).name == name


@pytest.mark.parametrize(("tags", "name"), [
    ("from behind, full body", "r1-000"), ("from side, facing left, full body", "r1-001"),
    ("from side, facing left, portrait", "r1-003"), ("from side, facing right", "r1-002"),
    ("from behind, facing left, full body", "r1-000"), ("three-quarter view, facing left, full body", "r1-001"),
    ("front view, full body", "original"), ("front view, close-up", "2-face")])
def test_a_later_round_starts_from_the_kept_image_of_the_nearest_angle(tags, name):
    assert LATER.choose(tags.split(", ")).name == name


def test_an_image_of_the_users_own_among_the_crops_is_not_a_crop_of_the_face(tmp_path):
    project = draw_project(tmp_path)
    save_picture(project.folder / "picture.png", Image.new("RGB", (32, 32), "red"))
    for name in ("zz-face", "0-my-face"):
        save_picture(project.crops_folder / f"{name}.png", Image.new("RGB", (32, 32), "blue"))
    assert References.of(project.round(1)).choose(["close-up"]).name == "2-face"


def test_where_only_the_camera_moves_each_round_starts_from_the_original():
    assert LATER.choose(["from behind", "full body"], "camera angles").name == "original"
    assert LATER.choose(["from behind", "full body"], "edit instruction").name == "r1-000"


def test_turns_are_compared_around_the_back_and_an_unknown_side_is_the_nearer_one():
    left, right, side = (Turn.of(["from side", *more]) for more in (["facing left"], ["facing right"], []))
    behind_left = Turn.of(["from behind", "facing left"])
    assert [left.away(right), left.away(side), left.away(behind_left), right.away(behind_left)] == [180, 0, 45, 135]
    assert Turn.of(["facing right"]) == right and Turn.of([]) == Turn.of(["looking at viewer"]) == Turn(0)


def test_a_reference_is_in_the_name_and_the_lineage_and_without_one_nothing_changes(tmp_path):
    project = draw_project(tmp_path)
    with pytest.raises(UserError, match="image of project 'zqx' is gone; run its Bootstrap Project"):
        original_of(project)
    save_picture(project.folder / "picture.png", Image.new("RGB", (32, 32), "red"))
    view, source = plan_views(project, 1).views[0], Source(None, 0.0, "recipe")
    red, plain = lineage_of(project.round(1), view, source, original_of(project)), lineage_of(
        project.round(1), view, source)
    save_picture(project.folder / "picture.png", Image.new("RGB", (32, 32), "blue"))
    blue = lineage_of(project.round(1), view, source, original_of(project))
    assert red.reference == blue.reference == "original" and red.reference_hash != blue.reference_hash
    assert len({red.name, blue.name, plain.name}) == 3
    assert not {"reference", "reference_hash", "generator"} & plain.to_dict().keys()


def test_a_kept_image_is_shown_as_it_was_cropped_and_flipped_by_hand(tmp_path):
    project = draw_project(tmp_path)
    save_picture(project.folder / "picture.png", Image.new("RGB", (32, 32), "red"))
    one = project.round(1)
    image = Image.new("RGB", (64, 64), "white")
    image.paste("black", (0, 0, 32, 64))
    view = plan_views(project, 1, axes={"angle": {"from behind": 1}}).views[0]
    (path,) = keep_candidates(one, lineage_of(one, view, Source(None, 0.0, "r")), [image])
    one.picks.changed("", [(path.stem, {"state": "keep", "flip": True, "crop": [0, 0, 48, 64]})],
                      one.collect_facts()).save(one.picks_file)
    chosen = References.of(project.round(2)).choose(["from behind", "full body"])
    loaded = chosen.load()
    assert (chosen.name, loaded.size, chosen.pick.flip) == (path.stem, (48, 64), True)
    assert loaded.getpixel((0, 0)) == (255, 255, 255) and loaded.getpixel((47, 0)) == (0, 0, 0)
    assert chosen.pixels != Reference(path.stem, path, (), Pick()).pixels
    with pytest.raises(UserError, match="reference 'gone' is not among"):
        References.of(project.round(2)).named("gone")
