"""What decides a link's value: the nodes above it, their widgets, what they say about themselves, and the files they
name. Two recipes are equal only if the host would make the same.

It is the walk of the host's own cache (comfy_execution/caching.py), but files count by their content, and it means the
same in every process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

KEYS = 2
"""Version of all keys that a recipe is part of."""
OURS = "LoraBootstrap_"
BASED_ON = ("model", "clip", "vae")
"""Inputs of our own nodes through which a MODEL, CLIP or VAE passes."""

Node = Mapping[str, Any]
Link = Sequence[Any]


class NodeFacts(Protocol):
    """What a host knows about a node beside its inputs."""

    def state(self, id: str, node: Node) -> tuple[Any, bool]:
        """(what the node says about itself, as JSON; whether that decides what it gives)."""

    def lazy(self, kind: str, name: str) -> bool:
        """Whether the host asks for that input of a class of nodes only if the node wants it."""

    def files(self, value: Any) -> Iterable[str]:
        """The contents of files that a widget's value names."""


@dataclass(frozen=True)
class Recipe:
    """Attributes:
        digest: 16 hexadecimal digits.
        unsure: classes of nodes that may give something else each time they run.
    """

    digest: str
    unsure: tuple[str, ...] = ()


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) in (int, float)


def nodes_above(find: Callable[[str], Node], end: Link) -> Iterator[Node]:
    """Every node that decides a link's value, each once, from the link upwards."""
    waiting, seen = [end[0]], set()
    while waiting:
        if (id := waiting.pop()) not in seen:
            seen.add(id)
            yield (node := find(id))
            waiting += [value[0] for value in node["inputs"].values() if is_link(value)]


def recipe_of(find: Callable[[str], Node], end: Link, facts: NodeFacts, *, cut: Mapping[tuple[str, int], Any] | None =
              None, whole: bool = True) -> Recipe:
    """The recipe of a link's value.

    Args:
        find: id → node, as the host's DynamicPrompt.get_node.
        cut: links that are not followed, and what they count as instead.
        whole: follow our own nodes like any other. Without it they count by their class and the models that pass
            through them, for a caller who knows by other means what they changed.
    """
    walk = _Walk(find, facts, cut or {}, whole)
    return Recipe(short_hash(walk.describe(end)), tuple(sorted(walk.unsure)))


class _Walk:
    def __init__(self, find: Callable[[str], Node], facts: NodeFacts, cut: Mapping[tuple[str, int], Any],
                 whole: bool) -> None:
        self._find, self._facts, self._cut, self._whole = find, facts, cut, whole
        self._known: dict[str, str] = {}
        self.unsure: set[str] = set()

    def describe(self, link: Link) -> Any:
        if tuple(link) not in self._cut:
            for id in self._sources_first(link[0]):
                self._known[id] = self._describe_node(id)
        return self._describe_known(link)

    def _sources_first(self, start: str) -> Iterator[str]:
        """The ids of the nodes still to be described, each after those it depends on."""
        waiting: list[tuple[str, bool]] = [(start, False)]
        entered: set[str] = set()
        while waiting:
            id, complete = waiting.pop()
            if complete:
                yield id
            elif id not in self._known and id not in entered:
                entered.add(id)
                waiting.append((id, True))
                waiting += [(value[0], False) for value in self._inputs(self._find(id)).values()
                            if is_link(value) and tuple(value) not in self._cut]

    def _inputs(self, node: Node) -> Mapping[str, Any]:
        if self._whole or not node["class_type"].startswith(OURS):
            return node["inputs"]
        return {name: value for name, value in node["inputs"].items() if name in BASED_ON}

    def _describe_node(self, id: str) -> str:
        node = self._find(id)
        kind, inputs = node["class_type"], dict(sorted(self._inputs(node).items()))
        linked = {name: self._describe_known(value) if is_link(value) else ["value", value]
                  for name, value in inputs.items()}
        if not self._whole and kind.startswith(OURS):
            return short_hash([kind, linked])
        state, sure = self._facts.state(id, node)
        self.unsure |= set() if sure else {kind}
        files = [list(self._facts.files(value)) for value in inputs.values() if not is_link(value)]
        return short_hash([kind, linked, state, files])

    def _describe_known(self, link: Link) -> Any:
        origin, slot = link
        if (origin, slot) in self._cut:
            return ["cut", self._cut[origin, slot]]
        return [self._known.get(origin, "a circle, which the host refuses"), slot]


def short_hash(value: Any) -> str:
    """16 hexadecimal digits of a value that can be JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
