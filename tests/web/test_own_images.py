"""Images of one's own in a real front end: dropped on Load Dataset, chosen, pasted, and there after a reload."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from ..helpers.browser import DRAWN

NODE = "app.canvas.graph._nodes.find(({ comfyClass }) => comfyClass === 'LoraBootstrap_LoadDataset')"
BUILD = """([folder, trigger]) => {
    const graph = app.canvas.graph;
    graph.clear();
    const [data, preview] = ["LoadDataset", "PreviewDataset"].map(
        (name) => LiteGraph.createNode(`LoraBootstrap_${name}`));
    data.pos = [300, 0];
    preview.pos = [760, 0];
    graph.add(data);
    graph.add(preview);
    data.connect(0, preview, 0);
    const set = { folder, trigger };
    for (const widget of data.widgets.filter(({ name }) => name in set)) widget.value = set[widget.name];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [100, 150];
    app.canvas.setDirty(true, true);
}"""
FILES = """(files) => {
    const data = new DataTransfer();
    for (const [name, type, text] of files) {
        data.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name, { type }));
    }
    return data;
}"""
DROP = f"""([selector, files]) => {{
    const [node, data] = [{NODE}, ({FILES})(files)];
    const {{ scale, offset }} = app.canvas.ds;
    const box = app.canvas.canvas.getBoundingClientRect();
    const [clientX, clientY] = [
        box.x + (node.pos[0] + 30 + offset[0]) * scale, box.y + (node.pos[1] - 8 + offset[1]) * scale];
    // the header of a Vue node, or the canvas where the classic one is drawn
    const target = document.querySelector(selector || `[data-node-id="${{node.id}}"]`) ?? app.canvas.canvas;
    for (const name of ["dragenter", "dragover", "drop"]) {{
        const place = {{ bubbles: true, cancelable: true, clientX, clientY }};
        target.dispatchEvent(new DragEvent(name, {{ dataTransfer: data, ...place }}));
    }}
}}"""
PASTE = f"""(files) => {{
    app.canvas.selectNode({NODE});
    document.body.dispatchEvent(new ClipboardEvent(
        "paste", {{ clipboardData: ({FILES})(files), bubbles: true, cancelable: true }}));
}}"""
SHEET = """() => document.querySelector("[data-node-id] img[src*='/view?']") || app.canvas.graph._nodes.some(
    ({ imgs }) => imgs?.[0]?.src.includes("/view?"))"""
"""Whether a node shows an image of the host: Vue nodes hold it in the page, the classic canvas draws it."""
VALUES = f"() => {NODE}.serialize().widgets_values"
TYPES = "() => app.canvas.graph._nodes.map(({ type }) => type).sort()"


def image(name: str, colour: str, kind: str = "PNG") -> list[str]:
    data = io.BytesIO()
    Image.new("RGB", (32, 48), colour).save(data, kind)
    return [name, f"image/{kind.lower()}", base64.b64encode(data.getvalue()).decode()]


def text(name: str, words: str) -> list[str]:
    return [name, "text/plain", base64.b64encode(words.encode()).decode()]


def told(tab: Any, words: str) -> None:
    tab.page.locator(".lb-dataset-text", has_text=words).wait_for(timeout=DRAWN)


@pytest.fixture(params=[True, False], ids=["Vue nodes", "classic canvas"])
def either(request, open_tab, vue_nodes):
    """A tab in either renderer, whichever the others are tried in."""
    tab = open_tab()
    switch = "(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    tab.page.evaluate(switch, request.param)
    yield tab
    tab.page.evaluate(switch, vue_nodes)


def test_dropped_images_are_put_into_a_new_folder_counted_and_there_after_a_reload(either, server, request):
    tab, name = either, f"dropped_{request.node.callspec.params['either']}"
    tab.page.evaluate(BUILD, ["sandbox/dataset/akane", name])
    told(tab, "20 images, 20 captions")
    tab.page.evaluate(DROP, ["", [image("a.png", "red"), text("a.txt", "1girl"), image("b.gif", "blue", "GIF"),
                                  text("notes.json", "{}")]])
    told(tab, f"2 images, 1 caption\nAdded 2 images and 1 caption to {name}.")
    assert tab.page.locator(".lb-dataset .lb-ui-error").inner_text() == "notes.json is neither an image nor a caption."
    tab.page.evaluate(DROP, [".lb-dataset-text", [image("a.png", "green")]])
    told(tab, f"3 images, 1 caption\nAdded 1 image to {name}.")
    tab.picture("dropped")
    assert sorted(path.name for path in (server.base / "input" / name).glob("[!.]*")) == [
        "a (2).png", "a.png", "a.txt", "b.png"]
    assert tab.page.evaluate(VALUES) == [name, 1, True, name, "", "white", ""], "as ever; the panel is not saved"
    assert tab.page.evaluate(TYPES) == ["LoraBootstrap_LoadDataset", "LoraBootstrap_PreviewDataset"]
    tab.stored(name)
    tab.open().restored()
    told(tab, "3 images, 1 caption")
    assert tab.page.locator(".lb-dataset-picture").count() == 3


def test_images_are_chosen_pasted_found_and_put_into_the_graph(open_tab, server, tmp_path):
    tab = open_tab()
    tab.page.evaluate(BUILD, ["", "chosen"])
    told(tab, "Drop images or a folder of them here, paste them, or choose a folder.")
    (tmp_path / "c.png").write_bytes(base64.b64decode(image("", "red")[2]))
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_role("button", name="Add images").click()
    chooser.value.set_files(tmp_path / "c.png")
    told(tab, "1 image, 0 captions\nAdded 1 image to chosen.")
    tab.page.evaluate(PASTE, [image("image.png", "blue")])
    told(tab, "2 images, 0 captions\nAdded 1 image to chosen.")
    tab.page.get_by_role("button", name="Put c.png into the workflow").click()
    assert tab.page.evaluate("""() => app.canvas.graph._nodes.filter(({ type }) => type === "LoadImage").map(
        ({ widgets }) => widgets.find(({ name }) => name === "image").value)""") == ["chosen/c.png"], "pasted none"
    tab.page.get_by_role("combobox", name="Find a folder").press_sequentially("story")
    tab.page.keyboard.press("Enter")
    told(tab, "16 images, 16 captions")
    assert tab.page.evaluate(VALUES)[0] == "sandbox/dataset/storybook"
    tab.page.evaluate(f"""() => {{
        const [widget] = {NODE}.widgets;
        widget.value = "nobody";
        widget.callback("nobody");
    }}""")
    wrong = tab.page.locator(".lb-dataset .lb-ui-error", has_text="there is no folder 'nobody' in input/")
    wrong.wait_for(timeout=DRAWN)


def test_a_sheet_is_there_again_after_a_reload(open_tab):
    tab = open_tab()
    tab.page.evaluate(BUILD, ["sandbox/dataset/akane", ""])
    tab.run()
    tab.page.wait_for_function(SHEET, timeout=DRAWN)
    tab.stored("ComfyUI_temp_")
    tab.open().restored()
    tab.page.wait_for_function(SHEET, timeout=DRAWN)
    tab.picture("sheet")
