"""What draws the images of a part of a workflow, in words for people: the model's file, its LoRAs, or an API node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...trainer.bootstrap.candidates import PARTS
from .base_file import base_file, is_weights
from .recipe import OURS, Node, is_link
from .runner import display_name, node_class

EDITORS = ("TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus", "ReferenceLatent", "InstructPixToPixConditioning",
           "FluxKontextImageScale", "FluxKontextMultiReferenceLatentMethod")
"""The host's nodes that show an edit model the image to edit."""
STRENGTHS = ("strength_model", "strength")
MOST = 4
"""LoRAs to name at most; more are counted."""
FARTHEST = 1000
"""Nodes to look at, at most."""


@dataclass(frozen=True)
class Generator:
    """Attributes:
        words: `base file · LoRA`, or the name of an API node; "" if neither a base nor a node is known, because a LoRA
            alone would count as another generator in each round.
        edits: whether an image is edited, so that no LoRA of the character is needed to explain the result.
    """

    words: str
    edits: bool


def find_generator(find: Callable[[str], Node], end: Any, source: str, lora: Path | None = None) -> Generator:
    """The generator of the images that come over the link `end`.

    Args:
        find: id → node, as the host's DynamicPrompt.get_node.
        source: id of the node above which nothing counts.
        lora: the LoRA of the linked stack.
    """
    nodes = dict(_above(find, end[0], source))
    services = [display_name(node["class_type"]) for node in nodes.values() if _is_service(node["class_type"])]
    models = [name for node in nodes.values() if is_link(link := node["inputs"].get("model"))
              and link[0] != source and (name := _model_name(find, link))]
    loras = [*([lora.stem] if lora else []), *(name for node in nodes.values() for name in _lora_names(node))]
    edits = bool(services) or any(node["class_type"] in EDITORS for node in nodes.values())
    if not services and not models:
        return Generator("", edits)
    named = list(dict.fromkeys(loras))
    more = [f"{len(named) - MOST} more LoRAs"] if len(named) > MOST else []
    return Generator(PARTS.join((*dict.fromkeys((*services, *models)), *named[:MOST], *more)), edits)


def _above(find: Callable[[str], Node], start: str, source: str) -> Iterator[tuple[str, Node]]:
    """The nodes that a node's inputs come from, itself first, without the source and what is above it alone."""
    seen, waiting = {source}, [start]
    while waiting and len(seen) < FARTHEST:
        id = waiting.pop(0)
        if id in seen:
            continue
        seen.add(id)
        node = find(id)
        yield id, node
        waiting += [value[0] for _, value in sorted(node["inputs"].items()) if is_link(value)]


def _is_service(kind: str) -> bool:
    """Whether the host calls a service over the network for such a node."""
    try:
        return bool(getattr(node_class(kind), "API_NODE", False))
    except Exception:  # a class that is gone, or describes itself in a way of its own
        return False


def _model_name(find: Callable[[str], Node], link: Any) -> str:
    """The file of a model, without its ending; the name of its loader where that names none."""
    file = base_file(None, find, link)
    if file:
        return Path(file).stem
    kind = find(link[0])["class_type"]
    return display_name(kind) if kind.startswith(f"{OURS}Load") else ""


def _lora_names(node: Node) -> Iterator[str]:
    """The LoRAs that a loader puts in front of a model, also those of a loader with many rows."""
    if any(node["inputs"].get(name) == 0 for name in STRENGTHS):
        return
    for name, value in node["inputs"].items():
        row = value if isinstance(value, dict) else {}
        file = row.get("lora") if row.get("on", True) else None
        file = value if name.startswith("lora") and is_weights(value) else file
        if is_weights(file):
            yield Path(str(file)).stem
