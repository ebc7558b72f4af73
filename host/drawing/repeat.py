"""The part of a workflow that depends on one node, repeated for many values: each time to its end, not breadth-first.

A list that goes through the host's nodes is sampled whole before the first image is saved, so Cancel would lose all of
it. Here the part is copied for each value (node expansion), and each copy waits until the one before is saved. The
copies show their progress on the user's own nodes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from comfy_execution.graph_utils import GraphBuilder

from ...trainer.common.errors import UserError
from .recipe import KEYS, OURS, Node, NodeFacts, Recipe, is_link, recipe_of, short_hash

_DEEPEST = 500
LOOP_BODY, LOOP_END = "_loop_body", "_loop_end"
"""What the host notes in the first node of each of its own loops: ids of the nodes inside, and of the last node."""
APPLIES = {"LoraBootstrap_PickCheckpoint": "strength"}
"""Node that applies a LoRA and lists it in its stack → the widget of its strength, as in web/gallery/drawing.js."""
OF_A_SWEEP = "picked in a sweep"
"""The choice of Pick Checkpoint that brings its own strength."""


class RepeatGraph(GraphBuilder):
    """The host's GraphBuilder, which also knows the loops in the graph.

    Attributes:
        loops: what the host notes in the first node of a loop, by the node's id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loops: dict[str, dict[str, Any]] = {}

    def finalize(self) -> dict[str, dict[str, Any]]:
        return {id: {**node, **self.loops.get(id, {})} for id, node in super().finalize().items()}


