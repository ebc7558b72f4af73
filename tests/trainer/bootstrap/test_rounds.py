"""Rounds on disk: what is kept, by whom, and what is trained on."""

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageOps

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.candidates import Lineage, PictureMaker
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig, CurationSettings
from lora_bootstrap.trainer.bootstrap.curation import curate_round as curating
from lora_bootstrap.trainer.bootstrap.curation.curate_round import curate_round
from lora_bootstrap.trainer.bootstrap.curation.round_figures import alarm
from lora_bootstrap.trainer.bootstrap.picks import Picks
from lora_bootstrap.trainer.bootstrap.rounds import AUTO, MANUAL, Project
from lora_bootstrap.trainer.bootstrap.training_sets import for_character, make_crops, round_dataset
from lora_bootstrap.trainer.captions.tags import split_tags
from lora_bootstrap.trainer.captions.views import ViewPrompt
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.measures.eyes import SandboxEye
from lora_bootstrap.trainer.models.sampler import Sampler

from ...helpers.drawings import draw_once
from ...helpers.drawn_project import AKANE, draw_project, draw_round
from ...helpers.faults import fault_at, fault_points


@pytest.fixture
def project(tmp_path):
    project = draw_project(tmp_path)
    draw_round(project, 1)
    return project


def curated(one, mode=AUTO, wanted=5, eye=None):
    return curate_round(one, wanted=wanted, size=(64, 64), reference=None, eye=eye, mode=mode)


def decide(one, label="pick", **values):
    """Decide on candidates by their place among the round's pictures: `decide(one, **{"0": {"state": "keep"}})`."""
    names = [path.stem for path in one.pictures()]
    changes = [(names[int(place)], value) for place, value in values.items()]
    picks = one.picks.changed(label, changes, one.collect_facts())
    picks.save(one.picks_file)


def fresh(one):
    return one.project.round(one.number)


def names(kept):
    return [item.path.stem for item in kept]


def test_a_project_is_read_as_it_was_written(project):
    again = Project.load(project.folder)
    assert again.config == project.config and again.roles.identity == tuple(AKANE.identity)
    with pytest.raises(UserError, match="there is no project 'other'"):
        Project.load(project.folder.parent / "other")


def test_there_are_as_many_rounds_as_the_targets_say(project):
    assert project.round(2).number == 2
    with pytest.raises(UserError, match="round is 3; project 'zqx' has rounds 1 to 2"):
        project.round(3)


def test_a_picture_without_lineage_is_no_candidate(project):
    one = project.round(1)
    first = one.list_candidates()[0]
    first.with_name("r1-999-abcdef.png").write_bytes(first.read_bytes())
    assert len(one.list_candidates()) == 12


def test_before_anything_is_decided_nothing_is_kept(project):
    assert project.round(1).list_kept() == []


def test_curation_by_itself_keeps_as_many_as_are_wanted(project):
    done = curated(project.round(1))
    assert len(done.kept) == 5 and not done.reused
    assert names(fresh(project.round(1)).list_kept()) == names(done.kept)
    assert done.figures.kept == 5 and done.figures.candidates == 12 and done.figures.likeness is None


def test_in_manual_mode_only_what_was_kept_by_hand_counts(project):
    one = project.round(1)
    assert curated(one, MANUAL).kept == ()
    decide(one, **{"3": {"state": "keep"}, "1": {"state": "keep"}, "2": {"state": "reject"}})
    done = curated(fresh(one), MANUAL)
    assert names(done.kept) == [path.stem for path in (one.list_candidates()[1], one.list_candidates()[3])]
    assert (done.figures.kept, done.figures.proposed) == (5, True)


