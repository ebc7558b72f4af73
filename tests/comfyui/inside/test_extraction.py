"""A LoRA that is extracted from two of the host's models, or from their files, makes one of the other in the host."""

import logging

import comfy.lora
import comfy.lora_convert
import comfy.model_management
import comfy.utils
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import FAMILIES, make_backbone, make_model
from unchanged import facts

from lora_bootstrap.host.backbone.loras import apply_lora
from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.host.extraction.models import ModelWeights
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.extraction.extract import extract_lora
from lora_bootstrap.trainer.extraction.settings import ExtractSettings
from lora_bootstrap.trainer.extraction.sides import CheckpointFile

EXACT = ExtractSettings(rank=4, dtype="float32")
SOME = [name for name in ("flux", "z_image", "qwen_image", "wan") if name in FAMILIES]
"""UNets have tests of their own below."""


def fine_tuned(name, **settings):
    """The family's tiny model after a change of rank 2 in every layer, and of every bias and norm."""
    model, generator = make_model(name, **settings), torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.model.diffusion_model.parameters():
            sides = (weight.shape[0], weight[0].numel()) if weight.ndim > 1 else (weight.numel(), 1)
            change = torch.randn(sides[0], 2, generator=generator) @ torch.randn(2, sides[1], generator=generator)
            weight.add_((0.02 * change.reshape(weight.shape)).to(weight.dtype))
    return model


def extract(tuned, base, folder, settings=EXACT):
    *_, last = extract_lora(tuned, base, folder, "tiny", settings)
    return last


def patched(model, path, caplog):
    """The model's weights with the LoRA file, as the host calculates them, by name."""
    lora = comfy.lora_convert.convert_lora(comfy.utils.load_torch_file(str(path), safe_load=True))
    with caplog.at_level(logging.WARNING):
        patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}))
    assert [line for line in caplog.messages if "not loaded" in line] == []
    return {name: comfy.lora.calculate_weight([(1.0, patches[name], 1.0, None, None)], weight.detach().clone(), name)
            if name in patches else weight for name, weight in model.model.named_parameters()}


@pytest.mark.parametrize("name", SOME)
def test_a_family_with_the_extracted_lora_has_the_fine_tuned_weights_in_the_host(name, tmp_path, caplog):
    base, tuned = make_model(name), fine_tuned(name)
    last = extract(ModelWeights("tuned", tuned), ModelWeights("base", base), tmp_path)
    assert last.report.error < 1e-5 and len(last.report.rows) > 10
    found = patched(base, last.path, caplog)
    for key, weight in tuned.model.named_parameters():
        torch.testing.assert_close(found[key], weight, rtol=1e-4, atol=1e-4, msg=key)


@pytest.fixture(scope="module")
def unets(tmp_path_factory):
    """(fine-tuned UNet, its base, the LoRA extracted from them)."""
    tuned, base = fine_tuned("sd15"), make_model("sd15")
    folder = tmp_path_factory.mktemp("unets")
    return tuned, base, extract(ModelWeights("tuned", tuned), ModelWeights("base", base), folder).path


def test_the_base_with_the_extracted_lora_predicts_what_the_fine_tuned_model_predicts(unets):
    tuned, base, path = unets
    parts = make_backbone("sd15")

    def predict(model):
        backbone = HostBackbone(model, parts.clip, parts.vae)
        noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            return backbone.sampling_prediction(noisy, torch.tensor([500.0]), "a red disc")

    wanted, before = predict(tuned), predict(base)
    found = predict(apply_lora(base, None, path)[0])
    comfy.model_management.unload_all_models()
    assert (wanted - before).norm() > 0.05 * wanted.norm()
    assert (found - wanted).norm() < 1e-3 * (wanted - before).norm()


def test_a_models_patches_count_and_it_is_left_unchanged(unets, tmp_path, caplog):
    """As ModelMergeSimple leaves it: the other model's weights as patches on the base's own network."""
    tuned, base, _ = unets
    before = facts(base.model)
    merged = base.clone()
    other = tuned.get_key_patches("diffusion_model.")
    merged.add_patches({name: patches[:1] for name, patches in other.items()}, 0.5, 0.5)
    last = extract(ModelWeights("merged", merged), ModelWeights("base", base), tmp_path)
    found = patched(base, last.path, caplog)
    ends = dict(tuned.model.named_parameters())
    for key, start in base.model.named_parameters():
        end = ends[key]
        torch.testing.assert_close(found[key], (start + end) / 2, rtol=1e-4, atol=1e-4, msg=key)
    assert facts(base.model) == before


def test_a_model_that_the_host_has_loaded_with_a_lora_is_still_its_own_weights(unets, tmp_path):
    tuned, base, path = unets
    with_lora = apply_lora(base, None, path)[0]
    with_lora.patch_model()
    try:
        again = extract(ModelWeights("tuned", tuned), ModelWeights("base", base), tmp_path).path
    finally:
        with_lora.unpatch_model()
    assert again.read_bytes() == path.read_bytes()


def test_files_give_the_same_lora_as_their_models(unets, tmp_path):
    """One as a checkpoint, the other as the file of the network alone."""
    tuned, base, path = unets
    for name, model, prefix in (("tuned", tuned, "model.diffusion_model."), ("base", base, "")):
        weights = model.model.diffusion_model.state_dict()
        save_file({f"{prefix}{key}": value.contiguous() for key, value in weights.items()},
                  tmp_path / f"{name}.safetensors")
    files = [CheckpointFile(tmp_path / f"{name}.safetensors") for name in ("tuned", "base")]
    found = extract(*files, tmp_path).path
    one, other = (comfy.utils.load_torch_file(str(file), safe_load=True) for file in (found, path))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_packed_weight_is_refused_by_name(tmp_path):
    base, tuned = make_model("flux"), fine_tuned("flux")
    layer = tuned.model.diffusion_model.img_in
    layer.weight = torch.nn.Parameter(layer.weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(UserError, match=r"layer diffusion_model\.img_in\.weight of tuned is packed as int8"):
        extract(ModelWeights("tuned", tuned), ModelWeights("base", base), tmp_path)
