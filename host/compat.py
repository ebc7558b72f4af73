"""The only place that checks which version of ComfyUI runs, and which libraries are installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OLDEST_HOST = (0, 8, 0)
LIBRARIES = ("peft", "safetensors")
"""The libraries of requirements.txt that the nodes cannot do without."""


class Unsupported(RuntimeError):
    """The pack cannot run here. ComfyUI logs the text as one line, and continues without the pack."""


def require_host() -> None:
    """Raises Unsupported if ComfyUI is too old or a library is not installed."""
    version = host_version()
    if _numbers(version) < OLDEST_HOST:
        raise Unsupported(f"LoRA Bootstrap needs ComfyUI {'.'.join(map(str, OLDEST_HOST))} or newer, but this is "
                          f"{version}: update ComfyUI.")
    if absent := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise Unsupported(f"LoRA Bootstrap needs {', '.join(absent)}: install "
                          f"{Path(__file__).resolve().parents[1] / 'requirements.txt'} into ComfyUI's Python.")


def host_version() -> str:
    """The version, such as "0.8.0"; "0" for a ComfyUI so old that it does not report one."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return "0"
    return __version__


def fold_input(widget: Any) -> None:
    """Fold a widget's input behind "Show advanced inputs". Hosts before 0.9 have no argument for it, but every
    host passes on an input's extra entries."""
    widget.extra_dict["advanced"] = True


def set_aliases(schema: Any, aliases: Sequence[str]) -> None:
    """Let the search box find a node by other names too, where the host's schemas have a place for them."""
    if "search_aliases" in {field.name for field in dataclasses.fields(schema)}:
        schema.search_aliases = list(aliases)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (0,)
