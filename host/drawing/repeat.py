"""The part of a workflow that depends on one node, repeated for many values: each time to its end, not breadth-first.

A list that goes through the host's nodes is sampled whole before the first image is saved, so Cancel would lose all of
it. Here the part is copied for each value (node expansion), and each copy waits until the one before is saved. The
copies show their progress on the user's own nodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...trainer.common.errors import UserError

Node = Mapping[str, Any]
OURS = "LoraBootstrap_"
_DEEPEST = 500


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) in (int, float)


@dataclass(frozen=True)
class Part:
    """Nodes between a source node and a link.

    Attributes:
        source: id of the node whose outputs are replaced by values.
        nodes: the nodes that depend on it, by id, sources first.
        end: the link to what the part makes.
        recipe: hash of everything that decides what it makes, except the source and our own nodes: the nodes, the
            values of their widgets, and how they are linked.
    """

    source: str
    nodes: Mapping[str, Node]
    end: tuple[str, int]
    recipe: str
    settings: Mapping[str, Any]
    """Values of widgets by name, if all nodes with a widget of that name agree: `steps`, `cfg`."""

    def copy(self, builder: Any, number: int, values: Mapping[int, Any]) -> list[Any]:
        """Add a copy of the part to the host's GraphBuilder, and return the link to what it makes.

        Args:
            values: values of the source's outputs, by slot: constants or links. A slot that is not listed stays linked.
        """
        copies: dict[str, Any] = {}

        def target(value: Any) -> Any:
            if not is_link(value):
                return value
            origin, slot = value
            if origin == self.source:
                return values.get(slot, value)
            return copies[origin].out(slot) if origin in copies else value

        for id, node in self.nodes.items():
            inputs = {name: target(value) for name, value in node["inputs"].items()}
            copies[id] = builder.node(node["class_type"], f"{number}_{id}", **inputs)
            copies[id].set_override_display_id(id)
        return copies[self.end[0]].out(self.end[1])


def part_between(find: Callable[[str], Node], source: str, end: list[Any], how: str) -> Part:
    """The part of the workflow between the node `source` and the link `end`.

    Args:
        find: id → node, as the host's DynamicPrompt.get_node.
        how: what the user should link, for the error.

    Raises UserError if nothing between them depends on the source.
    """
    depends: dict[str, bool] = {}
    order: list[str] = []

    def visit(id: str, depth: int = 0) -> bool:
        if id == source:
            return True
        if id not in depends and depth < _DEEPEST:
            depends[id] = False  # a cycle, which the host refuses anyway, ends here
            found = [visit(value[0], depth + 1) for value in find(id)["inputs"].values() if is_link(value)]
            depends[id] = any(found)
            if depends[id]:
                order.append(id)
        return depends.get(id, False)

    if not visit(end[0]) or end[0] == source:
        raise UserError(f"the images do not come from the node that gives the values: {how}")
    nodes = {id: find(id) for id in order}
    return Part(source, nodes, (end[0], end[1]), recipe(find, end, source), _settings(find, source, end))


def recipe(find: Callable[[str], Node], end: list[Any], source: str = "") -> str:
    """16 hexadecimal digits of what makes a link's value: nodes, their widgets' values, and how they are linked.

    Our own nodes count only by their kind, because their files identify what they give.
    """
    known: dict[str, str] = {}

    def describe(id: str) -> str:
        if id == source:
            return "source"
        if id not in known:
            node = find(id)
            known[id] = node["class_type"]
            if not node["class_type"].startswith(OURS):  # files identify what ours give: LoRA, dataset, project
                inputs = {name: [describe(value[0]), value[1]] if is_link(value) else value
                          for name, value in sorted(node["inputs"].items())}
                known[id] = _hash([node["class_type"], inputs])
        return known[id]

    return _hash([describe(end[0]), end[1]])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _settings(find: Callable[[str], Node], source: str, end: list[Any]) -> dict[str, Any]:
    found: dict[str, set[Any]] = {}
    for node in _above(find, source, end[0]):
        for name, value in node["inputs"].items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _above(find: Callable[[str], Node], source: str, start: str) -> Iterator[Node]:
    """The nodes that a node's inputs come from, itself first, except the source, our own, and what is before them."""
    seen, waiting = {source}, [start]
    while waiting:
        id = waiting.pop()
        node = find(id)
        if id in seen or node["class_type"].startswith(OURS):
            continue
        seen.add(id)
        yield node
        waiting += [value[0] for value in node["inputs"].values() if is_link(value)]
