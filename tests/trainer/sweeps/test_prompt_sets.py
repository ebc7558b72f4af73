"""Ready prompts are put behind one's own."""

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.sandbox.world import ATTRIBUTES
from lora_bootstrap.trainer.captions.tags import split_tags
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.sweeps.cells import recorded_captions
from lora_bootstrap.trainer.sweeps.prompt_sets import AS_WRITTEN, FROM_CAPTIONS, SETS, prompts
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.metadata import lora_metadata

KNOWN = {tag for tags in ATTRIBUTES.values() for tag in tags}
KINDS = ("settings", "outfits", "poses", "expressions")
OF_LINES = SETS[1:-1]
DRAWN_WORLD = ("context test", "other-base test", *KINDS)
each_family = pytest.mark.parametrize("family", ["", "sdxl", "flux", "sandbox"])


def names_of(family):
    return DRAWN_WORLD if family == "sandbox" else OF_LINES


def test_as_written_nothing_is_added():
    assert prompts(["akane, smile", "akane"], AS_WRITTEN) == ("akane, smile", "akane")
    assert prompts([], AS_WRITTEN) == ()


@each_family
@pytest.mark.parametrize("name", OF_LINES)
def test_every_prompt_is_continued_by_every_line_of_the_set(name, family):
    if name not in names_of(family):
        return
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
    asked = {tag for name in DRAWN_WORLD for text in prompts([], name, "sandbox") for tag in split_tags(text)}
    assert asked <= KNOWN
    assert not {tag for text in prompts([], "context test") for tag in split_tags(text)} <= KNOWN


def test_a_set_there_is_none_of_is_told():
    with pytest.raises(UserError, match="unknown set of prompts 'context'.*Valid: as written, context test"):
        prompts(["a"], "context")


def test_a_set_the_drawn_world_has_nothing_of_is_refused_there():
    for name in ("lighting", "objects", "paraphrase"):
        with pytest.raises(UserError, match=f"the sandbox has no prompts for {name}.*Valid: context test"):
            prompts(["a"], name, "sandbox")


def test_the_lines_are_sentences_where_the_base_reads_them():
    assert prompts(["akane"], "lighting", "sdxl")[1] == "akane, outdoors, golden hour, backlighting"
    assert prompts(["akane"], "lighting", "flux")[1] == "akane, outdoors in the golden hour, lit from behind"
    for name in set(OF_LINES) - {"paraphrase"}:
        tags, sentences = (prompts(["a"], name, family) for family in ("sdxl", "qwen_image"))
        assert len(tags) == len(sentences) and not set(tags) & set(sentences) - {"a, school uniform"}


def test_the_paraphrase_asks_for_the_same_in_tags_and_in_a_sentence_on_every_base():
    found = prompts(["akane"], "paraphrase", "flux")
    assert found == prompts(["akane"], "paraphrase", "sdxl") and len(found) == 6
    assert found[:2] == ("akane, sitting, cafe, smile, upper body",
                         "akane, sitting in a cafe with a smile, shown from the waist up")


def test_captions_are_drawn_as_they_were_trained_with_brackets_that_are_no_weights():
    captions = ("zqx, saber (fate), smile", "zqx, from behind")
    for family in ("sdxl", "sandbox"):
        assert prompts(["mine"], FROM_CAPTIONS, family, captions) == (
            "mine", r"zqx, saber \(fate\), smile", "zqx, from behind")
    assert prompts([], FROM_CAPTIONS, "flux", captions)[1] == "zqx, from behind"


def test_a_lora_records_a_few_captions_spread_over_the_dataset(tmp_path):
    captions = [f"zqx, {number}" for number in range(80)]
    metadata = lora_metadata(TrainConfig(), get_family("sdxl"), base_fingerprint="", dataset_fingerprint="",
                             captions=[*captions, *captions])
    path = tmp_path / "zqx.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata)
    assert recorded_captions([path]) == tuple(captions[::10])


@pytest.mark.parametrize("text", [None, "", "no json", "{}", "[1]"])
def test_a_lora_without_captions_is_told_with_the_remedy(tmp_path, text):
    path = tmp_path / "others.safetensors"
    save_file({"weight": torch.zeros(1)}, path, {} if text is None else {"lora_bootstrap.captions": text})
    with pytest.raises(UserError, match="others.safetensors does not record captions.*choose another set"):
        recorded_captions([path])
