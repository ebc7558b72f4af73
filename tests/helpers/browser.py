"""A real browser on a real ComfyUI front end, and what a person does there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .templates import NAMES as TEMPLATES

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1400, "height": 1080}
LOADED, DRAWN = 180_000, 120_000
"""Milliseconds after which the front end's start, and a change in it, count as hanging, on a busy machine."""
SHOWN = DRAWN / 1000
"""The same in seconds, for `server.until`."""
HEEDED = 20_000
"""Milliseconds after which a click on a template has come too early."""

HOST_NOISE = ("ComfyApp graph accessed before initialization",)
"""Errors that the front end logs about itself."""
OURS = ("/extensions/lora-bootstrap/", "/lora_bootstrap/", "/view?")
"""Parts of addresses that must not fail to load; the front end asks for others that a fresh server does not have."""

TRAIN = "app.canvas.graph._nodes.find((node) => node.comfyClass === 'LoraBootstrap_TrainLora')"

TOAST = ".p-toast-message, [data-testid=toast]"
"""A message that the front end shows for a while: until, and from, version 1.58."""
CARD = "template-workflow-"
"""What the test id of a template's card in Browse Templates begins with."""

EVENT = "([name, detail]) => app.api.dispatchEvent(new CustomEvent(name, { detail }))"
"""Sends the front end an event, as the server does: (name, detail)."""
UNREADABLE = """(selector) => [...document.querySelectorAll(selector)].filter((one) => one.offsetParent).map((one) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const painted = (colour) => {
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        const [red, green, blue] = [...pen.getImageData(0, 0, 1, 1).data].map((value) => value / 255).map(
            (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const around = [];
    for (let at = one; at; at = at.parentElement) around.unshift(getComputedStyle(at).backgroundColor);
    painted("white");
    const ground = around.map(painted).pop();
    const text = painted(getComputedStyle(one).color);
    const ratio = (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
    return ratio < 4.5 ? `${ratio.toFixed(2)} ${one.className} ${one.textContent || one.value}` : "";
}).filter(Boolean)"""
"""Of what a selector finds: the texts with less contrast than WCAG's 4.5."""

