"""LoRAs in texts: lines of a stack, tags in a prompt, names as loaders list them."""

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.stacks.prompt import WantedLora, find_lora, prompt_loras, read_entries, read_prompt

GIRL, STEP, INK = "girl/girl.safetensors", "girl/girl-step000100.safetensors", "ink.safetensors"
NAMES = [GIRL, STEP, INK, "old/ink.pt", "off shoulder.safetensors", "a/hat.safetensors", "b/hat.safetensors"]


def refused(text, read=lambda text: read_entries(text, NAMES)):
    with pytest.raises(UserError) as raised:
        read(text)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "meant"), [
    (GIRL, GIRL), ("girl/girl", GIRL), ("girl\\girl.safetensors", GIRL), ("girl", GIRL), (" girl ", GIRL),
    ("girl-step000100", STEP), ("girl-step000100.safetensors", STEP), ("ink", INK), ("old/ink", "old/ink.pt"),
    ("ink.pt", "old/ink.pt"), ("b/hat", "b/hat.safetensors")])
def test_ending_and_folder_may_be_left_out_where_that_leaves_no_doubt(written, meant):
    assert find_lora(written, NAMES) == meant


def test_a_windows_host_lists_backslashes_and_they_are_kept():
    assert find_lora("girl/girl", ["girl\\girl.safetensors"]) == "girl\\girl.safetensors"


def test_a_name_that_fits_several_asks_which():
    assert refused("hat") == "LoRA 'hat' could be 'a/hat.safetensors' or 'b/hat.safetensors'; write the full name."


def test_a_name_that_fits_none_is_told_the_nearest():
    assert "there is no LoRA 'Grl'. Did you mean 'girl/girl'?" in refused("Grl : 0.8")
    told = refused("zzz")
    assert "there is no LoRA 'zzz'. Put the file" in told
    assert "and no other LoRA either" in refused("girl", lambda text: find_lora(text, []))
    assert "there is no LoRA 'ink.ckpt'" in refused("ink.ckpt"), "an ending that was written counts"


# -- lines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "wanted"), [
    ("girl", WantedLora(GIRL, 1, 1)),
    ("girl : 0.8", WantedLora(GIRL, 0.8, 0.8)),
    ("ink:0.5:0.3:style", WantedLora(INK, 0.5, 0.3, "style")),
    ("ink : 0.5 : 0.3 : mid_block* + not text_encoder", WantedLora(INK, 0.5, 0.3, "mid_block* + not text_encoder")),
    ("ink : 0.5 : : style", WantedLora(INK, 0.5, 0.5, "style")),
    ("ink :: 0", WantedLora(INK, 1, 0)),
    ("ink : -1.5", WantedLora(INK, -1.5, -1.5)),
    ("<lora:ink:0.8:0.6>", WantedLora(INK, 0.8, 0.6)),
    ("off shoulder : 0.4", WantedLora("off shoulder.safetensors", 0.4, 0.4))])
def test_a_line_is_a_name_two_strengths_and_blocks(line, wanted):
    assert read_entries(f"\n  {line} \n", NAMES) == (wanted,)


def test_lines_that_are_off_are_not_looked_at():
    assert read_entries("# girl : strong\noff nobody : loud : x : y : z\nOFF ink\noff\noff <lora:girl:1>", NAMES) == ()


def test_lines_keep_their_order_and_a_line_may_hold_several_tags():
    text = "ink : 0.5\n<lora:girl:0.8> <lora:b/hat>"
    assert [entry.name for entry in read_entries(text, NAMES)] == [INK, GIRL, "b/hat.safetensors"]


@pytest.mark.parametrize(("line", "words"), [
    ("girl : strong", "strength 'strong' in 'girl : strong' is not a number; a line is name : model strength"),
    ("girl : 0,8", "strength '0,8' in 'girl : 0,8' is not a number"),
    ("girl : 50", "strength 50 in 'girl : 50' must be from -10 to 10"),
    ("girl : 0.5 : -11", "strength -11 in"), ("girl : nan", "must be from -10 to 10"), ("girl:inf", "from -10 to 10"),
    (": 0.8", "': 0.8' does not name a LoRA"), ("girl : 1 : 1 : all : all", "has 5 parts between colons; at most 4"),
    ("<lora:girl:1", "is not closed; write <lora:name:0.8>"), ("<lora:girl> smile", "text that is not a LoRA: 'smile'"),
    ("girl\nGIRL/girl", "Did you mean 'girl/girl'"), ("ink\n<lora:ink:0.4>", "LoRA 'ink.safetensors' is listed twice")])
