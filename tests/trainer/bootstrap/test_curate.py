"""Curation keeps what is good, alike, as asked and varied, and gives a reason for each picture."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.config import CurationSettings
from lora_bootstrap.trainer.bootstrap.curation import gates
from lora_bootstrap.trainer.bootstrap.curation.curate import Candidate, curate
from lora_bootstrap.trainer.bootstrap.curation.gates import match_to_crops, measure_edits, refuse_edits
from lora_bootstrap.trainer.bootstrap.curation.round_figures import RoundFigures, alarm, round_figures
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VOCABULARIES, ViewPrompt, view_prompt, view_prompts
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.measures import subject
from lora_bootstrap.trainer.measures.likeness import leave_one_out
from lora_bootstrap.trainer.measures.pixels import resize_pixels
from lora_bootstrap.trainer.measures.remembered import remember_figures
from lora_bootstrap.trainer.measures.subject import colour_shift, read_subject
from lora_bootstrap.trainer.pictures.images import to_image
from lora_bootstrap.trainer.views.turns import asks_to_turn
from lora_bootstrap.trainer.views.wordings import EDIT_WORDINGS

AKANE = world.HELD_OUT["akane"]
STRANGER = world.HELD_OUT["mizuki"]


def pixels_of(scenes, size=64):
    import numpy

    arrays = [torch.from_numpy(numpy.array(world.draw(scene, size))) for scene in scenes]
    return torch.stack(arrays).permute(0, 3, 1, 2).float() / 255


class HairEye:
    """Likeness by how much of the picture is red, tags from a list of what was drawn."""

    name = "hair"

    def __init__(self, seen=None):
        self.seen = seen

    def embed(self, pixels):
        red = ((pixels[:, 0] > 0.55) & (pixels[:, 1] < 0.45) & (pixels[:, 2] < 0.45)).float().flatten(1).mean(1)
        return normalize(torch.stack([red * 8, torch.full_like(red, 0.5)], 1), dim=1)

    def read_tags(self, pixels, tags):
        if self.seen is None:
            return None
        return torch.tensor([[float(tag in seen) for tag in tags] for seen in self.seen])


@pytest.fixture(scope="module")
def views():
    roles = tag_roles(world.caption_tags(world.Scene(AKANE)), VOCABULARIES["sandbox"])
    return view_prompts(24, roles, VOCABULARIES["sandbox"], seed=3)


@pytest.fixture(scope="module")
def candidates(views):
    return [Candidate(f"c{i:02d}", view, i, 1, "style-1") for i, view in enumerate(views)]


@pytest.fixture(scope="module")
def drawings(views):
    return pixels_of([world.Scene(AKANE, **view.view) for view in views])


@pytest.fixture(scope="module")
def anchors():
    return pixels_of([world.Scene(AKANE, framing=framing) for framing in world.ATTRIBUTES["framing"]])


def reasons(curation):
    return {decision.candidate: decision.reason for decision in curation.decisions}


def test_the_wanted_number_is_kept_and_every_candidate_has_a_reason(candidates, drawings, anchors):
    curation = curate(candidates, drawings, anchors, count=12)
    assert len(curation.picked) == sum(decision.kept for decision in curation.decisions) == 12
    assert len(curation.decisions) == 24 and all(decision.reason for decision in curation.decisions)


def test_without_an_eye_likeness_is_left_out_and_said_so(candidates, drawings, anchors):
    curation = curate(candidates, drawings, anchors, count=12)
    assert "not measured" in curation.notes[0]
    assert not any({"likeness", "tag_recall"} & set(decision.scores) for decision in curation.decisions)


def test_flat_and_blurred_pictures_and_duplicates_are_refused(candidates, drawings, anchors):
    pixels = drawings.clone()
    pixels[0] = 0.5
    pixels[1] = resize_pixels(resize_pixels(pixels[1:2], 3), 64)[0]
    pixels[3] = pixels[2] * 0.99
    refused = reasons(curate(candidates, pixels, anchors, count=20))
    assert refused["c00"] == "almost one colour"
    assert refused["c01"].startswith("blurred")
    assert refused["c03"] == "duplicate of c02"


def test_a_copy_of_an_original_crop_is_refused(candidates, drawings, anchors):
    pixels = drawings.clone()
    pixels[5] = anchors[1]
    assert reasons(curate(candidates, pixels, anchors, count=20))["c05"] == "a copy of an original crop"


def test_burnt_pictures_are_refused_against_the_bases_own(candidates, drawings, anchors):
    pixels = drawings.clone()
    muted = drawings * 0.3 + 0.35
    pixels[:20] = muted[:20]
    refused = reasons(curate(candidates, pixels, anchors, count=20, reference=muted + 0.001))
    burnt = [name for name, reason in refused.items() if reason.startswith("burnt")]
    assert len(burnt) >= 3 and set(burnt) <= {"c20", "c21", "c22", "c23"}


def test_a_stranger_is_refused_for_likeness(candidates, drawings, anchors, views):
    pixels = drawings.clone()
    pixels[:8] = pixels_of([world.Scene(STRANGER, **{**view.view, "background": "white background"})  # no red in it
                            for view in views[:8]])
    settings = CurationSettings(likeness_floor=0.75)
    curation = curate(candidates, pixels, anchors, count=8, eye=HairEye(), settings=settings, reference=anchors)
    assert not set(curation.picked) & set(range(8))
    assert sum("likeness" in decision.reason for decision in curation.decisions) >= 8


def test_the_likeness_gate_gives_way_for_enough_pictures_and_says_by_how_much(candidates, drawings, anchors):
    settings = CurationSettings(likeness_floor=0.9999)
    curation = curate(candidates, drawings, anchors, count=8, eye=HairEye(), settings=settings)
    assert len(curation.picked) == 8
    assert "was lowered from 1.00" in curation.notes[0]


def test_a_picture_that_shows_too_few_of_its_tags_is_refused(candidates, drawings, anchors, views):
    seen = [set(view.tags) for view in views]
    seen[4] = set(list(views[4].tags)[:3])
    curation = curate(candidates, drawings, anchors, count=23, eye=HairEye(seen),
                      settings=CurationSettings(likeness_floor=0.0))
    assert "of the requested tags" in reasons(curation)["c04"]
    assert curation.decisions[5].scores["tag_recall"] == 1.0


def test_no_view_takes_more_than_its_share(candidates, drawings, anchors, views):
    picked = curate(candidates, drawings, anchors, count=12).picked
    for angle in world.ATTRIBUTES["angle"]:
        asked = sum(view.view["angle"] == angle for view in views)
        assert sum(views[i].view["angle"] == angle for i in picked) <= -(-12 * asked // 24)


def test_where_every_image_is_beyond_a_share_those_come_that_are_least_beyond(views, drawings, anchors):
    """The two views from the side are almost one colour and refused, so that a place is left for the view from the
    front. The sharper images are in flat colour, which has its share."""
    def seen(angle, style):
        return replace(views[0], view={"angle": angle, "style": style})

    asked = [seen("front", "flat color")] * 5 + [seen("front", "pastel")] * 3 + [seen("side", "pastel")] * 2
    images = drawings[:10].clone()
    images[5:8] = torch.nn.functional.avg_pool2d(images[5:8], 9, 1, 4)
    images[8:] = 0.5
    candidates = [Candidate(f"c{i}", view, i, 1, "style-1") for i, view in enumerate(asked)]
    settings = CurationSettings(distance_weight=0.0, blur_limit=-99.0)
    curation = curate(candidates, images, anchors, count=5, settings=settings)
    assert sorted(index // 5 for index in curation.picked) == [0, 0, 0, 1, 1]


def test_distance_makes_the_picked_set_more_varied(candidates, drawings, anchors):
    from lora_bootstrap.trainer.measures.pixels import diversity, scene_embedding

    def spread(weight):
        settings = CurationSettings(distance_weight=weight)
        picked = curate(candidates, drawings, anchors, count=8, settings=settings).picked
        return diversity(scene_embedding(drawings[list(picked)]))

    assert spread(3.0) > 1.05 * spread(0.0)


def test_the_same_candidates_give_the_same_decisions(candidates, drawings, anchors):
    first, again = (curate(candidates, drawings, anchors, count=12, eye=HairEye()) for _ in range(2))
    assert first == again


def test_leave_one_out_never_compares_a_crop_with_itself():
    anchors = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    assert leave_one_out(anchors).tolist() == pytest.approx([0.5, 0.5, 0.0])


FINE = RoundFigures(1, 12, 48, 0.1, 1.0, 1.0, 0.5, 0.8, 0.9, 0.4)


@pytest.mark.parametrize("change, words", [
    ({"kept": 1}, "only 1 of the 12"), ({"burn": 3.5}, "burnt"), ({"diversity": 0.6}, "too alike"),
    ({"drift": 0.25}, "drifted"),
])
def test_each_alarm_names_its_figure(change, words):
    assert words in alarm([FINE, replace(FINE, **change)], wanted=12)
    assert alarm([FINE, FINE], wanted=12) == ""


def test_drift_that_rises_two_rounds_in_a_row_stops_the_loop():
    rounds = [replace(FINE, drift=drift) for drift in (0.10, 0.13, 0.16)]
    assert "two rounds in a row" in alarm(rounds, wanted=12)


def test_round_figures_measure_the_kept_pictures(candidates, drawings, anchors):
    curation = curate(candidates, drawings, anchors, count=12, eye=HairEye())
    kept = drawings[list(curation.picked)]
    chosen = [curation.decisions[index] for index in curation.picked]
    base = drawings.flip(1)  # the base gives her hair of another colour
    figures = round_figures(1, chosen, curation.decisions, kept, anchors, base, HairEye(), real_share=0.4)
    assert figures.kept == 12 and figures.candidates == 24
    assert figures.base_likeness < figures.drawn_likeness < figures.likeness
    assert figures.known_before == (
        f"The base's own images for her tags: likeness {figures.base_likeness:.2f}. Round 1: "
        f"{figures.drawn_likeness:.2f} as drawn, {figures.likeness:.2f} as kept.")
    figures = round_figures(1, chosen, curation.decisions, kept, anchors, drawings, HairEye(), real_share=0.4)
    assert figures.mark is None
    marked = [replace(chosen[0], scores={"mark": 0.25}), replace(chosen[1], scores={"mark": 0.75})]
    drawn = [*marked, replace(chosen[2], scores={"mark": 0.2})]
    of_marks = round_figures(1, marked, drawn, kept[:2], anchors, None, None, real_share=0.4)
    assert (of_marks.mark, of_marks.drawn_mark) == (0.5, 0.4)
    assert 0 <= figures.drift < 0.2
    assert figures.diversity > 0.7 * figures.base_diversity
    assert figures.burn < 3


def test_pictures_with_the_untold_trait_are_preferred(candidates, drawings, anchors, views):
    plain = pixels_of([world.Scene(replace(AKANE, signature=None), **view.view) for view in views])
    mixed = torch.cat([drawings[::2], plain[1::2]])
    order = [*candidates[::2], *candidates[1::2]]
    base = pixels_of([world.Scene(replace(AKANE, signature=None), **view.view) for view in views])
    curation = curate(order, mixed, anchors, count=8, reference=base)
    visible = [world.visible(world.Scene(AKANE, **candidate.prompt.view), "signature") for candidate in order]
    with_trait = sum(index < 12 and visible[index] for index in curation.picked)
    without = sum(index >= 12 and visible[index] for index in curation.picked)
    assert with_trait >= without + 3
    scores = [decision.scores["trait_colours"] for decision in curation.decisions]
    assert scores[0] > 0.2 or not visible[0]


def test_a_round_without_images_of_the_base_says_that_marks_were_not_measured(candidates, drawings, anchors):
    curation = curate(candidates, drawings, anchors, count=8)
    assert any("Marks were not measured: 0 images of the base" in note for note in curation.notes)
    assert not any("mark" in decision.scores for decision in curation.decisions)


def test_of_the_same_views_with_and_without_the_mark_those_with_it_are_picked(candidates, drawings, anchors, views):
    """The mark is momo's lime hair-pin, whose hue is that of grass: colours alone do not tell it."""
    momo = world.HELD_OUT["momo"]
    plain = replace(momo, signature=None)
    shown = [view for view in views if view.view["angle"] != "from behind"][:12]
    marked = pixels_of([world.Scene(momo, **view.view) for view in shown])
    base = pixels_of([world.Scene(plain, **view.view) for view in views[:8]])
    unmarked = pixels_of([world.Scene(plain, **view.view) for view in shown])
    crops = pixels_of([world.Scene(momo, framing=framing) for framing in world.ATTRIBUTES["framing"]])
    twice = [Candidate(f"m{i:02d}", view, i, 1, "style-1") for i, view in enumerate(shown + shown)]
    jitter = torch.linspace(0, 0.03, 24).view(24, 1, 1, 1)

    def marked_picks(weight):
        settings = CurationSettings(mark_weight=weight)
        pixels = (torch.cat([marked, unmarked]) + jitter).clamp(0, 1)
        curation = curate(twice, pixels, crops, count=8, reference=base, settings=settings)
        assert all("mark" in decision.scores for decision in curation.decisions)
        assert not any("Marks" in note for note in curation.notes)
        return sum(index < 12 for index in curation.picked)

    assert marked_picks(1.0) >= marked_picks(0.0) + 2


