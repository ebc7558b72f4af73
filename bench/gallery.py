"""The curation gallery in a real front end: how soon its thumbnails are there, and whether scrolling them is smooth.

    python -m lora_bootstrap.bench.gallery [--candidates 500 10000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..tests.helpers.browser import SIZE, Tab, browser, find_browser, settings
from ..tests.helpers.hosts import MISSING, Host, find_hosts
from ..tests.helpers.server import Server
from ..tests.helpers.written_project import write_project
from .report import write_result

TARGET_SECONDS = 1.0
LONG_MS = 50
SCROLL_SECONDS = 4
NOTES = f"""
ComfyUI {{version}}, classic canvas, headless Chromium that draws without a GPU on the same two cores as the server, a
window of {SIZE['width']} x {SIZE['height']}; medians of {{rounds}} rounds, each in a browser without a cache. *request
to thumbnails*: from the moment the page asks for the round until a frame after all thumbnails in sight are decoded,
in the node; *the first* is also the server's first answer, with nothing in its caches. *large view*: from the click
until the same, with more thumbnails than the node's. *scroll*: from the first to the last row in
{SCROLL_SECONDS} s; long frames come more than {LONG_MS} ms after the one before, long tasks are those that the
browser's own observer tells of. *K*: from the key to the frame after the one that shows the mark. Target for both
kinds of thumbnails: at most {TARGET_SECONDS:g} s with 500 candidates.
"""

SHOW = """async (name) => {
    const graph = app.canvas.graph;
    graph.clear();
    performance.clearResourceTimings(); // the front end's own have filled it
    const node = LiteGraph.createNode("LoraBootstrap_CurateImages");
    node.properties.gallery = { project: name, round: 1 };
    graph.add(node);
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [300, 120];
    app.canvas.setDirty(true, true);
}"""
PAINTED = """
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const painted = async () => {
        for (;;) {
            await frame();
            const list = document.querySelector(".lb-gallery-list")?.getBoundingClientRect();
            const images = [...document.querySelectorAll(".lb-gallery-thumb")].filter((image) => {
                const box = image.getBoundingClientRect();
                return box.height && box.bottom > list.top && box.top < list.bottom;
            });
            if (!images.length || !images.every((image) => image.complete && image.naturalWidth)) continue;
            await Promise.all(images.map((image) => image.decode()));
            await frame();
            return performance.now();
        }
    };
"""
FIRST = f"""async () => {{
    {PAINTED}
    const end = await painted();
    const asked = performance.getEntriesByType("resource").filter(({{ name }}) =>
        name.includes("/lora_bootstrap/candidates?")).pop();
    return {{ seconds: (end - asked.startTime) / 1000, route: asked.duration / 1000, bytes: asked.decodedBodySize }};
}}"""
LARGE = f"""async () => {{
    {PAINTED}
    const start = performance.now();
    [...document.querySelectorAll(".lb-gallery .lb-ui-button")].find(({{ value }}) => value === "Large view").click();
    const list = document.querySelector(".lb-gallery-list");
    while (list.clientHeight < 400) await frame();
    return (await painted() - start) / 1000;
}}"""
SCROLL = f"""async (seconds) => {{
    {PAINTED}
    const list = document.querySelector(".lb-gallery-list");
    const tasks = [];
    const observer = new PerformanceObserver((found) => tasks.push(...found.getEntries()));
    observer.observe({{ entryTypes: ["longtask"] }});
    const far = list.scrollHeight - list.clientHeight;
    const start = await frame();
    const deltas = [];
    let last = start;
    for (let share = 0; share < 1;) {{
        const now = await frame();
        deltas.push(now - last);
        last = now;
        share = Math.min(1, (now - start) / (1000 * seconds));
        list.scrollTop = far * share;
    }}
    await painted();
    observer.disconnect();
    deltas.sort((a, b) => a - b);
    return {{
        pixels: far, frames: deltas.length, worst: deltas[deltas.length - 1],
        p95: deltas[Math.floor(deltas.length * 0.95)], deltas,
        tasks: tasks.length, cards: document.querySelectorAll(".lb-gallery-card").length,
    }};
}}"""
KEY = f"""async () => {{
    {PAINTED}
    const list = document.querySelector(".lb-gallery-list");
    list.scrollTop = 0;
    await painted();
    document.querySelector(".lb-gallery-card .lb-gallery-face").click();
    const face = document.activeElement;
    const start = performance.now();
    face.dispatchEvent(new KeyboardEvent("keydown", {{ key: "k", bubbles: true, cancelable: true }}));
    while (face.closest(".lb-gallery-card").dataset.state !== "keep") await frame();
    await frame();
    const taken = performance.now() - start;
    face.focus();
    face.dispatchEvent(new KeyboardEvent("keydown", {{ key: "k", bubbles: true, cancelable: true }}));
    return taken;
}}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, nargs="+", default=[500, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    hosts = find_hosts()
    if not hosts or find_browser() is None:
        sys.exit(MISSING if not hosts else "needs chromium or google-chrome on the PATH")
    rows = measure(hosts[0], options.candidates, options.rounds)
    notes = NOTES.format(version=hosts[0].version, rounds=options.rounds)
    print(write_result("gallery", "The curation gallery in the browser", rows, notes).read_text())


def measure(host: Host, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each number of candidates."""
    with tempfile.TemporaryDirectory() as folder, browser() as running:
        base = Path(folder)
        for count in counts:
            write_project(base / "output", f"bench-{count}", candidates=count)
        with Server(host.path, host.python, base) as server:
            server.post("/settings", settings(vue_nodes=False))
            return [row(count, [one_round(running, server, base, f"bench-{count}") for _ in range(rounds)])
                    for count in counts]


def one_round(running: Any, server: Server, pictures: Path, project: str) -> dict[str, Any]:
    context = running.new_context(viewport=SIZE)
    try:
        tab = Tab(context.new_page(), server.url, pictures).open()
        tab.page.evaluate(SHOW, project)
        found = {"first": tab.page.evaluate(FIRST), "large": tab.page.evaluate(LARGE)}
        found["scroll"] = tab.page.evaluate(SCROLL, SCROLL_SECONDS)
        found["key"] = tab.page.evaluate(KEY)
        tab.page.wait_for_timeout(1000)  # what was picked is saved
        if tab.errors:
            sys.exit("\n".join(tab.errors))
        return found
    finally:
        context.close()


def row(count: int, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def median(of: Any) -> float:
        return float(statistics.median(map(of, rounds)))

    return {
        "candidates": count, "answer MB": median(lambda one: one["first"]["bytes"]) / 1e6,
        "route s": median(lambda one: one["first"]["route"]),
        "request to thumbnails s": median(lambda one: one["first"]["seconds"]),
        "the first s": rounds[0]["first"]["seconds"], "large view s": median(lambda one: one["large"]),
        "scrolled px/s": median(lambda one: one["scroll"]["pixels"]) / SCROLL_SECONDS,
        "frames": median(lambda one: one["scroll"]["frames"]),
        "long frames": median(lambda one: sum(delta > LONG_MS for delta in one["scroll"]["deltas"])),
        "95 % ms": median(lambda one: one["scroll"]["p95"]), "worst ms": median(lambda one: one["scroll"]["worst"]),
        "long tasks": median(lambda one: one["scroll"]["tasks"]), "cards drawn": median(
            lambda one: one["scroll"]["cards"]), "K ms": median(lambda one: one["key"]),
    }


if __name__ == "__main__":
    main()
