"""The nodes of sweeps, on stand-ins of the host's own: what is drawn with what, what is kept, and what is told."""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image

from lora_bootstrap.host import events, paths
from lora_bootstrap.host.backbone import facts
from lora_bootstrap.host.drawing import runner as host_nodes, sweep_session
from lora_bootstrap.host.drawing.cell_graph import PICTURE, cell_graph
from lora_bootstrap.host.drawing.pictures import as_saved
from lora_bootstrap.host.drawing.runner import KEPT, Runner
from lora_bootstrap.host.drawing.sweep_plan import choose_loras, lora_axes, seeds_of, strengths_of
from lora_bootstrap.host.drawing.sweep_session import axes_of
from lora_bootstrap.host.session import current_session
from lora_bootstrap.nodes import checkpoints, score, sweep_values
from lora_bootstrap.nodes.checkpoints import PickCheckpoint
from lora_bootstrap.nodes.sampling import LinkContent, SamplingByModel
from lora_bootstrap.nodes.score import ScoreSweep
from lora_bootstrap.nodes.sweep import CheckpointSweep, DrawLoaderSweep, StrengthGrid, family_of
from lora_bootstrap.nodes.sweep_values import (
    ComposeCells,
    ComposedGrid,
    ComposeGrid,
    KeepCell,
    SweepCell,
    SweepValues,
)
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.sweeps.cells import Cell, Sweep
from lora_bootstrap.trainer.sweeps.marks import Marks
from lora_bootstrap.trainer.sweeps.score import ScoreSettings, validation_of
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run, read_run

from ..helpers.drawn_sweep import draw_sweep, write_lora, write_run
from ..helpers.host_stub import stand_in

ME, BASE = "9", "model.safetensors"
WIDGETS = {
    "name": "one", "checkpoints": "all", "files": "akane/*", "strengths": "0.5, 1", "prompts": "akane, grass\nakane",
    "prompt_set": "as written", "seeds": "1, 2", "negative": "blurry", "width": 16, "height": 24, "steps": 3,
    "cfg": 4.5, "sampler_name": "euler", "scheduler": "karras", "without": True, "bases": "", "draw": "one by one",
    "rows": "auto", "columns": "auto"}
OF_VALUES = ("name", "checkpoints", "files", "strengths", "prompts", "prompt_set", "seeds", "without")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Every event is told."""
    monkeypatch.setattr(events, "INTERVAL", 0)


@pytest.fixture(autouse=True)
def files(host, monkeypatch):
    """Two checkpoints of a run, two other LoRAs, two bases of known families."""
    monkeypatch.setattr(facts, "family_name", lambda model: "flux" if model.startswith("flux") else "other")
    for name in (BASE, "other.safetensors"):
        path = host.base / "models" / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for name in ("style", "ink"):
        write_lora(host.base / "models" / "loras" / f"{name}.safetensors", 1, name)
    return write_run(paths.loras_root(), steps=(50, 100))


@pytest.fixture
def metadata_off(monkeypatch):
    """A host that was started with --disable-metadata."""
    from comfy.cli_args import args

    monkeypatch.setattr(args, "disable_metadata", True)


class Graph:
    """A graph of the user's with a sweep node in it: it runs the node as the host does."""

    def __init__(self, kind=StrengthGrid, **inputs):
        self.kind, self.inputs = kind, {**WIDGETS, **inputs}
        self.given = {part: f"{part} {BASE}" for part in ("model", "clip", "vae")}
        links = {"model": ["4", 0], "clip": ["4", 1], "vae": ["4", 2]}
        if "latent" in inputs:
            links["latent"] = ["5", 0]
        self.nodes = {
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": BASE}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 16, "batch_size": 1}},
            ME: {"class_type": f"LoraBootstrap_{kind.__name__}", "inputs": {**self.inputs, **links}},
        }

    def run(self):
        hidden = SimpleNamespace(unique_id=ME, dynprompt=SimpleNamespace(get_node=self.nodes.__getitem__))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.kind, "hidden", hidden)
            return self.kind.execute(**self.given, **self.inputs)


def grid(**inputs):
    return Graph(**inputs).run()


def ran(host, kind):
    return [inputs for name, inputs in host.nodes.calls if name == kind]


def by_hand(cell, stack=(), base=BASE, latent=None):
    """A cell's picture by the host's nodes, one after the other."""
    nodes, facts = host_nodes.node_class, cell.facts
    model, clip, vae = nodes("CheckpointLoaderSimple")().run(ckpt_name=base)
    for name, strength in (*stack, *([(facts["lora"], facts["strength"])] if facts["lora"] else [])):
        model, clip = nodes("LoraLoader")().run(model=model, clip=clip, lora_name=name, strength_model=strength,
                                                strength_clip=strength)
    heard = [nodes("CLIPTextEncode")().run(clip=clip, text=text)[0] for text in (facts["prompt"], "blurry")]
    (empty,) = [latent] if latent else nodes("EmptyLatentImage")().run(width=16, height=24, batch_size=1)
    (drawn,) = nodes("KSampler")().run(
        model=model, seed=facts["seed"], steps=3, cfg=4.5, sampler_name="euler", scheduler="karras", positive=heard[0],
        negative=heard[1], latent_image=empty)
    return pixels(as_saved(nodes("VAEDecode")().run(samples=drawn, vae=vae)[0])[0])


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


def drawn(sweep, cell):
    with Image.open(sweep.picture(cell)) as image:
        return pixels(image)


def times(sweep):
    return {path.name: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}


# -- what a cell is drawn with -----------------------------------------------------------------------------------------


def test_every_cell_is_what_the_hosts_nodes_make_by_hand():
    sweep = grid()[0]
    assert len(sweep.cells) == 16 and len(sweep.references) == 4 and set(sweep.states().values()) == {"done"}
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell))
    assert len({drawn(sweep, cell).tobytes() for cell in sweep.everything}) == 20


def test_the_sampler_is_given_exactly_what_a_graph_would(host):
    grid(strengths="0.7", seeds="5", prompts="akane", checkpoints="all", files="akane/*100", without=False)
    name = "akane/akane-step000100.safetensors"
    (lora,), (sample,), (decode,) = (ran(host, kind) for kind in ("LoraLoader", "KSampler", "VAEDecode"))
    assert lora == {"model": f"model {BASE}", "clip": f"clip {BASE}", "lora_name": name, "strength_model": 0.7,
                    "strength_clip": 0.7}
    assert [(heard["clip"], heard["text"]) for heard in ran(host, "CLIPTextEncode")] == [
        (f"clip {BASE} + {name} at 0.7", "akane"), (f"clip {BASE} + {name} at 0.7", "blurry")]
    assert ran(host, "EmptyLatentImage") == [{"width": 16, "height": 24, "batch_size": 1}]
    told = {key: value for key, value in sample.items() if key not in ("positive", "negative", "latent_image")}
    assert told == {"model": f"model {BASE} + {name} at 0.7", "seed": 5, "steps": 3, "cfg": 4.5,
                    "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0}
    assert sample["latent_image"]["samples"].shape == (1, 4, 3, 2) and decode["vae"] == f"vae {BASE}"


def test_loaders_and_encoders_run_only_as_often_as_needed(host):
    grid()
    count = Counter(name for name, _ in host.nodes.calls)
    loras = Counter((inputs["lora_name"], inputs["strength_model"]) for inputs in ran(host, "LoraLoader"))
    heard = Counter((inputs["clip"], inputs["text"]) for inputs in ran(host, "CLIPTextEncode"))
    assert len(loras) == 4 and set(loras.values()) == {1}, "each LoRA once at each strength"
    assert len(heard) == 5 * 3 and set(heard.values()) == {1}, "each prompt once for each LoRA and for none"
    assert (count["KSampler"], count["VAEDecode"], count["EmptyLatentImage"]) == (20, 20, 1)


def test_strength_0_and_references_have_no_lora_loader(host):
    sweep = grid(strengths="0, 1", files="akane/*50", prompts="akane", seeds="1")[0]
    assert len(ran(host, "KSampler")) == 2 and len(ran(host, "LoraLoader")) == 1
    zero = sweep.cell(strength=0)
    assert zero.key == sweep.references[0].key
    np.testing.assert_array_equal(drawn(sweep, zero), by_hand(zero))
    graph = cell_graph(zero)
    assert "LoraLoader" not in {node["class_type"] for node in graph.values()}


def test_a_stack_lies_below_the_lora_that_is_swept(host):
    stack = [("style.safetensors", 0.6, 0.6), ("ink.safetensors", 0.2, 0.2)]
    below = [(name, strength) for name, strength, _ in stack]
    sweep = grid(LORA_STACK=stack, seeds="1", prompts="akane", strengths="1")[0]
    assert [cell.facts["lora"] for cell in sweep.cells] == [f"akane/akane-step000{step}.safetensors" for step in
                                                            ("050", "100")]
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, below))
    assert grid(seeds="1", prompts="akane", strengths="1")[0].cells[0].key != sweep.cells[0].key


def test_a_stack_alone_has_its_first_lora_swept_on_top_of_the_others():
    stack = [("ink.safetensors", 1.0, 1.0), ("style.safetensors", 0.6, 0.6)]
    sweep = grid(files="", LORA_STACK=stack, seeds="1", prompts="akane")[0]
    assert [(cell.facts["lora"], cell.facts["strength"]) for cell in sweep.cells] == [
        ("ink.safetensors", 0.5), ("ink.safetensors", 1.0)]
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, [("style.safetensors", 0.6)]))


LOOSE = [[("None", 1.0, 1.0)], [(None, None, None)], ["None"], [("style", "0.6", "0.6")],
         [("style.safetensors", 0.6, 0.6), ("", 1, 1)], [["style", 0.6, "6e-1"], None]]
"""Stacks as other packs write them: free places, numbers as text, no ending."""


@pytest.mark.parametrize("stack", LOOSE)
def test_a_stack_of_another_pack_is_read_as_in_apply_lora_stack(stack):
    below = [["style.safetensors", 0.6]] if "style" in str(stack) else []
    for sweep in (grid(LORA_STACK=stack, seeds="1", prompts="akane")[0], values(LORA_STACK=stack)[0]):
        assert [[name, strength] for name, _, strength, _ in sweep.shared["stack"]] == below
    alone = grid(files="", LORA_STACK=[None, ["ink", "1", 1], *stack], seeds="1", prompts="akane", name="alone")[0]
    assert {cell.facts["lora"] for cell in alone.cells} == {"ink.safetensors"}
    for cell in alone.everything:
        np.testing.assert_array_equal(drawn(alone, cell), by_hand(cell, below))


