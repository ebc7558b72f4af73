"""Make locales/, where a ComfyUI finds the pack's texts in the language that its user has set, and web/locales/, where
the panels find theirs.

Translators edit locales/<language>.json, whose tables give each English text its translation. From the repository's
folder, without a host:
python tests/nodes/make_locales.py            write what ComfyUI reads; new English texts come into the tables as null,
                                              and rows of texts that are gone leave them
python tests/nodes/make_locales.py --missing  only list what is not translated

A translation names a node, a button of a panel, or an input of its own node, as [[Score Sweep]], [[Stop & keep]] or
[[save_every]], and an input of another node as [[PickCheckpoint.which]]: what is shown in the language takes its
place.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LOCALES = ROOT / "locales"
LANGUAGES = ("zh", "ja", "ko")
WEB = ROOT / "web"
TITLES = WEB / "reader" / "titles.js"
PREFIX = "LoraBootstrap_"
TABLES = ("nodes", "names", "texts", "categories", "commands", "panels")
"""What a catalogue translates. Its table `host` holds the host's own names for its nodes, `glossary` the words that a
translation must use."""
HOSTS_CATEGORIES = ("dataset",)
"""Parts of our categories that the host translates itself."""
HOSTS_TYPES = ("MODEL", "CLIP", "VAE", "LORA_MODEL")
"""Types of our outputs that the host translates itself."""
SYNTAX = re.compile(r"[{}@|]")
"""What older front ends (1.35) read as syntax in a tooltip, and newer ones (1.49) show as it is."""
PRESETS = re.compile(r"(?<=0 uses the preset \(style/character and concept\): ).*(?=\.$)")
"""The table of the families' presets at the end of a tooltip. It is the same in every language."""
REFERENCE = re.compile(r"\[\[(?:(\w+)\.)?([^\]]+)\]\]")


@dataclass(frozen=True)
class Text:
    """One English text that a host shows.

    Attributes:
        table: its table in a catalogue.
        english: the text.
        node: the node, without the prefix, "" for what belongs to none.
        path: its place in the files that ComfyUI reads, beginning with a file's name.
    """

    table: str
    english: str
    node: str
    path: tuple[str, ...]

    @property
    def row(self) -> str:
        """Its key in its table."""
        return PRESETS.sub("{presets}", self.english) if self.table == "texts" else self.english


def node_texts(info: dict[str, Any]) -> Iterator[Text]:
    """The texts of one node, from its object_info."""
    node = info["name"].removeprefix(PREFIX)
    place = ("nodeDefs", info["name"])
    yield Text("nodes", info["display_name"], node, (*place, "display_name"))
    yield Text("texts", info["description"], node, (*place, "description"))
    for group in ("required", "optional"):
        for name, (_, options) in info["input"].get(group, {}).items():
            yield Text("names", options.get("display_name") or name, node, (*place, "inputs", name, "name"))
            if options.get("tooltip"):
                yield Text("texts", options["tooltip"], node, (*place, "inputs", name, "tooltip"))
            if options.get("control_after_generate"):
                control = "control_after_generate"
                yield Text("names", control, node, (*place, "inputs", control, "name"))
    for index, (kind, name, tip) in enumerate(zip(info["output"], info["output_name"], info["output_tooltips"],
                                                  strict=True)):
        if kind != name:
            yield Text("names", name, node, (*place, "outputs", str(index), "name"))
        elif kind not in HOSTS_TYPES:  # front ends show the name of the type
            yield Text("names", name, node, ("main", "dataTypes", kind))
        if tip:
            yield Text("texts", tip, node, (*place, "outputs", str(index), "tooltip"))


def command_texts() -> Iterator[Text]:
    """The labels of the commands that web/ registers."""
    for path in sorted(WEB.glob("*/extension.js")):
        for command, label in re.findall(r'\bid: "(LoraBootstrap\.\w+)",\s*label: "([^"]+)"', path.read_text("utf-8")):
            yield Text("commands", label, "", ("commands", command.replace(".", "_"), "label"))


WORDS = re.compile(r'\b(?:t|word)\(\s*"((?:[^"\\]|\\.)*)"')
"""A text in a panel, shown or named by web/common/words.js."""
FIGURES = re.compile(r'\[\s*"([^"]+)",\s*"([^"]+)"\]')
"""A figure's name, and the sentence about it, in web/common/figures.js."""


def panel_texts() -> Iterator[Text]:
    """The texts of web/ that have a translation."""
    for path in sorted(WEB.glob("*/*.js")):
        code = path.read_text("utf-8")
        found = [json.loads(f'"{text}"') for text in WORDS.findall(code)]
        if path.name == "figures.js":
            found += [text for pair in FIGURES.findall(code) for text in pair]
        for english in dict.fromkeys(found):
            yield Text("panels", english, "", ("panels", english))


