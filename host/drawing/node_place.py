"""Where a node is in the running workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .node_facts import link_key
from .recipe import Node


@dataclass(frozen=True)
class NodePlace:
    """A node in the running workflow: its id, and a way to look up any node."""

    id: str
    find: Callable[[str], Node]

    @classmethod
    def of(cls, hidden: Any) -> NodePlace:
        """Make one from a node's hidden inputs, which must include unique_id and dynprompt."""
        return cls(hidden.unique_id, hidden.dynprompt.get_node)

    @property
    def links(self) -> Mapping[str, Any]:
        """The links to the node's inputs."""
        return self.find(self.id)["inputs"]

    def key_of(self, name: str, value: Any) -> str:
        """`link_key` of the value that came over the link to an input."""
        return link_key(self.find, self.links[name], value)
