"""What drew a candidate, in words for people."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_bootstrap.host.drawing import generator
from lora_bootstrap.host.drawing.generator import find_generator

from ...helpers.drawing_graph import drawing_graph


def found(nodes, end="decode", lora=None):
    return find_generator(nodes.__getitem__, [end, 0], "views", lora)


def test_a_lora_round_is_drawn_by_its_base_and_its_lora():
    made = found(drawing_graph(), lora=Path("loras/akane-style-1.safetensors"))
    assert (made.words, made.edits) == ("a · akane-style-1", False)


@pytest.mark.parametrize(("loader", "words"), [
    ({"class_type": "LoraLoader", "inputs": {"lora_name": "sub/x.safetensors", "strength_model": 0.8}}, "a · x"),
    ({"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "x.safetensors", "strength_model": 0}}, "a"),
    ({"class_type": "Power Lora Loader", "inputs": {"lora_1": {"on": True, "lora": "x.safetensors", "strength": 1},
                                                    "lora_2": {"on": False, "lora": "y.safetensors"}}}, "a · x"),
    ({"class_type": "Stack", "inputs": {f"lora_name_{n}": f"{n}.safetensors" for n in range(6)}},
     "a · 0 · 1 · 2 · 3 · 2 more LoRAs"),
])
def test_loras_that_loaders_apply_are_named(loader, words):
    nodes = drawing_graph()
    nodes["lora"] = {**loader, "inputs": {"model": ["base", 0], **loader["inputs"]}}
    assert found(nodes).words == words


def test_a_lora_without_a_known_base_is_not_named_as_the_generator():
    nodes = drawing_graph()
    nodes["base"] = {"class_type": "DiffusersLoader", "inputs": {"model_path": "folder"}}
    assert found(nodes, lora=Path("loras/akane-style-1.safetensors")).words == ""


@pytest.mark.parametrize("kind", generator.EDITORS)
def test_a_node_that_shows_an_image_to_the_model_edits(kind):
    nodes = drawing_graph()
    assert not found(nodes).edits
    nodes["edit"] = {"class_type": kind, "inputs": {"conditioning": ["encode", 0]}}
    nodes["sample"]["inputs"]["positive"] = ["edit", 0]
    assert found(nodes).edits


def test_an_api_node_is_named_and_edits(monkeypatch):
    classes = {"GeminiImageNode": SimpleNamespace(API_NODE=True)}
    monkeypatch.setattr(generator, "node_class", classes.__getitem__)
    monkeypatch.setattr(generator, "display_name", {"GeminiImageNode": "Nano Banana"}.get)
    nodes = {"api": {"class_type": "GeminiImageNode", "inputs": {"prompt": ["views", 0], "images": ["views", 5],
                                                                 "model": "gemini-2.5-flash-image"}}}
    made = found(nodes, "api")
    assert (made.words, made.edits) == ("Nano Banana", True)
