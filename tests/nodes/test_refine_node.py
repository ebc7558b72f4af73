"""RefineStrengths on stand-ins of the host's nodes: what is drawn with what, what is taken, kept and remembered."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from comfy.model_management import InterruptProcessingException
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image
from safetensors.torch import save_file

from lora_bootstrap.host import events
from lora_bootstrap.host.drawing.cell_graph import PICTURE, below, cell_graph
from lora_bootstrap.host.drawing.runner import Runner
from lora_bootstrap.nodes import refine as refine_node
from lora_bootstrap.nodes.conflict import ConflictReportNode
from lora_bootstrap.nodes.refine import RefineStrengths, TwoLoras, base_label
from lora_bootstrap.nodes.stack import LoraStackNode
from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.sweeps.cells import STACK, STRENGTH, Sweep

from ..helpers.drawings import draw_once

ME, BASE = "9", "sd15.safetensors"
GIRL, INK, GLOW = "girl.safetensors", "ink.safetensors", "glow.safetensors"
STACKED = [(GIRL, 0.9, 0.9), (INK, 0.5, 0.3), (GLOW, 0.2, 0.1)]
WIDGETS = {
    "name": "two", "prompts": "akane, grass", "seeds": "1, 2", "character_strengths": "0.5, 1",
    "style_strengths": "0.25, 0.5", "negative": "blurry", "width": 64, "height": 64, "steps": 3, "cfg": 4.5,
    "sampler_name": "euler", "scheduler": "karras", "tagger": "none"}
LAYER = "lora_unet_mid_block_resnets_0_conv1"


@pytest.fixture(autouse=True)
def files(host, monkeypatch):
    """A host in a process that has run no sweep, with three LoRAs and a base; its pictures are drawn."""
    monkeypatch.setattr(events, "INTERVAL", 0)
    for number, (name, kind, trigger) in enumerate(((GIRL, "character", "akane"), (INK, "style", "inky"),
                                                    (GLOW, "", ""))):
        path = host.output / "loras" / name
        save_file({f"{LAYER}.{end}": torch.full(shape, 0.5 + number) for end, shape in (
            ("lora_up.weight", (4, 2)), ("lora_down.weight", (2, 4)), ("alpha", ()))}, path, {
                "modelspec.trigger_phrase": trigger, "lora_bootstrap.config": json.dumps({"kind": kind})})
    monkeypatch.setattr(host.nodes.KSampler, "make", sampled)
    monkeypatch.setattr(host.nodes.VAEDecode, "make", decoded)
    monkeypatch.setattr(refine_node, "choose_eye", lambda sandbox, clip_vision, tagger: clip_vision)


def sampled(self, model, seed, latent_image, **_):
    strengths = {name: float(value) for name, value in re.findall(r"(\w+)\.safetensors at ([\d.]+)", model)}
    return ({"samples": torch.tensor([strengths.get("girl", 0), strengths.get("ink", 0), seed])},)


def decoded(self, samples, vae):
    """A girl who is more akane and more inked by the strengths."""
    girl, ink, seed = samples["samples"].tolist()
    view = {"background": "grass", "expression": ("smile", "open mouth")[int(seed) % 2]}

    def picture(look):
        drawn = [draw_once(world.Scene(world.HELD_OUT[name], style=look, **view), 64) for name in ("momo", "akane")]
        return Image.blend(*drawn, min(1, girl))

    both = Image.blend(picture("flat color"), picture("lineart"), min(1, 2 * ink))
    return (torch.from_numpy(np.asarray(both).copy() / 255).float()[None],)


class Eye:
    """Sees the reds of akane's hair."""

    name = "fake eye"

    def embed(self, pixels):
        red = (pixels[:, 0] - pixels[:, 1:].amax(1)).clamp(min=0)[:, 8:28, 16:48].mean((1, 2))
        return F.normalize(torch.stack([red * 12, torch.ones_like(red)], dim=1), dim=1)

    def read_tags(self, pixels, tags):
        return torch.ones(len(pixels), len(tags))


def nodes_of(inputs):
    links = {"model": ["4", 0], "clip": ["4", 1], "vae": ["4", 2]}
    return {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"folder/{BASE}"}},
            ME: {"class_type": "LoraBootstrap_RefineStrengths", "inputs": {**inputs, **links}}}