FRAMES = 6
"""For so many frames what is looked at must not have changed to be still."""
STILL = """([selector, frames]) => {
    const places = [...document.querySelectorAll(selector)].map((one) => {
        const { x, y, width, height } = one.getBoundingClientRect();
        return [x, y, width, height].map(Math.round);
    });
    const [now, before] = [JSON.stringify(places), window.lbTestsStill ?? {}];
    const same = before.selector === selector && before.now === now ? before.same + 1 : 0;
    window.lbTestsStill = same < frames ? { selector, now, same } : {};
    return places.length && same >= frames;
}"""


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def settings(vue_nodes: bool) -> dict[str, Any]:
    """The front end's settings for a first start without its tour, in one of its two renderers."""
    return {"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False, "Comfy.VueNodes.Enabled": vue_nodes}


@dataclass
class Tab:
    """One browser tab with the front end open in it."""

    page: Any
    url: str
    pictures: Path
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(DRAWN)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error.stack or error}"))

    def _heard(self, message: Any) -> None:
        address = (message.location or {}).get("url", "")
        if message.type != "error" or any(noise in message.text for noise in HOST_NOISE):
            return
        if "Failed to load resource" not in message.text or any(part in address for part in OURS):
            self.errors.append(f"{message.text} ({address})")

    # -- the front end ---------------------------------------------------------------------------------------------

    def open(self) -> Tab:
        """Load the page, or load it again, and wait until it can be used."""
        self.page.goto(self.url)
        self.page.locator(".templates-tab-button").wait_for(timeout=LOADED)
        self.page.wait_for_function("() => window.app?.canvas?.graph", timeout=LOADED)
        return self

    def choose_template(self, name: str) -> None:
        """Choose a template in Browse Templates, as a person does: a click that the front end does not heed, because it
        is still reading its own templates, is made again."""
        from playwright.sync_api import TimeoutError as Unheeded

        self.page.locator(".templates-tab-button").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("lora-bootstrap", exact=True).click()
        card = dialog.get_by_test_id(f"{CARD}{name}")
        card.click()
        try:
            dialog.wait_for(state="hidden", timeout=HEEDED)
        except Unheeded:
            card.click()
            dialog.wait_for(state="hidden", timeout=DRAWN)
        self.page.wait_for_function(
            "(name) => app.extensionManager.workflow.activeWorkflow?.filename?.startsWith(name)", arg=name,
            timeout=DRAWN)

    def emptied(self) -> Tab:
        """Leave nothing of what was done in the page before: its dialogs, its graph, its size."""
        self.page.set_viewport_size(SIZE)
        self.page.evaluate("""() => {
            document.documentElement.style.fontSize = "";
            for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
            document.activeElement?.blur();
            app.canvas.graph.clear();
            Object.assign(app.canvas.ds, { scale: 1, offset: [0, 0] });
            app.canvas.setDirty(true, true);
        }""")
        self.drawn()
        return self

    @contextmanager
    def theme(self, name: str) -> Iterator[None]:
        """The front end in its "light" theme, or in its usual one, "dark"; at the end in the usual one again."""
        self._paint(name)
        try:
            yield
        finally:
            self._paint("dark")

    def _paint(self, theme: str) -> None:
        before = self.page.evaluate("""(theme) => {
            const { setting } = app.extensionManager;
            const before = setting.get("Comfy.ColorPalette");
            setting.set("Comfy.ColorPalette", theme);
            return before === theme ? null : getComputedStyle(document.body).getPropertyValue("--fg-color");
        }""", theme)
        self.page.wait_for_function(
            "(before) => getComputedStyle(document.body).getPropertyValue('--fg-color') !== before", arg=before,
            timeout=DRAWN)

    def offered_templates(self) -> list[str]:
        """Names of this pack's templates in Browse Templates, each with a card to click on."""
        self.page.locator(".templates-tab-button").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("lora-bootstrap", exact=True).click()
        cards = dialog.locator(f"[data-testid^='{CARD}']")
        dialog.get_by_test_id(f"{CARD}{TEMPLATES[0]}").wait_for(timeout=DRAWN)
        ids = cards.evaluate_all("(cards) => cards.map((card) => card.dataset.testid)")
        self.page.keyboard.press("Escape")
        dialog.wait_for(state="hidden", timeout=DRAWN)
        return [name.removeprefix(CARD) for name in ids]

    def load_template(self, name: str) -> None:
        """Open a template without Browse Templates, from where a click there gets it. The dialog, which shows the
        host's own templates first, costs more than the graph."""
        self.page.evaluate("""async (name) => {
            const file = `${encodeURIComponent(name)}.json`;
            const answer = await app.api.fetchApi(`/workflow_templates/lora-bootstrap/${file}`);
            await app.loadGraphData(await answer.json(), true, true, name);
        }""", name)

    def look_at_training(self) -> None:
        """Bring the training node into view at its real size."""
        self.page.wait_for_function(f"() => {TRAIN}", timeout=DRAWN)
        self.page.evaluate(f"""() => {{
            const node = {TRAIN};
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [300 - node.pos[0], 120 - node.pos[1]];
            app.canvas.setDirty(true, true);
        }}""")
        self.panel.wait_for(timeout=DRAWN)

    def missing_nodes(self) -> list[str]:
        """The types in the graph that nothing has registered."""
        return self.page.evaluate("""() => app.canvas.graph._nodes.map((node) => node.type).filter(
            (type) => !LiteGraph.registered_node_types[type])""")

    def set_widgets(self, **values: Any) -> None:
        """Give widgets of the training node values, as typing them does."""
        self.page.evaluate(f"""(values) => {{
            for (const widget of {TRAIN}.widgets.filter(({{ name }}) => name in values)) {{
                widget.value = values[widget.name];
                widget.callback?.(widget.value);
            }}
        }}""", values)

    def saved_widgets(self) -> list[Any]:
        """The values of the training node's widgets as saving the graph would write them."""
        return self.page.evaluate(f"() => {TRAIN}.serialize().widgets_values")

    def prompt_inputs(self) -> dict[str, Any]:
        """The training node's inputs as Run would queue them."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return next(node["inputs"] for node in prompt.values() if node["class_type"] == "LoraBootstrap_TrainLora")

    def run(self) -> None:
        """Press Run."""
        self.page.get_by_test_id("queue-button").first.click()

    # -- the panel -------------------------------------------------------------------------------------------------

    @property
    def panel(self) -> Any:
        return self.page.locator(".lb-train").first

    def press(self, button: str) -> None:
        """Press the panel's button."""
        self.panel.get_by_role("button", name=button).click()

    def wait_for_status(self, *statuses: str, seconds: float) -> None:
        self.panel.and_(self.page.locator(",".join(f"[data-status={status}]" for status in statuses))).wait_for(
            timeout=seconds * 1000)

    @property
    def status(self) -> str:
        return plain(self.panel.locator(".lb-train-status").inner_text())

    def curve(self, kind: str = "raw") -> int:
        """How many points the chart's "raw" or "smoothed" curve is drawn through."""
        path = self.panel.locator(f".lb-train-{kind}[d]")
        return len(re.findall("[ML]", path.get_attribute("d"))) if path.count() else 0

    def wait_for_curve(self, points: int, seconds: float) -> None:
        """Wait until the raw curve has at least that many points."""
        self.page.wait_for_function(
            "(least) => document.querySelector('.lb-train-raw')?.getAttribute('d')?.split(/[ML]/).length > least",
            arg=points, timeout=seconds * 1000)

    @contextmanager
    def held(self, address: str) -> Iterator[None]:
        """Requests to an address, a glob, leave only at the end: what is done meanwhile comes before any answer."""
        waiting: list[Any] = []
        self.page.route(address, lambda route: waiting.append(route))
        yield
        for route in waiting:
            route.continue_()
        self.page.unroute(address)

    def restored(self) -> Tab:
        """Wait until the front end has put this person's last graph, or its first one, in place."""
        self.page.wait_for_function("() => app.extensionManager?.workflow?.activeWorkflow", timeout=LOADED)
        return self

    def stored(self, text: str) -> None:
        """Wait until the front end has kept a graph with that text for the next time, a moment after it was changed."""
        self.page.wait_for_function("""(text) => [localStorage, sessionStorage].some(
            (storage) => Object.values(storage).some((value) => value.includes(text)))""", arg=text, timeout=DRAWN)

    def still(self, selector: str) -> None:
        """Wait until nothing that a selector finds has moved or changed its size for a few frames: both renderers place
        what they draw a frame or two later."""
        self.page.wait_for_function(STILL, arg=[selector, FRAMES], polling="raf", timeout=DRAWN)

    def drawn(self) -> None:
        """Wait until what has changed so far is on the screen: the panels draw once a frame."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def require_no_errors(self) -> None:
        """Raise AssertionError with all that the page has logged, whole: a comparison of lists is cut short."""
        if self.errors:
            raise AssertionError("\n".join([f"{len(self.errors)} errors in the page:", *self.errors]))

    def picture(self, name: str) -> None:
        """Keep a picture of the tab, for whoever looks into a failure."""
        self.page.screenshot(path=self.pictures / f"{name}.png")


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()
