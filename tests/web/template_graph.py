"""What the scripts that make templates share: a graph as it is to be laid out, and the front end that writes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from templates import WORKFLOWS, write  # noqa: E402

COLOUR = "#3f789e"
NAMED = "LoraBootstrap_"


@dataclass
class Graph:
    """A graph as it is to be laid out: nodes with widgets and links by name, and titled groups around them."""

    name: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    note: tuple[tuple[int, int], tuple[int, int]] = ((-450, 60), (390, 900))
    """Place and size of the note."""

    def add(self, key: str, type_: str, place: tuple[int, int], size: tuple[int, int],
            links: dict[str, tuple[str, str]] | None = None, **widgets: Any) -> str:
        """`links`: input → (node, output)."""
        self.nodes[key] = {"type": type_, "pos": place, "size": size, "links": links or {}, "widgets": widgets}
        return key

    def group(self, title: str, members: list[str]) -> None:
        boxes = [(*self.nodes[key]["pos"], *self.nodes[key]["size"]) for key in members]
        left, top = min(x for x, *_ in boxes) - 20, min(y for _, y, *_ in boxes) - 90
        right, bottom = max(x + w for x, _, w, _ in boxes) + 20, max(y + h for _, y, _, h in boxes) + 20
        self.groups.append({"title": title, "bounding": [left, top, right - left, bottom - top], "color": COLOUR})


BUILD = """async ([plan, note]) => {
    const graph = app.graph;
    graph.clear();
    const made = {};
    for (const [key, { type, pos, size, widgets }] of Object.entries(plan.nodes)) {
        const node = LiteGraph.createNode(type);
        if (!node) throw new Error(`there is no node ${type}`);
        node.pos = pos;
        graph.add(node);
        made[key] = node;
        for (const [name, value] of Object.entries(widgets)) {
            if (name === "title") { node.title = value; continue; }
            if (name === "models") { node.properties.models = value; continue; }
            const widget = name === "control" ? node.widgets.find((each) => each.linkedWidgets).linkedWidgets[0]
                : node.widgets.find((each) => each.name === name);
            if (!widget) throw new Error(`${type} has no widget ${name}`);
            widget.value = value;
        }
        if (!("control" in widgets))
            for (const widget of node.widgets ?? []) for (const control of widget.linkedWidgets ?? [])
                control.value = "fixed";
    }
    for (const [key, { type, links }] of Object.entries(plan.nodes)) {
        for (const [input, [source, output]] of Object.entries(links)) {
            const from = made[source].outputs.findIndex(({ name }) => name === output);
            const to = made[key].inputs.findIndex(({ name }) => name === input);
            if (from < 0 || to < 0) throw new Error(`${source}.${output} does not fit ${type}.${input}`);
            made[source].connect(from, made[key], to);
        }
    }
    const text = LiteGraph.createNode("MarkdownNote");
    text.pos = plan.note[0];
    text.title = "Read me";
    graph.add(text);
    text.widgets[0].value = note;
    text.size = plan.note[1];
    await new Promise((done) => setTimeout(done, 1500));
    for (const [key, { size }] of Object.entries(plan.nodes)) made[key].size = size;
    for (const { title, bounding, color } of plan.groups) {
        const group = new LiteGraph.LGraphGroup(title);
        group.pos = bounding.slice(0, 2);
        group.size = bounding.slice(2);
        group.color = color;
        graph.add(group);
    }
    const saved = graph.serialize();
    const prompt = (await app.graphToPrompt()).output;
    return JSON.stringify([saved, prompt]); // as saving does it: what is undefined is left out
}"""


def make(url: str, graphs: Iterable[Graph], notes: Mapping[str, str]) -> None:
    """Have the front end at `url` lay out each graph beside its note, and save it with its API twin."""
    from browser import FLAGS, LOADED, find_browser
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        page = running.new_page(viewport={"width": 1600, "height": 1000})
        for graph in graphs:
            page.goto(url)  # anew for each: the front end gives a new node the values of the last one of its id
            page.locator(".templates-tab-button").wait_for(timeout=LOADED)
            page.wait_for_function("() => window.app?.graph", timeout=LOADED)
            plan = {"nodes": graph.nodes, "groups": graph.groups, "note": graph.note}
            saved, prompt = json.loads(page.evaluate(BUILD, [plan, notes[graph.name]]))
            saved["extra"] = {}
            write(WORKFLOWS / f"{graph.name}.json", saved)
            write(WORKFLOWS / "api" / f"{graph.name}.json", {
                id: {"class_type": node["class_type"], "inputs": node["inputs"]} for id, node in prompt.items()})
            print(graph.name, len(saved["nodes"]), "nodes")
        running.close()

