"""A tag with brackets reaches the text encoder as the same tokens by all four ways: trained and drawn, in a workflow
and on the command line."""

from pathlib import Path
from types import SimpleNamespace

import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.flux
import comfy.text_encoders.z_image
import pytest
import torch
from transformers import CLIPTokenizer

from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.trainer.backends.diffusers import DiffusersBackbone
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VOCABULARIES, view_prompt
from lora_bootstrap.trainer.models.families import WORDINGS
from lora_bootstrap.trainer.models.prompt_memory import PromptMemory

TOKENIZERS = (comfy.sd1_clip.SD1Tokenizer, comfy.sdxl_clip.SDXLTokenizer, comfy.text_encoders.flux.FluxTokenizer,
              comfy.text_encoders.z_image.ZImageTokenizer)
SPELLINGS = ("saber (fate)", "saber \\(fate\\)", "saber_(fate)", "(o)_(o)", "a (b (c))")


def view(tag, wording):
    """The caption and the prompt of one view of a character with this tag."""
    vocabulary = VOCABULARIES["booru"]
    roles = tag_roles(["1girl", tag, "red hair"], vocabulary)
    prompt = view_prompt({"angle": "from behind", "framing": "full body"}, roles, vocabulary, "zqx")
    return prompt.caption(wording, "zqx"), prompt.prompt(wording, "zqx")


def trained_in_a_workflow(tokenizer, caption):
    """The tokens that HostBackbone.encode_text has the host encode."""
    prompts = []
    backbone = SimpleNamespace(_encode=lambda texts, controls: prompts.extend(texts))
    HostBackbone.encode_text(backbone, [caption])
    return tokenizer.tokenize_with_weights(prompts[0])


@pytest.fixture(scope="module", params=TOKENIZERS, ids=lambda tokenizer: tokenizer.__name__)
def tokenizer(request):
    return request.param()


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("tag", SPELLINGS)
def test_a_workflow_draws_the_tokens_that_it_trained_with_no_weight_among_them(tokenizer, tag, wording):
    caption, prompt = view(tag, wording)
    trained, drawn = trained_in_a_workflow(tokenizer, caption), tokenizer.tokenize_with_weights(prompt)
    assert drawn == trained
    assert {weight for chunks in drawn.values() for chunk in chunks for _, weight in chunk} == {1.0}


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize("tag", SPELLINGS)
def test_the_command_line_trains_and_draws_the_tokens_of_the_workflow(tag, wording):
    caption, prompt = view(tag, wording)
    plain = CLIPTokenizer.from_pretrained(Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer")
    heard = []
    pipeline = SimpleNamespace(
        tokenizer=plain, encode_prompt=lambda prompt, **_: heard.extend(prompt) or [torch.zeros(1, 1, 1)])
    base = SimpleNamespace(pipeline=pipeline, device="cpu", text_network=torch.nn.ModuleDict(), _prompts=PromptMemory(),
                           _text_parameters=frozenset(), _encode_on=lambda *names: None)
    DiffusersBackbone.encode_text(base, [caption])
    DiffusersBackbone._encode_prompts(base, [prompt], 1.0, "")  # for a picture
    (chunk,) = trained_in_a_workflow(comfy.sd1_clip.SD1Tokenizer(), caption)["l"]
    workflow = [token for token, _ in chunk][1:]
    for text in heard:
        ids = plain(text)["input_ids"][1:]
        assert workflow[:len(ids)] == ids
    assert len(heard) == 2
