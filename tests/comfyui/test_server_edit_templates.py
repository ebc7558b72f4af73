"""The templates that bootstrap with an edit model, in a real ComfyUI server: on tiny models of the host's own classes,
which take the place of the loaders, with few views and steps."""

from __future__ import annotations

import json

import pytest

from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.rounds import Project

from ..helpers.server import PACK
from ..helpers.serving import loras, pixels, run_folder
from ..helpers.templates import api, without_previews

TINY = {"CheckpointLoaderSimple": "TinyCheckpoint", "UNETLoader": "TinyNetwork", "CLIPLoader": "TinyText",
        "VAELoader": "TinyDecoder"}
SHORT = {"TrainLora": {"steps": 1, "batch_size": 1, "resolution": 128},
         "StrengthGrid": {"width": 64, "height": 64, "steps": 1, "strengths": "0.8", "prompt_set": "as written"},
         "ViewPrompts": {"count": 4, "views": "framing: close-up, full body\nangle: from side"},
         "CurateImages": {"mode": "auto", "stop_on_alarm": False}, "Project": {"targets": "4, 5", "candidates": "4"},
         "KSampler": {"steps": 1}, "Flux2Scheduler": {"steps": 1}, "EmptySD3LatentImage": {"width": 64, "height": 64},
         "ImageScaleToTotalPixels": {"megapixels": 0.02}}
FAMILIES = {"Qwen-Image-Edit": "qwen_image_edit", "FLUX.2 Klein": "flux2_klein"}
WORDS = {"Qwen-Image-Edit": "1girl", "FLUX.2 Klein": "a girl"}
"""How a caption begins: SDXL, which is trained beside Qwen-Image-Edit, reads tags."""


def shortened(name, trigger):
    """The template of an edit model, on tiny models, without previews of the training. What its sampler is given is
    noted in output/<trigger>.jsonl."""
    graph = without_previews(api(f"4 Bootstrap with an edit model ({name})"))
    for node in graph.values():
        kind = node["class_type"].removeprefix("LoraBootstrap_")
        if kind in TINY:
            family = "sdxl" if kind == "CheckpointLoaderSimple" else FAMILIES[name]
            node |= {"class_type": TINY[kind], "inputs": {"family": family}}
        node["inputs"] |= SHORT.get(kind, {})
        if kind == "Project":
            node["inputs"] |= {"trigger": trigger, "tags": "1girl, red hair, green eyes, white dress, full body"}
    guided = next(node["inputs"] for node in graph.values() if node["class_type"] in ("KSampler", "CFGGuider"))
    seed = next([id, 1] for id, node in graph.items() if node["class_type"] == "LoraBootstrap_ViewPrompts")
    graph["note"] = {"class_type": "NoteConditioning", "inputs": {
        "conditioning": guided["positive"], "seed": seed, "file": f"{trigger}.jsonl"}}
    guided["positive"] = ["note", 0]
    return graph


@pytest.mark.parametrize("name", FAMILIES)
def test_each_view_is_encoded_with_its_own_reference_and_its_picks_are_trained(server, tab, name):
    trigger = f"edit{FAMILIES[name].replace('_', '')}"
    picture = next((PACK / "sandbox").glob("**/pictures/akane.png"))
    (server.base / "input" / "example.png").write_bytes(picture.read_bytes())
    graph = shortened(name, trigger)
    result = tab.run(graph)
    assert result.status == "success", result.error
    one = Project.load(server.base / "output" / "bootstrap" / trigger).round(1)
    drawn = [Lineage.read(path) for path in one.list_candidates()]
    assert len(drawn) == 4 and {view.reference for view in drawn} == {"2-face", "original"}
    assert all(view.edits and view.prompt.startswith("Show the same character ") and view.steps == 1 for view in drawn)

    notes = (server.base / "output" / f"{trigger}.jsonl").read_text("utf-8").splitlines()
    given = {note["seed"]: note for note in map(json.loads, notes)}
    shown = {view.reference: {tuple(given[view.seed]["shown"]) for view in drawn if view.reference == other}
             for view in drawn for other in [view.reference]}
    assert all(len(latents) == 1 for latents in shown.values()), "one image, one latent"
    ((face, original),), ((whole, same),) = shown["2-face"], shown["original"]
    assert face != whole and original == same, "the reference is the view's own, the original is that of all"
    assert len({note["text"] for note in given.values()}) == 4

    assert f"{trigger}/{trigger}.safetensors" in loras(server)
    trained = json.loads((run_folder(server, trigger) / "images.json").read_text("utf-8"))["images"]
    (view,) = [image for image in trained if image["name"].removesuffix(".png") in {view.name for view in drawn}]
    assert len(trained) == 5 and view["caption"].startswith(f"{trigger}, {WORDS[name]}, ")
    assert "red hair" not in str(trained), "the trigger stands for what is hers"
    (sheet,) = [id for id, node in graph.items() if node["class_type"] == "PreviewImage"]
    assert all(pixels(server, place).std() > 5 for place in result.images(sheet))
