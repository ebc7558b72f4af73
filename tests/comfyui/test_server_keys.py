"""In a real ComfyUI: whatever is changed above a sweep, its cells are what the host makes now, and what has not changed
is not drawn again.

From public reports of images that stayed as they were: https://github.com/yolain/ComfyUI-Easy-Use/issues/113,
https://github.com/jags111/efficiency-nodes-comfyui/issues/70, https://github.com/Comfy-Org/ComfyUI/issues/12051,
https://github.com/Comfy-Org/ComfyUI/issues/7082, https://github.com/kijai/ComfyUI-KJNodes/issues/315,
https://github.com/Haoming02/sd-webui-forge-classic/issues/142.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from lora_bootstrap.trainer.sweeps.cells import Sweep

from ..helpers.server import PACK
from ..helpers.serving import pixels

PROMPT, SEED, STEPS, CFG = "akane, grass", 7, 2, 4.0
SWEPT, STYLE, REPLACED = "keys_swept.safetensors", "keys_style.safetensors", "keys_replaced.safetensors"


def random_lora(path, seed, size=0.4):
    """A LoRA for the sandbox's attention, with random weights."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    with safe_open(PACK / "sandbox" / "base" / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            if "attn" in name and name.endswith("weight"):
                out, width = file.get_slice(name).get_shape()
                module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
                tensors[f"{module}.lora_up.weight"] = torch.randn(out, 4, generator=generator) * size
                tensors[f"{module}.lora_down.weight"] = torch.randn(4, width, generator=generator) * size
                tensors[f"{module}.alpha"] = torch.tensor(4.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


@pytest.fixture(scope="module")
def folders(server):
    """models/loras and input/ of the server, with LoRAs of random weights."""
    for seed, name in enumerate((SWEPT, STYLE, REPLACED)):
        random_lora(server.base / "models" / "loras" / name, seed)
    return server.base


@dataclass
class Above:
    """What lies above a sweep: nodes, the links that the sampler takes from them, and files written before."""

    nodes: dict[str, Any]
    model: list[Any] = field(default_factory=lambda: ["base", 0])
    clip: list[Any] = field(default_factory=lambda: ["base", 1])
    latent: list[Any] = field(default_factory=lambda: ["empty", 0])
    prompt: str = PROMPT
    after: dict[str, Any] = field(default_factory=dict)
    """A LoraLoader after the swept one, as its inputs."""


Make = Callable[[Any, int], Above]
"""What lies above, with its first and its second value."""


def stack(node, entries, model=("base", 0)):
    return {"stack": node("LoraBootstrap_LoraStack", entries=entries),
            "apply": node("LoraBootstrap_ApplyLoraStack", model=list(model), clip=["base", 1],
                          LORA_STACK=["stack", 0])}


def over_stack(node, kind, **inputs):
    """A patch on the MODEL below Apply LoRA Stack."""
    return Above({"patch": node(kind, model=["base", 0], **inputs),
                  **stack(node, "keys_style : 0.3", ["patch", 0])}, ["apply", 0], ["apply", 1])


def replaced_image(node, number, base):
    noise = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(base / "input" / "keys.png")
    return node("LoadImage", image="keys.png")


CHANGES: dict[str, Callable[[Any, int, Any], Above]] = {
    "strength in a stack": lambda node, at, base: Above(
        stack(node, f"keys_style : {(0.2, 1)[at]}"), ["apply", 0], ["apply", 1]),
    "LoRA in a prompt": lambda node, at, base: Above({
        "loras": node("LoraBootstrap_PromptLoras", text=f"<lora:keys_style:{(0.2, 1)[at]}>"),
        "apply": node("LoraBootstrap_ApplyLoraStack", model=["base", 0], LORA_STACK=["loras", 0])}, ["apply", 0]),
    "merged LoRAs": lambda node, at, base: Above({
        "parts": node("LoraBootstrap_LoraStack", entries=f"keys_style : {(0.2, 1)[at]}\nkeys_replaced : 0.1"),
        "merge": node("LoraBootstrap_MergeLoras", LORA_STACK=["parts", 0], name=f"keys_{at}"),
        "apply": node("LoraBootstrap_ApplyLoraStack", model=["base", 0], LORA_STACK=["merge", 0])}, ["apply", 0]),
    "split in time": lambda node, at, base: Above({
        "stack": node("LoraBootstrap_LoraStack", entries="keys_style : 1\nkeys_replaced : 1"),
        "split": node("LoraBootstrap_TimeSplit", clip=["base", 1], LORA_STACK=["stack", 0],
                      preset=("character first", "style first")[at])}, clip=["split", 0]),
    "RescaleCFG": lambda node, at, base: over_stack(node, "RescaleCFG", multiplier=(1.0, 0.1)[at]),
    "downscale": lambda node, at, base: over_stack(
        node, "PatchModelAddDownscale", block_number=2, downscale_factor=(1.0, 2.0)[at], end_percent=1.0),
    "self-attention guidance": lambda node, at, base: over_stack(node, "SelfAttentionGuidance", scale=(0.0, 2.0)[at]),
    "perturbed attention": lambda node, at, base: over_stack(node, "PerturbedAttentionGuidance", scale=(0.0, 3.0)[at]),
    "image of a batch": lambda node, at, base: Above({
        "four": node("EmptyLatentImage", width=128, height=128, batch_size=4),
        "one": node("LatentFromBatch", samples=["four", 0], batch_index=(0, 2)[at], length=1)}, latent=["one", 0]),
    "mask of the noise": lambda node, at, base: Above({
        "picture": replaced_image(node, 0, base),
        "encode": node("VAEEncode", pixels=["picture", 0], vae=["base", 2]),
        "mask": node("SolidMask", value=(1.0, 0.0)[at], width=128, height=128),
        "masked": node("SetLatentNoiseMask", samples=["encode", 0], mask=["mask", 0])}, latent=["masked", 0]),
    "input image": lambda node, at, base: Above({
        "picture": replaced_image(node, at, base),
        "encode": node("VAEEncode", pixels=["picture", 0], vae=["base", 2]),
        "mask": node("SolidMask", value=0.0, width=128, height=128),
        "masked": node("SetLatentNoiseMask", samples=["encode", 0], mask=["mask", 0])}, latent=["masked", 0]),
}
"""Change of what lies above → what lies there, the first time and the second."""


class Drawer:
    """Draws one cell by each kind of sweep, and by the host's own nodes."""

    def __init__(self, server, tab, node):
        self.server, self.tab, self.node = server, tab, node

    def run(self, nodes):
        result = self.tab.run(nodes)
        assert result.status == "success", result.error
        return result

    def sampler(self, above, lora, strength, text, seed):
        node = self.node
        return {"base": node("LoraBootstrap_LoadSandbox"), **above.nodes,
                "empty": node("EmptyLatentImage", width=128, height=128, batch_size=1),
                "lora": node("LoraLoader", model=above.model, clip=above.clip, lora_name=lora, strength_model=strength,
                             strength_clip=strength),
                "yes": node("CLIPTextEncode", clip=["lora", 1], text=text),
                "no": node("CLIPTextEncode", clip=["lora", 1], text=""),
                "sample": node("KSampler", model=["lora", 0], positive=["yes", 0], negative=["no", 0],
                               latent_image=above.latent, seed=seed, steps=STEPS, cfg=CFG, sampler_name="euler",
                               scheduler="normal", denoise=1.0),
                "decode": node("VAEDecode", samples=["sample", 0], vae=["base", 2])}

    def by_host(self, above):
        nodes = self.sampler(above, SWEPT, 1.0, above.prompt, SEED)
        nodes["save"] = self.node("SaveImage", images=["decode", 0], filename_prefix="keys")
        return pixels(self.server, self.run(nodes).images("save")[0])

    def grid(self, above, name, rows="auto"):
        latent = {} if above.latent == ["empty", 0] else {"latent": above.latent}
        self.run({"base": self.node("LoraBootstrap_LoadSandbox"), **above.nodes,
                  "sweep": self.node("LoraBootstrap_StrengthGrid", model=above.model, clip=above.clip, vae=["base", 2],
                                     name=name, files=SWEPT, strengths="1", seeds=str(SEED), prompts=above.prompt,
                                     width=128, height=128, steps=STEPS, cfg=CFG, without=False, rows=rows, **latent)})

    def values(self, above, name, rows="auto"):
        self.run({"values": self.node("LoraBootstrap_SweepValues", name=name, files=SWEPT, strengths="1",
                                      seeds=str(SEED), prompts=above.prompt, without=False),
                  **self.sampler(above, ["values", 1], ["values", 2], ["values", 3], ["values", 4]),
                  "sweep": self.node("LoraBootstrap_ComposeGrid", sweep=["values", 0], images=["decode", 0],
                                     rows=rows)})

    def sweep(self, name):
        return Sweep.load(self.server.base / "output" / "sweeps" / name)


@pytest.fixture
def drawer(server, tab, graph, folders):
    return Drawer(server, tab, graph.node)


def cell_pixels(sweep):
    (cell,) = sweep.cells
    return np.asarray(Image.open(sweep.picture(cell)).convert("RGB"))


@pytest.mark.parametrize("draw", ["grid", "values"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_above_draws_what_the_host_makes_now_and_no_change_draws_nothing(drawer, folders, change, draw):
    name, keys, drawn = f"keys {draw} {change}", [], []
    for at in (0, 1):
        above = CHANGES[change](drawer.node, at, folders)
        getattr(drawer, draw)(above, name)
        sweep = drawer.sweep(name)
        keys.append(sweep.cells[0].key)
        drawn.append(cell_pixels(sweep))
        np.testing.assert_array_equal(drawn[-1], drawer.by_host(above))
    assert keys[0] != keys[1] and (drawn[0] != drawn[1]).any()
    times = {path: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}
    getattr(drawer, draw)(above, name, rows="seed")  # the node runs again for another look of the sheet
    assert drawer.sweep(name).cells[0].key == keys[1]
    assert {path: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")} == times
