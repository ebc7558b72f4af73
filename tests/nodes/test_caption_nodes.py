"""Editing captions by rules and by hand, absorbing, and counting tags."""

import json
import os
from types import SimpleNamespace

import pytest
from PIL import Image

from lora_bootstrap.host.session import current_session
from lora_bootstrap.nodes import captions as nodes
from lora_bootstrap.nodes.captions import AbsorbTags, EditTags
from lora_bootstrap.nodes.tag_statistics import TagStatisticsNode, tokenizer
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples


def make(host, *texts, name="girl"):
    """A dataset of pictures with these captions, in this order."""
    colours = [(number * 20, 0, 0) for number in range(len(texts))]
    save_samples(host.input / name, [(Image.new("RGB", (8, 8), colour), text, {"name": f"{number:02d}"})
                                     for number, (colour, text) in enumerate(zip(colours, texts, strict=True))])
    return load_folder(host.input / name)


def captions(dataset):
    return [sample.caption for sample in dataset]


def edit(dataset, **widgets):
    bare = {"trigger": "", "add": "", "remove": "", "replace": "", "blacklist": ""}
    return EditTags.execute(dataset, **bare | widgets)


@pytest.fixture
def edited(host):
    """The caption that EditTags makes of one."""
    return lambda caption, **widgets: captions(edit(make(host, caption), **widgets)[0])[0]


# -- by rules ----------------------------------------------------------------------------------------------------------


def test_tags_are_replaced_removed_blacklisted_added_and_the_trigger_goes_first(edited):
    assert edited("1girl, Grey_Hair, fox ears, artist watermark, smile", trigger="akane", add="solo", remove="fox_ears",
                  replace="grey hair = silver hair", blacklist="watermark") == "akane, solo, 1girl, silver hair, smile"


def test_a_tag_stands_once_and_the_trigger_is_not_doubled(edited):
    assert edited("smile, Smile, akane", trigger="akane", add="smile") == "akane, smile"
    assert edited("akane is standing", trigger="akane", add="akane") == "akane is standing"


def test_only_whole_words_are_blacklisted_and_only_whole_tags_removed(edited):
    hair = "long hair, hairclip, red hair"
    assert edited(hair, remove="hair") == hair
    assert edited(hair, blacklist="hair") == "hairclip"
    assert edited("very long hair, long red hair, Long_Hair style", blacklist="long hair") == "long red hair"
    assert edited("a b c, b c a, c a b", blacklist="b") == ""


def test_a_star_in_the_blacklist_stands_for_anything_and_other_signs_for_themselves(edited):
    assert edited("white background, backlighting, smile", blacklist="back*") == "smile"
    assert edited("a[b], ab, what?, whats", blacklist="a[b], what?") == "ab, whats"


def test_replacing_by_nothing_removes(edited):
    assert edited("a, b", replace="a =") == "b"


def test_the_files_stay_as_they_are(host):
    dataset = make(host, "red hair, smile", "")
    out = edit(dataset, trigger=" akane ", add="solo", remove="red hair,\nfrown")[0]
    assert captions(out) == ["akane, solo, smile", "akane, solo"]
    assert (host.input / "girl" / "00.txt").read_text("utf-8") == "red hair, smile\n"


def test_the_further_rules_are_applied(edited):
    assert edited("light_red_hair, gray eyes", patterns=r"^(light|dark) (.*) hair$ => \2 hair",
                  underscores="blanks", aliases=True) == "red hair, grey eyes"
    assert edited("fox ears, animal ears", implications="drop") == "fox ears"
    assert edited("night sky, smile, red hair, 1girl", trigger="akane", order=True) == (
        "akane, 1girl, red hair, smile, night sky")


def test_rules_of_ones_own_are_read_from_a_table(host, edited):
    (host.input / "names.csv").write_text("kitty,cat\n")
    assert edited("kitty", alias_file="names.csv", aliases=True) == "cat"


CLIP = SimpleNamespace(tokenize=lambda text, return_word_ids: {
    "l": [[(1, 1.0, 0), *((2, 1.0, place) for place, _ in enumerate(text.replace(",", " ,").split(), 1))]]})
"""A token for each word and comma, and one of its own."""


