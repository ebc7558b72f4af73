"""Editing captions: each kind of edit, their order, the token budget, and the diff."""

import json

import pytest

from lora_bootstrap.trainer.captions.aliases import TagRules
from lora_bootstrap.trainer.captions.tags import split_tags
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder
from lora_bootstrap.trainer.tagging.caption_files import has_caption_file, without_folder_names, write_captions
from lora_bootstrap.trainer.tagging.edit import Editor, TagEdits, edit_dataset


def edited(caption, scores=None, token_count=None, **edits):
    return Editor(TagEdits(**edits), token_count).edit(split_tags(caption), scores).caption


def dataset_of(*captions):
    return Dataset(tuple(Sample(f"/data/{number}.png", (64, 64), caption) for number, caption in enumerate(captions)))


def words(caption):
    """As many tokens as words and commas; at most 5 are heard."""
    count = len(caption.replace(",", " ,").split())
    return count, min(count, 5)


@pytest.mark.parametrize(("edits", "before", "after"), [
    ({}, "1girl, red hair", "1girl, red hair"),
    ({"trigger": "eiei"}, "1girl, Eiei, smile", "eiei, 1girl, smile"),
    ({"add": ("solo", "Red_Hair")}, "1girl, red hair", "1girl, red hair, solo"),
    ({"remove": ("red_hair", "SMILE")}, "1girl, red hair, smile, red hair ribbon", "1girl, red hair ribbon"),
    ({"replace": (("1girl", "woman"),)}, "1girl, 1girls", "woman, 1girls"),
    ({"replace": (("fox girl", "1girl, fox ears"), ("bad", ""))}, "Fox_girl, bad, hat", "1girl, fox ears, hat"),
    ({"patterns": ((r"^(\w+) eyes$", r"\1-eyed"),)}, "green eyes, red hair", "green-eyed, red hair"),
    ({"patterns": ((r" and ", ", "),)}, "hat and coat", "hat, coat"),
    ({"patterns": ((".*background", ""),)}, "hat, white background", "hat"),
    ({"blacklist": ("*background", "text?")}, "hat, white background, texts, text", "hat, text"),
    ({"blacklist": ("[a]b",)}, "ab, [a]b", "[a]b"),
    ({"underscores": "blanks"}, "long_hair, ^_^, n_(pokemon)", "long hair, ^_^, n (pokemon)"),
    ({"underscores": "underscores"}, "long hair, a (b)", "long_hair, a_(b)"),
    ({"aliases": True}, "twin tails, Pony_Tail, hat", "twintails, ponytail, hat"),
    ({"implications": "drop"}, "animal ears, fox ears, white dress, dress, hat", "fox ears, white dress, hat"),
    ({"implications": "add"}, "fox_ears, white dress", "fox_ears, white dress, animal_ears, dress"),
    ({"deduplicate": True}, "hat, Hat, long_hair, long hair", "hat, long_hair"),
    ({"deduplicate": False}, "hat, hat", "hat, hat"),
])
def test_each_edit_does_its_part_and_no_more(edits, before, after):
    assert edited(before, **edits) == after


ANY_ORDER = ("absurdres, watercolor (medium), saber (fate), smile, white dress, @wlop, 1girl, holding sword, from "
             "side, fate (series), blonde hair, masterpiece, sitting, night sky, backlighting, solo")


@pytest.mark.parametrize(("name", "after"), [
    ("usual", "eiei, 1girl, solo, blonde hair, white dress, {sword}sitting, from side, smile, {rest}"),
    ("composition last", "eiei, 1girl, solo, blonde hair, fate (series), {sword}sitting, saber (fate), smile, "
                         "backlighting, white dress, night sky, from side, watercolor (medium), @wlop, absurdres, "
                         "masterpiece"),
    ("anima", "eiei, absurdres, masterpiece, 1girl, solo, saber (fate), fate (series), @wlop, blonde hair, white "
              "dress, {sword}sitting, from side, smile, backlighting, night sky, watercolor (medium)"),
])
def test_the_orders_of_the_guide_and_of_anima_put_names_and_quality_where_they_say(name, after):
    sword = "holding sword, "  # a pose, as all handling of things is
    rest = "saber (fate), fate (series), backlighting, night sky, watercolor (medium), @wlop, absurdres, masterpiece"
    assert edited(ANY_ORDER, order=True, order_by=name, trigger="eiei") == after.format(sword=sword, rest=rest)