# -- images of an edit model -------------------------------------------------------------------------------------------


def edited_round(scenes, generators=("qwen edit",), reference="original"):
    """Candidates that an edit model drew: (the angle asked for, the scene that it shows) of each."""
    return [Candidate(f"e{place:02d}", ViewPrompt(("1girl", asked), {"angle": asked, "style": scene.style}), place, 1,
                      "", reference=reference, generator=generators[place % len(generators)])
            for place, (asked, scene) in enumerate(scenes)]


OWN_VIEW = ("front view", "flat color")


def large(scene):
    return pixels_of([scene], 128)[0]


def test_an_edit_that_keeps_the_pose_before_another_background_did_not_turn():
    left = [world.Scene(AKANE, background=ground) for ground in ("grass", "sunset")]
    turned = [world.Scene(AKANE, angle="from side", background=ground) for ground in ("grass", "sunset")]
    scenes = [("from side", scene) for scene in (*left, *turned)] + [("front view", left[0])]
    figures = measure_edits(edited_round(scenes), pixels_of([scene for _, scene in scenes]), pixels_of(
        [world.Scene(AKANE, framing=framing) for framing in world.ATTRIBUTES["framing"]]), OWN_VIEW)
    refused = [""] * 5
    refuse_edits(edited_round(scenes), refused, figures, CurationSettings())
    assert [reason.startswith("did not turn") for reason in refused] == [True] * 2 + [False] * 3
    assert 4 not in figures.pose