def test_what_is_too_long_is_cut_from_the_least_sure_tag_on(host):
    dataset = make(host, "hat, smile, grass")
    scores = json.dumps({dataset.samples[0].content_hash: {"smile": 0.4, "hat": 0.9, "grass": 0.8}})
    out = edit(dataset, trigger="akane", token_limit=5, clip=CLIP, scores=scores)
    assert captions(out[0]) == ["akane, hat, grass"] and "too long, cut: smile" in out[1]
    assert captions(edit(dataset, trigger="akane", token_limit=5, clip=CLIP)[0]) == ["akane, hat, smile"]
    with pytest.raises(UserError, match="needs the base model's tokenizer"):
        edit(dataset, token_limit=5)


def test_brackets_are_counted_as_text_not_as_weights():
    heard = []
    clip = SimpleNamespace(tokenize=lambda text, return_word_ids: heard.append(text) or {"l": [[(1, 1.0, 0)]]})
    nodes.token_count(clip)(r"cat \(animal\), (smile)")
    assert heard == [r"cat \(animal\), \(smile\)"]


@pytest.mark.parametrize("text", ["[]", "no json", '{"a": 1}'])
def test_scores_that_are_none_are_told(host, text):
    with pytest.raises(UserError, match="scores is not the JSON that Tag Images gives"):
        edit(make(host, "a"), scores=text)


def test_a_widget_that_cannot_be_is_a_red_node():
    def told(**widgets):
        return EditTags.validate_inputs(**widgets)

    assert "not of the form: old tag = new tag" in told(replace="red hair, blue hair")
    assert "not of the form: regular expression => new" in told(patterns="a = b")
    assert "pattern" in told(patterns="( => b")
    assert "no CSV file '../x.csv'" in told(alias_file="../x.csv")
    assert "cannot be a folder's" in told(edits="../x")
    assert told(replace="grey hair = silver hair\n\nsmile=", patterns="a => b", edits="mine") is True
    assert told() is told(replace=None, patterns=None, alias_file=None, implication_file=None, edits=None) is True


def test_the_node_tells_sums_and_the_diff_every_caption(host):
    out = edit(make(host, *["red hair, smile"] * 2, "grass"), remove="smile, frown")
    text, _ = host.server.texts[-1]
    assert text.split("  \n") == ["2 of 3 captions changed", "\u200b- smile: 2",
                                   "note: no caption has 'frown', so there was nothing to remove."]
    assert "00.png\n  - red hair, smile\n  + red hair" in out[1]


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_what_is_changed_by_hand_comes_after_the_rules_and_runs_the_node_again(host):
    dataset = make(host, "smile", "grass")
    out = edit(dataset, trigger="akane", edits="mine")
    told = out.ui["lora_bootstrap"][0]
    assert told == {"dataset": told["dataset"], "revision": 0, "pictures": 2, "changed": 0}
    before = EditTags.fingerprint_inputs(edits="mine")
    assert EditTags.fingerprint_inputs(edits="mine") == before
    picture = dataset.samples[0].content_hash
    current_session().editors.change(told["dataset"], 0, {picture: "akane, frown"})
    assert EditTags.fingerprint_inputs(edits="mine") != before
    out = edit(dataset, trigger="akane", edits="mine")
    assert captions(out[0]) == ["akane, frown", "akane, grass"]
    assert out.ui["lora_bootstrap"][0] == {**told, "revision": 1, "changed": 1}
    assert "changed by hand: 1." in out[1]
    other_rules = edit(dataset, trigger="eiei", edits="mine")
    assert captions(other_rules[0]) == ["eiei, frown", "eiei, grass"]
    assert captions(edit(dataset, edits="another")[0]) == ["smile", "grass"], "other edits"
    current_session().editors.change(told["dataset"], 1, {picture: "eiei, smile"})
    assert EditTags.fingerprint_inputs(edits="mine") == before, "set back"


def test_another_name_has_other_edits_and_a_linked_one_is_looked_at_every_time(host):
    dataset = make(host, "smile")
    id = edit(dataset, edits="mine").ui["lora_bootstrap"][0]["dataset"]
    marks = EditTags.fingerprint_inputs(edits="mine"), EditTags.fingerprint_inputs(edits="yours")
    current_session().editors.change(id, 0, {dataset.samples[0].content_hash: "frown"})
    assert EditTags.fingerprint_inputs(edits="mine") != marks[0]
    assert EditTags.fingerprint_inputs(edits="yours") == marks[1]
    assert (host.base / "user" / "lora_bootstrap" / "edits" / "mine.json").is_file()
    linked = EditTags.fingerprint_inputs(edits=None)
    assert linked != linked


