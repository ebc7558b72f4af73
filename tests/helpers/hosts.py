"""The ComfyUI installations that the tests may run against."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

MISSING = "no ComfyUI found: set COMFYUI_PATH, or run `comfy install`"
ALL_HOSTS = os.environ.get("ALL_HOSTS") == "1"
"""Whether to try on every host, and in both renderers of its front end, what is tried once otherwise."""


@dataclass(frozen=True)
class Host:
    """One installation.

    Attributes:
        python: its own Python if it has one in .venv, else the one that runs the tests.
    """

    path: Path
    python: Path
    version: str

    @property
    def name(self) -> str:
        return f"ComfyUI-{self.version}"


def find_hosts() -> list[Host]:
    """Hosts in COMFYUI_PATH (several apart by os.pathsep), by default ~/comfy/ComfyUI and ~/comfy/ComfyUI-*.

    Raises FileNotFoundError if COMFYUI_PATH names a folder that is no ComfyUI.
    """
    named = [Path(text).expanduser() for text in os.environ.get("COMFYUI_PATH", "").split(os.pathsep) if text]
    usual = Path.home() / "comfy"
    for folder in named:
        if not (folder / "comfyui_version.py").is_file():
            raise FileNotFoundError(f"COMFYUI_PATH names {folder}, which is no ComfyUI (no comfyui_version.py)")
    found = named or [folder for folder in (usual / "ComfyUI", *sorted(usual.glob("ComfyUI-*")))
                      if (folder / "comfyui_version.py").is_file()]
    return [Host(folder, _python(folder), _version(folder)) for folder in found]


def by_age(hosts: list[Host]) -> list[Host]:
    """The oldest first."""
    return sorted(hosts, key=lambda host: [int(part) for part in host.version.split(".")])


def newest() -> list[Host]:
    """The newest host, if there is any."""
    return by_age(find_hosts())[-1:]


def is_newest(path: Path) -> bool:
    return [path] == [host.path for host in newest()]


def _python(folder: Path) -> Path:
    candidates = (folder / ".venv" / "bin" / "python", folder / ".venv" / "Scripts" / "python.exe")
    return next((path for path in candidates if path.is_file()), Path(sys.executable))


def _version(folder: Path) -> str:
    text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    return re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)[1]
