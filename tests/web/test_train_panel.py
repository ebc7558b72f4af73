"""The training node in a real front end, in both of its renderers: templates, the live chart, Stop & keep."""

from __future__ import annotations

import shutil

import pytest

from ..helpers.browser import DRAWN
from ..helpers.hosts import ALL_HOSTS
from ..helpers.server import PACK
from ..helpers.serving import run_folder
from ..helpers.templates import NAMES, ui

TEMPLATES = ["3 Train a character LoRA", "2 Train a style LoRA"]
"""Those that train on the sandbox."""
STYLE = "2 Train a style LoRA"
STEPS = 24
SCALE = "() => app.canvas.ds.scale"
SCREEN = 500
"""Pixels that a new node may be high, where a browser has about 1000 for the canvas; with all inputs some have 1200."""
START, TRAINED = 180, 300
"""Seconds until the first step, and until a short training has ended, on a busy machine."""


def saved_widgets(name: str) -> list:
    """The values of the training node's widgets in a template's file."""
    return next(node for node in ui(name)["nodes"] if node["type"] == "LoraBootstrap_TrainLora")["widgets_values"]


@pytest.fixture
def once(vue_nodes):
    """For what no renderer decides: it is tried in Vue nodes, or with ALL_HOSTS=1 in both."""
    if not ALL_HOSTS and not vue_nodes:
        pytest.skip("tried in Vue nodes")


@pytest.fixture
def classic_once(vue_nodes):
    """As `once`, but in the classic canvas: a click on what lies over it goes by another way than one into a Vue node,
    and the tests of the other panels click into those."""
    if not ALL_HOSTS and vue_nodes:
        pytest.skip("tried in the classic canvas")


def proofs(tab) -> list[str]:
    """The ticks and crosses in the panel."""
    return tab.panel.locator(".lb-train-proof").all_inner_texts()


def run_name(vue_nodes: bool, what: str) -> str:
    """A run of its own for each renderer: an identical finished run would be reused."""
    return f"{what}_{'vue' if vue_nodes else 'classic'}"


@pytest.mark.usefixtures("once")  # which types there are
def test_the_other_templates_open_with_no_node_missing(open_tab, server):
    (server.base / "input" / "example.png").write_bytes((PACK / "sandbox" / "pictures" / "akane.png").read_bytes())
    tab = open_tab()
    assert set(tab.offered_templates()) == set(NAMES)
    for name in [name for name in NAMES if name not in TEMPLATES]:
        tab.load_template(name)
        saved = sorted(node["type"] for node in ui(name)["nodes"])
        tab.page.wait_for_function("(types) => app.graph.nodes.map(({ type }) => type).sort().join() === types",
                                   arg=",".join(saved), timeout=DRAWN)
        assert tab.missing_nodes() == [], name
        tab.page.wait_for_function(f"() => ({SCALE})() >= 1", timeout=DRAWN)  # else its text is too small to be read


def test_every_new_node_is_lower_than_a_screen_and_folds_its_advanced_inputs(open_tab):
    heights = open_tab().page.evaluate("""() => Object.keys(LiteGraph.registered_node_types).filter(
        (type) => type.startsWith("LoraBootstrap_")).map((type) => [type, LiteGraph.createNode(type).size[1]])""")
    assert len(heights) == 55 and {name: height for name, height in heights if height > SCREEN} == {}