def run(stack=STACKED, eye=True, **inputs):
    inputs = {**WIDGETS, **inputs}
    hidden = SimpleNamespace(unique_id=ME, dynprompt=SimpleNamespace(get_node=nodes_of(inputs).__getitem__))
    given = {part: f"{part} {BASE}" for part in ("model", "clip", "vae")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RefineStrengths, "hidden", hidden)
        return RefineStrengths.execute(**given, **inputs, LORA_STACK=stack, clip_vision=Eye() if eye else None)


def test_a_lora_that_the_linked_model_has_already_is_named(monkeypatch):
    loader = {"class_type": "LoraLoader", "inputs": {"lora_name": GIRL, "strength_model": 0.8, "strength_clip": 0.8,
                                                     "model": ["4", 0], "clip": ["4", 1]}}
    plain = nodes_of
    monkeypatch.setitem(globals(), "nodes_of", lambda inputs: {
        "5": loader, **plain(inputs), ME: {**plain(inputs)[ME], "inputs": {
            **plain(inputs)[ME]["inputs"], "model": ["5", 0], "clip": ["5", 1]}}})
    assert ("girl is applied twice: by Load LoRA (Model and CLIP) and by this node. Link model and clip from before "
            "Load LoRA (Model and CLIP).") in run(prompts="akane", seeds="1").args[4]
    assert "twice" not in run([(INK, 0.5, 0.3), (GLOW, 0.2, 0.1)], prompts="akane", seeds="1").args[4]


def ran(host, kind):
    return [inputs for name, inputs in host.nodes.calls if name == kind]


def remembered(host):
    return json.loads((host.output / "lora_strengths.json").read_text())


# -- what is drawn -----------------------------------------------------------------------------------------------------


def test_each_pair_each_alone_and_neither_is_drawn_with_the_others_below(host):
    sweep = run().args[1]
    assert len(sweep.cells) == (4 + 3) * 2 and set(sweep.states().values()) == {"done"}
    models = {inputs["model"] for inputs in ran(host, "KSampler")}
    glow = f"model {BASE} + {GLOW} at 0.2"
    assert models == {
        *(f"{glow} + {INK} at {ink} + {GIRL} at {girl}" for ink in (0.25, 0.5) for girl in (0.5, 1.0)),
        f"{glow} + {GIRL} at 1.0", f"{glow} + {INK} at 0.5", glow}
    clips = {(inputs["lora_name"], inputs["strength_clip"]) for inputs in ran(host, "LoraLoader")}
    assert (GLOW, 0.1) in clips and (INK, 0.5) in clips and (GIRL, 1.0) in clips, "the pair's as the model's"


def test_a_cells_png_holds_the_graph_that_makes_it(host):
    sweep = run().args[1]
    for cell in (sweep.cells[0], sweep.cells[-1]):
        with Image.open(sweep.picture(cell)) as image:
            held, told = json.loads(image.text["prompt"]), image.text["parameters"]
        loras = [node["inputs"]["lora_name"] for node in held.values() if node["class_type"] == "LoraLoader"]
        wanted = [name for name, *_ in below(cell)] + [GIRL] * bool(cell.facts["strength"])
        assert sorted(loras) == sorted(wanted)
        assert all(f"<lora:{name.removesuffix('.safetensors')}:" in told for name in wanted)
        given = {part: (f"{part} {BASE}",) for part in ("model", "clip", "vae")}
        again = Runner(given).value(cell_graph(cell, stack=below(cell)), PICTURE)
        with Image.open(sweep.picture(cell)) as image:
            assert np.abs(np.asarray(image).astype(int) - again[0].numpy() * 255).max() <= 1


def test_loaders_run_only_as_often_as_needed(host):
    run()
    assert len(ran(host, "LoraLoader")) == 1 + 2 + 4 + 1, "glow, ink twice, the girl on each, and on none"


def test_a_second_run_draws_nothing_and_more_strengths_only_what_is_new(host):
    sweep = run().args[1]
    before = {path.name: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}
    host.nodes.calls.clear()
    run()
    assert host.nodes.calls == []
    run(character_strengths="0.5, 0.75, 1")
    after = {path.name: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}
    assert len(ran(host, "KSampler")) == 4 and {name: after[name] for name in before} == before
    host.nodes.calls.clear()
    run(style_strengths="0.25, 0.5, 0.8")
    assert len(ran(host, "KSampler")) == 4 + 2, "and the style alone at its new largest"