def test_a_line_that_cannot_be_read_says_why(line, words):
    assert words in refused(line)


def test_the_same_lora_may_be_there_twice_with_other_blocks():
    assert [entry.strength for entry in read_entries("ink : 1 : 1 : style\nink : 0.2", NAMES)] == [1, 0.2]


# -- prompts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompt", "rest"), [
    ("akane, <lora:girl:0.8>, smile", "akane, smile"),
    ("<lora:girl> akane", "akane"),
    ("akane <lora:girl>", "akane"),
    ("akane, <lora:girl> , <lora:ink:0.5>,, smile", "akane, smile"),
    ("akane <lora:girl> <lora:ink> smile", "akane smile"),
    ("akane<lora:girl>smile", "akane smile"),
    ("(akane <lora:girl>:1.2), smile", "(akane:1.2), smile"),
    ("(<lora:girl>, akane, <lora:ink>)", "(akane)"),
    ("akane,\n<lora:girl>\nsmile", "akane,\nsmile"),
    ("akane <lora:girl>\n\nsmile", "akane\nsmile"),
    ("<lora:girl>", "")])
def test_what_is_left_of_a_prompt_is_tidy(prompt, rest):
    assert read_prompt(prompt)[1] == rest


@pytest.mark.parametrize("prompt", ["", "akane ,, smile ", " <3, a < b, <lyric:x>", r"\(akane\) \\", "a  b\r\n"])
def test_a_prompt_without_a_lora_stays_to_the_letter(prompt):
    assert read_prompt(prompt) == ((), prompt)


def test_far_from_a_lora_a_prompt_stays_to_the_letter():
    assert read_prompt(r"a  ,,b <lora:x> \(c\) ,, d ")[1] == r"a  ,,b \(c\) ,, d "


def test_strengths_are_of_the_model_then_of_the_text_encoder():
    assert read_prompt("<lora:a> <LORA: b :0.8> <lora:c/d:0.8:0.6> <lora:e::0.5>")[0] == (
        WantedLora("a", 1, 1), WantedLora("b", 0.8, 0.8), WantedLora("c/d", 0.8, 0.6), WantedLora("e", 1, 0.5))


def test_after_a_backslash_it_is_no_lora():
    assert read_prompt(r"a \<lora:girl:0.8> <lora:ink>") == ((WantedLora("ink"),), "a <lora:girl:0.8>")


@pytest.mark.parametrize(("prompt", "words"), [
    ("a <lora:girl:0.8, smile", "'<lora:girl:0.8' in the prompt is not closed"), ("<lora:girl\n>", "is not closed"),
    ("<lora:a <lora:b>", "'<lora:a' in the prompt is not closed"), ("<lora:>", "'<lora:>' does not name a LoRA"),
    ("<lora:a:x>", "strength 'x' in '<lora:a:x>' is not a number; write <lora:name:0.8>"),
    ("<lora:a:50>", "must be from -10 to 10"), ("<lora:a:1:1:style>", "at most 3 are possible")])
def test_a_tag_that_cannot_be_read_says_why(prompt, words):
    assert words in refused(prompt, read_prompt)


def test_many_commas_take_no_time():
    assert read_prompt(", " * 100_000 + "a" + " ," * 100_000 + "<lora:girl>")[1].endswith("a")


def test_the_loras_of_a_prompt_are_those_that_are_listed():
    assert prompt_loras("akane <lora:girl:0.8>", NAMES) == ((WantedLora(GIRL, 0.8, 0.8),), "akane", ())
    assert "Did you mean 'girl/girl'" in refused("<lora:gril>", lambda text: prompt_loras(text, NAMES))
    assert "is listed twice" in refused("<lora:ink> <lora:ink:0.2>", lambda text: prompt_loras(text, NAMES))


def test_when_not_strict_what_is_not_there_is_left_out_with_a_line():
    wanted, rest, lines = prompt_loras("akane <lora:gril> <lora:ink> <lora:hat>", NAMES, strict=False)
    assert [entry.name for entry in wanted] == [INK] and rest == "akane"
    assert len(lines) == 2 and lines[0].startswith("Left out: there is no LoRA 'gril'. Did you mean 'girl/girl'?")
    assert "could be" in lines[1]
    assert "is not a number" in refused("<lora:ink:x>", lambda text: prompt_loras(text, NAMES, strict=False))
