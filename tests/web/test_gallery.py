"""The gallery in a real front end, in both of its renderers: one pass by keyboard, one picture closely, two tabs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from ..helpers.browser import DRAWN, EVENT, SHOWN, SIZE, TOAST, UNREADABLE, Tab
from ..helpers.server import until
from ..helpers.written_project import CROPS, draw, name_of, tags_of, write_candidate, write_project

FEW, MANY = 24, 200
CURATE = "app.canvas.graph._nodes.find((node) => node.comfyClass === 'LoraBootstrap_CurateImages')"
BUILD = """([name, picture]) => {
    const graph = app.canvas.graph;
    const types = ["LoadImage", "LoraBootstrap_Project", "LoraBootstrap_CurateImages"];
    const nodes = types.map((type) => LiteGraph.createNode(type));
    nodes.forEach((node, index) => {
        node.pos = [[-400, 0], [0, 0], [600, 0]][index];
        graph.add(node);
    });
    const set = (node, values) => {
        for (const widget of node.widgets.filter((one) => one.name in values)) widget.value = values[widget.name];
    };
    set(nodes[0], { image: picture });
    set(nodes[1], { name, trigger: "akane", tags: "1girl, red hair", targets: "4, 16", candidates: "24" });
    nodes[0].connect(0, nodes[1], 0);
    nodes[1].connect(0, nodes[2], 0);
}"""
LOOK = """(selector) => {
    const box = document.querySelector(selector).getBoundingClientRect();
    const { ds } = app.canvas;
    ds.offset[0] += (300 - box.left) / ds.scale;
    ds.offset[1] += (120 - box.top) / ds.scale;
    app.canvas.setDirty(true, true);
}"""
LIVE = (({"status": "training", "step": 65, "steps": 100}, "Training style LoRA 1: step 65 of 100."),
        ({"status": "finished"}, "Run trains a style LoRA on the images so far"))
"""What a training's events let the project's panel say."""
TEXTS = ".lb-gallery :is(.lb-ui-status, .lb-ui-note, .lb-ui-button, .lb-gallery-caption, dt, dd, time, label)"
WIDER = """() => [...document.querySelectorAll("dialog.lb-gallery-dialog, .lb-gallery-dialog *")].filter((one) => {
    if (one.scrollWidth <= one.clientWidth + 1 || !one.clientWidth) return false;
    const whole = one.matches("dialog, .lb-gallery, .lb-gallery-list, .lb-ui-side, .lb-gallery-facts");
    return whole || !/auto|scroll|hidden/.test(getComputedStyle(one).overflowX);
}).map((one) => one.className)"""


@dataclass
class Gallery:
    """The gallery in one tab, and what a person does in it."""

    tab: Tab
    server: Any
    project: str

    def build(self) -> Gallery:
        """Make a graph of a picture, its project, and Curate Images. Nothing is run."""
        self.page.evaluate("() => app.canvas.graph.clear()")
        # older front ends take a new node for the old one of its number, if that was not seen to go
        self.page.locator(".lb-gallery").wait_for(state="detached", timeout=DRAWN)
        self.page.evaluate(BUILD, [self.project, "picture.png"])
        return self.look()

    def look(self) -> Gallery:
        """Wait for the pictures, and bring them into view."""
        self.page.locator(".lb-gallery-card").first.wait_for(timeout=DRAWN)
        self.page.evaluate(LOOK, ".lb-gallery")
        self.tab.still(".lb-gallery")
        self.page.evaluate(LOOK, ".lb-gallery")
        return self

    @property
    def page(self) -> Any:
        return self.tab.page

    def card(self, number: int) -> Any:
        return self.page.locator(f'.lb-gallery-card[data-name="{name_of(number)}"]')

    def at(self, number: int) -> Gallery:
        """Click on a card, which puts the focus there."""
        self.card(number).locator(".lb-gallery-face").click()
        return self

    def project_says(self, event: dict[str, Any], said: str) -> bool:
        """Whether the project's panel says that after a training's event. An earlier run may end in between."""
        self.page.evaluate(EVENT, ["lora_bootstrap.progress", event])
        self.tab.drawn()
        return said in self.page.locator(".lb-project-next").inner_text()

    @property
    def focused(self) -> str:
        return self.page.evaluate("() => document.activeElement.closest('.lb-gallery-card')?.dataset.name ?? ''")

    @property
    def order(self) -> list[int]:
        """Numbers of the cards that are drawn, as they are read."""
        self.tab.drawn()
        return [int(name[3:]) for name in self.page.locator(".lb-gallery-card").evaluate_all(
            "(cards) => cards.map((card) => card.dataset.name)")]

    def type(self, *keys: str) -> Gallery:
        """Press keys, one after another; what is longer than one and not in <> is typed."""
        for key in keys:
            if key.startswith("<") or len(key) == 1:
                self.page.keyboard.press(key.strip("<>"))
            else:
                self.page.keyboard.type(key)
        return self

    def press(self, button: str) -> None:
        self.page.locator(".lb-gallery").get_by_role("button", name=button, exact=True).click()

    def label(self, label: str) -> Any:
        return self.page.get_by_label(label, exact=True)

    def wait_for_status(self, text: str) -> None:
        self.page.locator(".lb-gallery > .lb-ui-head > .lb-ui-status").filter(has_text=text).wait_for(timeout=DRAWN)

    def wait_for_state(self, number: int, state: str) -> None:
        self.page.locator(f'.lb-gallery-card[data-name="{name_of(number)}"][data-state="{state}"]').wait_for(
            timeout=DRAWN)

    @property
    def round(self) -> dict[str, Any]:
        return self.server.get("/lora_bootstrap/candidates", project=self.project, round=1)

    def pick(self, number: int) -> dict[str, Any]:
        """What the server has saved of a candidate."""
        return self.round["candidates"][number]["pick"]

    @property
    def states(self) -> dict[int, str]:
        """By number: what is decided, as the server has it."""
        picks = {number: one["pick"]["state"] for number, one in enumerate(self.round["candidates"])}
        return {number: state for number, state in picks.items() if state}

    def wait_for_pick(self, number: int, **values: Any) -> None:
        until(lambda: _holds(self.pick(number), values), 20, f"{name_of(number)} to be {values}")

    def wait_for_states(self, states: dict[int, str]) -> None:
        until(lambda: self.states == states, 20, f"{states} to be saved")


def _holds(pick: dict[str, Any], values: dict[str, Any]) -> bool:
    return {name: pick[name] for name in values} == values


@pytest.fixture
def gallery(open_tab, server, vue_nodes):
    """A maker of galleries: the first of a name writes its project, another is a second tab on it."""
    draw(0).save(server.base / "input" / "picture.png")

    def make(name: str, candidates: int = FEW, **more: Any) -> Gallery:
        project = f"{name}-{'vue' if vue_nodes else 'classic'}"
        if not (server.base / "output" / "bootstrap" / project).exists():
            write_project(server.base / "output", project, candidates=candidates, **more)
        return Gallery(open_tab(), server, project).build()

    return make


def test_a_pass_by_keyboard_is_saved_and_lasts_over_a_reload_with_its_undoing(gallery):
    one = gallery("keys")
    before = one.page.evaluate(f"() => {CURATE}.serialize().widgets_values")
    assert one.order[:9] == [7, 6, 5, 4, 3, 2, 1, 0, 8]  # the proposed in the order they were picked in, then likeness
    one.wait_for_status("4 of 16 kept · pick 12 more, then press Run")
    one.at(7).type("k", " ", "x", "<Shift+K>")
    assert one.focused == name_of(4)
    one.type("k", "<Shift+X>", "u", "<Delete>")
    one.wait_for_states({7: "keep", 6: "keep", 5: "reject", 4: "reject"})
    one.wait_for_status("6 of 16 kept · pick 10 more, then press Run · saved")
    one.tab.picture("picked")
    assert one.focused == name_of(3)
    one.type("<ArrowLeft>", "<ArrowLeft>", "<Control+z>", "<Control+z>", "<Control+Shift+z>")
    one.wait_for_states({7: "keep", 6: "keep", 5: "reject"})
    assert one.focused == name_of(5)
    assert one.card(7).locator(".lb-gallery-face").get_attribute("aria-label") == (
        f"{name_of(7)}; from above, upper body; kept")
    one.type("<Home>", "<ArrowDown>", "<ArrowUp>", "<End>")
    assert one.focused == name_of(FEW - 1)
    one.type("?")
    one.page.locator(".lb-ui-help").get_by_text("keep, and go to the next").wait_for()
    one.type("<Escape>")
    one.page.locator(".lb-ui-help").wait_for(state="hidden")
    # the host has neither undone the graph nor deleted the node
    assert one.page.evaluate("() => app.canvas.graph._nodes.length") == 3

    one.at(8).type("k")
    one.tab.open()  # while it is not saved yet
    one.look()
    one.tab.picture("reloaded")
    assert one.states == {7: "keep", 6: "keep", 5: "reject", 8: "keep"}
    assert one.page.evaluate(f"() => {CURATE}.serialize().widgets_values") == before
    assert "gallery" not in json.dumps(one.page.evaluate("async () => (await app.graphToPrompt()).output"))
    one.wait_for_status("7 of 16 kept")
    one.press("Undo")
    one.wait_for_status("saved")
    one.press("Redo")
    one.at(5).type(*["<Control+z>"] * 6)
    one.wait_for_states({7: "keep", 6: "keep"})


def test_a_picture_is_seen_closely_cropped_flipped_tagged_and_noted(gallery):
    one = gallery("closely", twins=((2, 9),), generators=("animagine-xl · akane-style-1", "qwen_image_edit_2511"))
    one.at(7).type("z", "f")
    facts = one.page.locator(".lb-gallery-zoom dl")
    assert "qwen_image_edit_2511" in facts.inner_text() and "reference" not in facts.inner_text()
    one.wait_for_pick(7, flip=True)
    one.label(f"Add a tag to {name_of(7)}").click()
    one.type("rain,", "<ArrowLeft>", "<ArrowLeft>", "<Delete>")
    assert one.pick(7)["state"] == ""  # what is typed into a field decides nothing
    one.label("Note on this candidate").click()
    one.type("kept for the hair", "<Enter>")
    for side, value in (("left", 10), ("top", 4), ("right", 60)):
        one.label(f"Crop: {side}, in pixels").fill(str(value))
        one.label(f"Crop: {side}, in pixels").press("Enter")
    one.wait_for_pick(7, crop=[10, 4, 60, 64], flip=True, note="kept for the hair",
                      tags=[*tags_of(7)[:-1], "rain"])
    one.label("Crop: left, in pixels").fill("50")
    one.label("Crop: left, in pixels").press("Enter")
    one.page.locator(".lb-gallery-crop").get_by_text("at least 16 pixels on each side").wait_for()
    one.tab.picture("cropped")
    one.type("<Control+z>")  # in a field of numbers too
    one.wait_for_pick(7, crop=[10, 4, 64, 64])

    one.page.locator(".lb-gallery-own .lb-gallery-face").focus()
    one.type("c", "k")
    assert one.page.locator(".lb-gallery-other img").get_attribute("alt") == "Original crop 1-crop"
    one.wait_for_pick(7, state="keep")
    one.type("f")
    one.wait_for_pick(6, flip=True)  # the decision went on to the next
    frame = one.page.locator(".lb-gallery-own .lb-ui-picture")
    assert "lb-ui-pixels" in frame.get_attribute("class")  # large enough to show the picture's own pixels
    box = frame.bounding_box()
    at = [(box["x"] + box["width"] * across, box["y"] + box["height"] * down) for across, down in (
        (0.25, 0.125), (0.75, 0.5))]
    one.page.mouse.move(*at[0])
    one.page.mouse.down()
    one.page.mouse.move(*at[1], steps=3)
    one.page.mouse.up()
    one.wait_for_pick(6, crop=[16, 8, 48, 32])  # mirrored back: it is symmetrical here
    one.page.mouse.move(*at[0])
    one.page.mouse.down()
    one.page.mouse.move(at[0][0] + box["width"] / 4, at[1][1], steps=3)
    one.page.mouse.up()
    one.wait_for_pick(6, crop=[32, 8, 48, 32])
    one.tab.picture("drawn")
    one.type("<ArrowRight>", "x", "<Escape>")
    one.wait_for_pick(5, state="reject")
    one.page.locator("dialog.lb-gallery-dialog").wait_for(state="detached")  # it was opened from the node
    until(lambda: one.focused == name_of(4), SHOWN, "the focus to be where the pass went on")
    one.tab.picture("back")
    one.card(2).locator(".lb-gallery-face").dblclick()
    one.page.locator(".lb-gallery-zoom").get_by_text(name_of(2)).first.wait_for(timeout=DRAWN)


def test_all_proposed_are_kept_at_once_and_enough_let_it_run(gallery):
    one = gallery("proposed", proposed=12, generators=("animagine-xl · akane-style-1", "qwen_image_edit_2511"))
    one.press("Large view")
    assert one.page.locator("dialog").get_by_role("button", name="Run", exact=True).is_disabled()
    one.card(3).hover()
    one.page.get_by_title(f"Reject {name_of(3)} (X)").click()
    assert one.focused == name_of(3)
    one.press("Keep proposed")
    one.wait_for_states({number: "reject" if number == 3 else "keep" for number in range(12)})
    one.press("Undo")
    one.wait_for_states({3: "reject"})
    one.press("Redo")
    one.at(3).type("k")
    one.wait_for_status("16 of 16 kept · press Run to continue · saved")
    one.tab.picture("enough")
    assert one.page.locator("dialog").get_by_role("button", name="Run", exact=True).is_enabled()
    assert one.page.locator(".lb-gallery-history > li").first.inner_text().endswith(f"keeping {name_of(3)}")
    assert [row.get_attribute("title") for row in one.page.locator(".lb-gallery-quota").all()[:2]] == [
        "3 of the 3 wanted images with front view", "3 of the 3 wanted images with from side"]
    made_by = one.page.locator(".lb-gallery-axis", has_text="generator").locator(".lb-gallery-quota")
    assert [row.get_attribute("title") for row in made_by.all()] == [
        f"6 of 12 images by {name} are kept" for name in ("animagine-xl · akane-style-1", "qwen_image_edit_2511")]
    assert made_by.first.evaluate("(row) => row.scrollWidth <= row.clientWidth")  # a long name is cut, not the count
    made_by.nth(1).get_by_role("button").click()
    assert sorted(one.order) == list(range(1, FEW, 2))
    one.card(3).locator(".lb-gallery-face").dblclick()
    one.page.locator(".lb-gallery-zoom").get_by_text(name_of(3)).first.wait_for(timeout=DRAWN)


def test_picks_of_two_tabs_are_both_kept_or_told_of(gallery):
    first, second = gallery("two"), gallery("two")
    first.at(7).type("k")
    first.wait_for_states({7: "keep"})
    second.at(7).type("x", "x")
    note = second.page.locator(".lb-gallery > .lb-ui-note").filter(has_text=f"{name_of(7)} was changed elsewhere")
    note.wait_for(timeout=DRAWN)
    second.tab.picture("told")
    second.wait_for_states({7: "keep", 6: "reject"})
    second.wait_for_state(7, "keep")
    second.type("<Control+z>", "<Control+z>")
    second.wait_for_states({7: "reject"})
    note.wait_for(state="hidden", timeout=DRAWN)
    # the browser logs the refusal that was asked for
    second.tab.errors[:] = [error for error in second.tab.errors if "409" not in error]


def test_only_cards_near_the_sight_are_drawn_and_pictures_appear_as_they_are_made(gallery, server):
    one = gallery("lazy", candidates=MANY, twins=((2, 150),))
    one.press("Large view")
    drawn = one.page.locator(".lb-gallery-card")
    one.page.wait_for_function("() => document.querySelector('.lb-gallery-thumb')?.naturalWidth === 64")
    assert 24 <= drawn.count() < 110
    one.at(7).type("<End>", "<PageUp>", "<End>", "k")
    assert drawn.count() < 110
    last = int(one.focused[3:])
    one.wait_for_states({last: "keep"})
    one.type("<Home>", "<ArrowDown>", "<ArrowDown>", "<ArrowRight>")
    here = one.focused
    one.page.locator(".lb-gallery-list").hover()
    for _ in range(40):
        one.page.mouse.wheel(0, 600)
    one.card(last).wait_for(timeout=DRAWN)
    assert drawn.count() < 110 and one.focused == here  # out of sight, but where the Tab key is

    one.page.get_by_label("similar together").check()
    one.page.locator(".lb-gallery-list").hover()
    one.page.mouse.wheel(0, -40_000)
    until(lambda: 150 in one.order[:9], SHOWN, "the near copies to be beside one another")
    assert one.order[one.order.index(2) + 1] == 150
    one.tab.picture("similar")
    one.page.locator("dialog").get_by_role("radio", name="name").check()
    until(lambda: one.order[:4] == [0, 1, 2, 150], SHOWN, "the order by name")
    one.page.locator(".lb-gallery .lb-ui-filter").fill("kept")
    until(lambda: one.order == [last], SHOWN, "the filter")
    one.page.locator(".lb-gallery .lb-ui-filter").fill("")

    write_candidate(server.base / "output" / "bootstrap" / one.project / "round_1" / "candidates", MANY)
    one.page.evaluate(EVENT, ["lora_bootstrap.candidates", {
        "project": one.project, "round": 1, "made": MANY + 1, "total": MANY + 5}])
    one.wait_for_status(f"{MANY + 1} of {MANY + 5} drawn")
    one.page.locator(f'.lb-gallery-card[aria-setsize="{MANY + 1}"]').first.wait_for(timeout=DRAWN)


def test_narrow_windows_large_letters_and_the_light_theme_can_be_read(gallery):
    one = gallery("narrow")
    with one.tab.theme("light"):
        one.tab.picture("light node")
        assert one.page.evaluate(UNREADABLE, f"{TEXTS}, .lb-project :is(p, span, th, td)") == []
        one.press("Large view")
        one.tab.still(".lb-gallery, .lb-gallery *")
        one.tab.picture("light")
        assert one.page.evaluate(UNREADABLE, f"{TEXTS}:not(:disabled)") == []
        one.at(7).type("k", "Z")
        one.tab.still(".lb-gallery, .lb-gallery *")
        assert one.page.evaluate(UNREADABLE, f"{TEXTS}:not(:disabled)") == []
        for wide, zoom in ((700, 1), (SIZE["width"], 2)):
            one.page.set_viewport_size({"width": wide, "height": SIZE["height"]})
            one.page.evaluate("(zoom) => { document.documentElement.style.fontSize = `${16 * zoom}px`; "
                              "document.querySelector('dialog .lb-gallery').style.fontSize = `${14 * zoom}px`; }", zoom)
            one.tab.still(".lb-gallery, .lb-gallery *")
            one.tab.picture(f"closely {wide} x{zoom}")
            assert one.page.evaluate(WIDER) == []
            one.type("<Escape>")
            one.tab.still(".lb-gallery, .lb-gallery *")
            one.tab.picture(f"all {wide} x{zoom}")
            assert one.page.evaluate(WIDER) == []
            assert one.focused
            one.type("z")


def test_a_run_that_waits_for_picks_says_so_and_the_project_shows_where_it_stands(gallery):
    one = gallery("run")
    panel = one.page.locator(".lb-project")
    panel.locator(".lb-project-stage").first.wait_for(timeout=DRAWN)
    assert panel.locator(".lb-project-stage").first.inner_text().split("\n")[-1] == f"{CROPS} crops"
    one.at(7).type("k")  # not saved yet: the run saves it
    one.tab.run()
    toast = one.page.locator(TOAST).filter(has_text="pick 11 more in the gallery")
    toast.first.wait_for(timeout=DRAWN)
    one.tab.picture("waits")
    assert one.page.evaluate(f"() => {CURATE}.properties.gallery") == {"project": one.project, "round": 1}
    panel.get_by_text("5 of 16 kept").wait_for(timeout=DRAWN)
    panel.locator(".lb-project-rounds td").first.wait_for(timeout=DRAWN)
    heads = panel.locator(".lb-project-rounds th")
    assert all(heads.evaluate_all("(heads) => heads.slice(1).map(({ title }) => title)"))
    for event, said in LIVE:
        until(partial(one.project_says, {"name": f"{one.project}-style-1", **event}, said), SHOWN, said)
    panel.get_by_role("button", name="Open the gallery of round 1").dispatch_event("click")  # wherever the node lies
    one.page.locator(".lb-gallery-dialog").wait_for(timeout=DRAWN)
    one.page.keyboard.press("Escape")
    # without the link, what the run told of it is enough
    one.page.evaluate(f"() => {{ {CURATE}.disconnectInput(0); return app.loadGraphData(app.graph.serialize()); }}")
    one.look()
    assert one.page.evaluate(f"() => {CURATE}.inputs[0].link") is None
    one.wait_for_status("5 of 16 kept")