def test_cancel_keeps_what_is_drawn_and_writes_the_sheet(host):
    def cancel(inputs):
        return InterruptProcessingException() if len(ran(host, "KSampler")) == 5 else None

    host.nodes.failing["KSampler"] = cancel
    before = RefineStrengths.fingerprint_inputs()
    with pytest.raises(InterruptProcessingException):
        run()
    folder = host.output / "sweeps" / "two"
    assert len(list(folder.glob("cells/*.png"))) == 4 and (folder / "grid.png").is_file()
    host.nodes.failing.clear()
    host.nodes.calls.clear()
    assert set(run().args[1].states().values()) == {"done"} and len(ran(host, "KSampler")) == 10
    (folder / "cells" / f"{Sweep.load(folder).cells[0].key}.png").unlink()
    assert RefineStrengths.fingerprint_inputs() != before, "so it runs again"


def test_roles_are_as_the_files_say_whatever_their_order():
    sweep = run([STACKED[2], STACKED[1], STACKED[0]]).args[1]
    assert sweep.cells[0].facts["lora"] == GIRL
    assert [choice.label for choice in sweep.axis(STACK).choices] == ["ink 0.25", "ink 0.5", "no ink"]
    assert [choice.label for choice in sweep.axis(STRENGTH).choices] == ["girl 0.5", "girl 1", "no girl"]


def test_a_sweep_without_a_name_is_called_after_both():
    assert run(name=" ").args[1].folder.name == "girl+ink-strengths"


def test_labels_are_short_and_tell_both_apart(host):
    long = "a_character_with_a_name_that_no_sheet_has_room_for"
    names = [f"{long}-step000100.safetensors", f"{long}-step000200.safetensors", f"{long}.safetensors"]
    for name, kind in zip(names, (GIRL, INK, GLOW), strict=True):
        (host.output / "loras" / name).write_bytes((host.output / "loras" / kind).read_bytes())
    two = TwoLoras.of([(name, 1.0, 1.0) for name in names[:2]])
    assert two.labels == two.names == (f"{long}-step000100", f"{long}-step000200"), "of one run"
    assert TwoLoras.of([(names[0], 1.0, 1.0), (INK, 1.0, 1.0)]).labels == ("a_character_with_a_name…", "ink")


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_the_stack_is_handed_on_at_the_best_pair(host):
    stack, sweep, sheets, maps, report = run().args
    assert stack == [(GIRL, 1.0, 1.0), (INK, 0.5, 0.5), (GLOW, 0.2, 0.1)], "in its order, the others as they were"
    assert report.startswith("Take girl 1, ink 0.5: harmonic ")
    assert "girl 1 is at the edge of the grid" in report and "ink 0.5 is at the edge of the grid" in report
    assert len(sheets) == 2 and len(maps) == 4 and all(picture.ndim == 4 for picture in (*sheets, *maps))
    assert host.server.texts[-1][0].startswith("14 of 14 cells") and host.server.texts[-1][1] == ME
    assert (sweep.folder / "strengths.json").is_file() and (sweep.folder / "strengths-harmonic.png").is_file()


def test_the_viewer_is_told_how_many_cells_there_are(host):
    assert run().ui == {"lora_bootstrap": [{"sweep": "two", "done": 14, "failed": 0, "total": 14}]}
    told = [data for event, data in host.server.sent if event == "lora_bootstrap.sweep"]
    assert told[-1] == {"name": "two", "node": ME, "done": 14, "failed": 0, "total": 14}


def test_what_the_eye_is_chosen_by(monkeypatch):
    asked = []
    monkeypatch.setattr(refine_node, "choose_eye", lambda *of: asked.append(of) or Eye())
    run()
    assert asked == [(False, asked[0][1], None)] and isinstance(asked[0][1], Eye)


def test_without_an_eye_nothing_is_taken_and_what_comes_after_says_why(host):
    stack, _, sheets, maps, report = run(eye=False).args
    assert isinstance(stack, ExecutionBlocker) and "Nothing is recommended" in stack.message
    assert "there is no eye" in report and len(sheets) == 2 and len(maps) == 2
    assert not (host.output / "lora_strengths.json").exists()


