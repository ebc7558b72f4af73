"""Text of strangers in the nodes of a real front end: nothing in it runs, and a person reads it as it was written.

Tried also in the front end of the oldest host that the machine has, whose classic canvas takes text for HTML. (Its Vue
nodes show no text.)
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ..helpers.browser import DRAWN, Tab
from ..helpers.lora_files import plain, write
from ..helpers.server import Server

HIT = "<img src=x onerror=hit('%s')>"
TAGS = (r"<o>_<o>", "*star*", "_under_", r"\m/", r"rin \(fate\)", "[a](b)", "www.a.b")
TRIGGER = HIT % "trigger" + " &lt;i&gt; __LNK0__ [[a|http://b.c]]"
LOAD = {"repeats": 1, "recursive": True, "trigger": "", "class_word": ""}
GRAPH = {
    "1": {"class_type": "LoraBootstrap_LoadDataset", "inputs": {"folder": "strange", **LOAD}},
    "2": {"class_type": "LoraBootstrap_PreviewDataset", "inputs": {"dataset": ["1", 0], "shown": 8, "columns": 2}},
    "3": {"class_type": "LoraBootstrap_LoraStack",
          "inputs": {"entries": f"strange/{HIT % 'file'} : 0.8\nstrange/b : 0.8"}},
    "4": {"class_type": "LoraBootstrap_ConflictReport", "inputs": {"LORA_STACK": ["3", 0], "tolerance": 0.1}},
    "5": {"class_type": "LoraBootstrap_PromptLoras", "inputs": {"text": "1girl <lora:strange/b:0.8>", "strict": True}},
    "6": {"class_type": "PreviewAny", "inputs": {"source": ["5", 1]}},
}
REFUSED = {"before the run": (HIT % "missing", HIT % "missing"), "in it": ("broken", HIT % "broken")}
"""Folders that Load Dataset refuses, and what it says of them."""
WATCH = "() => Object.assign(window, { hits: [], hit: (what) => window.hits.push(what) })"
AN_IMAGE_FAILS = "() => new Promise((done) => { Object.assign(new Image(), { onerror: done, src: 'x' }); })"
"""Wait as long as it takes until a text's image would have failed to load, and have run its script."""
COPY = """(place) => {
    getSelection().selectAllChildren(place);
    const copied = new DataTransfer();
    place.dispatchEvent(new ClipboardEvent("copy", { clipboardData: copied, bubbles: true, cancelable: true }));
    return [String(getSelection()), copied.getData("text/plain")];
}"""
"""What is selected of a place, and what is copied of it. (Nothing in Vue nodes, where the text cannot be selected.)"""
PLACES = ".comfy-markdown-content, .break-all > span"
"""Where the text in nodes is: in Vue nodes, and in the classic canvas."""
WITHOUT_WIDTH = re.compile("[\ufeff\u200b]")


@pytest.fixture(scope="module")
def server(screen, servers) -> Iterator[Server]:
    running = servers.shared(screen.host, screen.front_end)
    running.post("/free", {"unload_models": True, "free_memory": True})  # a node that does not run says nothing
    made = write_strange(running.base)
    yield running
    for folder in made:
        shutil.rmtree(folder)


def write_strange(base: Path) -> tuple[Path, ...]:
    """Datasets and LoRAs from somebody who means no good."""
    folder, broken, loras = base / "input" / "strange", base / "input" / "broken", base / "models" / "loras" / "strange"
    for made in (folder, broken, loras):
        made.mkdir(parents=True)
    for made in (folder, broken):
        (made / f"{HIT % 'broken'}.png").write_bytes(b"broken")
    for name in ("red", "blue"):
        Image.new("RGB", (64, 64), name).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(", ".join((HIT % "caption", *TAGS)), encoding="utf-8")
    for index, name in enumerate((HIT % "file", "b")):
        write(loras / f"{name}.safetensors", {f"lora_unet_{HIT % 'block'}_attn1_to_q": plain(4, index)},
              {"modelspec.trigger_phrase": TRIGGER})
    return folder, broken, loras


@pytest.fixture
def tab(open_tab) -> Tab:
    tab = open_tab().restored()
    tab.page.evaluate(WATCH)
    return tab


def run(tab: Tab, graph: dict, then: str = "") -> None:
    tab.page.evaluate(f"async (graph) => {{ await app.loadApiJson(graph, 'strange'); {then}; app.queuePrompt(0); }}",
                      graph)


def test_text_of_strangers_is_read_as_it_was_written_and_never_runs(tab):
    run(tab, GRAPH, "app.graph.id = crypto.randomUUID()")  # as a workflow has that was saved
    for last in ("skipped", "b: 0.8", "compares images", "is not in the prompt"):
        tab.page.locator(PLACES).filter(has_text=last).first.wait_for(timeout=DRAWN)
    texts = [WITHOUT_WIDTH.sub("", text) for text in tab.page.locator(PLACES).all_inner_texts()]
    dataset, stack, conflict, prompt = (next(text for text in texts if words in text) for words in (
        "64 pixels", f"{HIT % 'file'}: 0.8", "kappa", "not in the prompt"))
    lines = dataset.splitlines()
    assert [line.strip() for line in lines[:3]] == ["2 images, 64 x 64 pixels", "all have captions", ", ".join(
        f"{tag} (2)" for tag in (HIT % "caption", *TAGS))]
    assert len(lines) == 4 and lines[3].startswith(f"skipped {HIT % 'broken'}.png: cannot read ")
    assert [line.strip() for line in stack.splitlines()] == [f"{HIT % 'file'}: 0.8", "b: 0.8"]
    assert f"Most of what b overwrites of {HIT % 'file'} is in {HIT % 'block'} (100 %)." in conflict
    assert prompt.splitlines()[-1].strip() == f'The trigger "{TRIGGER}" is not in the prompt.'
    selected, copied = tab.page.locator(PLACES).filter(has_text="kappa").first.evaluate(COPY)
    assert copied == WITHOUT_WIDTH.sub("", selected)
    assert tab.page.locator(PLACES).locator("a, img, em, strong, code, del, li, h1").count() == 0
    tab.page.evaluate(AN_IMAGE_FAILS)
    # the page is loaded again: the nodes are new, and show what they showed
    tab.page.evaluate("() => app.loadGraphData(app.graph.serialize())")
    again = tab.page.locator(PLACES).filter(has_text="From the last Run:").filter(has_text="kappa").first
    again.wait_for(timeout=DRAWN)
    assert conflict.splitlines()[-1].strip() in WITHOUT_WIDTH.sub("", again.inner_text())
    tab.page.evaluate(AN_IMAGE_FAILS)
    assert tab.page.evaluate("hits") == []
    tab.require_no_errors()


@pytest.mark.parametrize(("folder", "says"), REFUSED.values(), ids=REFUSED)
def test_an_error_with_text_of_strangers_is_read_and_never_runs(tab, folder, says):
    load = {**GRAPH["1"], "inputs": {"folder": folder, **LOAD}}
    run(tab, {"1": load, "2": GRAPH["2"]})
    tab.page.get_by_text(says).first.wait_for(timeout=DRAWN)
    tab.page.evaluate(AN_IMAGE_FAILS)
    assert tab.page.evaluate("hits") == []
    tab.errors.clear()  # the browser logs the refusal that was asked for