@pytest.mark.parametrize(("wording", "view", "own", "turns"), [
    ("edit instruction", {"angle": "own", "height": "eye level"}, "from side", False),
    ("edit instruction", {"angle": "facing left", "height": "eye level"}, "from side, facing right", True),
    ("edit instruction", {"angle": "three-quarter left"}, "three-quarter view", False),
    ("edit instruction", {"angle": "front view", "height": "eye level"}, "from above", True),
    ("camera angles", {"angle": "right side", "height": "eye level"}, "from side", False),
    ("camera angles", {"angle": "front-right quarter"}, "three-quarter view", False),
    ("camera angles", {"angle": "front view", "height": "slightly from above"}, "front view", False),
    ("camera angles", {"angle": "front view", "height": "from above"}, "front view", True),
    ("tags", {"angle": "looking at viewer"}, "from side, looking at viewer", False),
    ("tags", {"angle": "from above"}, "from side", True)])
def test_an_angle_and_a_height_are_asked_for_only_where_the_original_does_not_show_them(wording, view, own, turns):
    booru = VOCABULARIES["booru"]
    words = EDIT_WORDINGS[wording].vocabulary(booru) if wording in EDIT_WORDINGS else booru
    original = ViewPrompt(tuple(own.split(", ")), {})
    assert asks_to_turn(view_prompt(view, tag_roles(("1girl", *original.tags), booru), words), original) == turns


