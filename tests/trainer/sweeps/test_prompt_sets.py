"""Ready prompts are put behind one's own."""

import pytest

from lora_bootstrap.sandbox.world import ATTRIBUTES
from lora_bootstrap.trainer.captions.tags import split_tags
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.sweeps.prompt_sets import AS_WRITTEN, SETS, prompts

KNOWN = {tag for tags in ATTRIBUTES.values() for tag in tags}
KINDS = ("settings", "outfits", "poses", "expressions")
each_family = pytest.mark.parametrize("family", ["", "sdxl", "sandbox"])


def test_as_written_nothing_is_added():
    assert prompts(["akane, smile", "akane"], AS_WRITTEN) == ("akane, smile", "akane")
    assert prompts([], AS_WRITTEN) == ()


@each_family
@pytest.mark.parametrize("name", SETS[1:])
def test_every_prompt_is_continued_by_every_line_of_the_set(name, family):
    found = prompts(["akane", "akane, night"], name, family)
    half = len(found) // 2
    assert len(found) == len(set(found)) == 2 * half >= 6
    assert all(text.startswith("akane, ") for text in found[:half])
    lines = [text.removeprefix("akane, ") for text in found[:half]]
    assert found[half:] == tuple(f"akane, night, {line}" for line in lines)
    assert prompts([], name, family) == tuple(lines), "without a prompt of one's own the lines stand alone"


@each_family
def test_the_context_test_is_settings_outfits_and_poses(family):
    parts = [prompts(["a"], name, family) for name in KINDS]
    assert prompts(["a"], "context test", family) == tuple(dict.fromkeys(sum(parts[:3], ())))
    others = prompts(["a"], "other-base test", family)
    assert others == tuple(dict.fromkeys(text for part in parts for text in part[:2]))


def test_the_sandbox_is_asked_only_for_what_it_knows():
    asked = {tag for name in SETS[1:] for text in prompts([], name, "sandbox") for tag in split_tags(text)}
    assert asked <= KNOWN
    assert not {tag for text in prompts([], "context test") for tag in split_tags(text)} <= KNOWN


def test_a_set_there_is_none_of_is_told():
    with pytest.raises(UserError, match="unknown set of prompts 'context'.*Valid: as written, context test"):
        prompts(["a"], "context")
