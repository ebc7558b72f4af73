"""Which form of control images a model is given, by its class, its file's name and the user's wish."""

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.edit_forms import choose_form, is_edit_name


@pytest.mark.parametrize(("model", "file", "form"), [
    # names of the files that the host's templates load, and of common conversions
    ("QwenImage", "qwen_image_edit_fp8_e4m3fn.safetensors", "qwen edit"),
    ("QwenImage", "Qwen_Image_Edit-Q4_K_M.gguf", "qwen edit"),
    ("QwenImage", "qwen_image_edit_2509_fp8_e4m3fn.safetensors", "qwen edit 2509"),
    ("QwenImage", "Qwen-Image-Edit-Plus-2509.safetensors", "qwen edit 2509"),
    ("QwenImage", "qwen_image_edit_2511_bf16.safetensors", "qwen edit 2511"),
    ("QwenImage", "qwen_image_edit_2511_int8_convrot.safetensors", "qwen edit 2511"),
    ("QwenImage", "FireRed-Image-Edit-1.1-transformer.safetensors", "qwen edit 2509"),
    ("QwenImage", "", "qwen edit 2509"),
    ("Flux", "flux1-dev-kontext_fp8_scaled.safetensors", "kontext"),
    ("Flux", "", "kontext"),
    ("Flux2", "flux-2-klein-base-4b-fp8.safetensors", "flux2"),
    ("Krea2", "krea2_raw.safetensors", "krea2")])
def test_the_form_is_known_by_the_models_class_and_its_files_name(model, file, form):
    assert choose_form("auto", model, "it", file) == form


def test_what_the_model_says_of_itself_counts_for_more_than_its_name_and_the_user_for_more_than_both():
    assert choose_form("auto", "QwenImage", "it", "mine.safetensors", zero_time=True) == "qwen edit 2511"
    assert choose_form("qwen edit", "QwenImage", "it", "qwen_edit_2511.safetensors", zero_time=True) == "qwen edit"


def test_a_form_of_another_model_and_a_model_without_any_are_refused_with_what_is_valid():
    with pytest.raises(UserError, match="edit_form for Flux.1.*qwen edit.*kontext"):
        choose_form("qwen edit", "Flux", "Flux.1")
    with pytest.raises(UserError, match="SDXL cannot be trained with them here.*Qwen-Image-Edit-2509, Flux.1 Kontext"):
        choose_form("auto", "SDXL", "SDXL")


@pytest.mark.parametrize(("model", "file", "known"), [
    ("QwenImage", "qwen_image_edit_2511_bf16.safetensors", True), ("QwenImage", "qwen_image_2512.safetensors", False),
    ("Flux", "flux1-kontext-dev.gguf", True), ("Flux", "flux1-dev.safetensors", False), ("Flux", "", None),
    ("Flux2", "flux-2-klein-base-4b.safetensors", None), ("SDXL", "instruct-edit.safetensors", None)])
def test_a_name_tells_an_edit_model_only_where_there_is_another_model_of_its_class(model, file, known):
    assert is_edit_name(file, model) is known