def test_a_table_that_has_changed_runs_the_node_again(host):
    file = host.input / "names.csv"
    file.write_text("kitty,cat\n")
    before = EditTags.fingerprint_inputs(alias_file="names.csv")
    os.utime(file, (1, 1))
    assert EditTags.fingerprint_inputs(alias_file="names.csv") != before


# -- AbsorbTags --------------------------------------------------------------------------------------------------------


def absorb(dataset, **widgets):
    bare = {"purpose": "character", "trigger": "akane", "least_share": 0.7, "decisions": ""}
    return AbsorbTags.execute(dataset, **bare | widgets)


def test_what_the_trigger_shall_mean_is_proposed_and_left_out(host):
    dataset = make(host, "akane, 1girl, red hair, smile", "akane, 1girl, red hair, grass", "akane, 1girl, red hair")
    after, plan, absorbed, diff = absorb(dataset).args
    assert captions(after) == ["akane, 1girl, smile", "akane, 1girl, grass", "akane, 1girl"] and absorbed == "red hair"
    assert "absorb  red hair" in plan and "3 of 3 captions changed" in diff
    assert host.server.texts[-1][0].startswith("3 of 3 captions changed  \n\u200b# character:")


def test_decisions_of_ones_own_overrule_the_proposal_also_as_lines_of_the_plan(host):
    dataset = make(host, *["akane, red hair, smile"] * 3)
    plan = absorb(dataset)[1]
    assert captions(absorb(dataset, decisions="keep red hair\ndelete smile")[0]) == ["akane, red hair"] * 3
    copied = absorb(dataset, decisions=plan.replace("absorb ", "keep   "))
    assert captions(copied[0]) == captions(dataset) and "as you decided" in copied[1]
    with pytest.raises(UserError, match="line 1 is 'drop smile'"):
        absorb(dataset, decisions="drop smile")


# -- TagStatistics -----------------------------------------------------------------------------------------------------


def test_tags_are_counted_and_pictures_without_the_trigger_named(host):
    dataset = make(host, "akane, smile", "akane, grass", "smile")
    passed_on, report, chart, lacking = TagStatisticsNode.execute(dataset, "akane", 30).args
    assert passed_on is dataset and lacking == "02.png" and "2  67%  smile" in report
    assert chart.ndim == 4 and chart.shape[-1] == 3
    assert "1 captions lack the trigger 'akane': 02.png." in report


def test_the_trigger_is_judged_as_far_as_can_be_seen(host, adapter):
    dataset = make(host, "akane, smile")
    assert "meaning to the base: not measured" in TagStatisticsNode.execute(dataset, "smile", 30)[1]
    assert "it is a tag that" not in TagStatisticsNode.execute(dataset, "", 30)[1]
    whole = TagStatisticsNode.execute(dataset, "smile", 30, "model", CLIP_WITH_PIECES, "vae")[1]
    assert "not a good trigger" in whole and "meaning to the base: " in whole and "not measured" not in whole
    assert host.bars[-1].updates[-1][:2] == (33, 33)


CLIP_WITH_PIECES = SimpleNamespace(
    tokenize=lambda text, return_word_ids: {"l": [[(1, 1.0, 0), (5, 1.0, 1), (6, 1.0, 1)]]},
    tokenizer=SimpleNamespace(untokenize=lambda tokens: [(token, f"piece{token[0]}") for token in tokens]))


def test_the_pieces_of_a_trigger_are_those_of_the_clip():
    assert tokenizer(CLIP_WITH_PIECES)("word") == ["piece5", "piece6"]
    assert tokenizer(SimpleNamespace(tokenizer=None)) is None


def test_what_is_absorbed_without_being_a_trait_and_what_is_not_known_is_named(host):
    dataset = make(host, *["akane, red hair, holding cup, glorbo"] * 3)
    _, plan, absorbed, _ = absorb(dataset, decisions="absorb holding cup").args
    shown = host.server.texts[-1][0]
    assert set(absorbed.split(", ")) == {"red hair", "holding cup"}
    assert "is not what the trigger of a character LoRA should mean, but is absorbed, as you decided" in shown
    assert "glorbo" in shown.split("is not a known trait")[0] and "in most images, but not a known trait" in plan
