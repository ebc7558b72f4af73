"""What a round of a graph draws: the loop's own prompts, under names that tell one making from another."""

import hashlib
import json
from dataclasses import replace

import pytest
from PIL import Image

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.candidates import Lineage, picture_seed
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.curation.curate import Decision
from lora_bootstrap.trainer.bootstrap.picks import Pick
from lora_bootstrap.trainer.bootstrap.planning.view_plan import (
    REFERENCE_COUNT,
    Source,
    is_kept,
    keep_candidates,
    lineage_of,
    plan_views,
    remove_outdated,
)
from lora_bootstrap.trainer.bootstrap.project import open_project
from lora_bootstrap.trainer.bootstrap.rounds import Decisions, KeptCandidate, Project, RoundWords
from lora_bootstrap.trainer.bootstrap.training_sets import for_character, make_crops, round_dataset
from lora_bootstrap.trainer.captions.axes import find_contradictions
from lora_bootstrap.trainer.captions.earlier_views import earlier_roles, earlier_vocabulary
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VOCABULARIES, view_prompts
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.pictures.images import pixel_hash
from lora_bootstrap.trainer.views.wordings import EDIT_WORDINGS

from ...helpers.drawings import draw_once
from ...helpers.drawn_project import AKANE, draw_project, draw_round


@pytest.fixture
def project(tmp_path):
    return draw_project(tmp_path)


def test_the_prompts_and_seeds_are_those_of_the_command_line(project):
    plan = plan_views(project, 1)
    expected = view_prompts(12, project.roles, project.vocabulary, trigger="zqx", seed=1000)
    assert [view.prompt for view in plan.views] == list(expected)
    assert [view.seed for view in plan.views] == [picture_seed(0, 1, index) for index in range(12)]
    assert [view.text for view in plan.views] == [view.text for view in expected]


def test_the_bases_own_pictures_are_asked_for_without_the_trigger(project):
    plan = plan_views(project, 0)
    assert len(plan.views) == REFERENCE_COUNT and not any("zqx" in view.text for view in plan.views)


def test_words_around_the_prompt_are_no_tags_of_the_picture(project):
    (view, *_) = plan_views(project, 1, before="masterpiece, ", after="absurdres").views
    assert view.text == f"masterpiece, {view.prompt.text}, absurdres" and "masterpiece" not in view.prompt.tags


def test_another_seed_asks_for_other_views_with_other_noise(project):
    first, second = plan_views(project, 1), plan_views(project, 1, seed=5)
    assert {view.seed for view in first.views}.isdisjoint(view.seed for view in second.views)
    assert [view.text for view in first.views] != [view.text for view in second.views]


def test_a_dataset_steers_the_views_and_says_so(project):
    captions = [sample.caption for sample in project.crops()]
    plan = plan_views(project, 1, captions=captions, count=48)
    fronts = sum(view.prompt.view["angle"] == "front view" for view in plan.views)
    assert fronts < sum(view.prompt.view["angle"] == "front view" for view in plan_views(project, 1, count=48).views)
    assert plan.notes and not plan_views(project, 0, captions=captions).notes


def test_few_named_styles_are_warned_of(project):
    few = plan_views(project, 1, axes={"angle": {"from side": 1}, "style": {"dark": 1}})
    assert few.notes[0].startswith("1 named styles: list 3 to 6") and not plan_views(project, 1).notes
    assert not plan_views(project, 0, axes={"angle": {"from side": 1}}).notes


def test_a_candidate_is_known_again_and_another_making_has_another_name(project, tmp_path):
    one, view = project.round(1), plan_views(project, 1).views[3]
    lora = tmp_path / "zqx-style-1.safetensors"
    lora.write_bytes(b"weights")
    source = Source(lora, 0.6, "recipe", 16, 3.0)
    lineage = lineage_of(one, view, source)
    assert not is_kept(one, lineage)
    (path,) = keep_candidates(one, lineage, [Image.new("RGB", (64, 48), "red")])
    assert is_kept(one, lineage_of(one, view, source)) and path.name.startswith("r1-003-")
    told = Lineage.read(path)
    assert (told.width, told.height, told.parent_lora, told.strength, told.cfg) == (64, 48, "zqx-style-1", 0.6, 3.0)
    others = [Source(lora, 0.8, "recipe"), Source(lora, 0.6, "other"), Source(None, 0.0, "recipe")]
    assert not any(is_kept(one, lineage_of(one, view, other)) for other in others)
    assert not is_kept(one, lineage_of(one, replace(view, seed=1), source))
    lora.write_bytes(b"trained anew")
    assert not is_kept(one, lineage_of(one, view, source))