def test_a_front_view_drawn_from_a_kept_three_quarter_view_asks_to_turn():
    kept = ViewPrompt(("three-quarter view", "facing left"), {"angle": "three-quarter left"})
    assert asks_to_turn(ViewPrompt(("front view",), {"angle": "front view"}), kept)


def test_an_edit_of_a_kept_image_is_compared_with_that_image_too():
    side = world.Scene(AKANE, angle="from side", background="grass")
    kept = edited_round([("from side", side)])[0]
    again = replace(edited_round([("from behind", side)], reference=kept.name)[0], name="again")
    pixels = pixels_of([side, replace(side, background="sunset")])
    figures = measure_edits([kept, again], pixels, pixels_of([world.Scene(AKANE)]), OWN_VIEW)
    assert figures.pose[1] > 0.82 > figures.pose[0]


def test_the_subjects_of_edited_images_are_measured_once(tmp_path, monkeypatch):
    scenes = [(angle, world.Scene(AKANE, angle=angle, background="grass")) for angle in ("front view", "from side")]
    pixels, crops = pixels_of([scene for _, scene in scenes], 128), pixels_of([world.Scene(AKANE)], 128)
    plain = measure_edits(edited_round(scenes), pixels, crops, OWN_VIEW)
    measured, read = [], subject.read_subject
    monkeypatch.setattr(subject, "read_subject", lambda image: measured.append(image) or read(image))
    for count in (1, 2, 2):
        with remember_figures(tmp_path / "figures"):
            figures = measure_edits(edited_round(scenes[:count]), pixels[:count], crops, OWN_VIEW)
    assert len(measured) == 3  # the crop and each image
    assert [figures.of(index) for index in (0, 1)] == [plain.of(index) for index in (0, 1)]
    assert "same_pose" in figures.of(1) and "colour_shift" in figures.of(0)


