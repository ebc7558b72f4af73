"""The whole loop as a person does it in the front end: open the template, Run, pick with the keyboard, Run, pick, Run.

The page is loaded again and the server started anew after every stage: what was picked is still there. In the first
stage the page is opened while the server draws; else it is closed while the server works, which must stop nothing and
spares the machine a browser: a page that follows a training and a sampler takes as much of the processor as they do.
Open pages are followed in test_train_panel.py.

The character LoRA that comes out is held against the table of the headless bench. It takes minutes, so it runs on the
newest host alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from lora_bootstrap.bench.bootstrap import figures, unseen_scenes
from lora_bootstrap.bench.report import RESULTS
from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.judge import load_judge
from lora_bootstrap.trainer.backends.diffusers import load_backbone
from lora_bootstrap.trainer.bootstrap.candidates import picture_seed
from lora_bootstrap.trainer.captions.tags import absorb, join_tags
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.models.sampler import Sampler

from ..helpers.browser import DRAWN, Tab, settings
from ..helpers.hosts import newest
from ..helpers.server import Server, until
from ..helpers.templates import ui

TEMPLATE, NAME, CHARACTER = "4 Bootstrap a character", "eiei21girl", "akane"
STAGE = 900
"""Seconds after which a stage counts as hanging, on a busy machine."""
OFTEN = 1.0
"""Seconds between two questions to a server that is at work for minutes: each takes a little of its time."""
VIEWS = 32
"""As many as the bench drew."""
NOISE = 0.10
"""A figure of one seed on so many views: the bench's own cases differ by so much between two seeds."""
LOOK = """(round) => {
    const node = app.canvas.graph._nodes.find((each) => each.comfyClass === "LoraBootstrap_CurateImages"
        && each.widgets.find(({ name }) => name === "round").value === round);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [200 - node.pos[0], 60 - node.pos[1]];
    app.canvas.setDirty(true, true);
}"""


@pytest.fixture(scope="module", params=newest() or [None], ids=lambda host: host.name if host else "no host")
def server(request, servers):
    return servers.shared(request.param)


@pytest.fixture(scope="module")
def vue_nodes(server):
    server.post("/settings", settings(vue_nodes=True))
    return True


class Person:
    """Somebody at one browser tab with the template open."""

    def __init__(self, tab: Tab, server: Server) -> None:
        self.tab, self.server, self.page = tab, server, tab.page

    def look_at_gallery(self, number: int) -> None:
        self.page.wait_for_function("(count) => app.canvas.graph._nodes.length === count", arg=len(ui(TEMPLATE)["nodes"]),
                                    timeout=DRAWN)
        self.page.evaluate(LOOK, number)
        self.tab.still(".lb-gallery")
        self.page.evaluate(LOOK, number)

    def gallery(self, number: int):
        """The gallery of a round: its cards are named by the rounds they were made in."""
        return self.page.locator(".lb-gallery").nth(number - 1)

    def wait_for_status(self, number: int, text: str) -> None:
        self.gallery(number).locator(".lb-ui-head > .lb-ui-status").filter(has_text=text).wait_for(timeout=DRAWN)

    def pick(self, number: int, count: int) -> None:
        """Keep the first cards, which are those that are proposed, a key each; a slip is undone on the way."""
        first = self.gallery(number).locator(".lb-gallery-face").first
        first.wait_for(timeout=DRAWN)
        first.click()
        self.page.keyboard.press("k")
        self.page.keyboard.press("x")
        self.page.keyboard.press("Control+z")
        self.page.keyboard.press("ArrowLeft")
        for _ in range(count - 1):
            self.page.keyboard.press("k")

    def wait_for(self, *beginnings: str) -> None:
        """Until the project says that this comes next."""
        until(lambda: self.next.startswith(beginnings), STAGE, f"{beginnings}", OFTEN)

    def run_and_leave(self) -> None:
        """Press Run, and close the page."""
        self.tab.run()
        until(lambda: sum(self.server.get("/prompt")["exec_info"].values()), 60, "the Run")
        self.tab.stored("LoraBootstrap_CurateImages")
        self.leave()

    def leave(self) -> None:
        self.page.goto("about:blank")

    def come_back(self, *beginnings: str) -> None:
        """Open the page when the Run has ended. The project must then say so."""
        self.wait_for(*beginnings)
        self.wait_until_idle()
        self.tab.open()

    @property
    def next(self) -> str:
        told = self.server.get("/lora_bootstrap/project", name=NAME, **{"or": "null"})
        return told["next"] if told else ""

    def made(self, number: int) -> int:
        folder = self.server.base / "output" / "bootstrap" / NAME / f"round_{number}" / "candidates"
        return len(list(folder.glob("*.json")))

    def wait_until_idle(self) -> None:
        until(lambda: not sum(self.server.get("/prompt")["exec_info"].values()), STAGE, "the end of the Run",
              OFTEN)


