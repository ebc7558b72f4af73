"""The templates of stacks in a real ComfyUI server: as they are shipped, but for fewer steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ..helpers.serving import loras, pixels
from ..helpers.templates import api, without_previews

RUNS = ("short_stack_character", "short_stack_style")


def shortened(name):
    graph = without_previews(api(name))
    runs = iter(RUNS)
    for node in graph.values():
        kind = node["class_type"].removeprefix("LoraBootstrap_")
        if kind == "TrainLora":  # a high rate: so few steps should show
            node["inputs"] |= {"name": next(runs), "steps": 10, "batch_size": 2, "learning_rate": 5e-3}
        node["inputs"] |= {"KSampler": {"steps": 4}, "EmptyLatentImage": {"batch_size": 1}}.get(kind, {})
    return graph


def ids(graph, *kinds):
    return [id for id, node in graph.items() if node["class_type"].removeprefix("LoraBootstrap_") in kinds]


def drawn(server, graph, result):
    """The rows of the one image that the samplers share, from above."""
    (shown,) = [id for id in ids(graph, "PreviewImage")
                if graph[graph[id]["inputs"]["images"][0]]["class_type"] == "ImageScaleToTotalPixels"]
    picture, rows = pixels(server, *result.images(shown)).astype(int), len(ids(graph, "KSampler"))
    high = picture.shape[0] // rows
    return [picture[high * at : high * (at + 1)] for at in range(rows)]


def differ(pictures):
    return all(np.abs(a - b).mean() > 1 for a, b in itertools.combinations(pictures, 2))


def told(tab, graph, kind):
    """The last text in the last node of a type."""
    return [text["text"] for text in tab.of_type("progress_text") if text["node"] == ids(graph, kind)[-1]][-1]


@pytest.fixture(scope="module")
def stacked(server):
    """What running the plain template told and made."""
    graph = shortened("7 Stack LoRAs")
    with server.client() as tab:
        result = tab.run(graph)
        assert result.status == "success", result.error
        return graph, result, told(tab, graph, "LoraStack")


def test_a_stack_is_drawn_beside_the_base_and_its_node_says_what_is_in_it(server, stacked):
    graph, result, text = stacked
    pictures = drawn(server, graph, result)
    assert len(pictures) == 2 and all(picture.std() > 5 for picture in pictures) and differ(pictures)
    assert [line.strip() for line in text.splitlines()] == [f"{RUNS[0]}: 0.8", f"{RUNS[1]}: 0.5"]


def test_a_conflict_is_reported_and_three_ways_of_stacking_draw_three_pictures(server, tab, stacked):
    graph = shortened("7 Stack LoRAs - check and mend a conflict")
    result = tab.run(graph)
    assert result.status == "success", result.error
    pictures = drawn(server, graph, result)
    assert len(pictures) == 3 and all(picture.std() > 5 for picture in pictures) and differ(pictures)
    (report,) = ids(graph, "ConflictReport")
    (heat,) = [key for key in ids(graph, "PreviewImage") if graph[key]["inputs"]["images"][0] == report]
    assert pixels(server, *result.images(heat)).std() > 5
    assert "kappa" in told(tab, graph, "ConflictReport")
    assert "merged/akane_in_storybook.safetensors" in told(tab, graph, "MergeLoras")
    assert "merged/akane_in_storybook.safetensors" in loras(server)
    assert f"style {RUNS[1]}: 0.80 to 0.24" in told(tab, graph, "TimeSplit")
