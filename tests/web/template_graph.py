"""What the scripts that make templates share: a graph as it is to be laid out, and the front end that writes it."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.helpers.templates import BLUEPRINTS, WORKFLOWS, write  # noqa: E402

COLOUR = "#3f789e"
NAMED = "LoraBootstrap_"
CATEGORY = "LoRA Bootstrap"
"""Where the node library shows the blueprints."""
NEWER = {"CFGNorm": ("pre_cfg",)}
"""Widgets that newer hosts append to their nodes. They are left out: every host opens the template alike."""
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@dataclass
class Graph:
    """A graph as it is to be laid out: nodes with widgets and links by name, subgraphs of some of them, and titled
    groups around what is seen.

    Attributes:
        note: place and size of the note.
        app: what App mode shows of it; empty: nothing.
        blueprint: the box that alone is kept, as an entry of the node library, and what is said of it; empty: none.
    """

    name: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    note: tuple[tuple[int, int], tuple[int, int]] = ((-450, 60), (390, 900))
    subgraphs: dict[str, dict[str, Any]] = field(default_factory=dict)
    app: dict[str, list[Any]] = field(default_factory=dict)
    blueprint: dict[str, Any] = field(default_factory=dict)

    def add(self, key: str, type_: str, place: tuple[int, int], size: tuple[int, int],
            links: dict[str, tuple[str, str]] | None = None, **widgets: Any) -> str:
        """`links`: input → (node, output). Of the widgets, `title` and `models` are the node's own, and `bypassed`.

        Raises ValueError for a key that is taken.
        """
        if key in self.nodes:
            raise ValueError(f"{key!r} is a node already: {self.nodes[key]['type']}")
        self.nodes[key] = {"type": type_, "pos": place, "size": size, "links": links or {}, "widgets": widgets}
        return key

    def subgraph(self, key: str, title: str, members: Iterable[str], place: tuple[int, int], size: tuple[int, int],
                 promote: Iterable[tuple[str, str, str]] = (), labels: Mapping[str, str] | None = None) -> str:
        """Put nodes into one box. Links across its border become its inputs and outputs by themselves. The nodes keep
        their places inside.

        Args:
            promote: (node, widget, label): widgets that are set on the box.
            labels: how inputs and outputs of the box are called, by the name of the first input or output inside that
                they are linked to.
        """
        self.subgraphs[key] = {"title": title, "members": list(members), "pos": place, "size": size,
                               "promote": list(promote), "labels": labels or {}}
        return key

    def bypass(self, keys: Iterable[str]) -> None:
        """Leave these nodes and boxes out of a Run until they are turned on."""
        for key in keys:
            if key in self.subgraphs:
                self.subgraphs[key]["bypassed"] = True
            else:
                self.nodes[key]["widgets"]["bypassed"] = True

    def show_as_app(self, inputs: Iterable[tuple[Any, ...]], outputs: Iterable[str]) -> None:
        """Say what the front end's App mode shows.

        Args:
            inputs: (node, widget) or (node, widget, height in pixels), in their order; a panel is a widget too. What is
                promoted to a subgraph's box is the box's, by its label.
            outputs: nodes whose images are shown.
        """
        self.app = {"inputs": [list(entry) for entry in inputs], "outputs": list(outputs)}

    def publish(self, key: str, description: str, aliases: Iterable[str]) -> None:
        """Make an entry of the node library of a box: it is called as the graph is, and found by its aliases too."""
        self.blueprint = {"key": key, "description": description, "aliases": list(aliases)}

    def group(self, title: str, members: list[str]) -> None:
        seen = self.nodes | self.subgraphs
        boxes = [(*seen[key]["pos"], *seen[key]["size"]) for key in members]
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
            if (name === "bypassed") { node.mode = 4; continue; }
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
    for (const [key, { title, members, pos, promote, labels, bypassed }] of Object.entries(plan.subgraphs)) {
        const { subgraph, node } = graph.convertToSubgraph(new Set(members.map((member) => made[member])));
        // the front end promotes what it thinks is wanted, and leaves an empty input where that is linked already
        for (const [place, slot] of [...node.inputs.entries()].reverse())
            if (slot.link == null) subgraph.removeInput(subgraph.inputs[place]);
        for (const member of members) made[member] = subgraph.getNodeById(made[member].id); // what is in it is a copy
        for (const [member, name, label] of promote) {
            const inner = made[member];
            const slot = inner.inputs.find((each) => each.widget?.name === name);
            if (!slot) throw new Error(`${member} has no widget ${name}`);
            subgraph.addInput(label, String(slot.type)).connect(slot, inner);
        }
        for (const slot of subgraph.inputs) if (labels[slot.name]) subgraph.renameInput(slot, labels[slot.name]);
        for (const slot of subgraph.outputs) if (labels[slot.name]) subgraph.renameOutput(slot, labels[slot.name]);
        subgraph.name = node.title = title;
        if (bypassed) node.mode = 4;
        node.pos = pos;
        made[key] = node;
    }
    const text = LiteGraph.createNode("MarkdownNote");
    text.pos = plan.note[0];
    text.title = "Read me";
    graph.add(text);
    text.widgets[0].value = note;
    text.size = plan.note[1];
    await new Promise((done) => setTimeout(done, 1500));
    for (const [key, { size }] of Object.entries({ ...plan.nodes, ...plan.subgraphs })) made[key].size = size;
    for (const { title, bounding, color } of plan.groups) {
        const group = new LiteGraph.LGraphGroup(title);
        group.pos = bounding.slice(0, 2);
        group.size = bounding.slice(2);
        group.color = color;
        graph.add(group);
    }
    if (plan.blueprint.key)
        for (const node of [...graph.nodes]) if (node !== made[plan.blueprint.key]) graph.remove(node);
    await new Promise((done) => setTimeout(done, 1000)); // Vue nodes take the room that they need
    for (const node of Object.values(made)) for (const widget of node.widgets ?? [])
        if (widget.name === "edits") widget.value = ""; // Edit Tags names it anew for whoever opens the template
    const saved = graph.serialize();
    const id = (key) => Number(made[key].id);
    saved.extra = plan.app.outputs ? { linearData: {
        inputs: plan.app.inputs.map(([key, ...entry]) => [id(key), entry[0], ...entry.slice(1).map(
            (height) => ({ height }))]),
        outputs: plan.app.outputs.map(id),
    } } : {};
    const prompt = (await app.graphToPrompt()).output;
    return JSON.stringify([saved, prompt]); // as saving does it: what is undefined is left out
}"""


