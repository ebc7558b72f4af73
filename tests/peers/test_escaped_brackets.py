"""Escaped brackets in captions: the words that the two backends train on and draw are the same."""

import pytest
import torch

from lora_bootstrap.trainer.captions.tags import escape_brackets, unescape_brackets

from ..helpers.tiny import make_tiny_backbone

ESCAPED, PLAIN = r"saber \(fate\), hat", "saber (fate), hat"


@pytest.fixture(scope="module")
def backbone():
    return make_tiny_backbone()


@pytest.fixture
def heard(backbone, monkeypatch):
    """Every text that reaches the tokenizer."""
    texts, tokenizer = [], backbone.pipeline.tokenizer

    class Listening:
        def __call__(self, text, *args, **options):
            texts.extend([text] if isinstance(text, str) else text)
            return tokenizer(text, *args, **options)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    monkeypatch.setattr(backbone.pipeline, "tokenizer", Listening())
    return texts


def test_training_previews_and_drawing_read_escaped_brackets_as_brackets(backbone, heard):
    """The command line trained on the backslashes, the node on the brackets.
    https://github.com/starik222/BooruDatasetTagManager/issues/108,
    https://github.com/willmiao/ComfyUI-Lora-Manager/issues/951"""
    embeds = [backbone.encode_text([text]).tensors["prompt_embeds"] for text in (ESCAPED, PLAIN)]
    assert torch.equal(*embeds)
    options = {"seeds": [1], "width": 32, "height": 32, "steps": 1, "cfg": 2.0}
    images = [backbone.generate([text], negative=rf"bad {text}", **options) for text in (ESCAPED, PLAIN)]
    assert torch.equal(*images)
    assert backbone.token_count(ESCAPED) == backbone.token_count(PLAIN)
    assert set(heard) == {PLAIN, f"bad {PLAIN}"}


@pytest.mark.parametrize("caption", [ESCAPED, PLAIN, r"a \\(b\\)", r"one \( alone", "back\\slash", r"\d+ (x:1.2)"])
def test_the_words_are_those_that_the_host_makes_of_the_nodes_caption(caption):
    escaped = escape_brackets(caption)  # host/backbone/model.py hands this to the host
    assert unescape_brackets(caption) == escaped.replace("\\)", ")").replace("\\(", "(")
