"""The templates of sweeps in a real ComfyUI server: as they are shipped, but for fewer steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..helpers.serving import pixels
from ..helpers.templates import api, without_previews

CELLS = {"6 Compare - strength grid": 5 * 3 + 3, "6 Compare - checkpoint sweep": 5 * 2 * 4 + 4,
         "6 Compare - seed sweep": 6 * 2, "6 Compare - score and pick": 2 * (5 * 2 * 4 + 4)}
"""How many pictures each draws, with those without the LoRA."""
DRAWS = ("StrengthGrid", "CheckpointSweep", "ComposeGrid")


def shortened(name):
    graph = without_previews(api(name))
    for node in graph.values():
        kind = node["class_type"].removeprefix("LoraBootstrap_")
        node["inputs"] |= {
            "TrainLora": {"name": "short_sweep", "steps": 10, "batch_size": 2},
            "FineTune": {"name": "short_tuned", "steps": 2, "batch_size": 1},
            "TrainSettings": {"save_every": 2, "validate_every": 2},
            **dict.fromkeys(("KSampler", "StrengthGrid", "CheckpointSweep"), {"steps": 2})}.get(kind, {})
    return graph


def ids(graph, *kinds):
    return [id for id, node in graph.items() if node["class_type"].removeprefix("LoraBootstrap_") in kinds]


@pytest.mark.parametrize("name", CELLS)
def test_a_template_of_sweeps_draws_all_its_cells(server, tab, name):
    graph = shortened(name)
    result = tab.run(graph)
    assert result.status == "success", result.error
    told = [m.data for m in tab.messages if m.type == "lora_bootstrap.sweep" and m.data["node"] in ids(graph, *DRAWS)]
    assert (told[-1]["done"], told[-1]["failed"], told[-1]["total"]) == (CELLS[name], 0, CELLS[name])
    shown = {id: [pixels(server, place) for place in result.images(id)] for id in ids(graph, "PreviewImage")}
    assert all(pictures and all(picture.std() > 5 for picture in pictures) for pictures in shown.values())
    if name == "6 Compare - score and pick":
        scores = json.loads((server.base / "output" / "sweeps" / told[-1]["name"] / "scores.json").read_text())
        best = scores["rows"][scores["recommended"]]
        assert all(row[figure] is not None for row in scores["rows"]
                   for figure in ("likeness", "prompt", "diversity", "copies", "burn", "validation"))
        (pick,) = ids(graph, "PickCheckpoint")
        (picked,) = [text["text"] for text in tab.of_type("progress_text") if text["node"] == pick]
        assert f"(step {best['step']})" in picked
    assert tab.run(graph).executed == (), "nothing has changed"


def test_after_a_restart_no_template_draws_a_cell_again(server):
    def drawn():
        with server.client() as client:
            for name in CELLS:
                result = client.run(shortened(name))
                assert result.status == "success", result.error
        return {path: path.stat().st_mtime_ns for path in (server.base / "output" / "sweeps").glob("*/cells/*.png")}

    before = drawn()
    server.restart()
    assert drawn() == before


FINE_TUNE = "6 Fine-tune and extract"


def test_the_template_of_a_fine_tune_extracts_a_lora_and_draws_it_beside_the_fine_tune(server, tab):
    graph = shortened(FINE_TUNE)
    (train,), (grid,), (extract,) = (ids(graph, kind) for kind in ("FineTune", "StrengthGrid", "ExtractLora"))
    result = tab.run(graph)
    assert result.status == "success", result.error
    told = [m.data for m in tab.messages if m.type == "lora_bootstrap.sweep" and m.data["node"] == grid]
    assert (told[-1]["done"], told[-1]["failed"], told[-1]["total"]) == (9, 0, 9), "base, fine-tune and LoRA"
    manifest = json.loads((server.base / "output" / "sweeps" / told[-1]["name"] / "manifest.json").read_text())
    loras = next(axis["choices"] for axis in manifest["axes"] if axis["name"] == "checkpoint")
    assert [Path(choice["facts"]["lora"]).parts[0] for choice in loras] == ["short_tuned", "extracted"]
    (report,) = [text["text"] for text in tab.of_type("progress_text")
                 if text["node"] == extract and "Saved as" in text["text"]][-1:]
    assert "of rank 4 to 16" in report and "The error over all is" in report
    assert tab.run(graph).executed == (), "nothing has changed"