@pytest.mark.parametrize(("entry", "says"), [
    (("style.safetensors", 1.0, 1.0, "x"), "has the entry"), (("style.safetensors", 1.0), "has the entry"),
    (("style.safetensors", "0,8", 1.0), "is '0,8'; it must be a number"), (("style", math.nan, 1), "is nan; it must"),
    (("stile", 1, 1), "there is no LoRA 'stile'. Did you mean 'style'")])
def test_an_entry_that_cannot_be_read_is_refused_in_one_line(entry, says):
    for sweep_of, files in product((grid, values), ("akane/*", "")):
        with pytest.raises(UserError, match=says):
            sweep_of(files=files, LORA_STACK=[entry])


def test_a_run_that_another_file_hides_from_load_lora_is_not_swept(host, run):
    """The graph of a cell goes by the name, so it would draw the other file.
    https://github.com/willmiao/ComfyUI-Lora-Manager/issues/917"""
    mine = run.checkpoint_path(20)
    hiding = write_lora(host.base / "models" / "loras" / "girl" / mine.name, 20, "other", 0.9)
    for sweep_of in (grid, values):
        with pytest.raises(UserError, match=f"ComfyUI loads {hiding} under the name .*, not {mine}. Rename or"):
            sweep_of(run=run, files="", checkpoints="10-20 (+10)")
        assert sweep_of(run=run, files="", checkpoints="30")[0].axis("checkpoint").choices[0].facts["step"] == 30
    hiding.write_bytes(mine.read_bytes())
    assert len(grid(run=run, files="", checkpoints="all")[0].axis("checkpoint").choices) == 3, "a copy draws the same"


def test_other_bases_are_loaded_once_each_and_the_linked_model_comes_first(host):
    sweep = grid(bases="other", seeds="1", strengths="1")[0]
    assert [choice.label for choice in sweep.axis("base").choices] == ["as linked", "other"]
    assert [inputs["ckpt_name"] for inputs in ran(host, "CheckpointLoaderSimple")] == ["other.safetensors"]
    sampled = [inputs["model"].split(" + ")[0] for inputs in ran(host, "KSampler")]
    assert sampled == [f"model {BASE}"] * 6 + ["model other.safetensors"] * 6
    for cell in sweep.everything:
        base = (BASE, "other.safetensors")[cell.at[0]]
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, base=base))


def test_a_base_of_another_content_and_another_loader_are_drawn_anew(host):
    before = set(grid(bases="other")[0].states())
    other = host.base / "models" / "checkpoints" / "other.safetensors"
    other.write_bytes(b"trained on")
    after = set(grid(bases="other")[0].states())
    assert len(before & after) == 20, "those of the linked model"
    graph = Graph(bases="other")
    graph.given["model"] = "a patched model"
    assert len(after & set(graph.run()[0].states())) == 20, "those of the other base"


@pytest.fixture
def networks(host):
    """Two diffusion models, one of which has the name of a checkpoint."""
    folder = host.base / "models" / "diffusion_models"
    folder.mkdir(parents=True)
    for name in ("turbo.safetensors", "other.safetensors"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_diffusion_model_is_a_base_with_the_linked_text_encoder_and_vae(host, networks):
    sweep = grid(bases="turbo", seeds="1", strengths="1", prompts="akane")[0]
    assert [choice.label for choice in sweep.axis("base").choices] == ["as linked", "turbo (diffusion model)"]
    assert ran(host, "UNETLoader") == [{"unet_name": "turbo.safetensors", "weight_dtype": "default"}]
    assert ran(host, "CheckpointLoaderSimple") == []
    turbo = [inputs for inputs in ran(host, "LoraLoader") if inputs["model"].startswith("model turbo")]
    assert {(inputs["model"], inputs["clip"]) for inputs in turbo} == {("model turbo.safetensors", f"clip {BASE}")}
    assert {inputs["vae"] for inputs in ran(host, "VAEDecode")} == {f"vae {BASE}"}
    with Image.open(sweep.picture(sweep.cells[-1])) as image:
        held = json.loads(image.text["prompt"])
    kinds = {id: node["class_type"] for id, node in held.items()}
    (sampler,) = [node["inputs"] for node in held.values() if node["class_type"] == "KSampler"]
    lora = held[sampler["model"][0]]["inputs"]
    assert (kinds[lora["model"][0]], kinds[lora["clip"][0]]) == ("UNETLoader", "CheckpointLoaderSimple")


@pytest.mark.parametrize("change", ["file", "clip", "vae"])
def test_a_cell_on_a_diffusion_model_counts_its_file_and_the_linked_text_encoder_and_vae(networks, change):
    before, graph = grid(bases="turbo", seeds="1")[0], Graph(bases="turbo", seeds="1")
    if change == "file":
        (networks / "turbo.safetensors").write_bytes(b"another")
    else:
        graph.given[change] = "another"
    after = graph.run()[0]
    on_turbo = [{cell.key for cell in sweep.everything if cell.at[0] == 1} for sweep in (before, after)]
    assert len(on_turbo[0]) == 10 and not on_turbo[0] & on_turbo[1]


def test_a_name_in_both_folders_is_the_checkpoints_unless_its_folder_is_said(host, networks):
    grid(bases="other", seeds="1")
    grid(bases="diffusion_models/other", seeds="1")
    assert len(ran(host, "CheckpointLoaderSimple")) == len(ran(host, "UNETLoader")) == 1
    labels = [choice.label for choice in grid(bases="*\ndiffusion_models/*", seeds="1")[0].axis("base").choices]
    assert labels == ["as linked", "model", "other", "other (diffusion model)", "turbo (diffusion model)"]


class LinkedModel(str):
    """A MODEL of the stand-in, with a network of one of the host's classes."""

    def __new__(cls, text, kind):
        made = super().__new__(cls, text)
        made.model = type(kind, (), {"model_config": SimpleNamespace(unet_config={})})()
        return made

    def get_model_object(self, name):
        assert name == "latent_format"
        return SimpleNamespace(spacial_downscale_ratio=8)


class LinkedVae(str):
    def spacial_compression_encode(self):
        return 8


BY_MODEL = {"width": 0, "height": 0, "steps": 0, "cfg": -1.0, "sampler_name": "by the model",
            "scheduler": "by the model"}
FEW = {"seeds": "1", "strengths": "1", "prompts": "akane", "without": False, "files": "akane/*100"}


def on_model(kind, **inputs):
    graph = Graph(**{**FEW, **inputs})
    graph.given |= {"model": LinkedModel(f"model {BASE}", kind), "vae": LinkedVae(f"vae {BASE}")}
    return graph.run()[0]


@pytest.mark.parametrize(("kind", "figures"), [
    ("SDXL", (1024, 1024, 24, 5.0, "euler", "normal")), ("QwenImage", (1024, 1024, 24, 4.0, "euler", "simple")),
    ("Nobody", (1024, 1024, 20, 6.0, "euler", "normal"))])
def test_what_is_left_to_the_model_is_sampled_as_its_family_is(host, kind, figures):
    sweep = on_model(kind, **BY_MODEL)
    (sampler,), (latent,) = ran(host, "KSampler"), ran(host, "EmptyLatentImage")
    assert (latent["width"], latent["height"], *(sampler[name] for name in list(BY_MODEL)[2:])) == figures
    typed = on_model(kind, **dict(zip(BY_MODEL, figures, strict=True)))
    assert [cell.key for cell in sweep.cells] == [cell.key for cell in typed.cells], "it is the same image"
    assert len(ran(host, "KSampler")) == 1


def test_what_is_typed_stays_beside_what_is_left_to_the_model(host):
    on_model("SDXL", **{**BY_MODEL, "height": 64, "width": 48, "steps": 7})
    (sampler,), (latent,) = ran(host, "KSampler"), ran(host, "EmptyLatentImage")
    assert (latent["width"], latent["height"], sampler["steps"], sampler["cfg"]) == (48, 64, 7, 5.0)
    assert any("By the model: 48 x 64, 7 steps, cfg 5, euler, normal" in text for text, _ in host.server.texts)


KREA = {**BY_MODEL, "width": 64, "height": 64}


def told(host):
    return [line.strip() for line in host.server.texts[-1][0].splitlines() if "cells" not in line]


@pytest.fixture
def turbo(networks):
    (networks / "turbo.safetensors").rename(networks / "krea2_turbo.safetensors")
    return "krea2_turbo"


def test_a_lora_of_a_base_is_drawn_on_the_distilled_form_with_the_steps_cfg_and_strengths_of_that(host, turbo):
    sweep = on_model("Krea2", **{**KREA, "bases": turbo, "strengths": "by the model"})
    on_raw, on_turbo = ({(cell.facts["steps"], cell.facts["cfg"]) for cell in sweep.cells if cell.at[0] == at}
                        for at in (0, 1))
    assert (on_raw, on_turbo) == ({(52, 3.5)}, {(8, 1.0)})
    samplers = [inputs for inputs in ran(host, "KSampler") if "turbo" in inputs["model"]]
    assert {(inputs["steps"], inputs["cfg"]) for inputs in samplers} == on_turbo
    assert [choice.facts["strength"] for choice in sweep.axis("strength").choices] == [
        0.5, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert told(host) == ["By the model: 64 x 64, 52 steps, cfg 3.5, euler, simple",
                          "krea2_turbo (diffusion model): 64 x 64, 8 steps, cfg 1, euler, simple"]


def test_steps_and_cfg_that_are_typed_hold_on_every_base(host, turbo):
    sweep = on_model("Krea2", **{**KREA, "bases": turbo, "steps": 4, "cfg": 2.0})
    assert {(cell.facts["steps"], cell.facts["cfg"]) for cell in sweep.everything} == {(4, 2.0)}
    assert told(host)[-1] == "On Krea 2 Turbo, try strengths up to 2."


def test_a_sweep_that_leaves_out_the_distilled_form_says_how_to_draw_on_it(host):
    sweep = on_model("Krea2", **{**KREA, "strengths": "by the model"})
    assert [choice.facts["strength"] for choice in sweep.axis("strength").choices] == [0.5, 0.7, 0.8, 0.9, 1.0]
    assert told(host)[-1] == ("A LoRA of Krea 2 RAW is for Krea 2 Turbo too: write its file into bases, and draw it at "
                              "strengths from 1 to 2.")


def test_a_linked_model_that_is_distilled_is_known_by_its_loaders_file(host, turbo):
    graph = Graph(CheckpointSweep, **{**FEW, **KREA, "strengths": "by the model"})
    graph.nodes["4"]["inputs"]["ckpt_name"] = "Krea-2-Turbo.safetensors"
    graph.given |= {"model": LinkedModel(f"model {BASE}", "Krea2"), "vae": LinkedVae(f"vae {BASE}")}
    sweep = graph.run()[0]
    assert {(cell.facts["steps"], cell.facts["cfg"]) for cell in sweep.cells} == {(8, 1.0)}
    assert [choice.facts["strength"] for choice in sweep.axis("strength").choices] == [0.8, 1.0, 1.25, 1.5, 1.75, 2.0]


def test_a_model_that_is_not_distilled_and_one_without_a_row_get_no_advice(host):
    for kind in ("SD3", "Nobody"):
        on_model(kind, **{**KREA, "strengths": "by the model", "name": kind})
        assert len(told(host)) == 1, kind


def test_the_node_that_sets_all_samplers_gives_the_familys_figures(host, monkeypatch):
    nodes = {ME: {"inputs": {"model": ["4", 0]}}, "4": {"inputs": {"unet_name": "qwen_image_lightning.safetensors"}}}
    hidden = SimpleNamespace(unique_id=ME, dynprompt=SimpleNamespace(get_node=nodes.__getitem__))
    monkeypatch.setattr(SamplingByModel, "hidden", hidden)
    linked = (LinkedModel("a model", "QwenImage"), LinkedVae("a vae"))
    assert SamplingByModel.execute(*linked, **BY_MODEL).args[2:4] == (8, 1.0), "it is distilled"
    nodes["4"]["inputs"]["unet_name"] = "qwen_image.safetensors"
    linked = (LinkedModel("a model", "QwenImage"), LinkedVae("a vae"))
    assert SamplingByModel.execute(*linked, **BY_MODEL).args == (1024, 1024, 24, 4.0, "euler", "simple")
    assert SamplingByModel.execute(*linked, **{**BY_MODEL, "cfg": 0.0, "scheduler": "karras"}).args[3:] == (
        0.0, "euler", "karras")
    assert ("1024 x 1024, 24 steps, cfg 4, euler, simple", ME) in host.server.texts


def test_a_latent_of_ones_own_is_sampled_and_its_content_counts():
    own = {"samples": torch.full((1, 4, 2, 4), 0.5)}
    sweep = grid(latent=own, seeds="1")[0]
    assert drawn(sweep, sweep.cells[0]).shape == (16, 32, 3) and "width" not in sweep.shared
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, latent=own))
    other = grid(latent={"samples": torch.full((1, 4, 2, 4), 0.4)}, seeds="1")[0]
    assert not set(sweep.states()) & set(other.states())