def test_a_cast_and_lost_detail_are_refused_unless_a_style_was_asked_for_or_colours_are_matched(anchors):
    front = world.Scene(AKANE, background="grass")
    warm = (large(front) * torch.tensor([1.0, 0.93, 0.75])[:, None, None]).clamp(0, 1)
    soft = resize_pixels(resize_pixels(large(front)[None], 40), 128)[0]
    crops = pixels_of([world.Scene(AKANE)], 128)
    candidates = edited_round([("front view", front)] * 3)
    pixels = torch.stack([large(front), warm, soft])

    figures = measure_edits(candidates, pixels, crops, OWN_VIEW)

    def reasons_with(**settings):
        refused = [""] * 3
        refuse_edits(candidates, refused, figures, CurationSettings(**settings))
        return [reason.split()[0] if reason else "" for reason in refused]

    assert reasons_with() == ["", "the", "smoothed:"] and reasons_with(match_colours=True) == ["", "", "smoothed:"]
    asked = [replace(candidates[1], prompt=replace(candidates[1].prompt, view={"style": "dark"}))]
    assert not measure_edits(asked, pixels[1:2], crops, OWN_VIEW).colours
    originals = [read_subject(to_image(crop)) for crop in crops]
    matched = read_subject(match_to_crops(to_image(warm), originals))
    assert colour_shift(matched, originals) < 0.5 * colour_shift(read_subject(to_image(warm)), originals)
    assert match_to_crops(to_image(large(front)), originals).tobytes() == to_image(large(front)).tobytes()


def test_burn_is_not_measured_for_images_drawn_from_an_image(candidates, drawings, anchors):
    muted = drawings * 0.3 + 0.35
    edited = [replace(one, reference="original" if place < 2 else "") for place, one in enumerate(candidates)]
    curation = curate(edited, drawings, anchors, count=20, reference=muted)
    assert ["burn_z" in decision.scores for decision in curation.decisions] == [False] * 2 + [True] * 22
    assert any(note.startswith("Burn was not measured for 2 images") for note in curation.notes)
    figures = round_figures(1, curation.decisions[:2], curation.decisions, drawings[:2], anchors, muted, None, 0.4,
                            edited=[True] * 2)
    assert figures.burn is None and figures.base_diversity is None