def test_noise_is_dropped_and_what_is_shown_is_kept():
    noise = ("solo, nose, sample_watermark, watermark, artist name, twitter username, masterpiece, best quality, "
             "score_9, rating:safe, highres, virtual youtuber, bad pixiv id, signature")
    kept = "1girl, nose ring, long hair, text print, speech bubble, absurdly long hair, logo print, smile"
    assert edited(f"{noise}, {kept}", drop_noise=True) == kept
    assert edited(noise) == noise


def test_tags_are_written_as_a_sentence_and_sentences_are_left_alone():
    assert edited("1girl, fox ears, white dress, from behind", wording="sentences", trigger="eiei") == (
        "eiei, a girl with fox ears, wearing a white dress, seen from behind")
    prose = "A girl stands in a field of tall grass, smiling, and waves."
    assert edited(prose, wording="sentences") == prose


def test_a_budget_counts_the_sentence_that_is_written():
    found = Editor(TagEdits(wording="sentences", token_budget=8), words).edit(
        split_tags("1girl, fox ears, white dress, from behind"))
    assert found.caption == "a girl with fox ears" and found.cut == ("from behind", "white dress")


@pytest.mark.parametrize(("edits", "says"), [
    ({"order_by": "animal"}, "unknown order of tags 'animal'.*Valid: anima, composition last, usual"),
    ({"wording": "prose"}, "unknown wording 'prose'.*sentences, tags")])
def test_an_order_or_wording_there_is_none_of_is_told(edits, says):
    with pytest.raises(UserError, match=says):
        TagEdits(**edits)


def test_tags_are_ordered_by_class_and_within_a_class_the_surest_first():
    caption = ("flat color, night sky, backlighting, smile, from side, sitting, red dress, fox ears, green eyes, solo, "
               "1girl, x")
    assert edited(caption, order=True, trigger="eiei", scores={"green eyes": 0.9, "fox ears": 0.5}) == (
        "eiei, 1girl, solo, green eyes, fox ears, red dress, sitting, from side, smile, x, backlighting, night sky, "
        "flat color")


def test_edits_follow_each_other_in_the_order_of_the_fields():
    rules = TagRules({"one girl": "1girl"}, frozenset({("cap", "hat")}))
    assert edited("one_girl, cap, hat, bad_thing", underscores="blanks", aliases=True, replace=(("1girl", "woman"),),
                  patterns=(("^bad (.*)", r"\1"),), remove=("thing",), implications="drop", add=("woman", "solo"),
                  order=True, trigger="eiei", rules=rules) == "eiei, woman, solo, cap"


def test_a_user_alias_keeps_the_spelling_with_underscores():
    rules = TagRules({"pig tails": "twin tails"})
    assert edited("pig_tails, pig tails", aliases=True, deduplicate=False, rules=rules) == "twin_tails, twin tails"


def test_over_budget_the_least_sure_tags_go_first_and_trigger_and_class_never():
    editor = Editor(TagEdits(trigger="eiei", token_budget=7), words)
    result = editor.edit(["1girl", "red hair", "smile", "hat", "sky"], {"red hair": 0.9, "smile": 0.4, "hat": 0.6})
    # sky has no score: it was written by hand, and is sure
    assert result.caption == "eiei, 1girl, sky" and result.cut == ("smile", "hat", "red hair")
    assert editor.edit(["1girl", "smile"], {"smile": 0.1}) == Editor(TagEdits(trigger="eiei"), words).edit(
        ["1girl", "smile"])
    short = Editor(TagEdits(trigger="eiei", token_budget=1), words).edit(["1girl", "hat"])
    assert short.caption == "eiei, 1girl" and short.cut == ("hat",)


def test_of_tags_that_are_as_sure_the_last_is_cut():
    assert edited("a, b, c, d", token_count=lambda text: len(split_tags(text)), token_budget=2) == "a, b"


def test_a_datasets_captions_are_edited_and_the_diff_says_what_changed():
    dataset = dataset_of("1girl, red hair", "eiei, 1girl", "1girl, smile")
    after, diff = edit_dataset(dataset, TagEdits(trigger="eiei", remove=("red hair", "cape"), replace=(("x", "y"),)))
    assert [sample.caption for sample in after] == ["eiei, 1girl", "eiei, 1girl", "eiei, 1girl, smile"]
    assert [sample.caption for sample in dataset][0] == "1girl, red hair"
    assert len(diff) == 2 and diff.pictures == 3
    assert diff.changes[0].added == ("eiei",) and diff.changes[0].removed == ("red hair",)
    assert diff.counts() == ({"eiei": 2}, {"red hair": 1})
    assert diff.notes == ("no caption has 'cape', so there was nothing to remove.",
                          "no caption has 'x', so there was nothing to replace.")
    assert "2 of 3 captions changed" in diff.text() and "  - 1girl, red hair\n  + eiei, 1girl" in diff.text()
    assert "… and 1 more" in diff.text(most=1)
    assert json.loads(json.dumps(diff.to_dict()))["changes"][1]["after"] == "eiei, 1girl, smile"


