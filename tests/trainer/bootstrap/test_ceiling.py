"""The table of bench/bootstrap.py: whom it is measured on, what the ceiling is trained on, and the shares of it."""

from collections import Counter
from types import SimpleNamespace

import pytest

from lora_bootstrap.bench import bootstrap
from lora_bootstrap.bench.ceiling import drawn_dataset, planned_views, share_table
from lora_bootstrap.bench.characters import NEW, draw_characters
from lora_bootstrap.sandbox.world import HELD_OUT, SIGNATURE_COLORS, SIGNATURE_KINDS, Scene, draw, is_held_out
from lora_bootstrap.trainer.captions.tags import join_tags, split_tags
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.pictures.images import pixel_hash

from ...helpers.drawn_project import AKANE, draw_project


def test_the_new_characters_are_those_of_the_committed_seed_with_every_mark_as_often():
    assert draw_characters() == NEW and len(NEW) == 8
    assert Counter(character.signature.kind for character in NEW.values()) == dict.fromkeys(SIGNATURE_KINDS, 2)
    assert Counter(character.signature.color_name for character in NEW.values()) == dict.fromkeys(SIGNATURE_COLORS, 2)
    assert [NEW[name].identity[0] for name in ("haru", "yuki")] == ["blonde hair", "blue hair"]


def test_neither_base_nor_judge_was_trained_on_a_new_character_and_none_is_one_that_was_tuned_on():
    assert all(is_held_out(character) for character in NEW.values())
    assert {character.identity for character in NEW.values()}.isdisjoint(
        character.identity for character in HELD_OUT.values())


def test_the_ceiling_is_trained_on_the_crops_and_on_true_drawings_of_as_many_views_as_the_loop_keeps(tmp_path):
    project = draw_project(tmp_path)
    dataset, views = drawn_dataset(project, AKANE, 64), planned_views(project)
    drawings = [sample for sample in dataset if sample.path.parent.name == "1_generated"]
    assert len(drawings) == len(views) == project.target(2) - project.target(0)
    assert len(dataset) == project.target(2) and {sample.repeats for sample in drawings} == {1}
    for view, sample in zip(views, sorted(drawings, key=lambda sample: sample.path.name), strict=True):
        assert split_tags(sample.caption) == split_tags(join_tags(view.prompt.tags))
        assert pixel_hash(sample.load()) == pixel_hash(draw(Scene(AKANE, **dict(view.prompt.view)), 64))


def test_a_loop_with_other_settings_is_another_case_in_a_project_of_its_own(tmp_path):
    def read(*words):
        options = bootstrap._options(["--work", str(tmp_path), *words])
        return bootstrap._changed_loop(options), bootstrap._config("akane", 0, options)

    plain, changed = read(), read("--style-on", "marks", "--mark-weight", "1", "--candidate-strengths", "1.2")
    assert plain[0] == {} and plain[1].name == "akane-0"
    assert changed[0] == {"candidate_strengths": [1.2], "style_on": "marks", "mark_weight": 1.0}
    config = changed[1]
    assert (config.style_on, config.curation.mark_weight, config.candidate_strengths) == ("marks", 1.0, (1.2,))
    assert config.name != plain[1].name


def test_the_table_of_what_was_measured_is_written_without_measuring_again(tmp_path, monkeypatch):
    backbone, written = SimpleNamespace(fingerprint="f" * 64), []
    monkeypatch.setattr(bootstrap, "load_backbone", lambda _: backbone)
    monkeypatch.setattr(bootstrap, "load_judge", lambda: None)
    monkeypatch.setattr(bootstrap, "write_tables", lambda rows, _: written.append(rows))
    facts = {"views": 48, "candidates": [48, 96], "style_settings": {}, "character_settings": {}, "base": "f" * 64}
    known = [{**row(name, arm, 0.8, 0.2, 0.9), "case": {"character": name, "seed": 0, **facts}}
             for name in ("haru", "yuki") for arm in ("40", "40 drawn")]
    elsewhere = [{**one, "case": {**one["case"], "style_on": "marks"}} for one in known]
    write_json(tmp_path / "measured.json", known + elsewhere)
    bootstrap.main(["--quick", "--seeds", "1", "--only", "haru", "yuki", "--work", str(tmp_path)])
    assert written == [known]


def row(character, arm, identity, signature, prompt, prompts="trigger"):
    return {"case": {"character": character, "seed": 0}, "arm": arm, "prompts": prompts, "identity": identity,
            "signature": signature, "prompt": prompt}


def test_a_share_of_the_ceiling_is_a_mean_over_a_mean_and_cases_without_a_ceiling_do_not_count():
    table = share_table([
        row("haru", "40", 0.8, 0.1, 0.8), row("haru", "40 drawn", 1.0, 0.5, 0.8),
        row("haru", "40", 0.0, 0.0, 0.0, "tags"), row("rin", "40", 0.6, 0.2, 0.9),
        row("rin", "40 drawn", 1.0, 0.25, 1.0), row("yuki", "40", 0.0, 0.0, 0.0)])
    assert "| identity | 70.0 | 100.0 | 70.0 | 60.0 | 80.0 | 97 |" in table
    assert "| signature | 15.0 | 37.5 | 40.0 | 20.0 | 80.0 | 80 |" in table
    assert "| prompt | 85.0 | 90.0 | 94.4 | 90.0 | 100.0 | 98 |" in table


@pytest.mark.parametrize("rows", [[], [row("haru", "40", 0.8, 0.1, 0.8)]])
def test_without_a_ceiling_the_table_says_so(rows):
    assert "No case has both arms yet." in share_table(rows)
