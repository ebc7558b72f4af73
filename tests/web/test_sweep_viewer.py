"""The viewer of sweeps in a real front end, in both of its renderers: cells by keyboard and by pointer, two sweeps side
by side, using what was found, the nodes' panels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lora_bootstrap.trainer.common.files import read_json
from lora_bootstrap.trainer.sweeps.cells import Sweep

from ..helpers.browser import DRAWN, EVENT, SHOWN, SIZE, UNREADABLE, Tab, settings
from ..helpers.drawn_sweep import draw_cell, draw_sweep, write_run, write_scores
from ..helpers.server import until

STEPS = (50, 100, 150)
BUILD = """(name) => {
    const graph = app.canvas.graph;
    const nodes = ["LoraBootstrap_StrengthGrid", "LoraBootstrap_ScoreSweep"].map((type) => LiteGraph.createNode(type));
    nodes.forEach((node, index) => {
        node.pos = [700 * index, 0];
        graph.add(node);
    });
    for (const [key, value] of Object.entries({ name, rows: "checkpoint", columns: "strength" }))
        nodes[0].widgets.find((widget) => widget.name === key).value = value;
    nodes[0].connect(0, nodes[1], 0);
    app.canvas.ds.scale = 0.7;
    app.canvas.ds.offset = [120, 160];
    app.canvas.setDirty(true, true);
}"""
GRID = "app.canvas.graph._nodes.find((node) => node.comfyClass === 'LoraBootstrap_StrengthGrid')"
TEXTS = (".lb-sweep :is(.lb-ui-status, .lb-ui-note, .lb-ui-button:not(:disabled), .lb-sweep-head, "
         ".lb-sweep-corner, .lb-ui-choice-name, .lb-sweep-pane-title, dt, dd, figcaption, .lb-sweep-verdict, "
         ".lb-sweep-failure), "
         ".lb-sweep-tile:not([data-marks~=hidden]) > :is(.lb-sweep-caption, .lb-sweep-word)")
WIDER = """() => [...document.querySelectorAll("dialog.lb-sweep-dialog, .lb-sweep-dialog *")].filter((one) => {
    if (one.scrollWidth <= one.clientWidth + 1 || !one.clientWidth || one.closest(".lb-sweep-plane")) return false;
    return one.matches("dialog, .lb-sweep") || !/auto|scroll|hidden|clip/.test(getComputedStyle(one).overflowX);
}).map((one) => one.className)"""


@dataclass
class OnDisk:
    """A sweep in the server's folders."""

    server: Any
    name: str

    @property
    def folder(self) -> Path:
        return self.server.base / "output" / "sweeps" / self.name

    @property
    def sweep(self) -> Sweep:
        return Sweep.load(self.folder)

    @property
    def marks(self) -> dict[str, Any]:
        path = self.folder / "marks.json"
        return read_json(path) if path.exists() else {"best": None, "hidden": []}

    def wait_for_marks(self, best: str | None, *hidden: str) -> None:
        until(lambda: (self.marks["best"], tuple(self.marks["hidden"])) == (best, hidden), 20, f"{best} to be marked")


@dataclass
class Viewer(OnDisk):
    """The viewer in one tab, and what a person does in it."""

    tab: Tab

    @property
    def page(self) -> Any:
        return self.tab.page

    def build(self) -> Viewer:
        """Make a graph of a grid's node and one that scores it, and wait for their pictures."""
        self.tab.restored()
        self.page.evaluate("() => app.canvas.graph.clear()")
        # older front ends take a new node for the old one of its number, if that was not seen to go
        self.page.locator(".lb-sweep-panel").first.wait_for(state="detached", timeout=DRAWN)
        self.page.evaluate(BUILD, self.name)
        self.page.locator(".lb-sweep-strip img").first.wait_for(timeout=DRAWN)
        return self

    def open(self) -> Viewer:
        """Open it from the node."""
        self.page.locator(".lb-sweep-panel").first.get_by_role("button", name="Open viewer").click()
        self.page.locator(".lb-sweep-tile").first.wait_for(timeout=DRAWN)
        until(lambda: self.focused, SHOWN, "a cell to have the focus")
        return self

    def tile(self, *, wait: bool = False, **places: int | None) -> Any:
        tile = self.page.locator(f'.lb-sweep-tile[data-key="{self.sweep.cell(**places).key}"]').first
        if wait:
            tile.wait_for(timeout=DRAWN)
        return tile

    @property
    def focused(self) -> str:
        """What the cell with the focus is called."""
        return self.page.evaluate(
            "() => document.activeElement.closest('.lb-sweep-tile') && document.activeElement.ariaLabel") or ""

    def type(self, *keys: str) -> Viewer:
        for key in keys:
            self.page.keyboard.press(key)
        return self

    def choose(self, what: str, option: str) -> None:
        self.page.locator("dialog").get_by_role("combobox", name=f"{what}: ").click()
        self.page.get_by_role("option").filter(has_text=option).first.click()

    def press(self, button: str) -> None:
        self.page.locator("dialog").get_by_role("button", name=button, exact=True).click()

    @property
    def view(self) -> tuple[float, float, float]:
        """(x, y, zoom) of the first plane."""
        return tuple(self.page.evaluate("""() => {
            const { e, f, a } = new DOMMatrix(document.querySelector(".lb-sweep-plane").style.transform);
            return [e, f, a];
        }"""))

    def settle(self) -> None:
        """Two frames, in which the plane is drawn anew, and the time after which its pictures are loaded."""
        self.page.wait_for_timeout(350)
        self.tab.drawn()

    @property
    def middle(self) -> tuple[float, float]:
        box = self.page.locator(".lb-sweep-port").first.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture
