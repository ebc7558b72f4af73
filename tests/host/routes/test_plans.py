"""What a node says it will do with values that are left to a preset or to the model."""

import json
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

import nodes as host_nodes
from lora_bootstrap.host.drawing import file_family
from lora_bootstrap.host.drawing.sampling_figures import DrawnModel
from lora_bootstrap.host.routes import plans  # noqa: F401 (registers itself)
from lora_bootstrap.nodes.audit import AuditDataset
from lora_bootstrap.nodes.captions import EditTags
from lora_bootstrap.nodes.prepare import PrepareDataset
from lora_bootstrap.nodes.sampling import SamplingByModel
from lora_bootstrap.nodes.settings import TrainSettingsNode
from lora_bootstrap.nodes.sweep import CheckpointSweep, StrengthGrid
from lora_bootstrap.nodes.train import FineTune, TrainLora
from lora_bootstrap.trainer.models.families import FAMILIES

from ...helpers.asking import ask, sent_as_json

CLASSES = (AuditDataset, EditTags, PrepareDataset, SamplingByModel, TrainSettingsNode, CheckpointSweep, StrengthGrid,
           TrainLora, FineTune)
SANDBOX = {"node": "LoraBootstrap_LoadSandbox", "values": {"picture": "akane"}}
UNTOUCHED = {"kind": "character", "steps": 0, "rank": 0, "alpha": 0.0, "learning_rate": 0.0, "batch_size": 0,
             "resolution": 0, "epochs": 0, "trigger": "", "name": "my_lora"}
BY_MODEL = {"width": 0, "height": 0, "steps": 0, "cfg": -1.0, "sampler_name": "by the model",
            "scheduler": "by the model"}


@pytest.fixture(autouse=True)
def registered(host, monkeypatch):
    for node in CLASSES:
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, node.object_info()["name"], node)


def plan(node, values, model=None, settings=None):
    body = {"node": f"LoraBootstrap_{node}", "values": values, "model": model, "settings": settings}
    ((status, told),) = ask(("POST", "/lora_bootstrap/plan", {"json": body}))
    assert status == 200, told
    return told["text"]


def loader(name, **values):
    return {"node": name, "values": values}


def test_zeros_are_told_as_the_preset_that_the_training_will_use():
    assert plan("TrainLora", UNTOUCHED | {"steps": 200}, SANDBOX) == (
        "will train: rank 8 · alpha 8 · rate 1.5e-3 · 200 steps · batch 8 · 64 px")


def test_a_fine_tune_is_told_without_a_rank_at_its_own_rate_and_batch():
    values = {name: value for name, value in UNTOUCHED.items() if name not in ("rank", "alpha")}
    assert plan("FineTune", values | {"steps": 200, "optimizer": "adafactor"}, SANDBOX, {"conv_rank": 4}) == (
        "will train: fine-tune · all weights · rate 2e-4 · 200 steps · batch 2 · 64 px")
    assert "fine-tune · all weights · rate 4e-6 · 100 epochs · batch 2 · " in plan("FineTune", values | {"epochs": 100})


def test_own_values_and_linked_settings_are_told_as_the_training_takes_them():
    told = plan("TrainLora", UNTOUCHED | {"rank": 4, "epochs": 10}, SANDBOX,
                {"optimizer": "prodigy", "accumulation_steps": 2})
    assert told == "will train: rank 4 · alpha 4 · rate 1 · 10 epochs · batch 8 · 64 px"


def test_an_unknown_family_is_told_as_the_range_of_all():
    told = plan("TrainLora", UNTOUCHED | {"rank": 12, "kind": "style"})
    assert told.startswith("will train, by the model's family: rank 12 · alpha 6 to 12 · rate ")
    assert " steps for 27 to 40 images · batch 1" in told and told.endswith("512 to 1024 px")


def test_what_comes_over_a_link_is_told_as_linked():
    values = {name: value for name, value in UNTOUCHED.items() if name not in ("steps", "learning_rate")}
    told = plan("TrainLora", values, SANDBOX)
    assert " · learning rate over a link · steps over a link · batch 8 · " in told


def test_what_the_node_would_refuse_has_no_line():
    assert plan("TrainLora", UNTOUCHED | {"steps": 5, "epochs": 5}, SANDBOX) == ""
    assert plan("TrainLora", UNTOUCHED | {"steps": "many"}, SANDBOX) == ""
    assert plan("EditTags", {"trigger": ""}) == "", "a node that leaves nothing to a preset"


def test_a_sweep_tells_how_it_will_draw():
    told = plan("StrengthGrid", BY_MODEL | {"strengths": "by the model"}, SANDBOX)
    row = FAMILIES["sandbox"]
    assert told == (f"will draw: {row.sample_steps} steps · cfg {row.cfg:g} · 64 x 64 · {row.sampler} · "
                    f"{row.scheduler} · strengths 0.5, 0.7, 0.8, 0.9, 1")
    assert plan("CheckpointSweep", BY_MODEL | {"strengths": "1", "steps": 12}) == (
        "will draw: 12 steps · cfg, size, sampler, scheduler by the model")


