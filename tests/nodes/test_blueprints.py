"""The subgraph blueprints fit the nodes, and say in the node library what they are."""

import json
import re
from pathlib import Path

import pytest

from ..helpers.templates import BLUEPRINTS, boxes_of, nodes_of, overlaps, widgets_of

RECORDS = sorted(Path(__file__).parent.glob("object_info_*.json"))
NAMES = sorted(path.stem for path in BLUEPRINTS.glob("*.json"))
each_blueprint = pytest.mark.parametrize("name", NAMES)


def blueprint(name):
    return json.loads((BLUEPRINTS / f"{name}.json").read_text("utf-8"))


def test_the_parts_of_our_templates_that_are_used_again_are_blueprints():
    assert NAMES == [f"LoRA Bootstrap - {part}" for part in ("Draw views", "Strength grid", "Train and compare")]


@each_blueprint
def test_a_blueprint_is_one_box_that_nothing_is_linked_to(name):
    graph = blueprint(name)
    ((box, inside),) = boxes_of(graph).values()
    assert len(graph["nodes"]) == 1 and not graph["links"] and not graph["groups"]
    assert box["title"] == inside["name"] == name
    assert all(slot["link"] is None for slot in box["inputs"]) and box["outputs"]
    assert all(inside_slot["linkIds"] for inside_slot in (*inside["inputs"], *inside["outputs"]))


@each_blueprint
def test_no_two_nodes_of_a_blueprint_overlap_and_inputs_of_one_type_are_told_apart(name):
    ((_, inside),) = boxes_of(blueprint(name)).values()
    assert overlaps(inside) == []
    called = [slot.get("label") or slot["name"] for slot in inside["inputs"]]
    assert len(called) == len(set(called)) and not any(re.search(r"_\d+$", label) for label in called)


@each_blueprint
def test_a_blueprint_is_described_and_found_by_other_words(name):
    graph = blueprint(name)
    ((_, inside),) = boxes_of(graph).values()
    said = graph["extra"]["BlueprintDescription"]
    assert said == inside["description"] and said.endswith(".") and inside["category"] == "LoRA Bootstrap"
    assert len(graph["extra"]["BlueprintSearchAliases"]) >= 4


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
@each_blueprint
def test_a_blueprint_holds_nodes_of_the_host_and_no_file_of_ours(name, record):
    info = json.loads(record.read_text("utf-8"))
    for node in nodes_of(blueprint(name)).values():
        names = [widget for widget, _ in widgets_of(info[node["type"]])]
        values = dict(zip(names, node.get("widgets_values") or [], strict=True))
        assert not any(str(value).endswith((".safetensors", ".png")) for value in values.values())
