"""What is wrong with a node's values, in a real front end: before a Run in the node, after it in the node's words."""

from __future__ import annotations

import pytest

from ..helpers.browser import DRAWN, TOAST

BUILD = """() => {
    const graph = app.canvas.graph;
    graph.clear();
    const nodes = ["LoadDataset", "PreviewDataset", "TrainLora"].map(
        (name) => LiteGraph.createNode(`LoraBootstrap_${name}`));
    nodes.forEach((node, index) => {
        node.pos = [index * 460 - 200, 0];
        graph.add(node);
    });
    nodes[0].connect(0, nodes[1], 0);
    nodes[0].widgets.find(({ name }) => name === "folder").value = "nobody";
    nodes[2].mode = 2; // muted: only its panel is looked at
}"""
SET = """([name, value]) => {
    const node = app.canvas.graph._nodes.find(({ comfyClass }) => comfyClass === "LoraBootstrap_TrainLora");
    const widget = node.widgets.find((one) => one.name === name);
    widget.value = value;
    widget.callback?.(value);
}"""


@pytest.fixture
def tab(open_tab):
    tab = open_tab()
    tab.page.evaluate(BUILD)
    return tab


def test_the_panel_says_what_is_wrong_before_a_run_and_stops_when_it_is_right(tab):
    note = tab.panel.locator(".lb-ui-error")
    note.filter(has_text="the trigger is empty; a character LoRA needs a word").wait_for(timeout=DRAWN)
    tab.picture("wrong")
    tab.page.evaluate(SET, ["trigger", "eiei"])
    note.wait_for(state="hidden", timeout=DRAWN)
    tab.page.evaluate(SET, ["name", "../evil"])
    note.filter(has_text="'../evil'").wait_for(timeout=DRAWN)


def test_a_refused_value_is_told_in_the_nodes_own_words(tab):
    tab.run()
    toast = tab.page.locator(TOAST, has_text="there is no folder 'nobody' in input/ or output/")
    toast.first.wait_for(timeout=DRAWN)
    tab.picture("refused")
    assert "Load Dataset" in toast.first.inner_text() and toast.count() == 1
    tab.errors.clear()  # the browser logs the refusal that was asked for


def test_an_error_of_a_node_is_told_in_its_own_words(tab, server):
    (server.base / "input" / "nothing").mkdir(exist_ok=True)
    tab.page.evaluate("""() => {
        const node = app.canvas.graph._nodes.find(({ comfyClass }) => comfyClass === "LoraBootstrap_LoadDataset");
        node.widgets.find(({ name }) => name === "folder").value = "nothing";
    }""")
    tab.run()
    toast = tab.page.locator(TOAST, has_text="nothing")
    toast.filter(has_text="Load Dataset").filter(has_text="image").first.wait_for(timeout=DRAWN)
    tab.picture("failed")
    tab.errors.clear()