@pytest.mark.parametrize("more", [{"batch_index": [2]}, {"noise_mask": torch.zeros(1, 8, 8)}, {"anything": 1}])
def test_every_entry_of_a_latent_counts(more):
    """An image of a batch by its index: https://github.com/Comfy-Org/ComfyUI/issues/12051."""
    own = {"samples": torch.zeros(1, 4, 2, 4)}
    before, after = (set(grid(latent=latent, seeds="1")[0].states()) for latent in (own, {**own, **more}))
    assert not before & after


def test_an_embedding_in_a_prompt_counts_by_its_file(host):
    path = host.base / "models" / "embeddings" / "bad.pt"
    path.parent.mkdir(parents=True)
    told = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        told.append(set(grid(negative="embedding:bad", seeds="1")[0].states()))
    assert not told[0] & told[1]


@pytest.mark.parametrize("draw", ["one by one", "strengths in one batch"])
def test_a_latent_that_is_a_batch_gives_all_its_images(host, rows, draw):
    """https://github.com/PramaLLC/BEN2_ComfyUI/issues/7, https://github.com/Comfy-Org/ComfyUI/issues/3130"""
    own = {"samples": torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 4, 2, 4).clone()}
    sweep = grid(latent=own, seeds="1", prompts="akane", files="akane/*50", draw=draw)[0]
    assert len(sweep.everything) == 3 and len(times(sweep)) == 12 and set(sweep.states().values()) == {"done"}
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, latent=own))
        images = [pixels(Image.open(path)) for path in sweep.cells_folder.glob(f"{cell.key}*.png")]
        assert len({image.tobytes() for image in images}) == 4
    shown = host.server.texts[-1][0].splitlines()
    assert shown[1].startswith("9 more images of the batches are saved beside the cells as KEY-1.png and so on; the ")
    assert shown[2:] == ["Some were drawn one by one: the latent is a batch."] * (draw != "one by one")


def test_a_run_gives_its_checkpoints_and_files_come_besides(host):
    run = open_run(paths.loras_root(), TrainConfig(name="girl", steps=30), key="girl")
    for step in (10, 20):
        write_lora(run.checkpoint_path(step), step, "girl")
    run.close()
    assert [name for name, _ in choose_loras(read_run(run.folder), "all", [], "ink\nink").swept] == [
        "girl/girl-step000010.safetensors", "girl/girl-step000020.safetensors", "ink.safetensors"]
    sweep = Graph(CheckpointSweep, run=run, files="", checkpoints="last", strengths="1", name="").run()[0]
    assert sweep.folder.name == "girl-checkpoints" and sweep.cells[0].facts["step"] == 20
    assert grid(run=run, files="", checkpoints="all", strengths="1", name=" ")[0].folder.name == "girl-strengths"
    with pytest.raises(UserError, match="there is no LoRA to sweep: link a run or a LORA_STACK, or write names"):
        choose_loras(None, "all", [], "\n# ink")


# -- a LoRA that is in the linked model --------------------------------------------------------------------------------


INK, ON_INK = "ink.safetensors", {"files": "", "prompts": "akane", "seeds": "1"}


def behind(*loaders, kind=StrengthGrid, **inputs):
    """A graph of the user's in which the models come through these nodes, (class, inputs) each, nearest last."""
    graph, links = Graph(kind, **{**ON_INK, **inputs}), {"model": ["4", 0], "clip": ["4", 1]}
    for number, (name, widgets) in enumerate(loaders, 20):
        takes = {"LoraLoader": ("model", "clip"), "CLIPSetLastLayer": ("clip",)}.get(name, ("model",))
        graph.nodes[str(number)] = {"class_type": name, "inputs": {**{of: links[of] for of in takes}, **widgets}}
        links |= {of: [str(number), slot] for slot, of in enumerate(takes)}
    graph.nodes[ME]["inputs"] |= links
    return graph


def load(name, strength=1.0, on_clip=True):
    both = {"lora_name": name, "strength_model": strength}
    return ("LoraLoader", {**both, "strength_clip": strength}) if on_clip else ("LoraLoaderModelOnly", both)


def drawn_through(graph):
    """(the sweep, the lines shown in the node) of a graph whose node goes on with other models."""
    expanded = graph.run()
    sweep, pages = (Host(graph.nodes, expanded.expand).value(link) for link in expanded.args)
    assert isinstance(pages, list) and not any(DrawLoaderSweep.object_info()["output_is_list"]), "the host unpacks it"
    return sweep, stand_in_texts()


def stand_in_texts():
    from server import PromptServer

    text, node = PromptServer.instance.texts[-1]
    assert node == ME, "the node that sweeps shows it"
    return [line.strip() for line in text.splitlines()]


def test_load_lora_before_a_sweep_is_swept_and_all_above_it_stays(host):
    sweep, shown = drawn_through(behind(load("style.safetensors", 0.6), load(INK)))
    assert "ink from Load LoRA (Model and CLIP)" in shown and sweep.folder.name == "one"
    assert [(cell.facts["lora"], cell.facts["strength"]) for cell in sweep.cells] == [(INK, 0.5), (INK, 1.0)]
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, [("style.safetensors", 0.6)]))
    held = json.loads(Image.open(sweep.picture(sweep.cells[0])).text["prompt"])
    assert [node["inputs"]["lora_name"] for node in held.values() if "Lora" in node["class_type"]] == [
        "style.safetensors", INK]
    before = times(sweep)
    given = Graph(files="ink", prompts="akane", seeds="1").run()[0]
    assert {cell.key for cell in given.cells}.isdisjoint({cell.key for cell in sweep.cells}), "style counts"
    again, _ = drawn_through(behind(load("style.safetensors", 0.6), load(INK, 0.2)))
    assert {name: times(again)[name] for name in before} == before, "the loader's own strength does not count"
    by_name, _ = drawn_through(behind(load(INK)))
    assert {cell.key for cell in by_name.everything} == {cell.key for cell in given.everything}, "the same images"


def test_a_lora_on_the_model_only_is_swept_on_the_model_only(host):
    sweep, shown = drawn_through(behind(load(INK, on_clip=False), kind=CheckpointSweep))
    assert "ink from Load LoRA" in shown
    samplers, encoders = ran(host, "KSampler"), ran(host, "CLIPTextEncode")
    assert {inputs["model"] for inputs in samplers} == {
        f"model {BASE}", f"model {BASE} + {INK} at 0.5", f"model {BASE} + {INK} at 1.0"}
    assert {inputs["clip"] for inputs in encoders} == {f"clip {BASE}"}
    both, _ = drawn_through(behind(load(INK)))
    assert {cell.key for cell in both.everything}.isdisjoint({cell.key for cell in sweep.everything})
    graph = behind(load(INK))
    graph.nodes[ME]["inputs"]["clip"] = ["4", 1]
    of_model, _ = drawn_through(graph)
    assert {cell.key for cell in of_model.everything} == {cell.key for cell in sweep.everything}, "no CLIP is linked"