def test_failed_cells_are_said_and_the_rest_is_scored(host):
    host.nodes.failing["KSampler"] = lambda inputs: RuntimeError("no") if inputs["seed"] == 2 else None
    stack, sweep, *_, report = run().args
    assert "7 of 14 cells are missing or failed; they are not in the figures." in report
    assert stack[0] == (GIRL, 1.0, 1.0) and list(sweep.states().values()).count("failed") == 7


@pytest.mark.parametrize(("widgets", "words"), [
    ({"character_strengths": "strong"}, "is not a number"),
    ({"style_strengths": "0, 1"}, "must all be above 0; each LoRA"),
    ({"character_strengths": "0.5, -1"}, "must all be above 0"), ({"seeds": "-1"}, "must be 0 or more"),
    ({"style_strengths": ""}, "is empty")])
def test_mistakes_in_widgets_are_found_before_anything_runs(widgets, words):
    checked = {name: WIDGETS[name] for name in ("character_strengths", "style_strengths", "seeds")}
    assert RefineStrengths.validate_inputs(**checked) is True
    assert words in RefineStrengths.validate_inputs(**{**checked, **widgets})


@pytest.mark.parametrize(("stack", "words"), [
    ([STACKED[0]], "a pair of strengths needs two LoRAs, and the stack has 1"),
    ([], "the stack has none"), ([STACKED[0], STACKED[0]], "is both the character and the style"),
    ([STACKED[0], ("nobody.safetensors", 1, 1)], "there is no LoRA 'nobody")])
def test_a_stack_that_is_no_pair_is_refused(host, stack, words):
    with pytest.raises(UserError, match=words):
        run(stack)
    assert host.nodes.calls == []


def test_no_prompt_is_refused():
    with pytest.raises(UserError, match="prompts is empty"):
        run(prompts="# none")


# -- what is remembered ------------------------------------------------------------------------------------------------


def test_the_best_strengths_are_remembered_by_base_and_told_of_the_stack(host):
    sweep = run().args[1]
    ((base, pairs),) = remembered(host)["bases"].items()
    (one,) = pairs.values()
    assert base == sweep.cells[0].facts["base"] and one["sweep"] == "two" and one["base"] == "sd15"
    assert (one["character"]["strength"], one["style"]["strength"]) == (1.0, 0.5) and one["eye"] == "fake eye"
    assert set(one["scores"]) == {"harmonic", "identity", "style", "prompt"}
    line = f"measured on sd15: girl 1, ink 0.5 (harmonic {one['scores']['harmonic']:.2f})"
    LoraStackNode.execute("girl : 0.7\nink : 0.4", 0.8)
    assert host.server.texts[-1][0].split("  \n") == ["girl: 0.7", "ink: 0.4", line]
    assert ConflictReportNode.execute(STACKED[:2], 0.2).args[0].endswith("\n" + line)
    LoraStackNode.execute("girl : 0.7", 0.8)
    assert "measured" not in host.server.texts[-1][0]


def test_a_damaged_memory_is_a_line_and_no_more(host):
    path = host.output / "lora_strengths.json"
    path.write_text("{")
    LoraStackNode.execute("girl : 0.7\nink : 0.4", 0.8)
    assert "lora_strengths.json is not valid JSON" in host.server.texts[-1][0]
    assert "It was renamed to lora_strengths.damaged.json" in run().args[-1] and remembered(host)["version"] == 1


@pytest.mark.parametrize(("kind", "inputs", "name"), [
    ("CheckpointLoaderSimple", {"ckpt_name": "a\\b/anime.safetensors"}, "anime"),
    ("UNETLoader", {"unet_name": "flux.sft"}, "flux"), ("SomeLoader", {"path": "x"}, "SomeLoader"),
    ("LoraBootstrap_LoadSandbox", {"picture": "akane"}, "the sandbox"), ("OtherLoader", {}, "OtherLoader")])
def test_a_base_is_called_by_its_file_else_by_its_loader(kind, inputs, name):
    nodes = {"1": {"class_type": kind, "inputs": inputs},
             "2": {"class_type": "ModelSampling", "inputs": {"model": ["1", 0]}}}
    assert {base_label(nodes.__getitem__, [id, 0]) for id in nodes} == {name}
