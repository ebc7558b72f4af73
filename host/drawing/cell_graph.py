"""The graph of one cell, made of the host's own nodes: what is run to make its image, and what its PNG holds, so that
dragging the image onto the canvas loads the workflow that made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...trainer.sweeps.cells import Cell
from .bases import NamedBase
from .recipe import Node, is_link
from .runner import Graph

MODEL, CLIP, VAE, LATENT = "model", "clip", "vae", "latent"
"""Inputs of the node that draws, by their names in a cell's graph."""
LORA_ON = "lora_on"
"""The fact of a cell that says what its LoRA is on, where that is the model only: "model"."""
PICTURE = ["decode", 0]
"""The link to the image that a cell's graph makes."""
POSITIVE, NEGATIVE, EMPTY = ["positive", 0], ["negative", 0], ["latent", 0]


def cell_graph(cell: Cell, *, stack: Sequence[tuple[str, float, float]] = (), base: NamedBase | None = None,
               own_latent: bool = False) -> Graph:
    """A cell's graph, in which the ids `model`, `clip`, `vae` and perhaps `latent` stand for what is linked.

    Args:
        stack: LoRAs applied before the one that is swept.
        base: a base model of its own; None: what is linked.
        own_latent: a latent is linked; if not, an empty one of the cell's width and height is made.
    """
    facts = cell.facts
    graph: dict[str, Any] = {}

    def add(id: str, kind: str, **inputs: Any) -> str:
        graph[id] = {"class_type": kind, "inputs": inputs}
        return id

    model, clip, vae = [MODEL, 0], [CLIP, 0], [VAE, 0]
    if base:
        graph["base"], model = base.loader(), ["base", 0]
        if base.whole:
            clip, vae = ["base", 1], ["base", 2]
    for number, (name, of_model, of_clip) in enumerate(stack):
        id = add(f"stack-{number}", "LoraLoader", model=model, clip=clip, lora_name=name, strength_model=of_model,
                 strength_clip=of_clip)
        model, clip = [id, 0], [id, 1]
    if facts["lora_sha256"]:
        swept = {"model": model, "lora_name": facts["lora"], "strength_model": facts["strength"]}
        if facts.get(LORA_ON) == MODEL:
            add("lora", "LoraLoaderModelOnly", **swept)
        else:
            add("lora", "LoraLoader", **swept, clip=clip, strength_clip=facts["strength"])
            clip = ["lora", 1]
        model = ["lora", 0]
    add("positive", "CLIPTextEncode", clip=clip, text=facts["prompt"])
    add("negative", "CLIPTextEncode", clip=clip, text=facts["negative"])
    if not own_latent:
        add("latent", "EmptyLatentImage", width=facts["width"], height=facts["height"], batch_size=1)
    add("sample", "KSampler", model=model, seed=facts["seed"], steps=facts["steps"], cfg=facts["cfg"],
        sampler_name=facts["sampler"], scheduler=facts["scheduler"], positive=POSITIVE, negative=NEGATIVE,
        latent_image=EMPTY, denoise=1.0)
    add("decode", "VAEDecode", samples=["sample", 0], vae=vae)
    return graph


def below(cell: Cell) -> list[tuple[str, float, float]]:
    """(name, strength on the model, on the text encoder) of each LoRA that a cell applies before the one that is
    swept."""
    return [(name, of_model, of_clip) for name, _, of_model, of_clip in cell.facts.get("stack", ())]


def whole_graph(find: Callable[[str], Node], graph: Graph, links: Mapping[str, list[Any]], end: list[Any],
                prefix: str) -> dict[str, Node]:
    """A cell's graph together with the nodes of the user's own workflow that its inputs come from, and a node that
    saves the image: a prompt for the host's API, with numbers for ids.

    Args:
        find: id → node of the user's workflow, as the host's DynamicPrompt.get_node.
        links: where what the graph calls `model`, `clip`, ... comes from.
        end: the link to the image.
        prefix: prefix of the saved image's file name.
    """
    whole = above(find, [link for name, link in links.items() if _uses(graph, name)])
    first = 1 + max((int(id) for id in whole if id.isdecimal()), default=0)
    numbers = {id: str(first + index) for index, id in enumerate(graph)}

    def there(value: Any) -> Any:
        if not is_link(value):
            return value
        return [numbers[value[0]], value[1]] if value[0] in numbers else links[value[0]]

    for id, node in graph.items():
        inputs = {name: there(value) for name, value in node["inputs"].items()}
        whole[numbers[id]] = {"class_type": node["class_type"], "inputs": inputs}
    save = {"images": there(end), "filename_prefix": prefix}
    whole[str(first + len(graph))] = {"class_type": "SaveImage", "inputs": save}
    return whole


def above(find: Callable[[str], Node], links: Sequence[list[Any]], stop: str = "") -> dict[str, Node]:
    """The nodes that links come from, and everything those come from, except the node `stop` and what is above it."""
    found: dict[str, Node] = {}
    waiting = [link[0] for link in links]
    while waiting:
        id = waiting.pop()
        if id not in found and id != stop:
            node = find(id)
            found[id] = {"class_type": node["class_type"], "inputs": dict(node["inputs"])}
            waiting += [value[0] for value in node["inputs"].values() if is_link(value)]
    return found


def _uses(graph: Graph, id: str) -> bool:
    return id not in graph and any(
        is_link(value) and value[0] == id for node in graph.values() for value in node["inputs"].values())


def cell_texts(graph: Mapping[str, Node], parameters: str) -> dict[str, str] | None:
    """The texts in a cell's PNG: the workflow that makes it, and its settings in the form that websites read. None if
    the host writes no prompts into files (--disable-metadata)."""
    return {"prompt": json.dumps(graph), "parameters": parameters} if keeps_prompts() else None


def keeps_prompts() -> bool:
    """Whether the host writes prompts into files, which --disable-metadata turns off."""
    from comfy.cli_args import args

    return not args.disable_metadata


def parameters(cell: Cell, stack: Sequence[tuple[str, float, float]] = ()) -> str:
    """A cell's settings in the form that Automatic1111 writes and websites read."""
    facts = cell.facts
    loras = [*stack, *([(facts["lora"], facts["strength"], 0)] if facts["lora_sha256"] else [])]
    words = "".join(f" <lora:{_stem(name)}:{strength:g}>" for name, strength, _ in loras)
    settings = [("Steps", facts.get("steps")), ("Sampler", facts.get("sampler")),
                ("Schedule type", facts.get("scheduler")), ("CFG scale", facts.get("cfg")), ("Seed", facts.get("seed"))]
    if facts.get("width"):
        settings.append(("Size", f"{facts['width']}x{facts['height']}"))
    told = ", ".join(f"{name}: {value}" for name, value in settings if value is not None)
    return f"{facts.get('prompt', '')}{words}\nNegative prompt: {facts.get('negative', '')}\n{told}"


def _stem(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
