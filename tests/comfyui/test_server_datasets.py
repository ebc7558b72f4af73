"""Datasets in a real ComfyUI server: the template as shipped, the tag editor's routes, and Cancel."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image, ImageFilter

from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples

from ..helpers.server import PACK, Refused

TEMPLATE = "5 Prepare and tag a dataset"
TRIGGER = "akane"


@pytest.fixture
def template():
    return json.loads((PACK / "workflows" / "api" / f"{TEMPLATE}.json").read_text("utf-8"))


def node_of(graph, kind):
    (id,) = [id for id, node in graph.items() if node["class_type"] == f"LoraBootstrap_{kind}"]
    return id


def told_text(tab, node):
    """What a node showed as text last."""
    return [data["text"] for data in tab.of_type("progress_text") if data["node"] == node][-1]


def editor_of(result, node):
    return result.outputs[node]["lora_bootstrap"][0]


def test_the_template_as_shipped_prepares_tags_and_saves_a_dataset(server, tab, template):
    result = tab.run(template)
    assert result.status == "success", result.error
    saved = load_folder(server.base / "output" / "datasets" / "akane")
    assert len(saved) == 20 and {sample.size for sample in saved} == {(64, 64)}
    captions = [sample.caption for sample in saved]
    assert all(caption.startswith(f"{TRIGGER}, 1girl") for caption in captions)
    assert not any("red hair" in caption or "fox ears" in caption for caption in captions), "the trigger means them"
    assert any("from behind" in caption for caption in captions)
    report = told_text(tab, node_of(template, "AuditDataset"))
    assert report.startswith("20 images for a character LoRA on sandbox at 64 pixels")
    assert ": a good trigger" in told_text(tab, node_of(template, "TagStatistics"))
    assert "absorb red hair" in " ".join(told_text(tab, node_of(template, "AbsorbTags")).split())
    for kind in ("AuditDataset", "PrepareDataset", "TagStatistics", "PreviewDataset"):
        (place,) = result.images(node_of(template, kind))
        assert min(Image.open(io.BytesIO(server.view(**place))).size) >= 200
    assert tab.run(template).executed == (), "nothing has changed"


def test_what_is_changed_in_the_editor_runs_only_what_is_behind_it(server, tab, template):
    edit = node_of(template, "EditTags")
    template[edit]["inputs"]["edits"] = "changed"
    result = tab.run(template)
    told = server.get("/lora_bootstrap/dataset", id=editor_of(result, edit)["dataset"])
    assert told["editable"] and len(told["pictures"]) == 20 and told["name"] == "1_akane"
    first = told["pictures"][0]
    thumbnail = Image.open(io.BytesIO(server.fetch(first["thumb"])))
    assert thumbnail.format == "JPEG" and thumbnail.size == (first["width"], first["height"]) == (64, 64)
    change = {"id": told["id"], "revision": told["revision"], "changes": [
        {"picture": first["id"], "caption": first["caption"] + ", red bow"}]}
    revision = server.post("/lora_bootstrap/dataset/captions", change)["revision"]
    with pytest.raises(Refused) as refused:
        server.post("/lora_bootstrap/dataset/captions", change)
    assert refused.value.status == 409 and refused.value.body["revision"] == revision
    assert refused.value.body["pictures"][0]["caption"].endswith("red bow")
    result = tab.run(template)
    kinds = [template[id]["class_type"].removeprefix("LoraBootstrap_") for id in result.executed]
    assert sorted(kinds) == ["AbsorbTags", "EditTags", "PreviewDataset", "SaveDataset", "TagStatistics"]
    assert editor_of(result, edit) == {"dataset": told["id"], "revision": revision, "pictures": 20, "changed": 1}
    saved = load_folder(server.base / "output" / "datasets" / "akane")
    assert sum("red bow" in sample.caption for sample in saved) == 1
    assert not any("red bow" in path.read_text() for path in (PACK / "sandbox" / "dataset").rglob("*.txt"))


def test_what_was_changed_by_hand_is_there_after_a_restart(server, tab, template):
    id = node_of(template, "EditTags")
    template[id]["inputs"]["edits"] = "kept"
    graph = {key: template[key] for key in ("1", "2", "3", "4", "5", "6")}
    told = server.get("/lora_bootstrap/dataset", id=editor_of(tab.run(graph), id)["dataset"])
    server.post("/lora_bootstrap/dataset/captions", {"id": told["id"], "revision": 0, "changes": [
        {"picture": told["pictures"][0]["id"], "caption": "mine"}]})
    server.restart()
    with pytest.raises(Refused) as refused:
        server.get("/lora_bootstrap/dataset", id=told["id"])
    assert refused.value.status == 404 and "run the workflow" in refused.value.text
    with server.client() as again:
        assert editor_of(again.run(graph), id) == {"dataset": told["id"], "revision": 1, "pictures": 20, "changed": 1}
    assert server.get("/lora_bootstrap/dataset", id=told["id"])["pictures"][0]["caption"] == "mine"


@pytest.mark.parametrize(("path", "status"), [
    ("/lora_bootstrap/dataset?id=nobody", 404), ("/lora_bootstrap/dataset?id=../../user", 404),
    ("/lora_bootstrap/dataset", 404), ("/lora_bootstrap/thumb?id=x&picture=../x", 404)])
def test_what_there_is_none_of_is_refused_in_one_line(server, path, status):
    with pytest.raises(Refused) as refused:
        server.fetch(path)
    assert refused.value.status == status and "\n" not in refused.value.body["error"]


def test_cancel_ends_a_long_audit_and_the_next_goes_on_from_what_was_measured(server, tab, graph):
    whole = Image.open(PACK / "sandbox" / "pictures" / "akane.png").convert("RGB")
    save_samples(server.base / "input" / "many", [
        (whole.crop((n, n, 480 + n % 30, 480)).filter(ImageFilter.BoxBlur(n % 3)), "1girl", {"name": f"{n:03d}"})
        for n in range(150)])
    audit = {"data": graph.node("LoraBootstrap_LoadDataset", folder="many"),
             "audit": graph.node("LoraBootstrap_AuditDataset", dataset=["data", 0], family="sandbox")}
    prompt = tab.queue(audit)
    tab.wait_for(lambda m: m.type == "progress" and m.data.get("node") == "audit" and m.data["value"] >= 5,
                 "a few pictures")
    tab.interrupt()
    assert tab.wait(prompt, 20).status == "interrupted"
    measured = len(list((server.base / "output" / "audits" / "measured").rglob("*.safetensors")))
    assert 5 <= measured < 160
    result = tab.run(audit)
    assert result.status == "success" and told_text(tab, "audit").startswith("150 images")


def test_masked_pictures_of_the_graph_are_prepared_before_another_background(server, tab, graph):
    prompt = {
        "base": graph.node("LoraBootstrap_LoadSandbox"),
        "mask": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 512, "height": 512}},
        "data": graph.node("LoraBootstrap_DatasetFromImages", images=["base", 3], captions=["base", 4],
                           name="masked", masks=["mask", 0]),
        "ready": graph.node("LoraBootstrap_PrepareDataset", dataset=["data", 0], family="sandbox", name="masked_ready",
                            background="#00ff00", reference=["base", 3]),
        "save": graph.node("LoraBootstrap_SaveDataset", dataset=["ready", 0], name="masked"),
    }
    result = tab.run(prompt)
    assert result.status == "success", result.error
    (sample,) = load_folder(server.base / "output" / "datasets" / "masked")
    assert sample.load_mask().getextrema() == (255, 255) and "simple background" in sample.caption


@pytest.mark.parametrize(("kind", "inputs", "said"), [
    ("TagImages", {"tagger": "wd-vit-tagger-v3"}, "turn on the download"), ("CaptionImages", {}, "models/captioners"),
    ("EditTags", {"patterns": "("}, "not of the form"),
    ("PrepareDataset", {"background": "/etc/passwd"}, "not a colour"),
    ("SaveDataset", {"name": "../x"}, "cannot be a folder's")])
def test_a_mistake_is_a_red_node_before_anything_runs(server, tab, graph, kind, inputs, said):
    prompt = {"data": graph.node("LoraBootstrap_LoadDataset", folder="sandbox/dataset/akane"),
              "node": graph.node(f"LoraBootstrap_{kind}", dataset=["data", 0], **inputs),
              "show": graph.node("LoraBootstrap_PreviewDataset", dataset=["node", 0])}
    with pytest.raises(Refused) as refused:
        tab.queue(prompt)
    assert said in refused.value.text