def test_the_sampling_of_a_whole_workflow_is_told_too():
    values = {name: value for name, value in BY_MODEL.items() if name != "cfg"} | {"width": 768, "height": 1024}
    assert plan("SamplingByModel", values) == (
        "will set: 768 x 1024 · cfg over a link · steps, sampler, scheduler by the model")


def test_a_resolution_of_0_is_told_as_the_familys():
    assert plan("PrepareDataset", {"family": "sd15", "resolution": 0}) == "will prepare: images of about 512 x 512 px"
    assert plan("AuditDataset", {"family": "sdxl", "resolution": 768}) == "will check: for 768 px"
    assert plan("AuditDataset", {"resolution": 0}) == ""


def built(**settings):
    return SimpleNamespace(model_config=SimpleNamespace(unet_config=settings))


@pytest.mark.parametrize(("family", "settings", "title"), [
    ("flux", {"guidance_embed": False}, ""), ("sdxl", {}, "SDXL Lightning"), ("sdxl", {}, "")])
def test_a_file_is_told_as_the_run_takes_it_by_its_title_and_its_network(tmp_path, monkeypatch, family, settings,
                                                                         title):
    file = tmp_path / "base.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"modelspec.title": title} if title else None)
    monkeypatch.setattr(folder_paths, "get_full_path", lambda kind, name: str(file) if kind == "checkpoints" else None)
    monkeypatch.setattr(file_family, "_empty_model", lambda weights: built(**settings))
    monkeypatch.setattr(file_family, "known_family", lambda model: FAMILIES[family])
    told = plan("StrengthGrid", BY_MODEL | {"strengths": "by the model"},
                loader("CheckpointLoaderSimple", ckpt_name="base.safetensors"))
    row, model = FAMILIES[family], DrawnModel(FAMILIES[family], 1024, f"base.safetensors {title}".strip(), settings)
    figures = model.figures()
    assert told.startswith(f"will draw: {figures.steps} steps · cfg {figures.cfg:g} · 1024 x 1024 · ")
    assert (figures.steps != row.sample_steps) == bool(settings or title)


def test_a_loaders_file_tells_the_family_once_and_a_file_that_changes_is_read_again(tmp_path, monkeypatch):
    file, seen = tmp_path / "noob.safetensors", []
    monkeypatch.setattr(folder_paths, "get_full_path", lambda kind, name: str(file) if kind == "checkpoints" else None)

    def build(weights):
        seen.append({name: (tuple(tensor.shape), tensor.device.type) for name, tensor in weights.items()})
        return built()

    monkeypatch.setattr(file_family, "_empty_model", build)
    monkeypatch.setattr(file_family, "known_family", lambda model: FAMILIES["sdxl"])
    for rows in (2, 2, 3):
        if not file.exists() or rows == 3:
            save_file({"a": torch.zeros(rows, 5)}, file)
        told = plan("TrainLora", UNTOUCHED, loader("CheckpointLoaderSimple", ckpt_name="noob.safetensors"))
        assert told.startswith("will train: rank 32 · ")
    assert seen == [{"a": ((2, 5), "meta")}, {"a": ((3, 5), "meta")}]


def test_a_file_that_the_host_does_not_know_leaves_the_family_open(tmp_path, monkeypatch):
    (tmp_path / "odd.safetensors").write_bytes(b"no header")
    monkeypatch.setattr(folder_paths, "get_full_path", lambda kind, name: str(tmp_path / name))
    told = plan("TrainLora", UNTOUCHED, loader("UNETLoader", unet_name="odd.safetensors", weight_dtype="default"))
    assert told.startswith("will train, by the model's family: ")


@pytest.mark.parametrize(("body", "status"), [
    ([], 400), ({"node": "LoraBootstrap_TrainLora"}, 400), ({"node": 1, "values": {}}, 400),
    ({"node": "LoraBootstrap_TrainLora", "values": {}, "model": []}, 400),
    ({"node": "LoraBootstrap_TrainLora", "values": {}, "model": {"node": 1, "values": {}}}, 400),
    ({"node": "LoraBootstrap_TrainLora", "values": {}, "settings": 3}, 400),
    ({"node": "KSampler", "values": {}}, 404), ({"node": "LoraBootstrap_Nothing", "values": {}}, 404)])
def test_any_other_body_or_node_is_refused_in_one_line(body, status):
    ((found, told),) = ask(("POST", "/lora_bootstrap/plan", sent_as_json(json.dumps(body))))
    assert found == status and "\n" not in told["error"]
