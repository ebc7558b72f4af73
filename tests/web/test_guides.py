"""The guides in a real front end: a click on a link opens the page over the graph, wherever the link is."""

from __future__ import annotations

from ..helpers.browser import DRAWN

NOTE = """[Burnt?](/extensions/lora-bootstrap/guides/index.html?page=troubleshooting#burnt-or-oversaturated) or
[another pack's](/extensions/other-pack/guides/troubleshooting.md)"""
ADD = """(text) => {
    const [note, train] = ["MarkdownNote", "LoraBootstrap_TrainLora"].map((type) => LiteGraph.createNode(type));
    Object.assign(note, { pos: [80, 200], size: [360, 200] });
    Object.assign(train, { pos: [520, 300] }); // the toolbox of a selected node is above it
    for (const node of [note, train]) app.canvas.graph.add(node);
    note.widgets[0].value = text;
    app.canvas.setDirty(true, true);
}"""
SELECT = "() => app.canvas.selectNode(app.canvas.graph._nodes.find(({ type }) => type === 'LoraBootstrap_TrainLora'))"
TOP = """(dialog) => {
    const [place, heading] = [".lb-reader-place", "[data-anchor=burnt-or-oversaturated]"].map(
        (selector) => dialog.querySelector(selector).getBoundingClientRect().top);
    return Math.abs(heading - place);
}"""
"""How far the heading that was asked for is from the top of what is in view, in pixels."""


def test_a_link_in_a_note_and_in_the_hosts_help_opens_a_guide_over_the_graph(open_tab):
    tab = open_tab().restored().emptied()
    page = tab.page
    page.evaluate(ADD, NOTE)
    dialog = page.locator("dialog.lb-reader-dialog")

    page.get_by_role("link", name="Burnt?").click()
    dialog.get_by_role("heading", name="Troubleshooting by symptom").wait_for(timeout=DRAWN)
    assert dialog.evaluate(TOP) < 40
    dialog.get_by_role("link", name="one image").click()
    dialog.get_by_role("heading", name="From one image to a LoRA in an hour").wait_for(timeout=DRAWN)
    dialog.get_by_role("button", name="Back").click()
    dialog.get_by_role("heading", name="Troubleshooting by symptom").wait_for(timeout=DRAWN)
    page.keyboard.press("Delete")  # the node behind it stays
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached", timeout=DRAWN)
    assert page.evaluate("() => app.canvas.graph._nodes.length") == 2

    page.evaluate(SELECT)
    page.get_by_test_id("info-button").first.click()
    page.get_by_role("link", name="troubleshooting by symptom").click()
    dialog.get_by_role("heading", name="Troubleshooting by symptom").wait_for(timeout=DRAWN)
    dialog.get_by_role("button", name="Guides").click()
    dialog.get_by_role("heading", name="Guides", exact=True).wait_for(timeout=DRAWN)
    with page.context.expect_page() as opened:
        dialog.get_by_role("button", name="Open in a tab").click()
    alone = opened.value
    alone.get_by_role("link", name="The words of the panels").click()
    alone.get_by_role("heading", name="The words of the panels").wait_for(timeout=DRAWN)
    assert alone.title() == "The words of the panels · LoRA Bootstrap"
    alone.close()
    # the host asks for a help page in the reader's language first
    tab.errors[:] = [error for error in tab.errors if "/docs/LoraBootstrap_TrainLora/en.md" not in error]