def test_until_enough_are_picked_the_figures_are_of_the_proposal_and_then_of_the_picks(project):
    one = project.round(1)
    nobody = curated(one, MANUAL).figures
    assert (nobody.kept, nobody.proposed, nobody.candidates) == (5, True, 12) and nobody.diversity > 0
    assert alarm([nobody], 5) == "", "nobody has picked yet, so nothing is wrong"
    proposed = [name for name, decision in one.read_decisions().decisions.items() if decision.kept]
    assert read_json(one.decisions_file)["measured"] == proposed
    place = {path.stem: str(index) for index, path in enumerate(one.pictures())}
    decide(one, **{place[name]: {"state": "keep"} for name in proposed[:4]})
    assert curated(fresh(one), MANUAL).figures.proposed
    decide(fresh(one), **{place[proposed[4]]: {"state": "keep"}})
    assert curated(fresh(one), MANUAL).figures == replace(nobody, proposed=False), "of the same images"


def test_what_passed_but_is_not_proposed_is_a_reserve_in_the_order_in_which_it_would_be_taken(project):
    one = project.round(1)
    reasons = {decision.candidate: decision.reason for decision in curated(one, MANUAL).curation.decisions}
    reserve = sorted(reason for reason in reasons.values() if "passed" in reason)
    assert reserve == [f"passed, but others fit better (reserve {place})" for place in range(1, len(reserve) + 1)]
    assert len(reserve) > 2
    fourth = next(name for name, reason in reasons.items() if reason == "pick 4 of 5")
    shorter = {decision.candidate: decision.reason
               for decision in curated(project.round(1), MANUAL, wanted=3).curation.decisions}
    assert "reserve" in shorter[fourth]


def test_a_rejected_picture_is_replaced_by_another_and_one_kept_by_hand_is_in(project):
    one = project.round(1)
    proposed = names(curated(one).kept)
    out = next(path for path in one.list_candidates() if path.stem not in proposed)
    place = {path.stem: str(index) for index, path in enumerate(one.list_candidates())}
    decide(one, **{place[proposed[0]]: {"state": "reject"}, place[out.stem]: {"state": "keep"}})
    done = curated(fresh(one))
    assert len(done.kept) == 5 and out.stem in names(done.kept) and proposed[0] not in names(done.kept)
    reasons = {d.candidate: d.reason for d in done.curation.decisions}
    assert reasons[out.stem] == "kept by hand" and reasons[proposed[0]] == "rejected by hand"


def test_decisions_from_the_same_pictures_and_picks_are_not_made_again(project):
    one = project.round(1)
    first = curated(one)
    values = read_json(one.decisions_file)
    values["decisions"][0]["kept"] = not values["decisions"][0]["kept"]
    write_json(one.decisions_file, values)
    again = curated(fresh(one))
    assert again.reused and len(again.kept) == len(first.kept) + (1 if values["decisions"][0]["kept"] else -1)
    decide(one, **{"0": {"state": "reject"}})
    assert not curated(fresh(one)).reused


def test_what_one_round_keeps_is_chosen_from_again_in_the_next(project):
    first = curated(project.round(1))
    second = draw_round(project, 2)
    assert [path.stem for path in second.carried] == names(first.kept)
    assert second.pictures()[:5] == second.carried and len(second.pictures()) == 21
    assert names(curated(second, MANUAL).kept) == names(first.kept)  # they stay kept until somebody says otherwise
    decide(second, **{"0": {"state": "reject"}})
    assert names(fresh(second).list_kept()) == names(first.kept)[1:]
    assert names(fresh(project.round(1)).list_kept()) == names(first.kept)


def test_what_was_decided_on_a_carried_picture_holds_in_the_next_round(project):
    one = project.round(1)
    decide(one, **{"0": {"state": "keep", "tags": ["zqx", "1girl", "odd"], "flip": True}})
    curated(fresh(one), MANUAL)
    second = draw_round(project, 2)
    (kept,) = second.list_kept()
    assert kept.caption == "zqx, 1girl, odd" and kept.pick.flip


