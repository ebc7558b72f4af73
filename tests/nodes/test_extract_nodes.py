"""ExtractLora and ResizeLora: what they take, what they give to other nodes, and what they say."""

from pathlib import Path
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.nodes.extract import LINKED_STACK, ExtractLora, ResizeLora
from lora_bootstrap.trainer.common.errors import UserError

LAYER = "model.diffusion_model.middle_block.1.proj_in.weight"
EXTRACT = {"name": "", "rank": 4, "conv_rank": 0, "rule": "fixed", "target": 0.0, "dtype": "float32",
           "preset": "own values", "min_difference": 0.0, "clamp_quantile": 1.0, "biases_and_norms": True,
           "text_encoder": False, "tuned_file": "", "base_file": ""}
RESIZE = {"lora": LINKED_STACK, "name": "", "rank": 2, "conv_rank": 0, "rule": "fixed", "target": 0.0,
          "dtype": "float32"}


@pytest.fixture
def files(host, monkeypatch):
    """A fine-tuned checkpoint and its base among the host's checkpoints."""
    folder = host.base / "models" / "checkpoints"
    folder.mkdir(parents=True)
    for name, value in (("tuned", torch.randn(12, 12, generator=torch.Generator().manual_seed(0))),
                        ("base", torch.zeros(12, 12))):
        save_file({LAYER: value}, folder / f"{name}.safetensors")
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: torch.device("cpu"), raising=False)
    monkeypatch.setattr(ExtractLora, "hidden", SimpleNamespace(
        unique_id="1", dynprompt=SimpleNamespace(get_node=lambda node: {"inputs": {}})), raising=False)
    return folder


def extract(**values):
    return ExtractLora.execute(**EXTRACT | values).args


def test_an_extracted_lora_is_a_stack_that_resize_and_grids_take_at_once(files, host):
    stack, path, report = extract(tuned_file="tuned", base_file="base.safetensors")
    assert stack == [("extracted/tuned-extracted.safetensors", 1.0, 1.0)]
    assert path == str(host.output / "loras" / "extracted" / "tuned-extracted.safetensors")
    assert report.startswith("Extracted 1 layer of rank 4") and "diffusion_model.middle_block.1.proj_in" in report
    assert "Saved as extracted/tuned-extracted.safetensors." in host.server.texts[-1][0]
    assert any(bar.total == 1 for bar in host.bars)
    small, path, report = ResizeLora.execute(**RESIZE, LORA_STACK=[(stack[0][0], 0.7, 0.7)]).args
    assert small == [("resized/tuned-extracted-resized.safetensors", 0.7, 0.7)] and "rank 2" in report
    assert len(load_file(path)["lora_unet_middle_block_1_proj_in.lora_down.weight"]) == 2
    by_name = ResizeLora.execute(**RESIZE | {"lora": stack[0][0], "name": "mine"}).args
    assert by_name[0] == [("resized/mine.safetensors", 1.0, 1.0)]


def test_a_preset_takes_the_place_of_the_nodes_values(files):
    *_, report = extract(tuned_file="tuned", base_file="base", rank=2, preset="kohya guide")
    assert "rank 12" in report, "64 is more than the layer has"


def test_the_card_is_left_free_where_the_cpu_is_asked_for(files, monkeypatch):
    asked = []
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: asked.append(1) or torch.device("cpu"))
    assert "Extracted 1 layer" in extract(tuned_file="tuned", base_file="base", device="cpu")[2] and asked == []
    assert "Extracted 1 layer" in extract(tuned_file="tuned", base_file="base")[2] and asked == [1]


def test_a_side_that_is_missing_or_given_twice_is_refused_by_its_inputs(files):
    for values, words in (({"base_file": "base"}, "neither is given of model and tuned_file"),
                          ({"tuned_file": "tuned"}, "neither is given of base and base_file"),
                          ({"tuned_file": "tuned", "model": object()}, "both are given of model and tuned_file"),
                          ({"tuned_file": "gone", "base_file": "base"}, "gone"),
                          ({"tuned_file": "*", "base_file": "base"}, "names 2 files"),
                          ({"model": object(), "base_file": "base", "text_encoder": True}, "has no text encoder")):
        with pytest.raises(UserError, match=words.replace("*", r"\*")):
            extract(**values)
    stack = extract(tuned_file="tuned", base_file="base")[0]
    for given, count in ((stack + stack, 2), ([], 0), (None, 0)):
        with pytest.raises(UserError, match=f"LORA_STACK has {count} LoRAs"):
            ResizeLora.execute(**RESIZE, LORA_STACK=given)


def test_wrong_values_are_refused_before_the_run():
    names = ("name", "rank", "conv_rank", "rule", "target", "dtype", "preset", "min_difference", "clamp_quantile")
    valid = {name: EXTRACT[name] for name in names}
    assert ExtractLora.validate_inputs(**valid) is True
    assert "target of rule energy is 2" in ExtractLora.validate_inputs(**valid | {"rule": "energy", "target": 2.0})
    assert "'../x'" in ExtractLora.validate_inputs(**valid | {"name": "../x"})
    assert ExtractLora.validate_inputs(**valid | {"rank": None}) is True, "a linked value is not known yet"
    kept = {name: RESIZE[name] for name in names[:6]}
    assert ResizeLora.validate_inputs(**kept) is True
    assert "target of rule size" in ResizeLora.validate_inputs(**kept | {"rule": "size", "target": -1.0})


def test_a_changed_file_or_a_result_that_is_gone_runs_the_node_again(files):
    given = {"tuned_file": "tuned", "base_file": "base"}
    first = ExtractLora.fingerprint_inputs(**given)
    assert ExtractLora.fingerprint_inputs(**given) == first
    save_file({LAYER: torch.ones(12, 13)}, files / "tuned.safetensors")
    assert ExtractLora.fingerprint_inputs(**given) != first
    save_file({LAYER: torch.ones(12, 12)}, files / "tuned.safetensors")
    _, path, _ = extract(**given)
    before = ExtractLora.fingerprint_inputs(**given)
    Path(path).unlink()
    assert ExtractLora.fingerprint_inputs(**given) != before


def test_cancel_leaves_no_file(files, host, monkeypatch):
    class Cancelled(Exception):
        pass

    def cancel():
        raise Cancelled

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(Cancelled):
        extract(tuned_file="tuned", base_file="base")
    assert not list((host.output / "loras").rglob("*.safetensors"))