def name_ids(name: str, saved: str) -> str:
    """A saved graph in which each random id of the front end is one that it has each time the graph is made."""
    found = dict.fromkeys(UUID.findall(saved))
    ids = {id: str(uuid.uuid5(uuid.NAMESPACE_URL, f"lora-bootstrap/{name}/{number}"))
           for number, id in enumerate(found)}
    return UUID.sub(lambda match: ids[match[0]], saved)


def describe_blueprint(graph: Graph, saved: dict[str, Any]) -> dict[str, Any]:
    """A saved graph of one box with what the node library says of it."""
    said = graph.blueprint
    (inside,) = saved["definitions"]["subgraphs"]
    inside |= {"description": said["description"], "category": CATEGORY}
    saved["extra"] = {"BlueprintDescription": said["description"], "BlueprintSearchAliases": said["aliases"]}
    return saved


def drop_newer(node: dict[str, Any]) -> None:
    """Take from a saved node, in place, the widgets of NEWER, with the slots that they have among its inputs."""
    if newer := NEWER.get(node["type"]):
        node["widgets_values"] = node["widgets_values"][:-len(newer)]
        node["inputs"] = [slot for slot in node["inputs"] if slot["name"] not in newer]


def known_inputs(node: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a node of a prompt that every host knows."""
    return {name: value for name, value in node["inputs"].items() if name not in NEWER.get(node["class_type"], ())}


def readable(note: str) -> str:
    """A note without spans of code: the front end draws these blue on blue."""
    return re.sub("`([^`]+)`", lambda span: f"**{span[1]}**".replace("<", "\\<"), note)


def make(url: str, graphs: Iterable[Graph], notes: Mapping[str, str]) -> None:
    """Have the front end at `url` lay out each graph beside its note, and save it with its API twin."""
    from playwright.sync_api import sync_playwright

    from tests.helpers.browser import FLAGS, LOADED, find_browser

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        page = running.new_page(viewport={"width": 1600, "height": 1000})
        for graph in graphs:
            page.goto(url)  # anew for each: the front end gives a new node the values of the last one of its id
            page.locator(".templates-tab-button").wait_for(timeout=LOADED)
            page.wait_for_function("() => window.app?.graph", timeout=LOADED)
            plan = {"nodes": graph.nodes, "subgraphs": graph.subgraphs, "groups": graph.groups, "note": graph.note,
                    "app": graph.app, "blueprint": graph.blueprint}
            note = readable(notes.get(graph.name, ""))
            saved, prompt = json.loads(name_ids(graph.name, page.evaluate(BUILD, [plan, note])))
            for level in (saved, *saved.get("definitions", {}).get("subgraphs", [])):
                for node in level["nodes"]:
                    node.pop("widgets_values_named", None)  # the same by name, of newer front ends: one list to extend
                    drop_newer(node)
            if graph.blueprint:
                write(BLUEPRINTS / f"{graph.name}.json", describe_blueprint(graph, saved))
                continue
            write(WORKFLOWS / f"{graph.name}.json", saved)
            write(WORKFLOWS / "api" / f"{graph.name}.json", {
                id: {"class_type": node["class_type"], "inputs": known_inputs(node)} for id, node in prompt.items()})
            print(graph.name, len(saved["nodes"]), "nodes")
        running.close()

