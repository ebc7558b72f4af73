"""The training node in a real front end, each host in one of its renderers: templates, the live chart, Stop & keep.

With ALL_HOSTS=1 both renderers of all hosts are tried.
"""

from __future__ import annotations

import json

import pytest

from ..comfyui.hosts import ALL_HOSTS, find_hosts, is_newest
from ..comfyui.server import PACK, Server
from .browser import DRAWN, SIZE, Tab, browser, find_browser, settings

pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright) for tests/web")
pytestmark = pytest.mark.skipif(find_browser() is None, reason="needs chromium or google-chrome on the PATH")

ALL_TEMPLATES = sorted(path.stem for path in (PACK / "workflows").glob("*.json"))
TEMPLATES = [name for name in ALL_TEMPLATES if name.startswith("Train ")]
STYLE = "Train a style LoRA"
STEPS = 24
START, TRAINED = 90, 150
"""Seconds until the first step, and until a short training has ended, on a busy machine."""


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module", params=find_hosts(), ids=lambda host: host.name)
def server(request, tmp_path_factory):
    host = request.param
    with Server(host.path, host.python, tmp_path_factory.mktemp(f"comfyui-{host.version}")) as running:
        yield running


@pytest.fixture(scope="module", params=[False, True], ids=["classic canvas", "Vue nodes"])
def vue_nodes(request, server):
    server.post("/settings", settings(vue_nodes=request.param))
    return request.param


@pytest.fixture(autouse=True)
def one_renderer_a_host(server, vue_nodes):
    """Unless all is asked for, the newest host is tried in Vue nodes and any other in the classic canvas."""
    if not ALL_HOSTS and vue_nodes != is_newest(server.host):
        pytest.skip("this host is tried in its other renderer")


@pytest.fixture(scope="module")
def profile(chromium, server, vue_nodes):
    """One person's browser: its tabs share a cache and what is kept in it. The front end's animations, which take more
    of the processor than all else, are off."""
    context = chromium.new_context(viewport=SIZE, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def open_tab(profile, server, tmp_path):
    """A maker of tabs. At the end none may have logged an error."""
    tabs: list[Tab] = []

    def make() -> Tab:
        tabs.append(Tab(profile.new_page(), server.url, tmp_path))
        return tabs[-1].open()

    yield make
    for number, tab in enumerate(tabs):
        tab.picture(f"end-{number}")
        tab.page.close()
    assert [error for tab in tabs for error in tab.errors] == []


def saved_widgets(name: str) -> list:
    """The values of the training node's widgets in a template's file."""
    nodes = json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    return next(node for node in nodes if node["type"] == "LoraBootstrap_TrainLora")["widgets_values"]


def run_name(vue_nodes: bool, what: str) -> str:
    """A run of its own for each renderer: an identical finished run would be reused."""
    return f"{what}_{'vue' if vue_nodes else 'classic'}"


def test_templates_that_train_nothing_open_with_no_node_missing(open_tab):
    tab, others = open_tab(), [name for name in ALL_TEMPLATES if name not in TEMPLATES]
    for name in others:
        tab.choose_template(name)
        saved = json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
        tab.page.wait_for_function("(count) => app.graph.nodes.length === count", arg=len(saved), timeout=DRAWN)
        tab.picture(name)
        assert tab.missing_nodes() == []


def test_the_templates_open_from_browse_templates_as_they_were_saved(open_tab):
    assert TEMPLATES
    tab = open_tab()
    for name in TEMPLATES:
        tab.open_template(name)
        tab.wait_for_status("idle", seconds=20)
        tab.panel.locator(".lb-ui-note").filter(has_text="Preset for a").wait_for(timeout=DRAWN)
        tab.picture(name)
        assert tab.missing_nodes() == []
        assert "on Sandbox (drawn world, 64 px): rank 8 · alpha/rank 1 · rate 1" in tab.note
        # the panel is a widget too, but neither saved nor sent
        assert tab.saved_widgets() == saved_widgets(name)
        assert "training" not in tab.prompt_inputs() and tab.prompt_inputs()["name"] == saved_widgets(name)[0]


def test_the_chart_draws_and_lasts_over_a_reload_and_in_a_second_tab(open_tab, vue_nodes):
    name = run_name(vue_nodes, "chart")
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.open_template(STYLE)
        tab.set_widgets(name=name, steps=STEPS, batch_size=2, seed=int(vue_nodes))
    first.run()
    first.wait_for_status("training", seconds=START)
    first.wait_for_curve(3, seconds=TRAINED)
    early = first.curve()
    first.picture("training")
    second.wait_for_curve(3, seconds=TRAINED)
    second.picture("second tab")
    first.wait_for_status("finished", seconds=TRAINED)
    first.wait_for_curve(STEPS, seconds=20)
    first.picture("finished")
    assert 3 <= early < first.curve() == first.curve("smoothed") == STEPS
    assert first.status.startswith(f"finished · {STEPS} steps · loss 0.")
    assert first.panel.locator(".lb-train-chart").get_attribute("aria-label").startswith("Loss from 0.")
    assert f"step {STEPS}" in first.panel.locator(".lb-train-preview").first.inner_text()
    first.page.wait_for_function("() => document.querySelector('.lb-train-preview img')?.naturalWidth === 64")

    first.open()
    first.look_at_training()
    first.wait_for_curve(STEPS, seconds=20)
    first.picture("reloaded")
    assert first.status == second.status


def test_stop_and_keep_keeps_the_lora_and_train_on_goes_on_from_there(open_tab, server, vue_nodes):
    name = run_name(vue_nodes, "stopped")
    tab = open_tab()
    tab.open_template(STYLE)
    tab.set_widgets(name=name, steps=5000, batch_size=2, seed=int(vue_nodes))
    tab.run()
    tab.wait_for_status("training", seconds=START)
    tab.press("Stop & keep")
    tab.wait_for_status("stopped", seconds=60)
    tab.picture("stopped")
    step = server.get("/lora_bootstrap/run", name=name)["step"]
    kept = server.base / "output" / "loras" / name / f"{name}-step{step:06d}.safetensors"
    assert f"at step {step}/5000" in tab.status and kept.stat().st_size > 100_000

    tab.press("Train on")
    tab.wait_for_status("training", seconds=START)
    tab.press("Stop & keep")
    tab.wait_for_status("stopped", seconds=60)
    again = server.get("/lora_bootstrap/run", name=name)
    assert again["run"] == name and again["step"] > step
    assert [at for at, _ in again["losses"]] == list(range(1, again["step"] + 1))