def test_what_sets_the_sampling_after_the_loader_stays(host, monkeypatch):
    shift = type("ModelSamplingSD3", (host.nodes._Node,), {
        "make": lambda self, model, shift: (f"{model} shifted by {shift}",)})
    monkeypatch.setitem(host.nodes.NODE_CLASS_MAPPINGS, "ModelSamplingSD3", shift)
    drawn_through(behind(load(INK), ("ModelSamplingSD3", {"shift": 3.0}), ("CLIPSetLastLayer", {
        "stop_at_clip_layer": -2}), strengths="1", without=False))
    (lora,) = ran(host, "LoraLoader")
    assert (lora["model"], lora["clip"]) == (f"model {BASE} shifted by 3.0", f"clip {BASE} to -2")


def test_a_name_that_comes_over_a_link_is_swept():
    graph = behind(load(["30", 0]))
    graph.nodes["30"] = {"class_type": "PrimitiveString", "inputs": {"value": INK}}
    (draw,) = graph.run().expand.values()
    assert draw["inputs"]["lora"] == ["30", 0] and draw["inputs"]["model"] == ["4", 0]
    assert draw["override_display_id"] == ME


@pytest.mark.parametrize(("nodes", "says"), [
    ((load(INK), ("TorchCompileModel", {"backend": "inductor"})), "'ink' from Load LoRA .Model and CLIP. cannot be "
     "taken out of the linked model, because TorchCompileModel comes after it. Write ink.safetensors into files, and "
     "link model and clip from before Load LoRA"),
    ((load(["30", 0], on_clip=False), ("TorchCompileModel", {})), "the LoRA from Load LoRA cannot"),
    ((("LoraModelLoader", {"lora": ["30", 0], "strength_model": 1.0}),), "the LoRA of Load LoRA Model has no file. "
     "Save it with Save LoRA Weights, write its name into files"),
    ((), "link a run or a LORA_STACK, or write names into files")])
def test_a_lora_that_cannot_be_taken_out_is_named_with_the_remedy(nodes, says):
    with pytest.raises(UserError, match=f"there is no LoRA to sweep: {says}"):
        behind(*nodes).run()


@pytest.mark.parametrize("given", [{"files": "ink"}, {"LORA_STACK": [("ink", 1.0, 1.0)]},
                                   {"files": "style", "LORA_STACK": [("ink", 0.3, 0.3)]}])
def test_a_lora_that_is_applied_twice_is_named(given):
    graph = behind(load("style.safetensors", 0.0), load(INK, 0.8), **given)
    graph.run()
    assert [line for line in stand_in_texts() if "twice" in line] == [
        "ink is applied twice: by Load LoRA (Model and CLIP) and by this node. Link model and clip from before Load "
        "LoRA (Model and CLIP)."]
    drawn_through(behind(load(INK, 0.8), load("style.safetensors")))
    assert not [line for line in stand_in_texts() if "twice" in line]
    _, shown = drawn_through(behind(load(INK, 0.8), load(INK)))
    assert [line for line in shown if "ink is applied twice" in line]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_second_run_draws_nothing_and_a_larger_plan_only_what_is_new(host):
    sweep = grid()[0]
    before = times(sweep)
    host.nodes.calls.clear()
    again = grid()
    assert host.nodes.calls == [] and times(sweep) == before and again.ui == {"lora_bootstrap": [
        {"sweep": "one", "done": 20, "failed": 0, "total": 20}]}
    grid(strengths="0.5, 0.7, 1")
    after = times(sweep)
    assert len(ran(host, "KSampler")) == 8 and len(after) == 28 and {name: after[name] for name in before} == before


@pytest.mark.parametrize("change", [{"steps": 4}, {"cfg": 4.0}, {"sampler_name": "ddim"}, {"scheduler": "normal"},
                                    {"negative": ""}, {"width": 32}])
def test_whatever_is_sampled_otherwise_is_another_cell(change):
    assert not set(grid(seeds="1")[0].states()) & set(grid(seeds="1", **change)[0].states())


def test_a_cells_png_holds_the_whole_graph_that_makes_it(host):
    sweep = grid(LORA_STACK=[("style.safetensors", 0.6, 0.4)], bases="other", seeds="7")[0]
    for cell in (sweep.cells[0], sweep.cells[-1], sweep.references[0]):
        with Image.open(sweep.picture(cell)) as image:
            held, told = json.loads(image.text["prompt"]), image.text["parameters"]
        assert all(id.isdecimal() for id in held) and "LoraBootstrap" not in json.dumps(held)
        (save,) = [node for node in held.values() if node["class_type"] == "SaveImage"]
        assert save["inputs"]["filename_prefix"] == "sweep_one"
        links = [value[0] for node in held.values() for value in node["inputs"].values() if isinstance(value, list)]
        assert set(links) <= set(held), "every link leads to a node"
        loaded = [node["inputs"]["ckpt_name"] for node in held.values()
                  if node["class_type"] == "CheckpointLoaderSimple"]
        assert loaded == [(BASE, "other.safetensors")[cell.at[0]]], "only what it needs of the user's graph"
        host.nodes.calls.clear()
        picture = Runner({}).value(held, save["inputs"]["images"])
        assert len(host.nodes.calls) == len(held) - 1, "and each of its nodes is needed"
        np.testing.assert_array_equal(pixels(as_saved(picture)[0]), drawn(sweep, cell))
        assert told.startswith(cell.facts["prompt"] + " <lora:style:0.6>")
        assert ("<lora:akane-step" in told) == bool(cell.facts["lora"]) and "Steps: 3, Sampler: euler" in told
        assert "Negative prompt: blurry" in told and "Seed: 7, Size: 16x24" in told


def test_the_sheets_are_written_and_handed_on():
    out = grid()
    assert out[0].sheet.is_file() and all(page.ndim == 4 and page.shape[-1] == 3 for page in out[1])
    assert len(out[1]) == len(list(out[0].folder.glob("grid*.png")))
    assert Sweep.load(out[0].folder) == out[0]


def test_progress_is_told_cell_by_cell(host):
    grid(seeds="1", without=False, strengths="1")
    told = [data for event, data in host.server.sent if event == "lora_bootstrap.sweep"]
    assert [data["done"] for data in told] == [0, 1, 2, 3, 4] and {data["total"] for data in told} == {4}
    assert {(data["name"], data["node"], data["failed"]) for data in told} == {("one", ME, 0)}
    assert host.server.texts[-1] == ("4 of 4 cells", ME)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_failing_cell_is_marked_and_the_others_go_on(host):
    error = RuntimeError("out of memory\nat 12")
    host.nodes.failing["KSampler"] = lambda inputs: error if inputs["seed"] == 2 else None
    out = grid()
    states = Counter(out[0].states().values())
    assert states == {"done": 10, "failed": 10} and out[0].sheet.is_file()
    assert out.ui["lora_bootstrap"][0] == {"sweep": "one", "done": 10, "failed": 10, "total": 20}
    assert {out[0].problem(cell) for cell in out[0].everything if cell.facts["seed"] == 2} == {
        "RuntimeError: out of memory"}
    assert host.server.texts[-1][0] == "10 of 20 cells, 10 failed"
    host.nodes.failing.clear()
    host.nodes.calls.clear()
    assert set(grid()[0].states().values()) == {"done"} and len(ran(host, "KSampler")) == 10


def test_failed_cells_are_tried_again_after_the_missing(host):
    host.nodes.failing["KSampler"] = lambda inputs: RuntimeError("no") if inputs["seed"] == 1 else None
    grid(seeds="1, 2")
    host.nodes.failing.clear()
    host.nodes.calls.clear()
    grid(seeds="1, 3")
    assert [inputs["seed"] for inputs in ran(host, "KSampler")] == [3] * 10 + [1] * 10


@pytest.mark.parametrize("error", [RuntimeError(), RuntimeError(" \n"), ValueError("")])
def test_an_error_that_says_nothing_still_has_a_reason(host, error):
    host.nodes.failing["KSampler"] = lambda inputs: error if inputs["seed"] == 2 else None
    sweep = grid()[0]
    assert {sweep.problem(cell) for cell in sweep.everything} == {"", f"{type(error).__name__}: {type(error).__name__}"}


def test_if_every_cell_fails_one_line_says_why(host):
    host.nodes.failing["VAEDecode"] = RuntimeError("no such kernel\nlines\nof it")
    with pytest.raises(UserError) as raised:
        grid()
    assert str(raised.value) == "none of the 20 cells could be drawn. The last error was: RuntimeError: no such kernel"


class OldInterruption(Exception):
    """As hosts before 0.9 derive it."""


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("draw", ["one by one", "strengths in one batch"])
def test_cancel_passes_and_leaves_a_partial_sheet(host, monkeypatch, rows, draw, old):
    if old:
        monkeypatch.setattr(host.management, "InterruptProcessingException", OldInterruption)

    def fail(inputs):
        if inputs["seed"] == 2:
            raise host.management.InterruptProcessingException

    host.nodes.failing["KSampler"] = fail
    with pytest.raises(host.management.InterruptProcessingException):
        grid(draw=draw)
    sweep = Sweep.load(paths.sweeps_root() / "one")
    states = Counter(sweep.states().values())
    assert states["done"] >= 1 and states["missing"] >= 10 and not states["failed"] and sweep.sheet.is_file()
    before = times(sweep)
    host.nodes.failing.clear()
    grid(draw=draw)
    after = times(sweep)
    assert set(sweep.states().values()) == {"done"} and {name: after[name] for name in before} == before


def test_cancel_between_two_cells_is_heard(host):
    def fail(inputs):
        host.management.interrupted = True

    host.nodes.failing["VAEDecode"] = fail
    with pytest.raises(host.management.InterruptProcessingException):
        grid()
    assert len(ran(host, "VAEDecode")) == 1
    assert len(times(Sweep.load(paths.sweeps_root() / "one"))) == 1, "the one that was drawn is kept"


def test_a_mistake_of_the_users_ends_the_run(host):
    host.nodes.failing["KSampler"] = lambda inputs: UserError("the disk is full") if inputs["seed"] == 2 else None
    with pytest.raises(UserError, match="the disk is full"):
        grid()
    sweep = Sweep.load(paths.sweeps_root() / "one")
    assert "failed" not in sweep.states().values() and sweep.sheet.is_file()