def test_the_same_image_under_another_key_keeps_the_name_by_which_it_was_picked(project):
    one, view = project.round(1), plan_views(project, 1).views[3]
    old, new, other = (lineage_of(one, view, Source(None, 0.0, recipe)) for recipe in ("old", "new", "other"))
    (path,) = keep_candidates(one, old, [Image.new("RGB", (8, 8), "red")])
    before = path.read_bytes()
    assert not is_kept(one, new)
    assert keep_candidates(one, new, [Image.new("RGB", (8, 8), "red")]) == [path]
    assert path.read_bytes() == before and Lineage.read(path).recipe == "new" and Lineage.read(path).name == path.stem
    assert is_kept(one, new) and one.list_candidates() == [path]
    (drawn,) = keep_candidates(one, other, [Image.new("RGB", (8, 8), "blue")])
    assert drawn != path and len(one.list_candidates()) == 2 and is_kept(one, other) and is_kept(one, new)


def test_an_image_of_an_earlier_version_is_known_again_though_its_curve_was_not_recorded(project):
    one, view = project.round(1), plan_views(project, 1).views[3]
    lineage = lineage_of(one, view, Source(None, 0.0, "recipe", curve="0 1, 1 0.5"))
    old = replace(lineage, name="r1-003-abcdef", curve="")
    keep_candidates(one, old, [Image.new("RGB", (8, 8), "red")])
    assert is_kept(one, lineage)


def test_every_picture_of_a_batch_is_kept(project):
    one, view = project.round(1), plan_views(project, 1).views[0]
    lineage = lineage_of(one, view, Source(None, 0.0, "recipe"))
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    paths = keep_candidates(one, lineage, pictures)
    assert [path.stem.removeprefix(lineage.name) for path in paths] == ["", "-1", "-2"]
    assert len(one.list_candidates()) == 3


def test_the_bases_pictures_of_other_settings_are_forgotten(project):
    one = draw_round(project, 0)
    first = lineage_of(one, plan_views(project, 0).views[0], Source(None, 0.0, "drawn"))
    remove_outdated(one, [first.name])
    assert [path.stem for path in one.list_candidates()] == [first.name]


README_TAGS = ("1girl", "fox ears", "blonde hair", "white dress", "front view")


def project_of(tags, tmp_path):
    """A project on a base that looks like SDXL to the loop; nothing of it is loaded."""
    config = BootstrapConfig(picture="girl.png", tags=tags, trigger="eiei21girl", base="sd_xl_base.safetensors")
    return Project(tmp_path / "eiei", config, "sdxl")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_prompt_from_the_readmes_own_tags_contradicts_itself(number, tmp_path):
    plan = plan_views(project_of(README_TAGS, tmp_path), number)
    assert len(plan.views) == {0: 16, 1: 48, 2: 96}[number]
    assert [view.text for view in plan.views if find_contradictions(view.prompt.tags)] == []
    assert not any("front view" in view.text for view in plan.views)


def test_words_around_the_prompts_that_contradict_them_are_told(tmp_path):
    plan = plan_views(project_of(README_TAGS, tmp_path), 1, before="masterpiece, straight-on")
    asked = sum(view.prompt.view["angle"] in ("from side", "facing left", "facing right", "three-quarter view",
                                              "from behind") for view in plan.views)
    assert plan.notes[0].startswith(f"{asked} of 48 prompts contradict themselves, such as `")
    assert not any("contradict" in note for note in plan_views(project_of(README_TAGS, tmp_path), 1).notes)


# -- bases that read sentences, and rounds of earlier versions ---------------------------------------------------------

TAGS = ("1girl", "fox ears", "red hair", "white dress", "smile")


def real_project(root, base="flux", tags=TAGS):
    """A project on a real base with its crops, which nobody has drawn for yet."""
    config = BootstrapConfig(picture="", tags=tags, trigger="zqx", base=base, targets=(2, 8), candidates=(12,))
    picture = draw_once(world.Scene(AKANE), 128)
    open_project(root / "zqx", config.to_dict(), pixel_hash(picture)).save()
    project = Project(root / "zqx", config)
    make_crops(project, picture, "picture")
    return project


