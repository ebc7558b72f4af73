"""Is a word : a good trigger: vocabulary, spelling, and whether the base already means something by it."""

import json

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.tagging.trigger_check import check_trigger, made_up_words, measure_loudness

TAGS = ["1girl", "red_hair", "akane_(naruto)", "akane_(ranma)", "hatsune_miku", "zqx"]


@pytest.fixture(scope="module")
def sandbox():
    from lora_bootstrap.trainer.backends.diffusers import load_backbone

    return load_backbone("sandbox", device="cpu")


@pytest.mark.parametrize(("word", "problem"), [
    ("Red Hair", "it is a tag that taggers know"), ("zqx", "it is a tag that taggers know"),
    ("akane", "it is a word of the tag 'akane (naruto)' and 1 more"),
    ("Miku", "it is a word of the tag 'hatsune miku'"),
    ("dragon", "'dragon' is a common word"), ("twintails", "'twintails' is a common word"),
])
def test_collisions_with_tags_and_common_words_are_named(word, problem):
    report = check_trigger(word, vocabulary=TAGS)
    assert not report.fit and problem in report.problems and problem in report.text()


def test_without_a_base_meaning_is_not_measured_and_not_made_up():
    report = check_trigger("eiei21girl", vocabulary=TAGS)
    assert report.fit and report.loudness is None and report.tokens is None
    assert ": a good trigger" in report.text() and "not measured" in report.text()
    assert json.loads(json.dumps(report.to_dict()))["meaning"] is None


@pytest.mark.parametrize(("word", "remark"), [
    ("my thing", "several words"), ("EieiGirl", "ignore capitals"), ("猫娘子", "other than a-z"), ("zq", "very short")])
def test_spelling_is_remarked_on_but_does_not_condemn(word, remark):
    assert any(remark in one for one in check_trigger(word).remarks)
    assert check_trigger("zqxvo").remarks == ()


@pytest.mark.parametrize("word", ["", "a, b", " , "])
def test_a_trigger_is_one_word_or_tag(word):
    with pytest.raises(UserError, match="must be one word or tag"):
        check_trigger(word)


LEARNT = ("red hair", "fox ears", "lineart", "close-up", "from behind", "hair")
UNHEARD_OF = ("eiei21girl", "zqx", "ohwx", "kyaru2", "blorptangle")


@pytest.fixture(scope="module")
def measured(sandbox):
    words = (*LEARNT, *UNHEARD_OF)
    return dict(zip(words, measure_loudness(words, sandbox), strict=True))


@pytest.mark.parametrize("word", LEARNT)
def test_what_the_base_has_learnt_is_found_to_mean_something(measured, word):
    assert measured[word].meaning > 0.4 and not measured[word].inert


@pytest.mark.parametrize("word", UNHEARD_OF)
def test_made_up_words_are_found_inert(measured, word):
    assert measured[word].inert and measured[word].meaning < 0.2


def test_the_report_says_so_and_offers_other_quiet_words(sandbox):
    loud, quiet = check_trigger("red hair", sandbox), check_trigger("blorptangle", sandbox)
    assert any("already means something" in problem for problem in loud.problems) and loud.tokens == 2
    assert quiet.fit and any("7 tokens" in remark for remark in quiet.remarks)
    words = loud.loudness.quiet_words
    assert len(words) == 5 and words[0] in loud.text() and words[0] not in quiet.text()
    assert all(one.inert for one in measure_loudness(words, sandbox, seed=7))


def test_pieces_are_named_and_a_common_word_among_them_remarked_on(sandbox):
    report = check_trigger("zqgirl", tokenize=lambda text: ["z", "q", "girl</w>"])
    assert report.pieces == ("z", "q", "girl") and report.tokens == 3
    assert report.remarks == ("its token 'girl' is a common word, whose meaning shines through",)
    named = check_trigger("zqxvo", tokenize=list).remarks
    assert named == ("it has 5 tokens (z q x v o); with 3 or fewer it is learnt faster",)
    pieces = check_trigger("red", sandbox, tokenize=sandbox.pipeline.tokenizer.tokenize).pieces
    assert pieces == ("red",)


def test_the_measure_is_the_same_each_time_and_leaves_the_base_as_it_was(sandbox):
    before = {name: value.clone() for name, value in list(sandbox.network.state_dict().items())[:5]}
    assert measure_loudness(["zqx"], sandbox, seed=1) == measure_loudness(["zqx"], sandbox, seed=1)
    assert all((sandbox.network.state_dict()[name] == value).all() for name, value in before.items())


def test_it_tells_how_far_it_is_and_can_be_cancelled(tiny_backbone):
    done = []

    def progress(event):
        done.append((event.done, event.total))
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_trigger("zqx", tiny_backbone, progress=progress)
    assert done == [(1, 33), (2, 33), (3, 33)]


def test_made_up_words_are_distinct_and_fixed_by_their_seed():
    words = made_up_words(100, seed=2)
    assert len(set(words)) == 100 and words == made_up_words(100, seed=2) != made_up_words(100, seed=3)
    assert all(word.isalnum() and word.isascii() and word == word.lower() for word in words)