@dataclass(frozen=True)
class Part:
    """Nodes between a source node and a link.

    Attributes:
        source: id of the node whose outputs are replaced by values.
        nodes: the nodes that depend on it, by id, sources first.
        end: the link to what the part makes.
        recipe: everything that decides what it makes, except the values from the source and from `outside`.
        outside: the links by which values come in from nodes that do not depend on the source.
    """

    source: str
    nodes: Mapping[str, Node]
    end: tuple[str, int]
    recipe: Recipe
    outside: tuple[tuple[str, int], ...]
    settings: Mapping[str, Any]
    """Values of widgets by name, if all nodes with a widget of that name agree: `steps`, `cfg`."""
    linked: Mapping[str, tuple[str, int]]
    """Those of `outside` over which such values come instead, from one place for several samplers."""

    @property
    def warnings(self) -> list[str]:
        """A line that names the nodes that make every Run draw everything again."""
        unsure = self.recipe.unsure
        return [f"{', '.join(unsure)} may give something else each time, so all are drawn at every Run. Replace it "
                "with a node that says what it gives."] if unsure else []

    def uses(self, slot: int) -> bool:
        """Whether a node of the part takes that output of the source."""
        return any(is_link(value) and (value[0], value[1]) == (self.source, slot)
                   for node in self.nodes.values() for value in node["inputs"].values())

    def add_contents(self, builder: RepeatGraph, shown_on: str) -> Any:
        """Add nodes that make one hash of all that comes in over `outside`, and return the link to it.

        Args:
            shown_on: id of the user's node that shows their progress.
        """
        content: Any = ""
        for number, (origin, slot) in enumerate(self.outside):
            node = builder.node("LoraBootstrap_LinkContent", f"content_{number}", value=[origin, slot], before=content)
            node.set_override_display_id(shown_on)
            content = node.out(0)
        return content

    def key(self, contents: str, files: Iterable[str]) -> str:
        """16 hexadecimal digits of all that decides the images, except the values from the source.

        Args:
            contents: what the node of `add_contents` gave.
            files: contents of the files that the values from the source name.
        """
        anew = [secrets.token_hex(8)] if self.recipe.unsure else []
        return short_hash([KEYS, self.recipe.digest, contents, list(files), *anew])

    def copy(self, builder: RepeatGraph, key: int | str, values: Mapping[int, Any]) -> list[Any]:
        """Add a copy of the part to a graph, and return the link to what it makes.

        Args:
            key: distinguishes this copy's nodes from those of the others.
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
            copies[id] = builder.node(node["class_type"], f"{key}_{id}", **inputs)
            copies[id].set_override_display_id(id)
        for id, node in self.nodes.items():
            if LOOP_BODY in node:
                builder.loops[copies[id].id] = {LOOP_BODY: [copies[other].id for other in node[LOOP_BODY]],
                                                LOOP_END: copies[node[LOOP_END]].id}
        return copies[self.end[0]].out(self.end[1])


def part_between(find: Callable[[str], Node], source: str, end: list[Any], how: str, facts: NodeFacts,
                 given: Collection[int]) -> Part:
    """The part of the workflow between the node `source` and the link `end`.

    Args:
        find: id → node, as the host's DynamicPrompt.get_node.
        how: what the user should link, for the error.
        given: the slots of the source whose outputs are replaced by values.

    Raises UserError if nothing between them depends on the source, or if one of the host's loops is only partly
    between them.
    """
    depends: dict[str, bool] = {}
    order: list[str] = []

    def visit(id: str, depth: int = 0) -> bool:
        if id == source:
            return True
        if id not in depends and depth < _DEEPEST:
            depends[id] = False  # a cycle, which the host refuses anyway, ends here
            found = [visit(value[0], depth + 1) for _, value in sorted(find(id)["inputs"].items()) if is_link(value)]
            depends[id] = any(found)
            order.append(id)
        return depends.get(id, False)

    if not visit(end[0]) or end[0] == source:
        raise UserError(f"the images do not come from the node that gives the values: {how}")
    loops = _whole_loops(find, depends)
    nodes = {id: find(id) for id in order if depends[id] or id in loops}
    replaced = {(source, slot): f"value {slot}" for slot in given}
    outside = tuple(link for link in _links_into(nodes, facts) if link not in replaced)
    known = {link: f"outside {number}" for number, link in enumerate(outside)}
    settings, links = _settings(find, source, end)
    linked = {name: link for name, link in links.items() if link in outside}
    return Part(source, nodes, (end[0], end[1]), recipe_of(find, end, facts, cut=replaced | known), outside, settings,
                linked)


def _whole_loops(find: Callable[[str], Node], depends: Mapping[str, bool]) -> set[str]:
    """The nodes of all loops that have a node in the part: a loop is copied whole or not at all.

    Args:
        depends: whether each node above the end depends on the source.

    Raises UserError if such a loop goes beyond the source or the end.
    """
    found: set[str] = set()
    for id in depends:
        node = find(id)
        loop = {id, *node[LOOP_BODY], node[LOOP_END]} if LOOP_BODY in node else set()
        if any(depends.get(other) for other in loop):
            if not loop <= depends.keys():
                raise UserError(f"the loop that begins at node {id} is only partly between the node that gives the "
                                "values and the one that keeps the images; put all of it there, or none.")
            found |= loop
    return found


def _links_into(nodes: Mapping[str, Node], facts: NodeFacts) -> dict[tuple[str, int], None]:
    """The links that come from other nodes, in an order that does not depend on the nodes' ids; without those that the
    host may never ask for, such as the other branch of a switch. The recipe follows these."""
    values = (value for node in nodes.values() for name, value in sorted(node["inputs"].items())
              if not facts.lazy(node["class_type"], name))
    return dict.fromkeys((value[0], value[1]) for value in values if is_link(value) and value[0] not in nodes)


def _settings(find: Callable[[str], Node], source: str,
              end: list[Any]) -> tuple[dict[str, Any], dict[str, tuple[str, int]]]:
    """(values of widgets, links to such values) by name, where all nodes agree."""
    found: dict[str, set[Any]] = {}
    for node in _above(find, source, end[0]):
        for name, value in node["inputs"].items():
            if is_link(value):
                found.setdefault(name, set()).add((value[0], value[1]))
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                found.setdefault(name, set()).add(value)
    agreed = {name: values.pop() for name, values in found.items() if len(values) == 1}
    links = {name: value for name, value in agreed.items() if isinstance(value, tuple)}
    return {name: value for name, value in agreed.items() if name not in links}, links


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


def at_strength(part: Part, find: Callable[[str], Node], applies: str, strength: float,
                facts: NodeFacts) -> Part | None:
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
        behind = part_between(find, applies, list(part.end), "", facts, ())
    except UserError:
        return None
    changed = {**node, "inputs": {**node["inputs"], widget: strength}}
    nodes = {applies: changed, **behind.nodes, **part.nodes}
    links = {id: {value[0] for value in member["inputs"].values() if is_link(value) and value[0] in nodes}
             for id, member in nodes.items()}
    return replace(part, nodes={id: nodes[id] for id in TopologicalSorter(links).static_order()})