def test_what_was_made_is_let_go_however_the_run_ends(host, monkeypatch):
    runners = []
    monkeypatch.setattr(sweep_session, "Runner", lambda given: runners.append(Runner(given)) or runners[-1])
    host.nodes.failing["KSampler"] = UserError("no")
    with pytest.raises(UserError):
        grid()
    host.nodes.failing.clear()
    grid()
    assert [runner._results or runner._instances for runner in runners] == [{}, {}]


@pytest.mark.parametrize(("rows", "columns", "says"), [
    ("seed", "seed", "rows and columns are both 'seed'"), ("style", "auto", "unknown axis 'style'")])
def test_a_sheet_that_cannot_be_is_told_before_anything_is_drawn(host, rows, columns, says):
    with pytest.raises(UserError, match=says):
        grid(rows=rows, columns=columns)
    assert host.nodes.calls == []


# -- the runner --------------------------------------------------------------------------------------------------------


def cell_at(**facts):
    return Cell("", (), {"lora": "ink.safetensors", "lora_sha256": "1", "strength": 1.0, "prompt": "a", "negative": "",
                         "width": 8, "height": 8, "seed": 1, "steps": 1, "cfg": 1.0, "sampler": "euler",
                         "scheduler": "normal", **facts})


GIVEN = {"model": ("m",), "clip": ("c",), "vae": ("v",)}


def test_the_runner_keeps_the_latest_result_of_a_node_and_a_bounded_number_of_conditionings(host):
    runner, most = Runner(GIVEN), KEPT["CLIPTextEncode"]
    for number in range(most + 20):
        runner.value(cell_graph(cell_at(prompt=f"prompt {number}", seed=number)), PICTURE)
        assert all(len(results) <= (most if id in ("positive", "negative") else 1)
                   for id, results in runner._results.items())
    assert len(runner._results["positive"]) == most
    host.nodes.calls.clear()
    runner.value(cell_graph(cell_at(prompt=f"prompt {most + 19}", seed=0)), PICTURE)
    assert ran(host, "CLIPTextEncode") == [], "the latest are there still"
    runner.value(cell_graph(cell_at(prompt="prompt 0", seed=0)), PICTURE)
    assert [inputs["text"] for inputs in ran(host, "CLIPTextEncode")] == ["prompt 0"]


def test_one_node_is_made_of_each_as_the_host_does_for_loaders_keep_what_they_read():
    runner = Runner(GIVEN)
    runner.value(cell_graph(cell_at()), PICTURE)
    first = dict(runner._instances)
    runner.value(cell_graph(cell_at(seed=2, strength=0.5)), PICTURE)
    assert runner._instances == first and first["positive"] is not first["negative"]


def test_a_result_is_used_again_only_for_equal_inputs(host):
    runner = Runner(GIVEN)
    for changes in ({}, {}, {"seed": 2}, {"prompt": "b"}, {"strength": 0.9}):
        runner.value(cell_graph(cell_at(**changes)), PICTURE)
    assert Counter(name for name, _ in host.nodes.calls) == {
        "LoraLoader": 2, "CLIPTextEncode": 5, "EmptyLatentImage": 1, "KSampler": 4, "VAEDecode": 4}


def test_a_deep_stack_is_looked_at_once_for_each_of_its_loras(monkeypatch):
    looked = []
    monkeypatch.setattr(host_nodes, "is_link", lambda value, was=host_nodes.is_link: looked.append(value) or was(value))
    graph = cell_graph(cell_at(), stack=[(f"{number}.safetensors", 1.0, 1.0) for number in range(30)])
    Runner(GIVEN)._signature(graph, "decode", {})
    assert len(looked) == sum(len(node["inputs"]) for node in graph.values())


def test_nodes_of_either_api_are_called():
    class Old:
        FUNCTION = "go"

        def go(self, value):
            return {"ui": {}, "result": (value, 2)}

    class New:
        FUNCTION = "go"

        def go(self, value):
            return SimpleNamespace(result=(value, 3))

    assert host_nodes.call(Old(), {"value": 1}) == (1, 2) and host_nodes.call(New(), {"value": 1}) == (1, 3)


# -- strengths in one batch --------------------------------------------------------------------------------------------


@pytest.fixture
def rows(monkeypatch):
    """host.backbone.rows on the stand-in: a MODEL of many strengths is a list of texts."""
    told = SimpleNamespace(why_not="", batches=[])

    class RowLora:
        def __init__(self, model, path):
            self.model, self.name, self.why_not = model, path.relative_to(paths.loras_root()), told.why_not

        @contextmanager
        def at(self, strengths):
            told.batches.append(list(strengths))
            yield [f"{self.model} + {self.name} at {strength}" for strength in strengths]

    stand_in(monkeypatch, "rows", RowLora=RowLora, DETERMINISTIC=frozenset({"euler", "ddim"}))
    return told


def test_strengths_in_one_batch_are_the_same_pictures_in_fewer_runs(host, rows):
    single = grid(strengths="0.4, 0.6, 1", name="single")[0]
    host.nodes.calls.clear()
    batched = grid(strengths="0.4, 0.6, 1", name="batched", draw="strengths in one batch",
                   LORA_STACK=None)[0]
    assert list(single.states()) == list(batched.states()) and set(batched.states().values()) == {"done"}
    for cell in single.everything:
        np.testing.assert_array_equal(drawn(batched, cell), drawn(single, cell))
    assert rows.batches == [[0.4, 0.6, 1.0]] * 8 and len(ran(host, "KSampler")) == 8 + 4
    with Image.open(batched.picture(batched.cells[0])) as image:
        assert '"LoraLoader"' in image.text["prompt"]


def test_strengths_in_one_batch_have_the_noise_and_the_mask_of_the_latent(host, rows):
    """Cut from a batch by its index: https://github.com/Comfy-Org/ComfyUI/issues/12051."""
    own = {"samples": torch.zeros(1, 4, 2, 2), "batch_index": [2], "noise_mask": torch.ones(1, 16, 16)}
    sweep = grid(strengths="0.4, 0.6", seeds="1", prompts="akane", latent=own, draw="strengths in one batch")[0]
    assert rows.batches == [[0.4, 0.6]] * 2
    for cell in sweep.everything:
        np.testing.assert_array_equal(drawn(sweep, cell), by_hand(cell, latent=own))
    sampled = [inputs["latent_image"] for inputs in ran(host, "KSampler")]
    assert {tuple(latent["batch_index"]) for latent in sampled} == {(2,), (2, 2)}
    assert all(latent["noise_mask"].shape[0] == 1 for latent in sampled)


def test_a_batch_has_as_many_rows_as_fit(host, rows):
    own = {"samples": torch.zeros(1, 4, 2, 2)}
    grid(strengths="0.1-0.6 [6]", seeds="1", prompts="akane", files="akane/*50", without=False, latent=own,
         draw="strengths in one batch")
    assert rows.batches == [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6]], "of an unknown size, four million pixels"


def test_a_sampler_with_noise_of_its_own_draws_one_by_one_and_says_so(host, rows):
    sweep = grid(sampler_name="euler_ancestral", draw="strengths in one batch")[0]
    assert rows.batches == [] and set(sweep.states().values()) == {"done"}
    assert host.server.texts[-1][0] == (
        "20 of 20 cells  \nDrawn one by one: euler_ancestral draws new noise at each step, for a whole batch at once.")


def test_a_lora_that_takes_no_rows_is_drawn_one_by_one_and_said_once(host, rows):
    rows.why_not = "3 layers are changed by a DoRA."
    sweep = grid(draw="strengths in one batch")[0]
    assert rows.batches == [] and len(ran(host, "KSampler")) == 20
    assert host.server.texts[-1][0] == "20 of 20 cells  \nSome were drawn one by one: 3 layers are changed by a DoRA."
    np.testing.assert_array_equal(drawn(sweep, sweep.cells[0]), by_hand(sweep.cells[0]))


def test_a_batch_that_fails_is_drawn_one_by_one_with_nothing_of_it_held(host, rows):
    import weakref

    held = []

    class Large:
        pass

    def fail(inputs):
        if isinstance(inputs["model"], list):
            large = Large()
            held.append(weakref.ref(large))
            raise RuntimeError("out of memory\ntried 2 GB")
        assert all(one() is None for one in held)

    host.nodes.failing["KSampler"] = fail
    sweep = grid(draw="strengths in one batch")[0]
    assert len(held) == 8 and set(sweep.states().values()) == {"done"}
    assert host.server.texts[-1][0].splitlines()[1:] == ["Some were drawn one by one: out of memory"]


# -- before and between Runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("widget", "value", "says"), [
    ("strengths", "strong", "is not a number"), ("strengths", "0-21", "must be between -20 and 20"),
    ("strengths", "", "strengths is empty"), ("seeds", "-1", "must be 0 or more"), ("seeds", "1.5", "is not a number"),
    ("seeds", str(2**53), "must be at most 9007199254740991"), ("files", "nobody*", "there is no LoRA 'nobody*'"),
    ("files", "akane/akane-step000051", "Did you mean"),
    ("bases", "nothing", "there is no checkpoint or diffusion model 'nothing'")])
def test_mistakes_are_told_before_anything_runs(widget, value, says):
    given = {name: WIDGETS[name] for name in ("strengths", "seeds", "files", "bases")} | {widget: value}
    assert says in StrengthGrid.validate_inputs(**given)
    if widget != "bases":
        del given["bases"]
        assert says in SweepValues.validate_inputs(**given)


def test_what_is_right_or_comes_over_a_link_is_let_pass():
    names = ("strengths", "seeds", "files", "bases")
    assert CheckpointSweep.validate_inputs(**{name: WIDGETS[name] for name in names}) is True
    assert StrengthGrid.validate_inputs(**dict.fromkeys(names)) is True
    assert SweepValues.validate_inputs(strengths=None, seeds="1", files="") is True
    assert strengths_of("-20, 20") == (-20.0, 20.0) and seeds_of(f"0, {2**53 - 1}") == (0, 2**53 - 1)


def test_prompts_that_are_empty_are_told_when_it_runs():
    with pytest.raises(UserError, match="prompts is empty; write one per line"):
        grid(prompts="# none\n")
    assert {cell.facts["prompt"] for cell in grid(prompts="", prompt_set="poses")[0].cells}


