"""The templates as they are on disk, and which values of theirs belong to which widget."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).parents[2] / "workflows"
BLUEPRINTS = WORKFLOWS.parent / "subgraphs"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
NOTES = ("MarkdownNote", "Note")
RECORDED = WORKFLOWS.parent / "tests" / "nodes" / "object_info_0.33.0.json"
TRAININGS = ("LoraBootstrap_TrainLora", "LoraBootstrap_FineTune")
BYPASSED = 4
ENTERS, LEAVES = -10, -20
"""The ids that the ends of a subgraph's links have at its border."""
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def ui(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / f"{name}.json").read_text("utf-8"))


def api(name: str) -> dict[str, Any]:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text("utf-8"))


def without_previews(graph: dict[str, Any]) -> dict[str, Any]:
    """The prompt, whose trainings are given settings without previews, all else at its default, unless they have their
    own: the previews of a few steps take longer than the steps."""
    kind = "LoraBootstrap_TrainSettings"
    defaults = dict(widgets_of(json.loads(RECORDED.read_text("utf-8"))[kind]))
    for node in list(graph.values()):
        if node["class_type"] in TRAININGS and "settings" not in node["inputs"]:
            node["inputs"]["settings"] = ["no previews", 0]
            graph["no previews"] = {"class_type": kind, "inputs": {**defaults, "preview_every": 0}}
    return graph


def levels(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The graph itself, and the subgraphs that boxes in it stand for."""
    return [graph, *graph.get("definitions", {}).get("subgraphs", [])]


def boxes_of(graph: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """(box, the subgraph in it) by the box's id, of those at the top."""
    inside = {subgraph["id"]: subgraph for subgraph in levels(graph)[1:]}
    return {str(node["id"]): (node, inside[node["type"]]) for node in graph["nodes"] if node["type"] in inside}


def area_of(node: dict[str, Any]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a node with its title."""
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - 30, left + width, top + height


def overlaps(level: dict[str, Any]) -> list[tuple[str, str]]:
    """The types of any two nodes of a level that overlap."""
    pairs = itertools.combinations(level["nodes"], 2)
    return [(one["type"], other["type"]) for one, other in pairs if _meet(area_of(one), area_of(other))]


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def nodes_of(graph: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes that run, by the id that they have in a prompt: those of a box are `box:node`."""
    boxes = boxes_of(graph)
    off = {key for key, (box, _) in boxes.items() if box.get("mode") == BYPASSED}
    found = {str(node["id"]): node for node in graph["nodes"]
             if node["type"] not in NOTES and str(node["id"]) not in boxes and node.get("mode") != BYPASSED}
    return found | {f"{key}:{node['id']}": node for key, (_, inside) in boxes.items() if key not in off
                    for node in inside["nodes"]}


def links_of(graph: dict[str, Any]) -> set[tuple[str, int, str, str]]:
    """(node, output, node, input) of all links between nodes that run, through the borders of their boxes."""
    boxes, nodes = boxes_of(graph), nodes_of(graph)
    outer = {(str(target), place): (str(source), slot) for _, source, slot, target, place, _ in graph["links"]}
    sources = {end: source for end, source in outer.items() if end[0] not in boxes}
    leaving: dict[tuple[str, int], tuple[str, int]] = {}
    for key, (_, inside) in boxes.items():
        for link in inside["links"]:
            origin, target = link["origin_id"], link["target_id"]
            # what enters a box without a link is a widget of the box
            source = outer.get((key, link["origin_slot"])) if origin == ENTERS else (
                f"{key}:{origin}", link["origin_slot"])
            if source:
                place = (leaving, key) if target == LEAVES else (sources, f"{key}:{target}")
                place[0][place[1], link["target_slot"]] = source
    return {(*leaving.get(source, source), target, nodes[target]["inputs"][slot]["name"])
            for (target, slot), source in sources.items() if target in nodes and _runs(source, nodes, leaving)}


def _runs(source: tuple[str, int], nodes: dict[str, Any], leaving: dict[tuple[str, int], tuple[str, int]]) -> bool:
    """Whether what a link comes from runs, and is not bypassed."""
    return leaving.get(source, source)[0] in nodes


def running(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes at the top, the note included, without those that are bypassed."""
    return [node for node in graph["nodes"] if node.get("mode") != BYPASSED]


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
    defaults. Returns how many values were added. The host's own nodes are left as they are: an older host may not have
    the widget."""
    added = 0
    for id, node in nodes_of(graph).items():
        if not node["type"].startswith("LoraBootstrap_"):
            continue
        facts, values = info[node["type"]], node.get("widgets_values") or []
        missing = dict(list(widgets_of(facts))[len(values):])
        if missing:
            node["widgets_values"] = [*values, *missing.values()]
            inputs = twin[id]["inputs"]
            inputs |= {key: value for key, value in missing.items() if key in inputs_of(facts) and key not in inputs}
            added += len(missing)
    return added
