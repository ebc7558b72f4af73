"""What the rows say of distilled bases, and of families that only a file's name tells apart."""

import pytest

from lora_bootstrap.trainer.models.families import (
    FAMILIES,
    GENERIC_PRESETS,
    WORDINGS,
    distilled_warning,
    host_row,
    named_row,
    recognise_form,
)

FILES = {
    # names as the files go by
    ("krea2", "turbo.safetensors"): "Krea 2 Turbo",
    ("krea2", "krea2_turbo_fp8_scaled.safetensors"): "Krea 2 Turbo",
    ("krea2", "raw.safetensors"): "base",
    ("krea2", "krea2_raw_fp8_scaled.safetensors"): "base",
    ("krea2", "my_merge.safetensors"): "unknown",
    ("z_image", "z_image_turbo_bf16.safetensors"): "Z-Image Turbo",
    ("z_image", "z_image_bf16.safetensors"): "base",
    ("z_image", "z_image_de_turbo_v1_bf16.safetensors"): "base",
    ("z_image", ""): "unknown",
    ("flux2_klein", "flux-2-klein-4b-fp8.safetensors"): "Flux.2 Klein of 4 steps",
    ("flux2_klein", "flux-2-klein-base-9b.safetensors"): "base",
    ("flux", "flux1-schnell-fp8.safetensors"): "Flux.1 schnell",
    ("flux", "flux1-dev.safetensors"): "base",
    ("qwen_image", "qwen_image_2512_fp8_e4m3fn.safetensors"): "base",
    ("anima", "anima-base-v1.0.safetensors"): "base",
    ("sdxl", "sd_xl_base_1.0.safetensors"): "base",
    ("sdxl", "sd_xl_turbo_1.0_fp16.safetensors"): "a few-step SDXL (Turbo, Lightning, Hyper, LCM, DMD2)",
    ("illustrious", "waiIllustriousSDXL_v140.safetensors"): "base",
    # names of the same forms, made up
    ("krea2", "krea2_turbo_base_fp8.safetensors"): "Krea 2 Turbo",
    ("z_image", "zImageTurbo_baseV1.safetensors"): "Z-Image Turbo",
    ("flux2_klein", "myKleinBase_distilledV2.safetensors"): "Flux.2 Klein of 4 steps",
    ("sdxl", "hyperrealismXL_v10.safetensors"): "base",
    ("sdxl", "copaxTimelessXL_hyperrealV2.safetensors"): "base",
    ("sdxl", "dreamshaperxl_hyper.safetensors"): "a few-step SDXL (Turbo, Lightning, Hyper, LCM, DMD2)",
    ("sd15", "dreamshaper_8LCM.safetensors"): "a few-step Stable Diffusion 1.5 (LCM, Hyper, Lightning)",
    ("sd15", "v1-5-pruned-emaonly.safetensors"): "base",
}


@pytest.mark.parametrize(("family", "file"), FILES)
def test_a_distilled_base_is_known_by_its_name(family, file):
    form = recognise_form(FAMILIES[family], file)
    assert (form if isinstance(form, str) else form.title) == FILES[family, file]
    assert bool(distilled_warning(FAMILIES[family], file)) == (form != "base")


def test_a_distilled_base_is_warned_about_with_what_to_train_on_and_how_to_use_the_lora():
    line = distilled_warning(FAMILIES["krea2"], "krea2_turbo_bf16.safetensors")
    assert "Train on Krea 2 RAW" in line and "on Krea 2 Turbo at strengths from 1 to 2" in line and "\n" not in line
    assert "zimage_turbo_training_adapter" in distilled_warning(FAMILIES["z_image"], "z_image_turbo_bf16.safetensors")
    assert "does not tell whether the base is Krea 2 RAW or Krea 2 Turbo" in distilled_warning(FAMILIES["krea2"], "x")


def test_schnell_is_known_by_its_network_under_any_name_but_not_what_was_made_of_it():
    built = {"guidance_embed": False}
    assert recognise_form(FAMILIES["flux"], "mine.safetensors", built).title == "Flux.1 schnell"
    assert recognise_form(FAMILIES["flux"], "mine.safetensors", {"guidance_embed": True}) == "base"
    assert recognise_form(FAMILIES["flux"], "OpenFLUX.1-v0.1.0-fp8.safetensors", built) == "base"


@pytest.mark.parametrize(("file", "name"), [
    ("Illustrious-XL-v0.1.safetensors", "illustrious"), ("noobaiXLNAIXL_vPred10Version.safetensors", "illustrious"),
    ("waiNSFWIllustrious_v140.safetensors", "illustrious"), ("sd_xl_base_1.0.safetensors", "sdxl"),
    ("novaAnimeXL_ilV100.safetensors", "illustrious"), ("villa_xl.safetensors", "sdxl"),
    ("wildcardxXL.safetensors", "sdxl"), ("", "sdxl")])
def test_illustrious_and_noobai_are_told_from_sdxl_by_the_file(file, name):
    loaded = FAMILIES["sdxl"].__class__(**{**vars(FAMILIES["sdxl"]), "objective": "v", "bucket_step": 16})
    row = named_row(loaded, file)
    assert (row.name, row.objective, row.bucket_step) == (name, "v", 16)
    assert row.quality[:1] == (("masterpiece",) if name == "illustrious" else ())


def test_the_hosts_models_of_one_class_are_told_by_their_networks():
    assert host_row("Flux2", {"guidance_embed": True}).name == "flux2"
    assert host_row("Flux2", {"guidance_embed": False, "hidden_size": 4096}).name == "flux2_klein"
    assert host_row("QwenImage", {"default_ref_method": "index_timestep_zero"}).name == "qwen_image_edit"
    assert host_row("QwenImage", {}).name == "qwen_image" and host_row("Lens", {}) is None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_row_has_presets_wording_and_names_of_its_own(family):
    assert family.wording in WORDINGS and {"style", "character"} <= family.presets.keys()
    assert family.guidance in (None, 1.0)  # what is distilled into a model is trained at 1
    assert not family.among or family.among in FAMILIES
    assert all(form.strengths == tuple(sorted(form.strengths)) for form in family.distilled)


def test_a_stranger_gets_a_lora_in_every_linear_layer_of_its_blocks():
    assert {preset.layers for preset in GENERIC_PRESETS.values()} == {"all"}