@pytest.mark.parametrize(("model", "line"), [("flux1-dev", "zqx, holding a cup"), ("sd_xl_base", "zqx, holding cup")])
def test_ready_prompts_are_worded_as_the_linked_model_reads_them(model, line):
    axes = lora_axes(choose_loras(None, "all", [], "ink.safetensors"), "1", "zqx", "objects", "1", family_of(model))
    assert axes[2].choices[0].facts["prompt"] == line


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a:b"])
def test_a_sweep_has_a_folder_of_its_own(name, host):
    with pytest.raises(UserError, match="cannot be a folder's"):
        grid(name=name)
    assert host.nodes.calls == []


def test_the_node_runs_again_only_if_cells_are_gone_or_failed(host):
    sweep = grid()[0]
    before = StrengthGrid.fingerprint_inputs()
    assert StrengthGrid.fingerprint_inputs() == before
    sweep.picture(sweep.cells[3]).unlink()
    after = StrengthGrid.fingerprint_inputs()
    assert after != before
    assert len(times(grid()[0])) == 20 and StrengthGrid.fingerprint_inputs() == after


@pytest.mark.parametrize("node", [StrengthGrid, CheckpointSweep, SweepValues])
def test_the_node_runs_again_if_a_file_that_it_names_was_replaced(node, host):
    told = node.fingerprint_inputs(files="ink\nakane/*50")
    assert node.fingerprint_inputs(files="ink\nakane/*50") == told
    write_lora(host.base / "models" / "loras" / "ink.safetensors", 1, "ink", value=0.7)
    assert node.fingerprint_inputs(files="ink\nakane/*50") != told
    unknown = node.fingerprint_inputs(files=None)
    assert unknown != unknown, "linked: known only when it runs"


def test_the_node_runs_again_if_a_base_that_it_names_was_replaced(host):
    told = StrengthGrid.fingerprint_inputs(bases="other")
    (host.base / "models" / "checkpoints" / "other.safetensors").write_bytes(b"trained on")
    assert StrengthGrid.fingerprint_inputs(bases="other") != told


def test_failed_cells_run_the_node_again_also_beside_cells_of_an_earlier_plan(host):
    grid(seeds="1-4")
    host.nodes.failing["KSampler"] = lambda inputs: RuntimeError("no") if inputs["cfg"] == 5.0 and inputs[
        "seed"] == 2 else None
    grid(seeds="1, 2", cfg=5.0)
    told = [StrengthGrid.fingerprint_inputs() for _ in range(3)]
    assert len({losses for losses, _ in told}) == 3
    host.nodes.failing.clear()
    grid(seeds="1, 2", cfg=5.0)
    assert StrengthGrid.fingerprint_inputs() == StrengthGrid.fingerprint_inputs()


@pytest.mark.parametrize(("chosen", "found"), [
    (("auto", "auto"), ("prompt", "strength")), (("seed", "auto"), ("seed", "strength")),
    (("auto", "prompt"), ("strength", "prompt")), (("strength", "auto"), ("strength", "prompt")),
    (("none", "auto"), ("", "strength")), (("none", "none"), ("", "")), (("base", "seed"), ("base", "seed"))])
def test_an_axis_that_is_chosen_makes_the_automatic_one_give_way(tmp_path, files, chosen, found):
    sweep = grid(files="akane/*50", prompts="a\nb\nc", strengths="0.5, 1", seeds="1")[0]
    assert axes_of(sweep, *chosen)[1:] == found


# -- values for a graph of one's own -----------------------------------------------------------------------------------


def values(**inputs):
    given = {**WIDGETS, **inputs}
    return SweepValues.execute(**{name: given[name] for name in OF_VALUES}, run=given.get("run"),
                               LORA_STACK=given.get("LORA_STACK"))


def own_graph(**nodes):
    """Sweep Values → the host's nodes → Compose Grid, with a negative prompt of its own."""
    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    return {
        "4": node("CheckpointLoaderSimple", ckpt_name=BASE),
        "1": node("LoraBootstrap_SweepValues", **{name: WIDGETS[name] for name in OF_VALUES}),
        "2": node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name=["1", 1], strength_model=["1", 2],
                  strength_clip=["1", 2]),
        "3": node("CLIPTextEncode", clip=["2", 1], text=["1", 3]),
        "5": node("CLIPTextEncode", clip=["4", 1], text="bad"),
        "6": node("EmptyLatentImage", width=16, height=16, batch_size=1),
        "7": node("KSampler", model=["2", 0], positive=["3", 0], negative=["5", 0], latent_image=["6", 0],
                  seed=["1", 4], steps=8, cfg=5.0, sampler_name="euler", scheduler="simple", denoise=1.0),
        "8": node("VAEDecode", samples=["7", 0], vae=["4", 2]),
        ME: node("LoraBootstrap_ComposeGrid", sweep=["1", 0], images=["8", 0]), **nodes}


STYLE = {"rows": "auto", "columns": "auto", "title": "", "cell": 64, "font_size": 12, "wrap": True, "format": "png",
         "html": True}


def compose(sweep, nodes=None, images=("8", 0), **style):
    """What Compose Grid expands into once it is known what is linked to the sampler; its outputs if that is nothing."""
    nodes = nodes or own_graph()
    hidden = SimpleNamespace(unique_id=ME, dynprompt=SimpleNamespace(get_node=nodes.__getitem__))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ComposeGrid, "hidden", hidden)
        out = ComposeGrid.execute(sweep, **{**STYLE, **style}, images=list(images) if images else None)
        if out.expand is None:
            return out
        patch.setattr(ComposeCells, "hidden", hidden)
        inputs = out.expand["x.cells"]["inputs"]
        assert inputs["sweep"] == ["1", 0] and out.args == tuple(["x.cells", slot] for slot in range(3))
        contents = Host(nodes, out.expand).value(inputs["contents"])
        return ComposeCells.execute(**{**inputs, "sweep": sweep, "contents": contents})


OURS = {f"LoraBootstrap_{node.__name__}": node for node in (
    SweepCell, KeepCell, ComposedGrid, LinkContent, DrawLoaderSweep)}


class Host:
    """Runs an expanded graph as the host does, each node once: `ran` has the ids in their order."""

    def __init__(self, nodes, expanded):
        self.nodes, self.done, self.ran = {**nodes, **expanded}, {}, []

    def value(self, value):
        if not (isinstance(value, list) and len(value) == 2 and value[0] in self.nodes):
            return value
        return self.outputs(value[0])[value[1]]

    def outputs(self, id):
        if id not in self.done:
            node = self.nodes[id]
            inputs = {name: self.value(value) for name, value in node["inputs"].items()}
            self.ran.append(id)
            kind = OURS.get(node["class_type"])
            self.done[id] = self.run(kind, id, inputs) if kind else host_nodes.call(
                host_nodes.node_class(node["class_type"])(), inputs)
        return self.done[id]

    def run(self, kind, id, inputs):
        if kind.define_schema().is_input_list:
            inputs = {name: value if isinstance(value, list) else [value] for name, value in inputs.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "hidden", SimpleNamespace(
                unique_id=id, dynprompt=SimpleNamespace(get_node=self.nodes.__getitem__)), raising=False)
            return kind.execute(**inputs).args


def composed(sweep, nodes=None, **style):
    """(outputs, ids that ran) of Compose Grid with images."""
    nodes = nodes or own_graph()
    out = compose(sweep, nodes, **style)
    host = Host(nodes, out.expand)
    return [host.value(link) for link in out.args], host.ran


def test_values_are_lists_cell_by_cell():
    sweep, *lists = values().args
    assert [len(values) for values in lists] == [16] * 4
    assert list(zip(*lists, strict=True)) == [
        (cell.facts["lora"], cell.facts["strength"], cell.facts["prompt"], cell.facts["seed"]) for cell in sweep.cells]
    assert lists[1][:4] == [0.5] * 4 and lists[3][:4] == [1, 2, 1, 2] and not sweep.folder.exists()
    zero = values(strengths="0", name="zero").args
    assert set(zero[1]) == {"akane/akane-step000050.safetensors"} and set(zero[2]) == {0.0}, "Load LoRA wants a name"


def test_the_graph_is_copied_once_for_every_cell_and_each_copy_waits(host):
    sweep = values(seeds="1", strengths="1")[0]
    expanded = compose(sweep).expand
    todo = [node["inputs"]["key"] for node in expanded.values() if node["class_type"] == "LoraBootstrap_SweepCell"]
    planned = Sweep.load(sweep.folder)
    assert todo == [cell.key for cell in planned.everything] and len(todo) == 6
    for number in range(6):
        cell, keep = expanded[f"x.{number}_cell"], expanded[f"x.{number}_keep"]
        assert cell["inputs"].get("after") == (None if number == 0 else [f"x.{number - 1}_keep", 0])
        assert keep["inputs"]["key"] == cell["inputs"]["key"] and keep["inputs"]["images"] == [f"x.{number}_8", 0]
        assert expanded[f"x.{number}_2"]["inputs"]["lora_name"] == [f"x.{number}_cell", 0]
        assert expanded[f"x.{number}_7"]["inputs"]["seed"] == [f"x.{number}_cell", 3]
        assert expanded[f"x.{number}_7"]["inputs"]["latent_image"] == ["6", 0], "what does not depend is not copied"
        assert (cell["override_display_id"], keep["override_display_id"]) == (ME, ME)
        assert expanded[f"x.{number}_7"]["override_display_id"] == "7"
    assert expanded["x.composed"]["inputs"]["sweep"] == ["x.5_keep", 0]


def test_every_cell_is_drawn_through_ones_own_nodes_one_after_the_other(host):
    (sweep, sheets, path), order = composed(values(seeds="1")[0])
    assert set(sweep.states().values()) == {"done"} and len(sweep.states()) == 10
    ends = [id for id in order if id.endswith(("_cell", "_keep"))]
    assert ends == [f"x.{number}_{end}" for number in range(10) for end in ("cell", "keep")], "never two at once"
    assert order[-1] == "x.composed" and path == "sweeps/one/grid.png" and (sweep.folder / "grid.html").is_file()
    assert len(sheets) == 2 and sheets[0].shape[-1] == 3, "a page for each checkpoint"
    samples = ran(host, "KSampler")
    assert [(cell.facts["seed"], cell.facts["steps"], cell.facts["cfg"]) for cell in sweep.everything] == [
        (inputs["seed"], inputs["steps"], inputs["cfg"]) for inputs in samples]
    assert {inputs["model"] for inputs in samples[:2]} == {f"model {BASE}"}, "without the LoRA by strength 0"
    told = [data["done"] for event, data in host.server.sent if event == "lora_bootstrap.sweep"]
    assert told == [*range(1, 11), 10]


