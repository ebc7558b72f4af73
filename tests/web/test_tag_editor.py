"""The tag editor in a real front end, in both of its renderers: by keyboard, many pictures at once, two tabs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from ..helpers.browser import DRAWN, SHOWN, TOAST, Tab
from ..helpers.server import until

PICTURES = 100
OTHERS = ("smile", "standing", "park", "night", "red hair", "green eyes", "short hair")
NODE = "app.canvas.graph._nodes.find((node) => node.comfyClass === 'LoraBootstrap_EditTags')"
BUILD = """([folder, edits]) => {
    const graph = app.canvas.graph;
    const nodes = ["LoadDataset", "EditTags"].map((name) => LiteGraph.createNode(`LoraBootstrap_${name}`));
    nodes.forEach((node, index) => {
        node.pos = [index * 420, 0];
        graph.add(node);
    });
    nodes[0].connect(0, nodes[1], 0);
    nodes[0].widgets.find(({ name }) => name === "folder").value = folder;
    nodes[1].widgets.find(({ name }) => name === "edits").value = edits;
}"""
COPY = f"""() => {{
    const canvas = app.canvas;
    canvas.selectItems([{NODE}]);
    canvas.copyToClipboard();
    canvas.pasteFromClipboard();
    const [data, , copy] = canvas.graph._nodes;
    data.connect(0, copy, 0);
    return copy.properties.tag_editor.id;
}}"""
CONVERT = f"""() => {{
    app.canvas.deselectAll();
    app.canvas.selectItems([{NODE}]);
    app.canvas.graph.convertToSubgraph(app.canvas.selectedItems);
}}"""
LOOK = f"""() => {{
    const [node, canvas] = [{NODE}, app.canvas];
    const box = document.querySelector(".lb-tags").getBoundingClientRect();
    const scale = canvas.ds.scale;
    canvas.ds.offset[0] += (300 - box.left) / scale;
    canvas.ds.offset[1] += (120 - box.top) / scale;
    canvas.setDirty(true, true);
    return node.id;
}}"""


@dataclass
class Editor:
    """The tag editor in one tab, and what a person does in it."""

    tab: Tab
    server: Any

    def build(self, folder: str, edits: str) -> Editor:
        """Make a graph of a dataset and Edit Tags, and run it."""
        self.page.evaluate("() => app.canvas.graph.clear()")
        # older front ends take a new node for the old one of its number, if that was not seen to go
        self.page.locator(".lb-tags").wait_for(state="detached", timeout=DRAWN)
        self.page.evaluate(BUILD, [folder, edits])
        self.tab.run()
        return self.look()

    def look(self) -> Editor:
        """Wait for the pictures, and bring them into view."""
        self.row(0).locator(".lb-ui-chip").first.wait_for(timeout=DRAWN)
        self.page.evaluate(LOOK)
        self.tab.still(".lb-tags")
        self.page.evaluate(LOOK)
        return self

    @property
    def page(self) -> Any:
        return self.tab.page

    def row(self, number: int) -> Any:
        return self.page.locator(f'.lb-tags-row[data-index="{number}"]')

    def tags(self, number: int) -> list[str]:
        self.tab.drawn()
        return self.row(number).locator(".lb-ui-tag").all_inner_texts()

    def type(self, *keys: str) -> None:
        """Type text; what is in <> is a key."""
        for key in keys:
            if key.startswith("<"):
                self.page.keyboard.press(key.strip("<>"))
            else:
                self.page.keyboard.type(key)

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def wait_for_status(self, text: str) -> None:
        self.page.locator(".lb-ui-status").filter(has_text=text).wait_for(timeout=DRAWN)

    def filter(self, text: str, shown: int) -> None:
        self.page.locator(".lb-ui-filter").fill(text)
        self.wait_for_shown(f"{shown} shown")

    def wait_for_shown(self, text: str) -> None:
        self.page.locator(".lb-ui-everyone").filter(has_text=text).wait_for(timeout=DRAWN)

    def for_many(self, tags: str, button: str) -> None:
        self.page.locator(".lb-tags-bulk").fill(tags)
        self.press(button)

    @property
    def node(self) -> dict[str, Any]:
        return self.page.evaluate(f"() => {NODE}.serialize()")

    @property
    def widgets(self) -> list[Any]:
        """The values of the node's widgets as saving the graph would write them; after them come the host's own."""
        node = self.node
        return node["widgets_values"][: sum("widget" in place for place in node["inputs"])]

    @property
    def saved(self) -> list[str]:
        """The captions as the server has them."""
        return [row["caption"] for row in self.server.get(
            "/lora_bootstrap/dataset", id=self.node["properties"]["tag_editor"]["id"])["pictures"]]

    def run(self) -> dict[str, int]:
        """Press Run, and wait: id of each Edit Tags node → how many captions are changed by hand."""
        before = len(self.server.get("/history"))
        self.tab.run()
        return self.changed_after(before)

    def changed_after(self, before: int) -> dict[str, int]:
        until(lambda: len(self.server.get("/history")) > before, SHOWN, "the run")
        outputs = list(self.server.get("/history").values())[-1]["outputs"]
        return {id: told["lora_bootstrap"][0]["changed"] for id, told in outputs.items()}

    def wait_for_saved(self, number: int, caption: str) -> None:
        until(lambda: self.saved[number] == caption, 20, f"{caption!r} to be saved")


def caption(number: int) -> str:
    return ", ".join(["akane", *(["rain"] if number % 4 == 0 else []), *OTHERS[: 2 + number % 6]])


@pytest.fixture(scope="module")
def pictures(server):
    """A folder of pictures below the host's input, each another."""
    folder = server.base / "input" / "tagged"
    folder.mkdir()
    for number in range(PICTURES):
        Image.new("RGB", (64 + number, 96), (number, 200 - number, 90)).save(folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(caption(number), encoding="utf-8")
    return folder


@pytest.fixture
def edit(open_tab, pictures, server, vue_nodes):
    """A maker of editors. What is edited under one name in one renderer is not what is under another."""
    def make(name: str) -> Editor:
        return Editor(open_tab(), server).build(pictures.name, f"{name}-{'vue' if vue_nodes else 'classic'}")

    return make


def test_tags_are_edited_by_keyboard_and_reach_the_next_run(edit, server, pictures):
    editor = edit("keys")
    before = editor.widgets
    editor.row(0).locator(".lb-ui-add").click()
    editor.type("sho")
    editor.tab.picture("offered")
    editor.type("<ArrowDown>", "<Enter>", "snow, wind,", "<ArrowLeft>", "<Alt+ArrowLeft>")
    assert editor.tags(0) == ["akane", "rain", "smile", "standing", "short hair", "wind", "snow"]
    editor.type("<ArrowRight>", "<Delete>", "<ArrowLeft>", "<Enter>", "<End>", "y", "<Enter>")
    assert editor.tags(0) == ["akane", "rain", "smile", "standing", "short hair", "windy"]
    editor.row(0).locator(".lb-ui-chip", has_text="rain").locator(".lb-ui-x").click()
    editor.type("<Control+z>", "<Control+z>", "<Control+Shift+z>")
    assert editor.tags(0) == ["akane", "rain", "smile", "standing", "short hair", "windy"]
    editor.type("<ArrowDown>", "<Backspace>", "<Backspace>")
    assert editor.tags(1) == ["akane", "smile", "standing"]
    # the host has neither undone the graph nor deleted the node that was selected meanwhile
    assert editor.page.evaluate("() => app.canvas.graph._nodes.length") == 2
    editor.wait_for_saved(1, "akane, smile, standing")
    assert editor.page.get_by_role("button", name="2 changed").is_visible()

    editor.type("unfinished", "<Control+Enter>")  # Run takes what is still being typed
    editor.page.get_by_role("button", name="2 changed").wait_for(state="hidden", timeout=DRAWN)
    editor.tab.picture("run")
    (run,) = (entry["outputs"] for entry in list(server.get("/history").values())[-1:])
    assert [told["lora_bootstrap"][0]["changed"] for told in run.values()] == [2]
    assert editor.saved[:2] == ["akane, rain, smile, standing, short hair, windy", "akane, smile, standing, unfinished"]
    assert (pictures / "000.txt").read_text("utf-8") == caption(0)

    editor.tab.open()
    editor.look()
    editor.tab.picture("reloaded")
    assert [editor.tags(0)[-1], editor.tags(1)[-1]] == ["windy", "unfinished"]
    # the editor is a widget too, but neither saved nor sent
    assert editor.widgets == before and len(before) >= 14
    prompt = editor.page.evaluate("async () => (await app.graphToPrompt()).output")
    assert "tag_editor" not in json.dumps(prompt)


def test_a_run_waits_until_what_was_just_typed_is_saved(edit, server):
    editor = edit("race")
    editor.row(0).locator(".lb-ui-add").click()
    before = len(server.get("/history"))
    with editor.tab.held("**/lora_bootstrap/dataset/captions"):
        editor.type("in time", "<Control+Enter>")
        editor.page.wait_for_timeout(1500)  # longer than a run takes
        assert len(server.get("/history")) == before
    assert list(editor.changed_after(before).values()) == [1]


def test_a_run_that_would_not_use_what_was_typed_is_not_queued_and_says_why(edit, server):
    editor = edit("refused")
    before = len(server.get("/history"))
    editor.page.route("**/lora_bootstrap/dataset/captions", lambda route: route.fulfill(
        status=500, json={"error": "the disk is full."}))
    editor.row(0).locator(".lb-ui-add").click()
    editor.type("lost", "<Enter>")
    editor.tab.run()
    toast = editor.page.locator(TOAST, has_text="Not queued, because the last captions are not saved")
    toast.filter(has_text="the disk is full.").wait_for(timeout=DRAWN)
    editor.tab.picture("refused")
    editor.page.unroute("**/lora_bootstrap/dataset/captions")
    assert list(editor.run().values()) == [1] and len(server.get("/history")) == before + 1
    editor.tab.errors.clear()  # the browser logs the refusals that were asked for


def test_hand_edits_belong_to_their_node_in_a_subgraph_and_a_copy_takes_them_along_and_has_its_own(
        open_tab, pictures, server, vue_nodes):
    """https://github.com/Comfy-Org/ComfyUI_frontend/issues/8137 and 9289: ids collide and are reassigned, so edits
    kept under a node's id are lost, or come out of another node."""
    editor = Editor(open_tab(), server).build(pictures.name, "")
    editor.row(0).locator(".lb-ui-add").click()
    editor.type("by hand", "<Enter>")
    assert editor.run() == {"2": 1}

    copy = editor.page.evaluate(COPY)
    told = server.get("/lora_bootstrap/dataset", id=editor.node["properties"]["tag_editor"]["id"])
    assert copy.split("~") != told["id"].split("~") and copy.split("~")[1] == told["id"].split("~")[1]
    assert editor.run() == {"2": 1, "3": 1}
    server.post("/lora_bootstrap/dataset/captions", {"id": copy, "revision": told["revision"], "changes": [
        {"picture": told["pictures"][1]["id"], "caption": "in the copy"}]})
    assert editor.run() == {"2": 1, "3": 2}

    editor.page.evaluate(CONVERT)
    (inner, other) = sorted(editor.run().items(), key=lambda entry: ":" not in entry[0])
    assert inner[0].endswith(":2") and inner[1] == 1 and other == ("3", 2)
    editor.tab.picture("subgraph")


def test_many_pictures_change_at_once_and_back_in_the_large_view(edit):
    editor = edit("many")
    editor.press("Large view")
    editor.filter('"rain", -"night"', 9)
    editor.for_many("umbrella, akane", "Add")
    editor.wait_for_saved(0, "akane, rain, smile, standing, umbrella")
    editor.tab.picture("large")
    assert [text.endswith("umbrella") for text in editor.saved].count(True) == 9
    editor.press("Undo")
    editor.wait_for_saved(0, caption(0))
    assert editor.saved == [caption(number) for number in range(PICTURES)]

    editor.filter("", PICTURES)
    editor.row(2).locator(".lb-ui-check").check()
    editor.row(4).locator(".lb-ui-check").click(modifiers=["Shift"])
    editor.wait_for_shown(f"3 of {PICTURES} selected")
    editor.for_many("SMILE", "Remove")
    editor.wait_for_status("saved")
    editor.press("3 changed")
    editor.wait_for_shown("3 of 3 selected")
    editor.type("<Escape>")
    editor.page.locator("dialog.lb-ui-dialog").wait_for(state="detached")
    editor.tab.picture("back")
    editor.wait_for_saved(4, caption(4).replace("smile, ", ""))
    assert [number for number, text in enumerate(editor.saved) if text != caption(number)] == [2, 3, 4]
    editor.row(2).get_by_role("button", name="into the workflow as Load Image").click()
    assert editor.page.evaluate("""() => app.canvas.graph._nodes.find(
        ({ type }) => type === "LoadImage").widgets[0].value""") == "tagged/002.png"


def test_edits_of_two_tabs_are_both_kept_or_told_of(edit):
    first, second = edit("two"), edit("two")
    first.row(0).locator(".lb-ui-add").click()
    first.type("first", "<Enter>")
    first.wait_for_saved(0, f"{caption(0)}, first")
    with second.tab.held("**/lora_bootstrap/dataset/captions"):
        second.row(1).locator(".lb-ui-add").click()
        second.type("second", "<Enter>", "<ArrowUp>", "second", "<Enter>")
    note = second.page.locator(".lb-ui-note").filter(has_text="000.png was changed elsewhere")
    note.wait_for(timeout=DRAWN)
    second.tab.picture("told")
    second.wait_for_saved(1, f"{caption(1)}, second")
    assert second.tags(0)[-1] == "first" and second.saved[0] == f"{caption(0)}, first"
    second.press("Undo")
    second.wait_for_saved(0, f"{caption(0)}, second")
    note.wait_for(state="hidden", timeout=DRAWN)
    # the browser logs the refusal that was asked for
    second.tab.errors[:] = [error for error in second.tab.errors if "409" not in error]


def test_only_pictures_near_the_sight_are_drawn_and_scrolling_draws_the_others(edit):
    editor = edit("scroll")
    drawn = editor.page.locator(".lb-tags-row:has(.lb-tags-thumb)")
    assert 3 <= drawn.count() < 40
    editor.row(0).locator(".lb-ui-add").click()
    size = editor.page.evaluate("() => app.canvas.ds.scale")
    editor.page.locator(".lb-tags-list").hover()
    for _ in range(40):
        editor.page.mouse.wheel(0, 600)
    editor.row(PICTURES - 1).locator(".lb-ui-chip").first.wait_for(timeout=DRAWN)
    editor.tab.picture("scrolled")
    assert editor.tags(PICTURES - 1) == caption(PICTURES - 1).split(", ")
    assert drawn.count() < 40
    assert editor.page.evaluate("() => app.canvas.ds.scale") == size  # the wheel was the list's