def on_disk(server, vue_nodes):
    """A maker of drawn sweeps."""

    def make(name: str, *, scored: bool = True, **axes: Any) -> OnDisk:
        name = f"{name}-{'vue' if vue_nodes else 'classic'}"
        output = server.base / "output"
        if not (output / "sweeps" / name).exists():
            run = f"{name}-run"
            sweep = draw_sweep(output / "sweeps", write_run(output / "loras", run, axes.pop("steps", STEPS)), name=name,
                               **axes)
            if scored:
                write_scores(sweep)
        return OnDisk(server, name)

    return make


@pytest.fixture
def viewer(open_tab, on_disk):
    """A maker of viewers of a drawn sweep, opened from its node."""

    def make(name: str, *, open: bool = True, **sweep: Any) -> Viewer:
        found = on_disk(name, **sweep)
        one = Viewer(found.server, found.name, open_tab()).build()
        return one.open() if open else one

    return make


def test_a_pass_by_keyboard_marks_cells_and_takes_it_back(viewer):
    one = viewer("keys")
    sweep = one.sweep
    best, hidden = sweep.cell(checkpoint=1, strength=0).key, sweep.cell(checkpoint=1, strength=1).key
    assert one.focused == "no LoRA · akane, smile, front view · seed 1"
    one.type("ArrowRight", "ArrowDown", "b", "ArrowRight", "h")
    assert one.focused.startswith("step 100 (epoch 10) · strength 0.8") and "good" in one.focused
    one.wait_for_marks(best, hidden)
    one.tile(checkpoint=1, strength=1).get_by_text("recommended").wait_for()
    one.tab.picture("marked")
    one.type("Control+z", "Control+z", "Control+Shift+z")
    one.wait_for_marks(best)
    one.type("End", "Enter")
    close = one.page.locator(".lb-sweep-close")
    close.get_by_text("step 100 (epoch 10) at 1", exact=False).first.wait_for()
    one.tab.picture("closely")
    facts = close.locator(".lb-sweep-side").inner_text()
    assert "euler" in facts and f"{one.name}-run-step000100.safetensors" in facts and "not measured" in facts
    assert close.locator(".lb-sweep-other img").get_attribute("alt") == "without the LoRA"
    one.type("ArrowDown", "b")
    one.wait_for_marks(sweep.cell(checkpoint=2, strength=2).key)
    one.type("ArrowDown", "ArrowLeft", "h", "Control+z")  # there is none below
    one.wait_for_marks(sweep.cell(checkpoint=2, strength=2).key)
    one.type("Escape")
    until(lambda: one.focused.startswith("step 150 (epoch 15) · strength 0.8"), SHOWN, "the focus to be on the plane")
    one.type("?")
    one.page.locator(".lb-ui-help").get_by_text("mark the best; hide").wait_for()
    one.type("Escape", "Escape")
    one.page.locator("dialog.lb-sweep-dialog").wait_for(state="detached")
    # the host has neither undone the graph nor deleted a node
    assert one.page.evaluate("() => app.canvas.graph._nodes.length") == 2