def test_the_training_set_holds_the_crops_a_third_of_the_time_and_the_pictures_as_decided(project):
    one = project.round(1)
    decide(one, **{str(place): {"state": "keep"} for place in range(5)})
    decide(one, **{"0": {"tags": ["zqx", "1girl", "wink"], "crop": [0, 0, 32, 48], "flip": True}})
    made = round_dataset(fresh(one), fresh(one).list_kept())
    assert len(made.dataset) == 8 and made.summary == "3 crops x 1 and 5 generated (38% real)"
    real = sum(sample.repeats for sample in made.dataset if sample.parent == "picture")
    assert real / sum(sample.repeats for sample in made.dataset) >= 1 / 3
    changed = next(sample for sample in made.dataset if "wink" in sample.caption)
    assert changed.caption == "zqx, 1girl, wink" and changed.size == (32, 48)
    assert round_dataset(fresh(one), fresh(one).list_kept()).reused
    decide(one, **{"0": {"note": "nice"}})
    assert round_dataset(fresh(one), fresh(one).list_kept()).reused
    decide(one, **{"0": {"flip": False}})
    assert not round_dataset(fresh(one), fresh(one).list_kept()).reused


def test_the_colours_of_edited_images_are_matched_to_the_crops_only_if_asked(project, monkeypatch):
    usual = Lineage.candidate.fget
    monkeypatch.setattr(Lineage, "candidate", property(lambda lineage: replace(
        usual(lineage), reference="original", prompt=ViewPrompt(tuple(lineage.tags), {}))))
    one = project.round(1)
    for path in one.list_candidates():
        Image.open(path).convert("RGB", (1, 0, 0, 0, 0, 0.9, 0, 0, 0, 0, 0.6, 0)).save(path)

    def built(match):
        kept = curate_round(one, wanted=2, size=(64, 64), reference=None, eye=None,
                            settings=CurationSettings(match_colours=match, colour_limit=99)).kept
        return round_dataset(one, kept)

    def pixels(made):
        return [sample.load().tobytes() for sample in made.dataset if "generated" in sample.path.parent.name]

    plain = built(False)
    before = pixels(plain)
    matched = built(True)
    assert "matched" not in plain.summary and matched.summary.endswith("colours of 2 matched to the crops")
    assert len(before) == 2 and before != pixels(matched)


def test_for_a_character_its_own_tags_are_left_out(project):
    curated(project.round(1))
    made = round_dataset(project.round(1), project.round(1).list_kept())
    left = {tag for sample in for_character(made.dataset, project) for tag in split_tags(sample.caption)}
    assert {"zqx", "1girl"} <= left and not left & set(AKANE.identity)