def test_what_a_budget_cut_is_reported_by_picture_and_what_stays_too_long_told():
    dataset = dataset_of("1girl, hat, cape", "1girl")
    scores = [{"hat": 0.3, "cape": 0.8}, None]
    after, diff = edit_dataset(dataset, TagEdits(trigger="eiei", token_budget=5), scores, words)
    assert after.samples[0].caption == "eiei, 1girl, cape" and diff.changes[0].cut == ("hat",)
    assert diff.notes == ("1 captions had more than 5 tokens; the least certain tags were cut.",)
    assert "too long, cut: hat" in diff.text()
    _, diff = edit_dataset(dataset, TagEdits(trigger="eiei", token_budget=2), None, words)
    assert diff.notes[1] == "2 captions have more than 2 tokens in the trigger and class alone."


@pytest.mark.parametrize(("edits", "words_"), [
    ({"underscores": "blank"}, "Did you mean 'blanks'"), ({"implications": "dropp"}, "Did you mean 'drop'"),
    ({"token_budget": -1}, "token_budget is -1"),
])
def test_a_wrong_setting_is_told(edits, words_):
    with pytest.raises(UserError, match=words_):
        TagEdits(**edits)


def test_a_budget_without_a_tokenizer_and_scores_of_another_dataset_are_told():
    with pytest.raises(UserError, match="needs the base model's tokenizer"):
        Editor(TagEdits(token_budget=75))
    with pytest.raises(UserError, match="the scores are of 1 images, but the dataset has 2"):
        edit_dataset(dataset_of("a", "b"), TagEdits(), [{}])
    with pytest.raises(UserError, match="is wrong"):
        edit_dataset(dataset_of("a"), TagEdits(patterns=(("(", ""),)))


# -- caption files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    from PIL import Image

    (tmp_path / "10_fox").mkdir()
    for name in "abc":
        Image.new("RGB", (16, 16), name == "a" and "red" or "blue").save(tmp_path / "10_fox" / f"{name}.png")
    (tmp_path / "10_fox" / "a.txt").write_text("1girl")
    (tmp_path / "10_fox" / "b.caption").write_text("1boy")
    return tmp_path


def test_a_folders_name_is_no_caption_of_its_own(folder):
    dataset = load_folder(folder)
    assert [sample.caption for sample in dataset] == ["1girl", "1boy", "fox"]
    assert [has_caption_file(sample) for sample in dataset] == [True, True, False]
    assert [sample.caption for sample in without_folder_names(dataset)] == ["1girl", "1boy", ""]


def test_only_captions_that_changed_are_written_and_read_back_the_same(folder):
    before = without_folder_names(load_folder(folder))
    after = before.with_captions(lambda caption: caption and caption.replace("boy", "girl") or "new, été")
    events = list(write_captions(after, before))
    assert events[-1].done == events[-1].total == 2
    assert sorted(path.name for path in folder.rglob("*.txt")) == ["a.txt", "b.txt", "c.txt"]
    assert (folder / "10_fox" / "a.txt").read_text() == "1girl"  # as it was, without a new line
    assert [sample.caption for sample in load_folder(folder)] == ["1girl", "1girl", "new, été"]
    assert list(write_captions(after, after)) == []


def test_two_captions_for_one_file_are_refused_before_anything_is_written(tmp_path):
    samples = (Sample(tmp_path / "a.png", (8, 8), "one"), Sample(tmp_path / "a.jpg", (8, 8), "two"))
    with pytest.raises(UserError, match="a.txt would have to hold two captions, 'one' and 'two'"):
        list(write_captions(Dataset(samples)))
    assert not (tmp_path / "a.txt").exists()


def test_what_is_added_stands_before_the_others_if_asked_also_where_it_was_there_already():
    editor = Editor(TagEdits(add=("solo", "smile"), add_first=True, trigger="akane"))
    assert editor.edit(["1girl", "Smile", "grass"]).tags == ("akane", "solo", "smile", "1girl", "grass")
