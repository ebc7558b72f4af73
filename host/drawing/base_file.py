"""The file that a MODEL came from, as far as its loader says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .recipe import Link, Node, is_link

WEIGHTS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")
FAR = 100
"""Nodes to walk at most from a MODEL up to its loader."""


def base_file(model: Any, find: Callable[[str], Node], link: Link) -> str:
    """The path, or only the name, of the file that a MODEL was loaded from; "" if it cannot be known.

    Newer hosts note it on the MODEL. On others it is what the loader at the top of the link names.
    """
    _, arguments, *_ = getattr(model, "cached_patcher_init", None) or (None, ())
    return next((value for value in arguments if is_weights(value)), "") or _named_above(find, link)


def _named_above(find: Callable[[str], Node], link: Link) -> str:
    for _ in range(FAR):
        try:
            inputs = find(link[0])["inputs"]
        except Exception:  # each host raises its own for a node that is gone
            return ""
        links = {name: value for name, value in inputs.items() if is_link(value)}
        above = next((value for name, value in links.items() if "model" in name.lower()), None)
        if above is None:
            return next((value for value in inputs.values() if is_weights(value)), "")
        link = above
    return ""


def is_weights(value: Any) -> bool:
    """Whether a value names a file of weights."""
    return isinstance(value, str) and Path(value).suffix.lower() in WEIGHTS
