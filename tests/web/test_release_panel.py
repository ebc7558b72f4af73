"""The card of a release, shown in the node that wrote it."""

from __future__ import annotations

from ..helpers.browser import DRAWN
from ..helpers.lora_files import sandbox_lora

BUILD = """(values) => {
    const graph = app.canvas.graph;
    graph.clear();
    const node = LiteGraph.createNode("LoraBootstrap_ReleaseLora");
    node.pos = [0, 0];
    graph.add(node);
    for (const [name, value] of Object.entries(values)) node.widgets.find((one) => one.name === name).value = value;
}"""


def test_a_release_shows_its_warnings_and_what_was_not_measured(open_tab, server):
    sandbox_lora(server.base / "models" / "loras" / "shared.safetensors", seed=1)
    tab = open_tab().open()  # the list of files is made when the page is loaded
    tab.page.evaluate(BUILD, {"lora": "shared.safetensors", "title": "<b>Shared</b>", "person": "real"})
    panel = tab.page.locator(".lb-release").first
    panel.get_by_text("Its card is shown here").wait_for(timeout=DRAWN)
    tab.run()
    panel.locator(".lb-release-title").filter(has_text="<b>Shared</b>").wait_for(timeout=DRAWN)
    tab.picture("released")
    assert "a real person, and consent is not stated" in panel.locator(".lb-release-warning").first.inner_text()
    assert "Not measured." in panel.locator("dl").first.inner_text() and "No previews." in panel.inner_text()
    assert (server.base / "output" / "loras" / "releases" / "shared" / "README.md").is_file()
