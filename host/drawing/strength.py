"""A part of a workflow at another strength of the LoRA: the node that applies it is copied too, with that strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from graphlib import TopologicalSorter

from ...trainer.common.errors import UserError
from .node_facts import FACTS
from .recipe import Node, is_link
from .repeat import Part, part_between

APPLIES = {"LoraBootstrap_PickCheckpoint": "strength"}
"""Node that applies a LoRA and lists it in its stack → the widget of its strength, as in web/gallery/drawing.js."""
OF_A_SWEEP = "picked in a sweep"
"""The choice of Pick Checkpoint that brings its own strength."""


def at_strength(part: Part, find: Callable[[str], Node], applies: str, strength: float) -> Part | None:
    """The part with that node and everything between it and the end, at this strength; None if the node has no such
    widget, or if nothing in the part comes from it.

    Args:
        applies: id of the node that applies the LoRA.
    """
    node = find(applies)
    widget = APPLIES.get(node["class_type"])
    if widget is None or OF_A_SWEEP in map(str, node["inputs"].values()):
        return None
    try:
        behind = part_between(find, applies, list(part.end), "", FACTS, ())
    except UserError:
        return None
    changed = {**node, "inputs": {**node["inputs"], widget: strength}}
    nodes = {applies: changed, **behind.nodes, **part.nodes}
    links = {id: {value[0] for value in one["inputs"].values() if is_link(value) and value[0] in nodes}
             for id, one in nodes.items()}
    return replace(part, nodes={id: nodes[id] for id in TopologicalSorter(links).static_order()})