def test_prompts_and_captions_are_sentences_where_the_base_reads_them_and_tags_elsewhere(tmp_path):
    flux, sdxl = real_project(tmp_path / "a"), real_project(tmp_path / "b", "sdxl")
    assert flux.crops().samples[0].caption == (
        "zqx, a girl with fox ears and red hair, wearing a white dress, smiling")
    assert all(view.text.startswith("zqx, a girl") for view in plan_views(flux, 1).views)
    assert all(view.text.startswith("a girl") for view in plan_views(flux, 0).views)
    assert all(view.text.startswith("zqx, 1girl, ") for view in plan_views(sdxl, 1).views)
    tags = plan_views(flux, 1, words=flux.round(1).words_in("tags"))
    assert [view.text for view in tags.views] == [view.text for view in plan_views(sdxl, 1).views]


def test_what_is_kept_is_captioned_as_it_was_drawn_and_a_character_without_her_traits(tmp_path):
    project = real_project(tmp_path)
    one = draw_round(project, 1)
    decisions = Decisions({path.stem: Decision(path.stem, True, "") for path in one.list_candidates()}, "auto")
    kept = one.list_kept(decisions)
    assert [item.caption for item in kept] == [view.prompt.caption("sentences", "zqx")
                                               for view in plan_views(project, 1).views]
    made = round_dataset(one, kept).dataset
    trained = for_character(made, project)
    assert all("fox ears" in sample.caption for sample in made if "close" not in sample.caption)
    for sample in trained:
        assert sample.caption.startswith("zqx, a girl, ") and not trained.notes
        assert not any(trait in sample.caption for trait in ("fox ears", "red hair", "white dress"))
    written = made.samples[-1].path.with_suffix(".txt")
    written.write_text("zqx, a girl with fox ears waves.")
    again = for_character(load_folder(one.dataset_folder), project)
    assert again.samples[-1].caption == "zqx, a girl with fox ears waves." and "1 caption was written by hand" in (
        again.notes[-1])


def test_tags_chosen_by_hand_and_flips_are_worded_too(tmp_path):
    lineage = Lineage("r1-000", "", ["zqx", "1girl", "from side", "facing left"], {"angle": "facing left"}, 1, 1, "",
                      "", 0.0, "flux", 64, 64, 1, 1.0, wording="sentences")
    assert KeptCandidate(tmp_path, lineage, Pick(flip=True), "zqx").caption == (
        "zqx, a girl, seen from the side, facing right")
    assert KeptCandidate(tmp_path, lineage, Pick(tags=("1girl", "red hat")), "zqx").caption == (
        "zqx, a girl, wearing a red hat")


def test_sentences_in_a_dataset_steer_the_views_as_tags_do(tmp_path):
    project = real_project(tmp_path)
    told = plan_views(project, 1, captions=["zqx, a girl, seen from behind, wearing a hoodie and boots"] * 6)
    assert "from behind: 6 already there, so it is requested rarely" in told.notes
    assert "hoodie: 6 already there, so it is requested rarely" in told.notes


WITHOUT_EDITS = {"other": "efc20ae866cdc59e", "flux": "36d309767a735824", "sandbox": "2a02a1d9ae55b65f"}
"""Base -> hash of what the version before edit wordings planned and wrote for it."""


@pytest.mark.parametrize("base", WITHOUT_EDITS)
def test_without_an_edit_model_prompts_names_and_files_are_those_of_earlier_versions_to_the_byte(base, tmp_path):
    tags = ("1girl", "fox ears", "blonde hair", "white dress", "smile", "standing", "from side", "sunlight")
    project = Project(tmp_path, BootstrapConfig(picture="", tags=tags, trigger="zqx", name="zqx", base=base,
                                                targets=(4, 16, 40), candidates=(48, 96)))
    plan = plan_views(project, 1, captions=["1girl, from side, smile", "front view, full body"])
    told = hashlib.sha256()
    for view in plan.views:
        lineage = lineage_of(project.round(1), view, Source(None, 0.0, "drawn"))
        told.update(json.dumps([view.text, view.seed, lineage.name, dict(view.prompt.view),
                                list(view.prompt.tags)]).encode())
    told.update(repr(plan.notes).encode())
    (path,) = keep_candidates(project.round(1), lineage, [Image.new("RGB", (8, 8), "red")])
    told.update(path.with_suffix(".json").read_bytes())
    assert told.hexdigest()[:16] == WITHOUT_EDITS[base]