def test_a_cells_png_holds_ones_own_graph_with_its_values(host):
    (sweep, *_), _ = composed(values(seeds="1", LORA_STACK=[("ink.safetensors", 1.0, 1.0)])[0])
    for cell in (sweep.cells[-1], sweep.references[0]):
        with Image.open(sweep.picture(cell)) as image:
            held, told = json.loads(image.text["prompt"]), image.text["parameters"]
        assert all(id.isdecimal() for id in held) and "LoraBootstrap" not in json.dumps(held)
        (save,) = [node for node in held.values() if node["class_type"] == "SaveImage"]
        made = as_saved(Runner({}).value(held, save["inputs"]["images"]))
        np.testing.assert_array_equal(pixels(made[0]), drawn(sweep, cell))
        assert "Steps: 8, CFG scale: 5.0, Seed: 1" in told and "<lora:ink:1>" in told


def test_the_next_run_draws_what_is_missing_and_what_failed_last(host):
    sweep = values(seeds="1-3", strengths="1", files="akane/*50", prompts="akane", without=False)[0]
    host.nodes.failing["KSampler"] = lambda inputs: RuntimeError("no") if inputs["seed"] == 2 else None
    with pytest.raises(RuntimeError):
        composed(sweep)
    planned = Sweep.load(sweep.folder)
    assert list(planned.states().values()) == ["done", "failed", "missing"]
    assert planned.problem(planned.cells[1]) == sweep_values.INTERRUPTED
    assert ComposeGrid.fingerprint_inputs() != ComposeGrid.fingerprint_inputs(), "so it runs again"
    host.nodes.failing.clear()
    host.nodes.calls.clear()
    before = times(planned)
    composed(sweep)
    assert [inputs["seed"] for inputs in ran(host, "KSampler")] == [3, 2]
    assert set(planned.states().values()) == {"done"} and before.items() < times(planned).items()
    out = compose(sweep)
    assert out.expand is None and out[2] == "sweeps/one/grid.png", "all is there: only the sheet is made"


def test_other_settings_of_ones_own_nodes_are_other_cells(host):
    sweep = values(seeds="1")[0]
    (before, *_), _ = composed(sweep)
    nodes = own_graph()
    nodes["5"]["inputs"]["text"] = "worse"
    (after, *_), _ = composed(sweep, nodes)
    assert not set(before.states()) & set(after.states()) and len(times(after)) == 20


def test_what_is_linked_to_ones_own_nodes_counts_by_what_comes_over_the_link(host):
    """Whatever lies above: https://github.com/yolain/ComfyUI-Easy-Use/issues/113."""
    sweep, nodes = values(seeds="1")[0], own_graph()
    (before, *_), _ = composed(sweep, nodes)
    nodes["6"]["inputs"]["batch_size"] = 2
    (after, *_), _ = composed(sweep, nodes)
    assert not set(before.states()) & set(after.states())
    nodes["6"]["inputs"]["batch_size"] = 1
    assert compose(sweep, nodes).expand is None, "as before: nothing is drawn again"


def test_a_lora_named_after_the_swept_one_counts_by_its_weights(host):
    """Replaced under its name: https://github.com/kijai/ComfyUI-KJNodes/issues/315."""
    nodes = own_graph()
    nodes["22"] = {"class_type": "LoraLoader", "inputs": {"model": ["2", 0], "clip": ["2", 1], "lora_name":
                                                          "ink.safetensors", "strength_model": 1, "strength_clip": 1}}
    nodes["7"]["inputs"]["model"] = ["22", 0]
    sweep = values(seeds="1")[0]
    (before, *_), _ = composed(sweep, nodes)
    write_lora(host.base / "models" / "loras" / "ink.safetensors", 1, "ink", value=0.7)
    (after, *_), _ = composed(sweep, nodes)
    assert not set(before.states()) & set(after.states())


def test_images_without_sweep_values_are_refused(host):
    sweep = grid(seeds="1")[0]
    host.nodes.calls.clear()
    nodes = own_graph(**{"1": {"class_type": "LoraBootstrap_StrengthGrid", "inputs": {}}})
    with pytest.raises(UserError, match="does not come straight from Sweep Values.*Remove the link to"):
        compose(sweep, nodes)
    nodes = own_graph()
    nodes["3"]["inputs"]["text"], nodes["7"]["inputs"]["seed"], nodes["7"]["inputs"]["model"] = "a", 1, ["4", 0]
    nodes["3"]["inputs"]["clip"] = ["4", 1]
    with pytest.raises(UserError, match="do not come from the node that gives the values: link Sweep Values' outputs"):
        compose(values()[0], nodes)
    with pytest.raises(UserError, match="unknown axis 'base'"):
        compose(values()[0], rows="base")


def test_without_images_the_sheets_show_whatever_is_there(host):
    sweep = grid(seeds="1")[0]
    sweep.picture(sweep.cells[0]).unlink()
    host.nodes.calls.clear()
    out = compose(sweep, images=None, format="webp", html=False, rows="prompt", columns="strength", title="mine")
    assert host.nodes.calls == [] and out[0] is sweep and len(out[1]) == 2, "a page for each checkpoint"
    assert sorted(path.name for path in sweep.folder.glob("grid*")) == ["grid-2.webp", "grid.webp"]
    assert out[2] == "sweeps/one/grid.webp"


def test_a_cell_that_was_planned_away_is_told():
    sweep = values(seeds="1")[0]
    expanded = compose(sweep).expand
    compose(values(seeds="2")[0])
    with pytest.raises(UserError, match="sweep 'one' no longer has cell '.*', because its values have changed.*Run"):
        SweepCell.execute("one", expanded["x.0_cell"]["inputs"]["key"])
    with pytest.raises(UserError, match="cannot be a folder's"):
        KeepCell.execute(["../one"], ["0" * 16], [torch.zeros(1, 8, 8, 3)], ["{}"], [ME])


@pytest.mark.parametrize("images", [[torch.rand(3, 8, 8, 3)], [torch.rand(1, 8, 8, 3)] * 3])
def test_every_image_of_a_batch_or_a_list_is_kept_and_shown_on_the_users_node(images, host):
    """https://github.com/PramaLLC/BEN2_ComfyUI/issues/7, https://github.com/Comfy-Org/ComfyUI/issues/3130"""
    sweep = values(seeds="1")[0]
    keep = {name: [value] for name, value in compose(sweep).expand["x.0_keep"]["inputs"].items()}
    out = KeepCell.execute(**{**keep, "images": images})
    (key,) = keep["key"]
    assert out.ui["images"] == [{"filename": name, "subfolder": "sweeps/one/cells", "type": "output"}
                                for name in (f"{key}.png", f"{key}-1.png", f"{key}-2.png")]
    assert out[0].counts() == {"done": 1, "failed": 0, "total": 10}
    for path, picture in zip(sorted(times(out[0])), [1, 2, 0], strict=True):
        expected = pixels(as_saved(torch.cat(images))[picture])
        np.testing.assert_array_equal(pixels(Image.open(out[0].cells_folder / path)), expected)
    ComposedGrid.execute(out[0], json.dumps({**STYLE}), ME)
    assert "2 more images of the batches are saved beside the cells as KEY-1.png" in host.server.texts[-1][0]


def test_a_sampler_that_makes_no_image_is_told():
    keep = {name: [value] for name, value in compose(values(seeds="1")[0]).expand["x.0_keep"]["inputs"].items()}
    with pytest.raises(UserError, match="the sampler made no image; use a latent that holds at least one"):
        KeepCell.execute(**{**keep, "images": [torch.rand(0, 8, 8, 3)]})


def test_without_metadata_a_cell_and_the_page_hold_no_prompt(metadata_off):
    """https://github.com/Comfy-Org/ComfyUI/issues/6758, https://github.com/alexopus/ComfyUI-Image-Saver/issues/117"""
    (composed_sweep, *_), _ = composed(values(seeds="1", prompts="akane, a secret")[0], columns="prompt")
    for sweep in (composed_sweep, grid(seeds="1", name="drawn")[0]):
        for cell in sweep.everything:
            with Image.open(sweep.picture(cell)) as image:
                assert image.text == {}
        with Image.open(sweep.sheet) as image:
            assert image.text == {}
    page = (composed_sweep.folder / "grid.html").read_text("utf-8")
    told = json.loads(page.split('id="plan">')[1].split("</script>")[0])
    assert told == {"shared": {}, "without": {}, "axes": [[{}] * len(axis.choices) for axis in composed_sweep.axes]}


# -- scores ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored_sweep(files):
    return draw_sweep(paths.sweeps_root(), files, strengths=(0.5, 1.0), seeds=(1,), prompts=("akane, smile", "akane"))


def of_the_sandbox(monkeypatch, **facts):
    known = {"trigger": "akane", "family": "sandbox", "kind": "", **facts}
    monkeypatch.setattr(score, "lora_facts", lambda sweep: known)


def test_what_to_take_comes_out_with_table_and_report(scored_sweep, host, monkeypatch):
    from lora_bootstrap.trainer.datasets.dataset import load_folder

    of_the_sandbox(monkeypatch, kind="style")
    dataset = load_folder(paths.PACK / "sandbox" / "dataset" / "akane")
    current_session().tabs.add(host.server.client_id)
    out = ScoreSweep.execute(scored_sweep, "as trained", "none", dataset=dataset)
    sweep, step, strength, stack, table, report = out.args
    told = json.loads((scored_sweep.folder / "scores.json").read_text())
    best = told["rows"][told["recommended"]]
    assert sweep is scored_sweep and told["kind"] == "style" and told["eye"] == "sandbox judge"
    assert (step, strength) == (best["step"], best["at"]) and stack == [(best["lora"], strength, strength)]
    assert table.ndim == 4 and table.shape[-1] == 3 and report.startswith(told["why"])
    assert "Measured by" in host.server.texts[-1][0] and told["why"] not in host.server.texts[-1][0]  # but in the panel
    assert out.ui == {"lora_bootstrap": [{"sweep": "akane-sweep", "done": 10, "failed": 0, "total": 10}]}
    assert {path.name for path in scored_sweep.folder.glob("scores.*")} == {"scores.json", "scores.csv", "scores.png"}