def test_quotas_share_the_pictures_to_keep_as_the_views_were_asked_for(project):
    table = project.round(1).quotas(5)
    assert set(table) == {"angle", "framing", "expression", "background", "style"}
    views = [read_json(path.with_suffix(".json"))["view"]["angle"] for path in project.round(1).list_candidates()]
    assert all(table["angle"][tag] == -(-5 * views.count(tag) // 12) for tag in set(views))
    assert draw_project(project.folder.parent / "other").round(1).quotas(5) == {}


def test_near_copies_are_put_together(project):
    one = project.round(1)
    first = one.list_candidates()[0]
    lineage = read_json(first.with_suffix(".json"))
    twin = first.with_name("r1-900-abcdef.png")
    twin.write_bytes(first.read_bytes())
    write_json(twin.with_suffix(".json"), {**lineage, "name": twin.stem})
    curated(one)
    groups = read_json(one.decisions_file)["twins"]
    assert any({first.stem, twin.stem} <= set(group) for group in groups)


def test_what_curation_refuses_as_a_duplicate_stands_with_its_like_in_the_gallery(project):
    one = project.round(1)
    first, flipped = one.list_candidates()[0], one.list_candidates()[0].with_name("r1-900-abcdef.png")
    ImageOps.mirror(Image.open(first)).save(flipped)
    lineage = read_json(first.with_suffix(".json"))
    write_json(flipped.with_suffix(".json"), {**lineage, "name": flipped.stem})
    curated(one)
    values = read_json(one.decisions_file)
    refused = {row["candidate"]: row["reason"].removeprefix("duplicate of ") for row in values["decisions"]
               if row["reason"].startswith("duplicate of ")}
    assert refused[flipped.stem] == first.stem
    assert all(any({name, other} <= set(group) for group in values["twins"]) for name, other in refused.items())


def test_likeness_is_measured_with_an_eye_and_novelty_without_one(project):
    done = curated(project.round(1), eye=SandboxEye())
    scores = [decision.scores for decision in done.curation.decisions]
    assert all(0 < row["likeness"] <= 1 and row["novelty"] >= 0 and "tag_recall" in row for row in scores)
    assert done.figures.likeness > 0.5 and read_json(project.round(1).decisions_file)["eye"] == "sandbox judge"


def test_the_bases_own_pictures_let_burn_be_measured(project):
    draw_round(project, 0)
    base = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    done = curate_round(project.round(1), wanted=5, size=(64, 64), reference=base, eye=None)
    assert done.figures.burn is not None and done.figures.base_diversity > 0
    assert len(project.round(0).list_candidates()) == 16


def test_pictures_of_ones_own_take_the_place_of_the_crops(tmp_path):
    project = draw_project(tmp_path)
    own = replace(project.crops(), samples=project.crops().samples[:2]).with_captions(lambda _: "1girl, mine")
    picture = own.samples[0].load()
    made = make_crops(project, picture, "picture", own)
    assert [sample.caption for sample in made.dataset] == ["zqx, 1girl, mine"] * 2 and not made.reused
    again = make_crops(project, picture, "picture", load_folder(project.crops_folder))
    assert [sample.caption for sample in again.dataset] == ["zqx, 1girl, mine"] * 2


def put_own_pictures(folder):
    """Three images with captions, as a person would put them there; returns all files by name."""
    folder.mkdir(parents=True)
    for number in range(3):
        exif = Image.Exif()
        exif[0x010E] = f"drawing {number}"
        Image.new("RGBA", (64, 64), (50 * number, 99, 0, 200)).save(folder / f"mine{number}.png", exif=exif)
        (folder / f"mine{number}.txt").write_text(f"1girl, hand written {number}\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_put_among_the_crops_survive_a_kill_and_a_full_disk_at_every_point(tmp_path):
    root = tmp_path / "made"
    config = BootstrapConfig(picture="x", tags=("1girl", "fox ears"), trigger="zz", name="p", targets=(3, 5),
                             candidates=(4,))
    mine = {}

    def prepare():
        shutil.rmtree(root, ignore_errors=True)
        mine.update(put_own_pictures(root / "p" / "crops"))

    def run():
        project = Project(root / "p", config, "sandbox")
        return make_crops(project, Image.new("RGB", (64, 64)), "picture", load_folder(root / "p" / "crops"))

    for at, error in fault_points(root, run, prepare):
        prepare()
        with suppress(UserError), fault_at(root, at, error):
            run()
        assert {path.name: path.read_bytes() for path in (root / "p" / "crops").iterdir()} == mine, f"lost at {at}"
        made = run()
        assert [sample.caption for sample in made.dataset] == [f"zz, 1girl, hand written {n}" for n in range(3)]


def test_pictures_put_into_a_rounds_dataset_or_among_its_crops_stay_when_it_is_built_again(project):
    round_ = project.round(1)
    kept = curated(round_).kept
    round_dataset(round_, kept)
    for folder in (round_.dataset_folder, project.crops_folder):
        Image.new("RGB", (64, 64), "red").save(folder / "mine.png")
        (folder / "mine.txt").write_text("by hand")
    assert "and 1 more that was put into dataset/" in round_dataset(round_, kept[1:]).summary
    other = replace(project, config=replace(project.config, trigger="other"))
    made = make_crops(other, draw_once(world.Scene(AKANE), 128), "picture")
    assert made.summary == "3 crops and 1 more that was put into crops/"
    for folder in (round_.dataset_folder, project.crops_folder):
        assert (folder / "mine.txt").read_text() == "by hand"


def test_a_caption_of_a_crop_that_was_edited_by_hand_is_kept_when_the_crops_are_cut_again(project):
    caption = next(project.crops_folder.glob("*.txt"))
    caption.write_text("by hand")
    other = replace(project, config=replace(project.config, trigger="other"))
    make_crops(other, draw_once(world.Scene(AKANE), 128), "picture")
    assert caption.read_text().startswith("other")
    assert (project.folder / "kept" / "crops" / caption.name).read_text() == "by hand"


def test_only_images_that_the_loop_made_are_removed_from_a_candidates_folder(tmp_path):
    sampler = Sampler(width=64, height=64, steps=1, cfg=1.0)
    maker = PictureMaker(SimpleNamespace(fingerprint="base"), sampler, lambda: False)
    files = ("r1-000.png", "r1-000.json", "r1-001.png", "r1-final.png", "reference-sheet.png", "reference-sheet.json")
    for name in files:
        (tmp_path / name).write_text("{}")
    assert list(maker.make("round 1", tmp_path, (), number=1)) == []
    assert {path.name for path in tmp_path.iterdir()} == set(files[3:])


def test_without_pictures_of_ones_own_the_crops_count_again(tmp_path):
    project = draw_project(tmp_path)
    cut, picture = project.crops(), draw_once(world.Scene(AKANE), 128)
    make_crops(project, picture, "picture", replace(cut, samples=cut.samples[:2]))
    assert len(project.crops()) == 2
    assert make_crops(project, picture, "picture").reused and project.crops() == cut


def test_a_damaged_decisions_file_is_told_in_one_line(project):
    one = project.round(1)
    one.folder.mkdir(exist_ok=True)
    one.decisions_file.write_text(json.dumps({"decisions": [{"candidate": "x"}]}))
    with pytest.raises(UserError, match="decisions.json does not contain decisions"):
        one.read_decisions()


def test_decisions_made_before_candidates_had_curves_are_still_reused(project, monkeypatch):
    keyed = []
    monkeypatch.setattr(curating, "key_of", lambda *parts: keyed.append(parts) or "key")
    curated(project.round(1))
    paths = project.round(1).list_candidates()
    saved = [read_json(path.with_suffix(".json")) for path in paths]
    assert keyed[0][0] == [{name: value for name, value in one.items() if name != "curve"} for one in saved] != []


def test_picks_of_a_round_are_empty_at_first(project):
    assert project.round(1).picks == Picks()


def test_the_character_lora_absorbs_traits_and_clothes_alone(tmp_path):
    """On a base with booru words, where every word of a tagger used to count as hers."""
    tags = ("1girl", "fox ears", "white dress", "front view", "standing", "park", "day", "holding cup", "glorbo")
    config = BootstrapConfig(picture="", tags=tags, trigger="zqx", name="zqx", base="sd_xl_base.safetensors")
    project = Project(tmp_path / "zqx", config, "sdxl")
    made = make_crops(project, draw_once(world.Scene(AKANE), 128), "picture")
    before, after = made.dataset, for_character(made.dataset, project)
    gone = {tag for old, new in zip(before, after, strict=True)
            for tag in set(split_tags(old.caption)) - set(split_tags(new.caption))}
    assert gone == {"fox ears", "white dress"}
    assert {"park", "day", "glorbo"} <= {tag for sample in after for tag in split_tags(sample.caption)}


def test_a_pick_by_hand_measures_no_image_again(project):
    class Eye(SandboxEye):
        shown = 0

        def embed(self, pixels):
            Eye.shown += len(pixels)
            return super().embed(pixels)

    one = fresh(project.round(1))
    first = curated(one, MANUAL, eye=Eye())
    decide(one, **{"0": {"state": "keep"}})
    Eye.shown = 0
    second = curated(fresh(one), MANUAL, eye=Eye())
    assert Eye.shown == 1 and not second.reused  # the image by which the eye is known
    assert [decision.scores for decision in second.curation.decisions] == [
        decision.scores for decision in first.curation.decisions]
