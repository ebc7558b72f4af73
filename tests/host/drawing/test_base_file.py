"""The file that a MODEL was loaded from is found on the MODEL, or in the workflow above it."""

from types import SimpleNamespace

from lora_bootstrap.host.drawing.base_file import base_file

GRAPH = {
    "4": {"class_type": "ModelSamplingFlux", "inputs": {"model": ["3", 0], "shift": 1.15}},
    "3": {"class_type": "LoraLoader", "inputs": {"clip": ["2", 0], "model": ["1", 0], "lora_name": "x.safetensors"}},
    "2": {"class_type": "CLIPLoader", "inputs": {"clip_name": "qwen.safetensors"}},
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "krea/krea2_turbo.safetensors", "dtype": "default"}},
    "5": {"class_type": "Loop", "inputs": {"model": ["5", 0]}},
}


def test_the_loader_that_the_host_notes_on_a_model_comes_first():
    model = SimpleNamespace(cached_patcher_init=(print, ("/models/z_image_bf16.safetensors", {})))
    assert base_file(model, GRAPH.__getitem__, ["4", 0]) == "/models/z_image_bf16.safetensors"


def test_without_it_the_loader_above_the_model_names_the_file_and_not_that_of_a_lora_or_clip():
    for model in (object(), SimpleNamespace(cached_patcher_init=None)):
        assert base_file(model, GRAPH.__getitem__, ["4", 0]) == "krea/krea2_turbo.safetensors"


def test_what_cannot_be_followed_is_not_known():
    for link in (["9", 0], ["5", 0]):
        assert base_file(object(), GRAPH.__getitem__, link) == ""