def test_the_templates_open_from_browse_templates_as_they_were_saved(open_tab, server):
    assert TEMPLATES
    for name in TEMPLATES:
        shutil.rmtree(run_folder(server, saved_widgets(name)[0]), ignore_errors=True)  # of another file's test
    tab = open_tab()
    for name in TEMPLATES:
        tab.choose_template(name)
        assert tab.page.evaluate(SCALE) == 1, "its text is too small to be read"
        tab.look_at_training()
        tab.wait_for_status("idle", seconds=START)
        plan = tab.panel.locator(".lb-ui-plan").filter(has_text="will train: rank 8 · alpha 8 · rate 1")
        plan.filter(has_text=" steps · batch 8 · 64 px").wait_for(timeout=DRAWN)
        tab.picture(name)
        assert tab.missing_nodes() == []
        # the panel is a widget too, but neither saved nor sent
        assert tab.saved_widgets() == saved_widgets(name)
        assert "training" not in tab.prompt_inputs() and tab.prompt_inputs()["name"] == saved_widgets(name)[0]
    tab.page.evaluate("""() => {
        app.canvas.ds.scale = 0.5;
        return app.loadGraphData(app.graph.serialize(), true, true, app.extensionManager.workflow.activeWorkflow);
    }""")
    assert tab.page.evaluate(SCALE) == 0.5, "a workflow that was saved with its view keeps it"


@pytest.mark.usefixtures("once")  # the panel's own elements, the same in both; that both show it the others say
def test_the_chart_draws_and_lasts_over_a_reload_and_in_a_second_tab(open_tab, left_open, vue_nodes):
    left_open.clear()  # a tab in which the other tests opened templates has all of them again after a reload
    name = run_name(vue_nodes, "chart")
    first, second = open_tab(), open_tab()
    for tab in (first, second):
        tab.load_template(STYLE)
        tab.look_at_training()
        tab.set_widgets(name=name, steps=STEPS, batch_size=2, seed=int(vue_nodes))
    first.run()
    first.wait_for_status("training", seconds=START)
    first.wait_for_curve(3, seconds=TRAINED)
    early = first.curve()
    first.picture("training")
    second.wait_for_curve(3, seconds=TRAINED)
    second.picture("second tab")
    first.wait_for_status("finished", seconds=TRAINED)
    first.wait_for_curve(STEPS, seconds=START)
    first.picture("finished")
    assert f" · {STEPS} steps · batch 2 · 64 px" in first.panel.locator(".lb-ui-plan").inner_text()
    assert 3 <= early < first.curve() == first.curve("smoothed") == STEPS
    assert first.status.startswith(f"finished · {STEPS} steps · loss 0.")
    assert proofs(first) == ["✓ 101 of 101 linear layers in the blocks", "✓ same text", "✓ file works"]
    assert first.panel.locator(".lb-train-chart").get_attribute("aria-label").startswith("Loss from 0.")
    assert f"step {STEPS}" in first.panel.locator(".lb-train-preview").last.inner_text()
    first.page.wait_for_function("() => document.querySelector('.lb-train-preview img')?.naturalWidth === 64")

    first.stored(name)
    first.open().restored()
    first.look_at_training()
    first.wait_for_curve(STEPS, seconds=START)
    first.picture("reloaded")
    assert first.status == second.status
    assert proofs(first) == proofs(second) and len(proofs(first)) == 3


@pytest.mark.usefixtures("classic_once")
def test_stop_and_keep_keeps_the_lora_and_train_on_goes_on_from_there(open_tab, server, vue_nodes):
    name = run_name(vue_nodes, "stopped")
    tab = open_tab()
    tab.load_template(STYLE)
    tab.look_at_training()
    tab.set_widgets(name=name, steps=5000, batch_size=2, seed=int(vue_nodes))
    tab.run()
    tab.wait_for_status("training", seconds=START)
    tab.press("Stop & keep")
    tab.wait_for_status("stopped", seconds=START)
    tab.picture("stopped")
    step = server.get("/lora_bootstrap/run", name=name)["step"]
    kept = server.base / "output" / "loras" / name / f"{name}-step{step:06d}.safetensors"
    assert f"at step {step}/5000" in tab.status and kept.stat().st_size > 100_000

    tab.press("Train on")
    tab.wait_for_status("training", seconds=START)
    tab.press("Stop & keep")
    tab.wait_for_status("stopped", seconds=START)
    again = server.get("/lora_bootstrap/run", name=name)
    assert again["run"] == name and again["step"] > step
    assert [at for at, _ in again["losses"]] == list(range(1, again["step"] + 1))
