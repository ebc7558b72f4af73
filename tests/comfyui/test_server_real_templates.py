"""The templates that start on a real model, in a real ComfyUI server: on tiny models of the host's own classes, which
take the place of the loaders, and with few steps."""

from __future__ import annotations

import pytest
from PIL import Image

from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.models.families import get_family

from ..helpers.server import PACK
from ..helpers.serving import loras, pixels, run_folder
from ..helpers.templates import api, inputs_of, is_widget, without_previews

LOADERS = {"CheckpointLoaderSimple": "TinyCheckpoint", "UNETLoader": "TinyNetwork", "CLIPLoader": "TinyText",
           "VAELoader": "TinyDecoder"}
SHORT = {"TrainLora": {"steps": 2, "batch_size": 1, "resolution": 128},
         "LoadDataset": {"folder": "sandbox/dataset/akane"},
         "StrengthGrid": {"width": 64, "height": 64, "steps": 1, "strengths": "0.8, 1"},
         "SamplingByModel": {"width": 64, "height": 64, "steps": 1}, "ViewPrompts": {"count": 2},
         "CurateImages": {"stop_on_alarm": False}, "Project": {"targets": "4, 5, 6", "candidates": "2, 2"}}
FORMS = {"sdxl": "SDXL", "z_image": "diffusion model"}
each_form = pytest.mark.parametrize("family", FORMS)


START = {"sandbox": "1 Start here", "sdxl": "1 Start here (your model)"}


def shortened(template, family, name):
    graph = without_previews(api(template))
    links = [node["inputs"].get("trigger") for node in graph.values()]
    triggers = {link[0] for link in links if isinstance(link, list)}
    for id, node in graph.items():
        kind = node["class_type"].removeprefix("LoraBootstrap_")
        if kind in LOADERS:
            node |= {"class_type": LOADERS[kind], "inputs": {"family": family}}
        node["inputs"] |= SHORT.get(kind, {})
        if kind == "PrimitiveString" and id in triggers:
            node["inputs"]["value"] = name
        if kind == "Project":
            node["inputs"] |= {"trigger": name, "tags": "1girl, red hair, green eyes, white dress, front view"}
    return graph


def ids(graph, kind):
    return [id for id, node in graph.items() if node["class_type"].removeprefix("LoraBootstrap_") == kind]


@each_form
@pytest.mark.parametrize("task", ["3 Train a character LoRA", "4 Bootstrap a character"])
def test_the_loaders_have_the_widgets_that_the_host_asks_for(info, task, family):
    loaders = [node for node in api(f"{task} ({FORMS[family]})").values() if node["class_type"] in LOADERS]
    assert len(loaders) == (1 if family == "sdxl" else 3)
    for node in loaders:
        widgets = {name: spec for name, spec in inputs_of(info[node["class_type"]]).items() if is_widget(spec)}
        assert set(node["inputs"]) == set(widgets)
        for name, value in node["inputs"].items():
            choices = widgets[name][0] if isinstance(widgets[name][0], list) else widgets[name][1]["options"]
            assert isinstance(value, str) and (value in choices or value.endswith(".safetensors")), name


@each_form
def test_a_character_is_trained_and_drawn_at_its_strengths(server, tab, family):
    name, graph = f"real_{family}", shortened(
        f"3 Train a character LoRA ({FORMS[family]})", family, f"real_{family}")
    result = tab.run(graph)
    assert result.status == "success", result.error
    assert f"{name}/{name}.safetensors" in loras(server)
    (cell, *_) = (server.base / "output" / "sweeps" / f"{name}-strengths" / "cells").glob("*.png")
    with Image.open(cell) as image:
        row, settings = get_family(family), image.text["parameters"]
        assert image.size == (64, 64) and f"CFG scale: {row.cfg:g}" in settings.replace(".0", "")
        assert f"Sampler: {row.sampler}, Schedule type: {row.scheduler}" in settings
    (sheet,) = ids(graph, "PreviewImage")
    assert all(pixels(server, place).std() > 5 for place in result.images(sheet))
    assert (run_folder(server, name) / "run.json").is_file()


@each_form
def test_a_character_is_bootstrapped_to_the_pick_of_its_first_round(server, tab, family):
    name = f"boot{family.replace('_', '')}"
    graph = shortened(f"4 Bootstrap a character ({FORMS[family]})", family, name)
    picture = next((PACK / "sandbox").glob("**/pictures/akane.png"))
    (server.base / "input" / "example.png").write_bytes(picture.read_bytes())
    result = tab.run(graph)
    assert result.status == "success", result.error
    first, second = ids(graph, "CurateImages")
    assert result.outputs[first]["lora_bootstrap"][0]["held"] and second not in result.outputs
    one = Project.load(server.base / "output" / "bootstrap" / name).round(1)
    assert len(one.list_candidates()) == len(one.project.round(0).list_candidates()) == 2
    lineage = Lineage.read(one.list_candidates()[0])
    assert lineage.parent_lora == f"{name}-style-1" and lineage.prompt.startswith(
        "masterpiece, best quality, " if family == "sdxl" else name)


@pytest.mark.parametrize("family", START)
def test_a_template_to_begin_with_trains_on_captions_that_are_kept_and_draws_its_sheet(server, tab, family):
    name = f"start_{family}"
    graph = shortened(START[family], family, name)
    (grid,) = ids(graph, "StrengthGrid")
    graph[grid]["inputs"]["prompt_set"] = "as written"  # the trigger alone
    result = tab.run(graph)
    assert result.status == "success", result.error
    assert f"{name}/{name}.safetensors" in loras(server)
    cells = list((server.base / "output" / "sweeps" / f"{name}-strengths" / "cells").glob("*.png"))
    assert len(cells) == 3
    with Image.open(cells[0]) as image:
        assert image.text["parameters"].startswith(name), "the trigger is the prompt"
    (sheet,) = ids(graph, "PreviewImage")
    assert all(pixels(server, place).std() > 5 for place in result.images(sheet))