def test_what_was_not_measured_blocks_what_comes_after_and_says_why(scored_sweep):
    _, step, strength, stack, table, report = ScoreSweep.execute(scored_sweep, "character", "none").args
    for value in (step, strength, stack):
        assert isinstance(value, ExecutionBlocker)
        assert value.message == "Nothing is recommended: likeness was not measured."
    assert table.ndim == 4 and "there is no eye. Link a CLIP Vision model" in report
    told = json.loads((scored_sweep.folder / "scores.json").read_text())
    assert told["recommended"] is None and all(row["likeness"] is None for row in told["rows"])
    assert all(row["burn"] is not None for row in told["rows"]), "for which no eye is needed"


def test_a_lora_that_does_not_tell_its_step_blocks_only_the_step():
    from lora_bootstrap.trainer.sweeps.score import ScoreRow, Scores

    row = ScoreRow(0, 0, 0, "ink", 1, lora="ink.safetensors", at=0.8)
    ink = paths.lora_file("ink.safetensors")
    sweep = draw_sweep(paths.sweeps_root(), [ink], names=["ink.safetensors"], make=False)
    step, strength, stack = score.recommended_outputs(sweep, Scores("eye", "style", (row,), 0, "", ()))
    assert isinstance(step, ExecutionBlocker) and step.message == "ink.safetensors does not record its step."
    assert strength == 0.8 and stack == [("ink.safetensors", 0.8, 0.8)]


def test_a_recommended_lora_that_is_another_file_by_now_is_no_stack(host):
    from lora_bootstrap.trainer.sweeps.score import ScoreRow, Scores

    path = host.base / "models" / "loras" / "ink.safetensors"
    sweep = draw_sweep(paths.sweeps_root(), [path], names=[path.name], make=False)
    scores = Scores("eye", "style", (ScoreRow(0, 0, 0, "ink", 1, lora=path.name, at=0.8),), 0, "", ())
    write_lora(path, 2, "ink", 0.7)
    _, strength, stack = score.recommended_outputs(sweep, scores)
    assert strength == 0.8 and stack.message == (
        "the LoRA 'ink.safetensors' is gone or has changed since its cells were drawn; run the sweep again.")


def test_the_help_says_the_gates_as_they_are():
    page = (paths.PACK / "web" / "docs" / "LoraBootstrap_ScoreSweep.md").read_text("utf-8")
    page = " ".join(page.split())
    wanted = ScoreSettings()
    for text in (f"at least {wanted.least_diversity:g} |", f"at most {wanted.most_copies:g} |",
                 f"at most {wanted.most_burn:g} |", f"at most {wanted.most_validation:g} times the lowest |",
                 f"within {wanted.tie:g} of the best", f"within {wanted.good:g} of it"):
        assert text in page


def test_the_node_says_each_figure_that_its_help_explains():
    page = (paths.PACK / "web" / "docs" / "LoraBootstrap_ScoreSweep.md").read_text("utf-8")
    rows = page.partition("## What is measured")[2].partition("\n\nA row")[0].splitlines()
    figures = [row.split("|")[1].strip() for row in rows if row.startswith("| ")][2:]
    assert len(figures) == 10 and figures.pop() == "score"
    description = ScoreSweep.define_schema().description
    assert [figure for figure in figures if figure not in description] == []


def test_a_sweep_is_scored_again_only_after_a_rating_by_eye(scored_sweep):
    before, file = ScoreSweep.fingerprint_inputs(), scored_sweep.folder / "marks.json"
    hidden = Marks().changed(None, (scored_sweep.cells[0].key,))
    hidden.save(file)
    assert ScoreSweep.fingerprint_inputs() == before
    hidden.changed(None, (), {scored_sweep.cells[0].key: {"skin": 1}}).save(file)
    assert ScoreSweep.fingerprint_inputs() != before
    file.write_text("[")
    assert ScoreSweep.fingerprint_inputs() == before


@pytest.mark.parametrize(("kind", "trained", "used"), [
    ("as trained", "style", "style"), ("as trained", "", "character"), ("as trained", "vehicle", "character"),
    ("concept", "style", "concept")])
def test_the_kind_is_that_of_the_training_unless_it_is_chosen(scored_sweep, monkeypatch, kind, trained, used):
    of_the_sandbox(monkeypatch, kind=trained, family="")
    ScoreSweep.execute(scored_sweep, kind, "none")
    assert json.loads((scored_sweep.folder / "scores.json").read_text())["kind"] == used


def test_a_sweep_with_nothing_to_score_is_told(scored_sweep):
    for cell in scored_sweep.everything:
        scored_sweep.fail(cell, "no")
    with pytest.raises(UserError, match="has no finished cell to score"):
        ScoreSweep.execute(scored_sweep, "character", "none")


def test_validation_is_taken_of_the_run_whose_checkpoints_are_swept(host):
    run = open_run(paths.loras_root(), TrainConfig(name="girl", steps=30), key="girl")
    for step in (10, 20):
        write_lora(run.checkpoint_path(step), step, "girl")
        run.append_metrics({"step": step, "validation_loss": 0.1, "validation_ratio": step / 100})
    run.close()
    own = [run.checkpoint_path(step) for step in (10, 20)]
    sweep = draw_sweep(paths.sweeps_root(), own, name="own", make=False)
    assert validation_of(score.run_of(sweep)) == {10: 0.1, 20: 0.2}
    mixed = draw_sweep(paths.sweeps_root(), [*own, host.base / "models" / "loras" / "ink.safetensors"], name="mixed",
                       make=False, names=[*(paths.lora_name(path) for path in own), "ink.safetensors"])
    assert score.run_of(mixed) is None
    for path in own:
        path.unlink()
    assert score.run_of(sweep) is None, "the files are gone"
    assert score.run_of(Sweep(sweep.folder, "", sweep.axes[2:], {}, False)) is None, "no LoRA is swept"


# -- picked in a sweep -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(host):
    run = open_run(paths.loras_root(), TrainConfig(name="girl", steps=30), key="girl")
    for step in (10, 20, 30):
        write_lora(run.checkpoint_path(step), step, "girl")
    run.close()
    return read_run(run.folder)


PICKED_IN_SWEEP = "picked in a sweep"


def test_what_was_picked_in_a_sweep_is_taken_at_its_strength(run, host):
    (run.folder / checkpoints.PICKED).write_text(json.dumps({
        "step": 20, "strength": 0.7, "lora": "girl-step000020.safetensors", "sweep": "one", "cell": "0", "at": "now"}))
    path, stack, weights, model, clip = PickCheckpoint.execute(run, PICKED_IN_SWEEP, 30, 1.0).args
    assert path == str(run.checkpoint_path(20)) and stack == [("girl/girl-step000020.safetensors", 0.7, 0.7)]
    assert list(weights) == ["a.lora_down.weight"] and isinstance(model, ExecutionBlocker) and isinstance(
        clip, ExecutionBlocker)
    assert "girl-step000020.safetensors" in host.server.texts[-1][0]


def test_a_strength_that_is_no_number_is_refused(run):
    """The host lets NaN pass as a value of a widget."""
    with pytest.raises(UserError, match="the strength of girl-step000030.safetensors is nan; it must be a number from"):
        PickCheckpoint.execute(run, "final", 0, math.nan)


def test_a_checkpoint_that_another_file_hides_is_applied_but_is_no_stack(run, host, adapter):
    hiding = write_lora(host.base / "models" / "loras" / "girl" / "girl-step000020.safetensors", 20, "other", 0.9)
    path, stack, _, model, _ = PickCheckpoint.execute(run, "step", 20, 1.0, model="M").args
    assert path == str(run.checkpoint_path(20)) and model == "M+girl-step000020"
    assert isinstance(stack, ExecutionBlocker) and stack.message.startswith(f"ComfyUI loads {hiding} under the name ")


def test_without_a_pick_the_way_to_one_is_told(run):
    with pytest.raises(UserError, match="nothing was picked in a sweep of run 'girl' yet.*press Use this one"):
        PickCheckpoint.execute(run, PICKED_IN_SWEEP, 0, 1.0)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"step": 20}', '{"step": "x", "strength": 1}',
                                  '{"step": null, "strength": 1}', '{"step": 20, "strength": "strong"}', "7"])
def test_a_broken_pick_is_told(run, text):
    (run.folder / checkpoints.PICKED).write_text(text)
    with pytest.raises(UserError, match="does not give a step and a strength: .*Pick again|is not valid JSON"):
        PickCheckpoint.execute(run, PICKED_IN_SWEEP, 0, 1.0)


def test_a_pick_is_looked_for_at_every_run_and_the_others_are_cached():
    for which in (PICKED_IN_SWEEP, None):
        assert PickCheckpoint.fingerprint_inputs(which) != PickCheckpoint.fingerprint_inputs(which)
    assert {PickCheckpoint.fingerprint_inputs(which) for which in ("final", "best validation", "step")} == {""}


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_a_picture_is_saved_to_the_bit_as_save_image_does_cut_not_rounded():
    ramp = torch.linspace(-0.2, 1.2, 64).reshape(1, 8, 8, 1).expand(1, 8, 8, 3)
    expected = np.clip(255.0 * ramp[0].numpy(), 0, 255).astype(np.uint8)  # as the host's nodes.py has it
    (picture,) = as_saved(ramp)
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert picture.mode == "RGB" and (np.asarray(picture) != np.clip(np.round(255.0 * ramp[0].numpy()), 0, 255)).any()


def test_every_picture_of_a_batch_is_saved_whatever_its_type_and_channels():
    black, white = as_saved(torch.stack([torch.zeros(4, 6, 3), torch.ones(4, 6, 3)]).half())
    assert np.asarray(black).max() == 0 and np.asarray(white).min() == 255 and black.size == (6, 4)
    assert as_saved(torch.ones(1, 2, 2, 4))[0].mode == "RGBA"
