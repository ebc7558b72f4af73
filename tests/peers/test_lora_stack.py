"""What other packs put into a LORA_STACK is read alike by every node that takes one.

https://github.com/LucianoCirino/efficiency-nodes-comfyui/issues/57
https://github.com/LucianoCirino/efficiency-nodes-comfyui/issues/118
https://github.com/willmiao/ComfyUI-Lora-Manager/issues/896
https://github.com/Comfy-Org/ComfyUI/issues/3343 (paths of Windows)
https://github.com/willmiao/ComfyUI-Lora-Manager/issues/662 (endings)
"""

import math
import unicodedata
from functools import partial

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.stacks.lora_stack import read_lora_stack
from lora_bootstrap.trainer.stacks.prompt import find_lora

NAMES = ("girl/girl.safetensors", "sub/inky.safetensors", "a/twin.safetensors", "b/twin.safetensors",
         "é.v1.safetensors")
GIRL = NAMES[0]

read = partial(read_lora_stack, find=partial(find_lora, names=NAMES))


@pytest.mark.parametrize("free", [
    None, "None", "", " ", ["None"], [None], ["", 1.0, 1.0], ["None", 1.0, 1.0], [None, None, None],
    ("None", "x", math.nan, 4)])
def test_a_free_place_is_skipped_whatever_stands_beside_its_name(free):
    assert read([free, (GIRL, 0.8, 0.6)]) == [(GIRL, 0.8, 0.6)]


@pytest.mark.parametrize("stack", [None, [], (), "", "None"])
def test_nothing_is_an_empty_stack(stack):
    assert read(stack) == []


@pytest.mark.parametrize(("written", "listed"), [
    ("girl/girl.safetensors", GIRL), ("girl/girl", GIRL), ("girl", GIRL), (r"sub\inky.safetensors", NAMES[1]),
    (r"sub\inky", NAMES[1]), ("inky", NAMES[1]), ("é.v1", NAMES[4]), (unicodedata.normalize("NFD", "é.v1"), NAMES[4])])
def test_a_name_is_found_however_a_pack_writes_it(written, listed):
    assert read([(written, 1, 1)]) == [(listed, 1.0, 1.0)]


@pytest.mark.parametrize(("name", "says"), [
    ("twin", "'twin' could be 'a/twin.safetensors' or 'b/twin.safetensors'; write the full name"),
    ("GIRL/girl", "there is no LoRA 'GIRL/girl'. Did you mean 'girl/girl'?"),
    (7, r"has the entry \(7, 1, 1\); each must be")])
def test_a_name_that_is_none_or_several_is_refused_with_the_remedy(name, says):
    with pytest.raises(UserError, match=says):
        read([(name, 1, 1)])


def test_numbers_may_be_text():
    assert read([["girl", "0.8", " -1e-1 "], ["inky", 1, "2"]]) == [(GIRL, 0.8, -0.1), (NAMES[1], 1.0, 2.0)]


@pytest.mark.parametrize("value", [
    "0,8", "strong", "", None, math.nan, "nan", math.inf, "-inf", 10**400, 101, [0.8], {}])
@pytest.mark.parametrize("place", [1, 2])
def test_a_strength_that_is_not_a_finite_number_is_refused_with_its_value(value, place):
    entry = ["girl", 1.0, 1.0]
    entry[place] = value
    with pytest.raises(UserError, match="the strength of 'girl' in LORA_STACK is .*; it must be a number from -100 to "
                                        "100, with a point before its decimals, such as 0.8.") as told:
        read([entry])
    assert repr(value)[:80] in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("entry", [
    ("girl", 1.0), ("girl", 1.0, 1.0, "x"), (), {"name": "girl", "strength": 1}, "girl", 5, True])
def test_an_entry_of_another_form_is_refused_with_its_value(entry):
    with pytest.raises(UserError, match="LORA_STACK has the entry .*; each must be .name, model strength") as told:
        read([entry])
    assert repr(entry) in str(told.value)


@pytest.mark.parametrize("stack", ["girl", 5, {"girl": 0.8}, {}, True])
def test_what_is_no_list_is_refused_with_its_value(stack):
    with pytest.raises(UserError, match="LORA_STACK is .*; it must be a list of .name, model strength, clip"):
        read(stack)
