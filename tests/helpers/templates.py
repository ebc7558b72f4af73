"""The templates as they are on disk, and which values of theirs belong to which widget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).parents[2] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
NOTES = ("MarkdownNote", "Note")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def ui(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))


def api(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text("utf-8"))


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def inputs_of(facts: dict[str, Any]) -> dict[str, Any]:
    """A node's inputs by name, from what a host says of it."""
    return {**facts["input"].get("required", {}), **facts["input"].get("optional", {})}


def is_widget(spec: list[Any]) -> bool:
    return (isinstance(spec[0], list) or spec[0] in WIDGETS) and not (len(spec) > 1 and spec[1].get("forceInput"))


def widgets_of(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, default) of the values that are saved of a node, in their order; the front end adds some of its own."""
    for name, spec in inputs_of(facts).items():
        if is_widget(spec):
            options = spec[1] if len(spec) > 1 else {}
            choices = spec[0] if isinstance(spec[0], list) else options.get("options") or [None]
            yield name, options.get("default", next(iter(choices), None))
            if options.get("control_after_generate"):
                yield "control_after_generate", "fixed"
            if options.get("image_upload"):
                yield "upload", "image"


def extend(graph: dict[str, Any], twin: dict[str, Any], info: dict[str, Any]) -> int:
    """Give a template and its twin, in place, the widgets that were appended to nodes since they were made, at their
    defaults. Returns how many values were added."""
    added = 0
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        facts, values = info[node["type"]], node.get("widgets_values") or []
        missing = dict(list(widgets_of(facts))[len(values):])
        if missing:
            node["widgets_values"] = [*values, *missing.values()]
            inputs = twin[str(node["id"])]["inputs"]
            inputs |= {key: value for key, value in missing.items() if key in inputs_of(facts) and key not in inputs}
            added += len(missing)
    return added
