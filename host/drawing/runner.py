"""A few of the host's own nodes, run by one of ours: the same classes with the same inputs as in a workflow, so that
the images are the same to the last bit, whatever the model.

Node expansion would run them too, but one failure would end the whole Run, and the host holds each node's output until
the Run ends: a thousand LoRAs, conditionings and images. Here a small graph, in the form of the host's API, is run
again and again, and what the previous run made is released.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .recipe import Node, is_link

Graph = Mapping[str, Node]
"""Nodes by id, as in the host's API: {"class_type": ..., "inputs": {name: value | [id, slot]}}."""
KEPT = {"CLIPTextEncode": 128}
"""How many results of a node are cached, by its class; of all others, only the latest."""


@dataclass
class Runner:
    """Runs small graphs of the host's nodes.

    Attributes:
        given: values that exist already, by the ids that links use for them.
    """

    given: Mapping[str, tuple[Any, ...]]
    _instances: dict[str, Any] = field(default_factory=dict)
    _results: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)

    def value(self, graph: Graph, link: list[Any]) -> Any:
        """The value that a link of the graph carries. Nodes run only if their inputs have changed."""
        return self._value(graph, link, {})

    def _value(self, graph: Graph, link: list[Any], signatures: dict[str, str]) -> Any:
        id, slot = link
        return self.given[id][slot] if id in self.given else self._outputs(graph, id, signatures)[slot]

    def _outputs(self, graph: Graph, id: str, signatures: dict[str, str]) -> tuple[Any, ...]:
        node, signature = graph[id], self._signature(graph, id, signatures)
        results = self._results.setdefault(id, {})
        if signature not in results:
            inputs = {name: self._value(graph, value, signatures) if is_link(value) else value
                      for name, value in node["inputs"].items()}
            while len(results) >= KEPT.get(node["class_type"], 1):
                del results[next(iter(results))]
            results[signature] = self._run(id, node["class_type"], inputs)
        return results[signature]

    def _signature(self, graph: Graph, id: str, known: dict[str, str]) -> str:
        """A hash of everything that decides a node's outputs; `known` holds those of this graph so far."""
        if id in self.given:
            return id
        if id not in known:
            node = graph[id]
            inputs = {name: [self._signature(graph, value[0], known), value[1]] if is_link(value) else value
                      for name, value in node["inputs"].items()}
            text = json.dumps([node["class_type"], inputs], sort_keys=True)
            known[id] = hashlib.sha256(text.encode()).hexdigest()
        return known[id]

    def _run(self, id: str, kind: str, inputs: dict[str, Any]) -> tuple[Any, ...]:
        if id not in self._instances:
            self._instances[id] = node_class(kind)()
        return call(self._instances[id], inputs)

    def forget(self) -> None:
        """Release everything that was made."""
        self._results.clear()
        self._instances.clear()


def node_class(name: str) -> Any:
    """The class of one of the host's nodes, or of another pack's."""
    return _host_nodes().NODE_CLASS_MAPPINGS[name]


def display_name(kind: str) -> str:
    """What the host's menu calls a class of nodes."""
    return _host_nodes().NODE_DISPLAY_NAME_MAPPINGS.get(kind, kind)


def _host_nodes() -> Any:
    import nodes  # the host's module of that name, not this package

    return nodes


def call(instance: Any, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of a node of either API."""
    result = getattr(instance, instance.FUNCTION)(**inputs)
    if isinstance(result, Mapping):
        result = result["result"]
    return tuple(getattr(result, "result", result))
