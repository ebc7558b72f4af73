"""Keys of the host's own models: equal before and after a use, other for whatever its nodes patch into them."""

import comfy.hooks
import comfy.model_management
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import make_parts

import nodes
from lora_bootstrap.host.backbone.contents import content_of, fingerprint
from lora_bootstrap.host.backbone.facts import sampled_hash
from lora_bootstrap.host.backbone.loras import apply_lora
from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.host.backbone.sandbox import load_sandbox

SET_ON_IT = ("RescaleCFG", "SelfAttentionGuidance", "PerturbedAttentionGuidance", "PatchModelAddDownscale", "FreeU_V2",
             "HyperTile", "ModelSamplingDiscrete", "SkipLayerGuidanceDiT", "TomePatchModel", "EpsilonScaling")


@pytest.fixture(scope="module", autouse=True)
def _extra_nodes():
    import asyncio

    asyncio.run(nodes.init_builtin_extra_nodes())


@pytest.fixture
def sandbox():
    with torch.inference_mode():
        yield load_sandbox()


def run(kind, **inputs):
    """The first output of one of the host's nodes, with the defaults of its widgets."""
    node = nodes.NODE_CLASS_MAPPINGS[kind]
    defaults = {}
    for name, spec in node.INPUT_TYPES()["required"].items():
        options = spec[1] if len(spec) > 1 else {}
        choices = spec[0] if isinstance(spec[0], list) else options.get("options")
        if "default" in options or choices:
            defaults[name] = options.get("default", choices and choices[0])
    made = getattr(node(), node.FUNCTION)(**{**defaults, **inputs})
    return getattr(made, "result", made)[0]


def draw(model, clip):
    yes, no = (nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("akane", ""))
    nodes.KSampler().sample(model, 3, 2, 4.0, "euler", "normal", yes, no, {"samples": torch.zeros(1, 4, 16, 16)})


def keys(model, clip, vae):
    return fingerprint(model, clip, vae), *(content_of(part) for part in (model, clip, vae))


def random_lora(path, model, size=0.3):
    tensors = {}
    for name, parameter in model.model.named_parameters():
        if "attn" in name and name.endswith("weight") and parameter.ndim == 2:
            for end, shape in (("up", (len(parameter), 2)), ("down", (2, parameter.shape[1]))):
                tensors[f"{name.removesuffix('.weight')}.lora_{end}.weight"] = torch.randn(shape) * size
    save_file(tensors, path)
    return path


def test_a_model_as_its_file_has_it_keeps_the_fingerprint_of_earlier_versions(sandbox):
    """So that its finished trainings are still reused."""
    for model, clip, vae in (sandbox[:3], make_parts("sd3")):
        sampling = model.get_model_object("model_sampling")
        parts = [model, clip.patcher, *([vae.patcher] if getattr(vae, "patcher", None) else [])]
        assert fingerprint(model, clip, vae) == sampled_hash(parts, [
            type(sampling).__mro__[1:3], sampling.sigmas, clip.layer_idx, clip.tokenizer_options, []])


@pytest.mark.parametrize("kind", [None, *SET_ON_IT])
def test_the_keys_of_a_model_are_the_same_before_and_after_it_was_used(sandbox, kind):
    model, clip, vae = sandbox[:3]
    if kind and kind not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip(f"this host has no {kind}")
    plain = keys(model, clip, vae)
    if kind:
        model = run(kind, model=model)
    before = keys(model, clip, vae)
    assert all(content.opaque == () for content in before[1:])
    assert kind is None or before[:2] != plain[:2] and before[0] != plain[0]
    draw(model, clip)
    assert keys(model, clip, vae) == before
    assert keys(*sandbox[:3]) == plain, "also of the model that it was made from"


def test_the_keys_of_a_model_with_a_lora_are_the_same_before_and_after_it_was_used(sandbox, tmp_path):
    path = random_lora(tmp_path / "a.safetensors", sandbox[0])
    model, clip = apply_lora(*sandbox[:2], path, 0.7, 0.7)
    plain, before = keys(*sandbox[:3]), keys(model, clip, sandbox[2])
    draw(model, clip)
    assert keys(model, clip, sandbox[2]) == before != plain and keys(*sandbox[:3]) == plain


@pytest.mark.parametrize("schedule_clip", [False, True])
def test_the_keys_of_a_model_are_the_same_after_hooks_changed_its_weights(sandbox, tmp_path, schedule_clip):
    tensors = comfy.utils.load_torch_file(str(random_lora(tmp_path / "a.safetensors", sandbox[0])))
    hooks = comfy.hooks.create_hook_lora(tensors, 1.0, 1.0)
    hooks.set_keyframes_on_hooks(run("CreateHookKeyframesInterpolated", strength_start=1.0, strength_end=0.3,
                                     start_percent=0.0, end_percent=0.5, keyframes_count=4))
    clip = run("SetClipHooks", clip=sandbox[1], apply_to_conds=True, schedule_clip=schedule_clip, hooks=hooks)
    plain, before = keys(*sandbox[:3]), keys(sandbox[0], clip, sandbox[2])
    draw(sandbox[0], clip)
    assert keys(sandbox[0], clip, sandbox[2]) == before and keys(*sandbox[:3]) == plain
    assert before[0] != plain[0] and before[2] != plain[2]


@pytest.mark.parametrize(("kind", "name", "values"), [
    ("PatchModelAddDownscale", "downscale_factor", (1.0, 2.0)), ("RescaleCFG", "multiplier", (1.0, 0.1)),
    ("FreeU_V2", "b1", (1.0, 1.3)), ("HyperTile", "tile_size", (256, 128)), ("TomePatchModel", "ratio", (0.3, 0.6)),
    ("ModelSamplingDiscrete", "zsnr", (False, True)), ("ModelSamplingSD3", "shift", (3.0, 4.0)),
    ("ModelSamplingContinuousEDM", "sigma_max", (120.0, 80.0))])
def test_every_value_of_a_patch_is_another_model_also_for_a_training(sandbox, kind, name, values):
    """A patched model, trained again: https://github.com/Comfy-Org/ComfyUI/issues/4483."""
    models = [run(kind, model=sandbox[0], **{name: value}) for value in (*values, values[0])]
    first, other, again = (keys(model, *sandbox[1:3]) for model in models)
    assert first == again and first[0] != other[0] and first[1] != other[1]


def test_what_made_a_model_counts_where_the_fingerprint_cannot_tell(sandbox):
    backbones = [HostBackbone(*sandbox[:3]) for _ in range(3)]
    backbones[1].made_by, backbones[2].made_by = "one", "two"
    assert len({backbone.fingerprint for backbone in backbones}) == 3