@pytest.mark.parametrize(("base", "caption"), [
    ("other", "zqx, 1girl, fox ears, three-quarter view, facing left"),
    ("flux", "zqx, a girl with fox ears, facing left, in three-quarter view")])
def test_an_edit_is_asked_for_without_the_trigger_and_captioned_in_the_words_of_the_base(base, caption, tmp_path):
    project = Project(tmp_path, BootstrapConfig(picture="", tags=("1girl", "fox ears"), trigger="zqx", name="zqx",
                                                base=base, targets=(1, 25), candidates=(48,)))
    one = project.round(1)
    plan = plan_views(project, 1, words=one.words_in("edit instruction"), axes={"angle": {"three-quarter left": 1}},
                      before="A drawing", after="clean lines", count=1)
    assert plan.views[0].text == ("A drawing, Show the same character in three-quarter view, turned towards the left "
                                  "edge of the image, clean lines.")
    (path,) = keep_candidates(one, lineage_of(one, plan.views[0], Source(None, 0.0, "r", generator="qwen")),
                              [Image.new("RGB", (8, 8), "red")])
    one.picks.changed("", [(path.stem, {"state": "keep"})], one.collect_facts()).save(one.picks_file)
    (kept,) = one.list_kept()
    assert sorted(kept.caption.split(", ")) == sorted(caption.split(", "))
    assert (kept.lineage.wording, kept.lineage.generator) == ("edit instruction", "qwen")


def test_an_image_of_a_version_without_generators_is_still_known_again(project):
    one, view = project.round(1), plan_views(project, 1).views[0]
    old = lineage_of(one, view, Source(None, 0.0, "recipe"))
    keep_candidates(one, replace(old, name="r1-000-abcdef"), [Image.new("RGB", (8, 8), "red")])
    now = lineage_of(one, view, Source(None, 0.0, "recipe", generator="base · LoRA"))
    assert is_kept(one, now) and now.name == old.name


def test_captions_of_a_dataset_steer_the_words_of_an_edit_too(project):
    """A caption says `from side, facing left`, and no caption says that the camera is at eye level."""
    words = replace(plan_words(), vocabulary=EDIT_WORDINGS["edit instruction"].vocabulary(VOCABULARIES["booru"]))
    captions = ["three-quarter view, facing left"] * 6
    plan = plan_views(project, 1, words=words, captions=captions, count=96)
    angles = [view.prompt.view["angle"] for view in plan.views]
    assert angles.count("three-quarter left") < angles.count("three-quarter right") / 3
    assert not any("eye level" in note for note in plan.notes)


def plan_words():
    return RoundWords(VOCABULARIES["booru"], tag_roles(("1girl", "fox ears"), VOCABULARIES["booru"]),
                      "edit instruction")


def test_a_round_begun_by_an_earlier_version_draws_what_is_missing_of_its_own_plan(tmp_path):
    """Its candidates have no wording in their lineage. They are kept, and the others are those that it planned."""
    project = real_project(tmp_path, "sdxl", ("1girl", "fox ears", "front view", "saber (fate)"))
    one, source = project.round(1), Source(None, 0.0, "recipe")
    old = replace(project.round(1).words, vocabulary=(words := earlier_vocabulary(project.vocabulary)),
                  roles=earlier_roles(project.config.tags, words), wording="")
    planned = plan_views(project, 1, words=old).views
    for view in planned[:5]:
        lineage = lineage_of(one, view, source)
        (path,) = keep_candidates(one, lineage, [Image.new("RGB", (8, 8), (view.index, 0, 0))])
        saved = json.loads(path.with_suffix(".json").read_text())
        del saved["wording"]  # earlier versions did not know it
        path.with_suffix(".json").write_text(json.dumps(saved))
    again = plan_views(project, 1)
    assert again.views == planned and again.notes[0].startswith("an earlier version began this round")
    assert sum(is_kept(one, lineage_of(one, view, source)) for view in again.views) == 5
    assert all("front view" in view.text for view in again.views)
    anew = plan_views(project, 1, words=one.words_in("tags"))
    assert not any("front view" in view.text for view in anew.views) and not anew.notes