@pytest.fixture
def person(profile, server, tmp_path):
    """A maker of people; the first finds the template in the front end. When one leaves, the page must not have logged
    an error."""
    first = server.starts

    @contextmanager
    def make() -> Iterator[Person]:
        tab = Tab(profile.new_page(), server.url, tmp_path).open()
        (tab.choose_template if server.starts == first else tab.load_template)(TEMPLATE)
        yield Person(tab, server)
        tab.picture(f"left {server.starts}")
        tab.page.close()
        assert tab.errors == []

    return make


def test_one_picture_becomes_a_character_lora_run_by_run(person, server):
    with person() as one:  # from 4 to 16
        assert one.tab.missing_nodes() == []
        one.run_and_leave()
        until(lambda: one.made(1) > 5, STAGE, "the first candidates", OFTEN)
        one.tab.open()  # loaded again while they are drawn
        one.look_at_gallery(1)
        one.gallery(1).locator(".lb-gallery-card").nth(5).wait_for(timeout=DRAWN)
        one.leave()
        one.come_back("Pick 12 more in the gallery of round 1")
        one.look_at_gallery(1)
        one.wait_for_status(1, "4 of 16 kept")
        one.tab.picture("round 1")
        one.pick(1, 12)
        one.wait_for_status(1, "16 of 16 kept")
        one.wait_for("Run trains a style LoRA")
        one.tab.picture("picked 1")
    server.restart()
    with person() as one:  # from 16 to 40
        one.look_at_gallery(1)
        one.wait_for_status(1, "16 of 16 kept")
        one.run_and_leave()
        one.come_back("Pick 24 more in the gallery of round 2")
        one.look_at_gallery(2)
        one.wait_for_status(2, "16 of 40 kept")
        one.pick(2, 24)
        one.wait_for_status(2, "40 of 40 kept")
        one.tab.picture("picked 2")
        one.wait_for("Run trains the character LoRA")
    server.restart()
    with person() as one:  # the character
        one.look_at_gallery(2)
        one.wait_for_status(2, "40 of 40 kept")
        one.run_and_leave()
        one.come_back("All done")
        one.look_at_gallery(2)
        one.tab.picture("done")
        status = server.get("/lora_bootstrap/project", name=NAME)
    assert [row["kept"] for row in status["rounds"]] == [12, 36] and not status["stopped_because"]
    measured, headless = drawn_by(server), bench_row()
    print({name: round(measured[name], 3) for name in ("identity", "prompt")}, headless)
    for name in ("identity", "prompt"):
        assert abs(measured[name] - headless[name]) < NOISE, (name, measured, headless)


def bench_row() -> dict[str, float]:
    """What the headless loop reached from the same picture, as the bench's table says."""
    cases = json.loads((RESULTS / "bootstrap.json").read_text("utf-8"))["cases"]
    return next(row for row in cases if row["arm"] == "40" and row["prompts"] == "trigger"
                and row["case"]["character"] == CHARACTER and row["case"]["seed"] == 0)


@torch.no_grad()
def drawn_by(server: Server) -> dict[str, float]:
    """What the judge reads from views that no round asked for, prompted by the trigger alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    output, character = server.base / "output", world.HELD_OUT[CHARACTER]
    scenes = unseen_scenes(character, output / "bootstrap" / NAME, VIEWS, 0)
    prompts = [join_tags([NAME, *absorb(world.caption_tags(scene), character.identity)]) for scene in scenes]
    seeds = [picture_seed(0, 777, row) for row in range(VIEWS)]
    base = load_backbone("sandbox")
    with base.lora(output / "loras" / NAME / f"{NAME}.safetensors", 1.0):
        pictures = Sampler.of(base).pictures(base, prompts, seeds)
    torch.set_num_threads(threads)
    trained_on = load_folder(output / "bootstrap" / NAME / "round_2" / "dataset")
    return figures(pictures, scenes, trained_on, load_judge())
