"""What is wrong with a node's values, before anything is queued."""

import json

import pytest

import nodes as host_nodes
from lora_bootstrap.host.routes import checks  # noqa: F401 (registers itself)
from lora_bootstrap.nodes.captions import EditTags
from lora_bootstrap.nodes.dataset import DatasetFromImages
from lora_bootstrap.nodes.tag_statistics import TagStatisticsNode
from lora_bootstrap.nodes.train import TrainLora

from ...helpers.asking import ask, sent_as_json

EDIT, TRAIN, MADE, BARE = (f"LoraBootstrap_{name}" for name in ("EditTags", "TrainLora", "DatasetFromImages",
                                                               "TagStatistics"))


@pytest.fixture(autouse=True)
def registered(host, monkeypatch):
    for name, node in ((EDIT, EditTags), (TRAIN, TrainLora), (MADE, DatasetFromImages), (BARE, TagStatisticsNode)):
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, name, node)


def problems(node, **values):
    ((status, told),) = ask(("POST", "/lora_bootstrap/check", {"json": {"node": node, "values": values}}))
    assert status == 200
    return [(problem["input"], problem["text"]) for problem in told["problems"]]


def test_only_the_value_that_is_wrong_is_named():
    ((name, text),) = problems(EDIT, replace="a = b", patterns="no arrow", edits="mine", alias_file="")
    assert name == "patterns" and "'no arrow' is not of the form" in text
    assert [name for name, _ in problems(EDIT, replace="x", patterns="y", edits="../z")] == [
        "replace", "patterns", "edits"]


def test_a_value_that_is_wrong_only_beside_another_is_told_without_a_name():
    ((name, text),) = problems(TRAIN, name="mine", trigger=" ", kind="character")
    assert name == "" and text.startswith("the trigger is empty; a character LoRA needs a word")
    assert problems(TRAIN, name="mine", trigger=" ", kind="style") == []
    assert problems(TRAIN, name="mine", kind="character") == [], "linked: known only in a run"


def test_what_is_right_unknown_or_not_checked_is_no_problem():
    assert problems(MADE) == problems(MADE, name="good") == problems(BARE, dataset=1) == []
    assert [name for name, _ in problems(MADE, name="../bad")] == ["name"]


@pytest.mark.parametrize(("body", "status"), [
    (None, 400), ([], 400), ({"node": EDIT}, 400), ({"node": 1, "values": {}}, 400),
    ({"node": EDIT, "values": []}, 400), ({"node": EDIT, "values": {"replace": 5}}, 400),
    ({"node": "KSampler", "values": {}}, 404), ({"node": "LoraBootstrap_Nothing", "values": {}}, 404)])
def test_any_other_body_or_node_is_refused_in_one_line(body, status):
    ((found, told),) = ask(("POST", "/lora_bootstrap/check", sent_as_json(json.dumps(body))))
    assert found == status and "\n" not in told["error"]