def test_each_generator_gets_its_share_and_what_one_lacks_goes_to_the_others(candidates, drawings, anchors):
    def drawn_by(names, setting="even"):
        named = [replace(one, generator=names[place]) for place, one in enumerate(candidates)]
        curation = curate(named, drawings, anchors, count=12, settings=CurationSettings(generators=setting))
        return [sum(names[index] == name for index in curation.picked) for name in "ab"], curation.notes

    assert drawn_by("a" * 18 + "b" * 6)[0] == [6, 6]
    shares, notes = drawn_by("a" * 20 + "b" * 4)
    assert shares == [8, 4] and any(note.startswith("b drew 4 of the picks; an even share is 6") for note in notes)
    assert drawn_by("a" * 20 + "b" * 4, "free")[1] == drawn_by("a" * 24)[1]


def test_a_generator_that_drew_only_in_an_earlier_round_is_not_asked_for_more(candidates, drawings, anchors):
    named = [replace(one, generator="ab"[place >= 23], round=1 + (place < 23)) for place, one in enumerate(candidates)]
    assert not any("an even share" in note for note in curate(named, drawings, anchors, count=12).notes)


def test_an_edit_without_a_reference_of_ours_is_known_as_an_edit(candidates, drawings, anchors):
    muted = drawings * 0.3 + 0.35
    edited = [replace(one, edits=True) for one in candidates]
    assert not any("burn_z" in decision.scores for decision in curate(
        edited, drawings, anchors, count=20, reference=muted).decisions)


def test_faces_of_a_photograph_are_compared_and_never_from_behind(candidates, drawings, anchors, views):
    behind = next(place for place, view in enumerate(views) if view.view["angle"] == "from behind")
    front = next(place for place, view in enumerate(views) if view.view["angle"] == "front view")
    quarter = replace(candidates[behind], prompt=ViewPrompt(("from behind", "facing left"), {
        "angle": "back quarter left"}))
    few, pixels = [candidates[behind], candidates[front], quarter], drawings[[behind, front, behind]]
    curation = curate(few, pixels, anchors[:1], count=2, eye=HairEye(), own_tags=("photo",))
    assert ["face_likeness" in decision.scores for decision in curation.decisions] == [False, True, False]
    plain = curate(few, pixels, anchors[:1], count=2, eye=HairEye())
    assert not any("face_likeness" in decision.scores for decision in plain.decisions)


def test_the_face_in_an_image_is_looked_for_once(candidates, drawings, anchors, tmp_path, monkeypatch):
    looked, find = [], gates.find_face
    monkeypatch.setattr(gates, "find_face", lambda image: looked.append(image) or find(image))
    plain = gates.face_likeness(candidates[:3], drawings[:3], anchors[:2], HairEye())[0]
    looked.clear()
    for count in (2, 3, 3):
        with remember_figures(tmp_path / "figures"):
            again = gates.face_likeness(candidates[:count], drawings[:count], anchors[:2], HairEye())[0]
    shown = sum("from behind" not in one.prompt.tags for one in candidates[:3])
    assert len(looked) == 2 + shown > 3  # the crops and each image that shows a face
    assert torch.equal(again.nan_to_num(-1), plain.nan_to_num(-1))


def test_settings_that_earlier_versions_did_not_have_leave_their_decisions_valid():
    assert set(CurationSettings().recorded) == {"burn_limit", "blur_limit", "likeness_percentile", "likeness_floor",
                                               "spare", "tag_threshold", "tag_recall", "distance_weight"}
    assert CurationSettings(match_colours=True).recorded["match_colours"]
    with pytest.raises(UserError, match="generators is 'odd'; it must be even or free"):
        CurationSettings(generators="odd")