def all_texts(infos: list[dict[str, Any]]) -> list[Text]:
    """Every English text that ComfyUI or a panel looks up, in the order of the nodes."""
    texts = [text for info in infos for text in node_texts(info)]
    parts = dict.fromkeys(part for info in infos for part in info["category"].split("/"))
    texts += [Text("categories", part, "", ("main", "nodeCategories", part)) for part in parts
              if part not in HOSTS_CATEGORIES]
    return [*texts, *command_texts(), *panel_texts()]


class Catalogue:
    """The translations into one language."""

    def __init__(self, language: str, rows: dict[str, dict[str, Any]]):
        self.language = language
        self.rows = rows

    @classmethod
    def read(cls, language: str) -> Catalogue:
        path = LOCALES / f"{language}.json"
        return cls(language, json.loads(path.read_text("utf-8")) if path.exists() else {})

    def follow(self, texts: list[Text]) -> Catalogue:
        """The catalogue with a row for each text, null if it has no translation, and for no other."""
        own = {f"{text.node}.{text.row}" for text in texts if text.table == "names"}
        tables = {}
        for table in TABLES:
            old = self.rows.get(table, {})
            kept = {row: old[row] for row in old if table == "names" and row in own}
            tables[table] = {text.row: old.get(text.row) for text in texts if text.table == table} | kept
        return Catalogue(self.language, {**self.rows, **tables})

    def untranslated(self) -> list[str]:
        """`table: English text` of each row without a translation."""
        return [f"{table}: {row}" for table in TABLES for row, translation in self.rows[table].items()
                if translation is None]

    def name(self, node: str, name: str) -> str | None:
        """What an input or an output of a node is called. A row `Node.name` comes before the row of the name."""
        names = self.rows["names"]
        return names.get(f"{node}.{name}") or names.get(name)

    def translate(self, text: Text) -> str | None:
        """The text as it is shown, or None if it has no translation.

        Raises:
            KeyError: a reference names nothing that has a translation.
        """
        if text.table == "names":
            return self.name(text.node, text.english)
        words = self.rows[text.table][text.row]
        if words is None:
            return None
        words = REFERENCE.sub(lambda found: self.named(text.node, *found.groups()), words)
        return words.replace("{presets}", presets[0]) if (presets := PRESETS.findall(text.english)) else words

    def named(self, node: str, other: str | None, name: str) -> str:
        """What a reference stands for."""
        if other is None:
            for table in ("nodes", "host", "panels"):
                if self.rows.get(table, {}).get(name):
                    return self.rows[table][name]
        found = self.name(other or node, name)
        if found is None:
            raise KeyError(f"{self.language}: [[{name}]] in {node} has no translation")
        return found

    def write(self) -> None:
        write_json(LOCALES / f"{self.language}.json", self.rows)


def built(texts: list[Text], catalogue: Catalogue | None) -> dict[str, Any]:
    """What is read in one language: a file's name → what it holds. Panels read `panels`, ComfyUI all else. Without a
    catalogue, in English, in which the panels are written. A text that is left out is shown in English."""
    files: dict[str, Any] = {}
    for text in texts:
        is_ours = text.table == "panels"
        words = catalogue.translate(text) if catalogue else None if is_ours else text.english
        if words is None or (SYNTAX.search(words) and not is_ours):
            continue
        place = files
        for part in text.path[:-1]:
            place = place.setdefault(part, {})
        place[text.path[-1]] = words
    return files


def place_of(language: str, file: str) -> Path:
    """Where a file of `built` is."""
    return WEB / "locales" / f"{language}.json" if file == "panels" else LOCALES / language / f"{file}.json"


def titles_module(texts: list[Text]) -> str:
    """web/reader/titles.js: the English titles, by which the reader knows the pack's help pages in any language."""
    titles = "".join(f"  {json.dumps(text.english)},\n" for text in texts if text.table == "nodes")
    return ("/** The first headings of the pack's help pages: the English names of its nodes, whatever the language.\n"
            " * Written by tests/nodes/make_locales.py. Loading this module has no effect. */\n\n"
            f"export const TITLES = [\n{titles}];\n")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def described() -> list[dict[str, Any]]:
    """What a host says of each of the nodes, by the stand-in for a host."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers" / "comfy_stub"))
    from lora_bootstrap.nodes.extension import NODES

    return [node.object_info() for node in NODES]


def main(arguments: list[str]) -> None:
    texts = all_texts(described())
    catalogues = [Catalogue.read(language).follow(texts) for language in LANGUAGES]
    if "--missing" not in arguments:
        for language, catalogue in [("en", None), *zip(LANGUAGES, catalogues, strict=True)]:
            for file, content in built(texts, catalogue).items():
                write_json(place_of(language, file), content)
        for catalogue in catalogues:
            catalogue.write()
        TITLES.write_text(titles_module(texts), encoding="utf-8")
    for catalogue in catalogues:
        missing = catalogue.untranslated()
        print(f"{catalogue.language}: {len(missing)} of {len({(text.table, text.row) for text in texts})} to translate",
              *missing, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
