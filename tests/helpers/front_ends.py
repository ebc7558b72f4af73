"""The front ends that tests open in a browser: a host's own, and the newest one, which constraints.txt pins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .hosts import Host, by_age, find_hosts, is_newest

PACKAGE = "comfyui-frontend-package"
MISSING = f"no {PACKAGE} found: pip install -c constraints.txt {PACKAGE}"
FILES = "comfyui_frontend_package/static"
"""The front end within the folder that its package is installed in."""


@dataclass(frozen=True)
class FrontEnd:
    """A front end that a server hands out.

    Attributes:
        version: "" if nobody says it.
        root: the folder with its index.html, None if it is not on this machine.
    """

    version: str
    root: Path | None

    @property
    def name(self) -> str:
        return f"front end {self.version or 'of its own'}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What makes ComfyUI hand it out."""
        return ("--front-end-root", str(self.root))


@dataclass(frozen=True)
class Screen:
    """What a person sees the pack in: a host, one of its front ends, one of that one's two renderers."""

    host: Host
    front_end: FrontEnd
    vue_nodes: bool

    @property
    def name(self) -> str:
        return f"{self.host.name}, {self.front_end.name}, {'Vue nodes' if self.vue_nodes else 'classic canvas'}"


def own(host: Host) -> FrontEnd:
    """The front end that is installed for a host."""
    roots = [*host.path.glob(f".venv/lib/python*/site-packages/{FILES}"),
             *host.path.glob(f".venv/Lib/site-packages/{FILES}")]
    root = roots[0] if roots else None
    info = next(root.parents[1].glob("comfyui_frontend_package-*.dist-info"), None) if root else None
    return FrontEnd(re.search(r"-([\d.]+)\.dist-info", info.name)[1] if info else "", root)


def pinned(_: Host | None = None) -> FrontEnd:
    """The newest front end, as it is installed beside the tests. Without a root if it is not."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return FrontEnd("newest", None)
    return FrontEnd(package.version, Path(str(package.locate_file(FILES))))


def oldest(host: Host) -> FrontEnd:
    """That of the oldest host on this machine that has one, which the newest host can hand out too."""
    found = (own(each) for each in (*by_age(find_hosts()), host))
    return next((front_end for front_end in found if front_end.root), own(host))


def front_ends(host: Host) -> tuple[FrontEnd, ...]:
    """Those that are tried on a host: its own, and on the newest host the pinned one too."""
    return (own(host), pinned()) if is_newest(host.path) else (own(host),)