def test_the_plane_is_panned_and_zoomed_and_holds_only_what_is_in_sight(viewer):
    one = viewer("plane", scored=False, steps=range(10, 210, 10), strengths=[n / 20 for n in range(1, 11)],
                 prompts=("akane",), seeds=(1,), side=320)
    tiles = one.page.locator(".lb-sweep-tile")
    one.page.wait_for_function(
        "() => [...document.querySelectorAll('.lb-sweep-picture')].every((image) => image.naturalWidth)")
    until(lambda: tiles.count() == 220, SHOWN, "all cells, for all of them fit")
    source = one.page.locator(".lb-sweep-picture").first.get_attribute
    assert "size=thumb" in source("src")
    x, y = one.middle
    one.page.mouse.move(x, y)
    before = one.view
    for _ in range(8):
        one.page.mouse.wheel(0, -240)
    until(lambda: one.view[2] > 4 * before[2] and tiles.count() < 80, SHOWN, "the plane to be near")
    until(lambda: all("size=thumb" not in (address or "size=thumb") for address in tiles.locator("img").evaluate_all(
        "(images) => images.filter((one) => one.getBoundingClientRect().top > 300).slice(0, 2).map((one) => one.src)")),
        20, "full pictures")
    one.tab.picture("near")
    heads = one.page.locator(".lb-sweep-rows .lb-sweep-head")
    until(lambda: 1 <= heads.count() <= 6, SHOWN, "the lines in sight to have their names")
    one.settle()
    before = one.view
    one.page.mouse.down()
    one.page.mouse.move(x - 200, y - 120, steps=6)
    one.page.mouse.up()
    until(lambda: (round(one.view[0] - before[0]), round(one.view[1] - before[1])) == (-200, -120), SHOWN, "the plane")
    one.settle()
    assert one.page.locator(".lb-sweep-close").is_hidden()  # the click at the end of a drag opens nothing
    one.page.locator(".lb-sweep-face[tabindex='0']").focus()
    one.type("-", "Shift+ArrowDown", "+")
    one.settle()
    one.type("ArrowDown")
    one.settle()
    assert one.focused and one.page.evaluate("""() => {
        const [cell, port] = [document.activeElement, document.querySelector(".lb-sweep-port")].map(
            (one) => one.getBoundingClientRect());
        return cell.left >= port.left - 20 && cell.top >= port.top - 20 && cell.right <= port.right + 20;
    }""")
    one.type("0")
    until(lambda: tiles.count() == 220, SHOWN, "all cells")
    one.settle()
    one.page.mouse.click(x, y)
    one.page.locator(".lb-sweep-close").wait_for(timeout=DRAWN)


def test_axes_pages_and_filters_choose_what_is_shown(viewer):
    one = viewer("axes")
    sweep = one.sweep
    sweep.fail(sweep.cell(checkpoint=1, strength=2, prompt=2, seed=1), "CUDA out of memory")
    one.choose("Rows", "Prompt")
    one.choose("Columns", "Seed")
    heads = one.page.locator(".lb-sweep-rows .lb-sweep-head")
    heads.get_by_text("akane, night sky").wait_for()
    one.choose("Checkpoint", "step 150 (epoch 15)")
    one.tile(wait=True, checkpoint=2, prompt=2, seed=1)
    one.choose("Checkpoint", "no LoRA")
    one.tile(wait=True, checkpoint=None, strength=None, prompt=2, seed=1)
    one.tab.picture("pages")
    one.page.get_by_label("Words in the prompt").fill("above")
    one.page.get_by_text("2 here, 20 cells in all").wait_for()
    until(lambda: heads.count() == 1, SHOWN, "one line to be left")
    one.page.get_by_label("Words in the prompt").fill("")

    one.page.evaluate(EVENT, ["lora_bootstrap.sweep", {"name": one.name, "node": "999", "done": 59, "failed": 1,
                                                       "total": 60}])
    one.page.locator(".lb-sweep .lb-ui-status").filter(has_text="59 of 60 cells, 1 failed").wait_for(timeout=DRAWN)
    one.choose("Show", "failed")  # it is on another page
    one.tile(wait=True, checkpoint=1, strength=2, prompt=2, seed=1).get_by_text("failed").wait_for()
    one.tab.picture("failed")
    one.tile(checkpoint=1, strength=2, prompt=2, seed=1).locator(".lb-sweep-face").click()
    one.page.locator(".lb-sweep-failure").get_by_text("Failed: CUDA out of memory").wait_for()
    one.type("Escape")
    one.choose("Show", "all")
    one.tile(wait=True, checkpoint=1, strength=2, prompt=0, seed=1).locator(".lb-sweep-face").focus()
    one.type("h")
    one.choose("Show", "not hidden")
    one.tile(checkpoint=1, strength=2, prompt=0, seed=1).wait_for(state="detached", timeout=DRAWN)


