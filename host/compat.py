"""The only place that asks which host, and which libraries, it is on."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

OLDEST_HOST = (0, 8, 0)
LIBRARIES = ("peft", "safetensors")
"""Those the nodes cannot do without, of what requirements.txt lists."""


class Unsupported(RuntimeError):
    """The pack cannot run here. The host logs the text, one line, and goes on without the pack."""


def require_host() -> None:
    """Raises Unsupported if the host is too old or a library is not installed."""
    version = host_version()
    if _numbers(version) < OLDEST_HOST:
        raise Unsupported(f"LoRA Bootstrap needs ComfyUI {'.'.join(map(str, OLDEST_HOST))} or newer, this is "
                          f"{version}: update ComfyUI.")
    if absent := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        raise Unsupported(f"LoRA Bootstrap needs {', '.join(absent)}: install "
                          f"{Path(__file__).resolve().parents[1] / 'requirements.txt'} into ComfyUI's Python.")


def host_version() -> str:
    """As in "0.8.0"; "0" for a host from before hosts told their version."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return "0"
    return __version__


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (0,)
