"""The Markdown that people read of this project: its links, anchors, and the names that it mentions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from .templates import NAMES, NOTES, levels, ui

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "web" / "guides").glob("*.md"))
HELP = sorted((ROOT / "web" / "docs").glob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sandbox/README.md")]
SERVED = re.compile(r"/extensions/lora-bootstrap/guides/index\.html\?page=(\w+)(?:#([\w-]+))?")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,4} +(.+)$", re.MULTILINE)
_STRONG, _EMPHASIS = re.compile(r"\*\*(?=\S)(.+?)\*\*"), re.compile(r"(?<!\*)\*(?=[^\s*])([^*]+)\*(?!\*)")


@dataclass(frozen=True)
class Page:
    """A text and where it stands, for messages of tests."""

    name: str
    folder: Path
    text: str

    @classmethod
    def of(cls, path: Path) -> Page:
        return cls(path.relative_to(ROOT).as_posix(), path.parent, path.read_text("utf-8"))

    @property
    def prose(self) -> str:
        """The text without blocks of code, and with every paragraph's line breaks as blanks."""
        return re.sub(r"(?<!\n)\n *(?![ \n|#])", " ", _CODE.sub("", self.text))

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def strong(self) -> list[str]:
        return _STRONG.findall(self._without_code)

    @property
    def emphasised(self) -> list[str]:
        """What is in italics, in bold text too."""
        return _EMPHASIS.findall(_STRONG.sub(lambda found: found[1], self._without_code))

    @property
    def _without_code(self) -> str:
        return re.sub(r"`[^`]*`", "", self.prose)


def notes() -> list[Page]:
    """The notes of all templates."""
    return [Page(f"{name}: {node.get('title')}", ROOT, node["widgets_values"][0])
            for name in NAMES for level in levels(ui(name)) for node in level["nodes"] if node["type"] in NOTES]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; web/reader/markdown.js makes the same."""
    titles = [re.sub(r"[*`]", "", title) for title in _HEADING.findall(_CODE.sub("", path.read_text("utf-8")))]
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken(page: Page, link: str) -> str:
    """What is wrong with a link; "" if it leads somewhere. Other sites are not asked."""
    if link.startswith("https://"):
        return ""
    if served := SERVED.fullmatch(link):
        folder = "docs" if served[1].startswith("LoraBootstrap_") else "guides"
        target, anchor = ROOT / "web" / folder / f"{served[1]}.md", served[2] or ""
    else:
        address, _, anchor = link.partition("#")
        target = (page.folder / unquote(address)).resolve() if address else ROOT / page.name
    if not target.exists():
        return f"{page.name}: {link} leads nowhere"
    return "" if not anchor or anchor in anchors(target) else f"{page.name}: {link} has no such heading"