def test_two_sweeps_are_seen_side_by_side(viewer, on_disk, server):
    first = on_disk("first")
    one = viewer("other")
    one.choose("Side by side", first.name)
    one.page.locator(".lb-sweep-pane").nth(1).locator(".lb-sweep-tile").first.wait_for(timeout=DRAWN)
    x, y = one.middle
    one.page.mouse.move(x, y)
    one.page.mouse.wheel(0, -600)
    one.settle()
    one.tab.picture("beside")
    transforms = one.page.locator(".lb-sweep-plane").evaluate_all("(all) => all.map((one) => one.style.transform)")
    assert len(transforms) == 2 and transforms[0] == transforms[1]
    one.press("Fit")
    for wide in (900, SIZE["width"]):
        one.page.set_viewport_size({**SIZE, "width": wide})
        one.settle()
        transforms = one.page.locator(".lb-sweep-plane").evaluate_all("(all) => all.map((one) => one.style.transform)")
        assert transforms[0] == transforms[1]
    one.page.locator(".lb-sweep-pane").nth(1).locator(".lb-sweep-face[tabindex='0']").focus()
    one.type("b")
    first.wait_for_marks(first.sweep.references[0].key)
    one.tile(checkpoint=1, strength=1).locator(".lb-sweep-face").focus()
    one.type("Enter")
    one.choose("Beside it", "the other sweep")
    other = one.page.locator(".lb-sweep-other img")
    key = first.sweep.cell(checkpoint=1, strength=1).key
    until(lambda: f"name={first.name}&key={key}" in other.get_attribute("src"), SHOWN, "the other one's picture")
    one.tab.picture("beside closely")
    one.type("Escape")
    one.choose("Side by side", "nothing")
    until(lambda: one.page.locator(".lb-sweep-pane").count() == 1, SHOWN, "one sweep to be left")
    newest = [entry["name"] for entry in server.get("/lora_bootstrap/sweeps")]
    assert newest.index(one.name) < newest.index(first.name)


def test_the_graph_in_a_cells_picture_is_loaded(viewer):
    one = viewer("load")
    one.type("Enter")
    one.press("Load workflow")
    one.page.locator("dialog.lb-sweep-dialog").wait_for(state="detached")
    one.page.wait_for_function("() => app.graph.nodes?.some((node) => node.type === 'LatentFlip')", timeout=DRAWN)
    one.tab.picture("loaded")
    assert one.page.evaluate("() => app.graph.nodes.map((node) => node.type).sort().join()") == (
        "EmptyLatentImage,LatentFlip")


def test_the_lora_of_a_cell_is_used_under_a_name_of_its_own(viewer, server):
    one = viewer("use")
    one.type("ArrowRight", "ArrowDown", "Enter")
    name = f"{one.name} best"
    one.page.get_by_label("Name of the LoRA file").fill(name)
    one.type("b")  # what is typed into a field marks nothing
    one.page.get_by_label("Name of the LoRA file").fill(name)
    one.press("Use this one")
    one.page.locator(".lb-sweep-used").get_by_text(f"{name}.safetensors at strength 0.5").wait_for(timeout=DRAWN)
    one.tab.picture("used")
    assert (server.base / "models" / "loras" / f"{name}.safetensors").exists()
    picked = read_json(server.base / "output" / "loras" / f"{one.name}-run" / "picked.json")
    assert (picked["step"], picked["strength"], picked["sweep"]) == (100, 0.5, one.name)
    one.wait_for_marks(one.sweep.cell(checkpoint=1, strength=0).key)
    (server.base / "output" / "loras" / f"{one.name}-run" / picked["lora"]).write_bytes(b"another")
    one.press("Use this one")
    one.page.locator(".lb-sweep-used").get_by_text("has changed since this cell was drawn").wait_for(timeout=DRAWN)
    # the browser logs the refusal that was asked for
    one.tab.errors[:] = [error for error in one.tab.errors if "409" not in error]


def test_a_nodes_panel_follows_its_sweep_and_lasts_over_a_reload(viewer, server, vue_nodes):
    one = viewer("panel", open=False)
    panels = one.page.locator(".lb-sweep-panel")
    panels.nth(0).get_by_text("60 cells", exact=True).wait_for(timeout=DRAWN)
    panels.nth(1).get_by_text("Recommended: step 100 (epoch 10) at 0.8.", exact=False).wait_for(timeout=DRAWN)
    assert "Recommended" not in panels.nth(0).inner_text()
    output = server.base / "output"
    later = f"later-{one.name}"
    sweep = draw_sweep(output / "sweeps", write_run(output / "loras", "later"), name=later, make=False)
    for cell in sweep.missing()[:14]:
        draw_cell(sweep, cell)
    node = str(one.page.evaluate(f"() => {GRID}.id"))
    one.page.evaluate(EVENT, ["lora_bootstrap.sweep", {"name": later, "node": node, "done": 14, "failed": 1,
                                                       "total": 60}])
    panels.nth(0).get_by_text("14 of 60 cells, 1 failed").wait_for(timeout=DRAWN)
    panels.nth(1).get_by_text("14 of 60 cells, 1 failed").wait_for(timeout=DRAWN)
    one.tab.picture("panels")
    kept = {"name": later, "of": one.name}
    assert one.page.evaluate(f"() => {GRID}.properties.sweep") == kept
    prompt = json.dumps(one.page.evaluate("async () => (await app.graphToPrompt()).output"))
    assert "sweep_panel" not in prompt
    one.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    panels.nth(0).get_by_text("14 of 60 cells", exact=True).wait_for(timeout=DRAWN)
    one.page.evaluate(f"""() => {{
        const widget = {GRID}.widgets.find(({{ name }}) => name === "name");
        widget.value = "{one.name}";
        widget.value = "nothing yet";
        widget.callback?.(widget.value);
    }}""")
    panels.nth(0).get_by_text("Press Run to make sweep nothing yet.").wait_for(timeout=DRAWN)

    sweep = Sweep.load(sweep.folder)
    one.page.evaluate(EVENT, ["lora_bootstrap.sweep", {"name": later, "node": node, "done": 14, "failed": 0,
                                                       "total": 60}])
    one.name = later
    one.open()
    missing = sweep.cell(checkpoint=2, strength=2)
    one.tile(wait=True, checkpoint=2, strength=2).get_by_text("not made yet").wait_for()
    draw_cell(sweep, missing)
    one.page.evaluate(EVENT, ["lora_bootstrap.sweep", {"name": later, "node": node, "done": 15, "failed": 0,
                                                       "total": 60}])
    one.tile(checkpoint=2, strength=2).and_(one.page.locator("[data-state=done]")).wait_for(timeout=DRAWN)
    one.tab.picture("filling")


def test_narrow_windows_large_letters_and_both_themes_can_be_read(viewer, on_disk, server, vue_nodes):
    try:
        for theme in ("dark", "light"):
            server.post("/settings", {**settings(vue_nodes), "Comfy.ColorPalette": theme})
            other = on_disk("wide")
            one = viewer("narrow", open=False)
            one.sweep.fail(one.sweep.cell(checkpoint=2, strength=2), "CUDA out of memory")
            one.open()
            one.tab.picture(theme)
            assert one.page.evaluate(UNREADABLE, TEXTS) == []
            one.choose("Side by side", other.name)
            one.settle()
            one.tile(checkpoint=1, strength=1).locator(".lb-sweep-face").focus()
            one.type("Enter")
            one.settle()
            assert one.page.evaluate(UNREADABLE, TEXTS) == []
            for wide, zoom in ((700, 1), (SIZE["width"], 2)):
                one.page.set_viewport_size({"width": wide, "height": SIZE["height"]})
                one.page.evaluate("(zoom) => { document.documentElement.style.fontSize = `${16 * zoom}px`; "
                                  "document.querySelector('dialog .lb-sweep').style.fontSize = `${14 * zoom}px`; }",
                                  zoom)
                one.settle()
                one.tab.picture(f"{theme} closely {wide} x{zoom}")
                assert one.page.evaluate(WIDER) == []
                one.type("Escape")
                one.settle()
                one.tab.picture(f"{theme} all {wide} x{zoom}")
                assert one.page.evaluate(WIDER) == [] and one.focused
                one.type("Enter")
            one.page.set_viewport_size(SIZE)
    finally:
        server.post("/settings", {**settings(vue_nodes), "Comfy.ColorPalette": "dark"})
