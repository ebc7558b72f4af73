"""What is particular to a host: its MODEL is given back as it was, its precision, its captions, its errors."""

import gc
import json
import os

import comfy.model_management
import comfy.model_sampling
import comfy.ops
import comfy.quant_ops
import psutil
import pytest
import torch
from tiny_models import TinyVae, make_backbone, make_dataset, make_parts
from unchanged import facts

from lora_bootstrap.host.backbone.kernels import casting
from lora_bootstrap.host.backbone.loras import apply_lora
from lora_bootstrap.host.backbone.model import HostBackbone, memory_in_use, release_memory
from lora_bootstrap.host.backbone.sandbox import load_sandbox
from lora_bootstrap.host.backbone.schedule import HostSchedule
from lora_bootstrap.host.backbone.shadow import Shadow
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.tensor_cache import TensorCache
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.models.noise import per_row
from lora_bootstrap.trainer.models.prompt_memory import PromptMemory
from lora_bootstrap.trainer.pictures.images import to_tensor
from lora_bootstrap.trainer.stacks.stack import StackEntry
from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.events import Finished, Proved, StepDone
from lora_bootstrap.trainer.training.feed import Feed
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.objectives import OBJECTIVES


def config(**changes):
    return TrainConfig(name="run", steps=3).replace(**{
        "adapter.rank": 2, "adapter.alpha": 2.0, "data.batch_size": 3, "data.resolution": 64,
        "optimizer.learning_rate": 1e-2, **changes})


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "pictures")


@pytest.fixture(scope="module")
def sandbox():
    with torch.inference_mode():
        return load_sandbox()


def all_of(backbone):
    comfy.model_management.load_models_gpu([backbone.model, backbone.clip.patcher])  # which leaves marks of its own
    return facts(backbone.model.model, backbone.clip.cond_stage_model)


# -- the MODEL comes back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "checkpointing"), [
    *((end, False) for end in ("finished", "error", "closed", "cancelled")), ("finished", True), ("error", True)])
def test_the_model_comes_back_bit_identical(sandbox, dataset, tmp_path, monkeypatch, end, checkpointing):
    backbone = HostBackbone(*sandbox)
    before, flag = all_of(backbone), getattr(comfy.model_management, "in_training", None)
    settings = config(**{"adapter.text_encoder": True, "adapter.layers": "all", "adapter.conv_rank": 2,
                         "gradient_checkpointing": checkpointing})
    errors = {"error": ZeroDivisionError, "cancelled": comfy.model_management.InterruptProcessingException}
    with torch.inference_mode():  # as the host runs its nodes
        events = train(backbone, dataset, settings, tmp_path / "runs")
        try:
            for event in events:
                if isinstance(event, StepDone) and event.step == 2:
                    if end == "closed":
                        events.close()
                    elif end in errors:
                        monkeypatch.setattr(HostBackbone, "predict", raising(errors[end]))
        except tuple(errors.values()) as error:
            assert isinstance(error, errors[end])
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
    assert all_of(backbone) == before
    assert getattr(comfy.model_management, "in_training", None) == flag
    assert isinstance(event, Finished if end == "finished" else StepDone)
    if end != "finished":  # what was trained is kept
        assert (tmp_path / "runs" / "run" / "run-step000002.safetensors").is_file()
        assert (tmp_path / "runs" / "run" / "state" / "state.safetensors").is_file()


def raising(kind):
    def predict(*_):
        raise kind("stop")

    return predict


def test_a_model_with_a_lora_on_it_keeps_it_and_trains_beside_it(sandbox, dataset, tmp_path):
    *_, first = train(HostBackbone(*sandbox), dataset, config(**{"adapter.text_encoder": True}), tmp_path / "first")
    model, clip = apply_lora(*sandbox[:2], first.path)
    backbone, noisy, t = HostBackbone(model, clip, sandbox[2]), torch.randn(1, 4, 16, 16), torch.tensor([0.5])
    with torch.no_grad():
        heard = backbone.encode_text(["red"])
        patched, plain = (b.predict(noisy, t, heard).clone() for b in (backbone, HostBackbone(*sandbox)))
    assert (patched - plain).abs().max() > 1e-3
    assert isinstance(list(train(backbone, dataset, config(), tmp_path / "second"))[-1], Finished)
    with torch.no_grad():
        torch.testing.assert_close(backbone.predict(noisy, t, heard), patched)
        torch.testing.assert_close(HostBackbone(*sandbox).predict(noisy, t, heard), plain)
    assert backbone.fingerprint != HostBackbone(*sandbox).fingerprint


def test_a_lora_beside_a_training_does_what_it_does_on_the_model(sandbox, dataset, tmp_path):
    *_, first = train(HostBackbone(*sandbox), dataset, config(), tmp_path / "first")
    model, _ = apply_lora(*sandbox[:2], first.path)
    backbone, kept = HostBackbone(*sandbox), {"preservation.weight": 1.0}
    before = all_of(backbone)
    ways = {"on the model": (HostBackbone(model, *sandbox[1:]), ()),
            "beside": (backbone, [StackEntry(path=first.path)]), "without": (HostBackbone(*sandbox), ())}
    with torch.inference_mode():
        found = {name: list(train(base, dataset, config(**kept), tmp_path / name, beside=beside))
                 for name, (base, beside) in ways.items()}
    losses = {name: [event.loss for event in events if isinstance(event, StepDone)] for name, events in found.items()}
    assert losses["beside"] == pytest.approx(losses["on the model"], rel=1e-3)
    assert losses["beside"] != pytest.approx(losses["without"], rel=1e-2)
    assert all(event.proof.passed for event in found["beside"] if isinstance(event, Proved))
    assert all_of(backbone) == before


def test_twenty_cycles_of_training_and_unloading_leak_nothing():
    backbone = make_backbone("sd3")
    noisy, t = torch.randn(2, 16, 4, 4), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        heard = backbone.encode_text(["red", "blue"])

    def cycle():
        with torch.inference_mode(), backbone.training(True):
            handle = adapters.attach(backbone.network, AdapterConfig(rank=2), backbone.family.blocks, 0)
            with backbone.step():
                backbone.predict(noisy, t, heard).mean().backward()
            handle.detach()
        release_memory()

    def held():
        gc.collect()
        tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
        hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.network.modules())
        return len(tensors), sum(o.numel() * o.element_size() for o in tensors), hooks

    for _ in range(3):
        cycle()
    before, resident = held(), psutil.Process().memory_info().rss
    for _ in range(20):
        cycle()
    assert held() == before
    assert psutil.Process().memory_info().rss - resident < 30e6


def test_memory_is_released_and_counted(sandbox):
    backbone = HostBackbone(*sandbox)
    assert memory_in_use(backbone.device) > 1e6
    comfy.model_management.load_models_gpu([backbone.model])
    release_memory()
    assert all(patcher.model is not backbone.model.model for patcher in comfy.model_management.loaded_models()
               if patcher.load_device.type != "cpu")


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd15", "flux", "lumina2", "z_image", "qwen_image"])
@torch.no_grad()
def test_captions_of_differing_lengths_share_a_batch_without_touching_each_other(name):
    backbone = make_backbone(name)
    captions = ["red", "a b c d e f g", "blue disc", " ".join(f"word{n}" for n in range(90))]
    frames = [1] if name == "qwen_image" else []
    noisy = torch.randn(4, backbone.family.latent_channels, *frames, 8, 8)
    t = torch.tensor([0.2, 0.4, 0.6, 0.8])
    heard = backbone.encode_text(captions)
    lengths = {heard.row(row)["cross_attn"].shape[1] for row in range(4)}
    assert len(lengths) > 1
    together = backbone.predict(noisy, t, heard)
    for row in range(4):
        alone = backbone.predict(noisy[row : row + 1], t[row : row + 1], backbone.encode_text([captions[row]]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_prompts_are_encoded_once_until_something_is_on_the_text_encoder(monkeypatch):
    backbone, encoded = make_backbone("sdxl"), []
    encode = backbone.clip.encode_from_tokens
    monkeypatch.setattr(backbone.clip, "encode_from_tokens", lambda *args, **kwargs: (
        encoded.append(args), encode(*args, **kwargs))[1])
    settings = {"width": 64, "height": 64, "steps": 2, "cfg": 4.0}
    backbone.remember_prompts(["red", "a blue disc"], cfg=4.0)
    assert len(encoded) == 3  # and the negative prompt
    first = backbone.generate(["red", "a blue disc"], seeds=[1, 2], **settings)
    assert len(encoded) == 3
    backbone._prompts = PromptMemory()
    assert torch.equal(first, backbone.generate(["red", "a blue disc"], seeds=[1, 2], **settings)) and len(encoded) == 6
    backbone.clip.patcher.patches_uuid = "another LoRA"
    backbone.generate(["red", "a blue disc"], seeds=[1, 2], **settings)
    assert len(encoded) == 9
    next(backbone.text_network.parameters()).requires_grad_(True)  # as in a training of the text encoder
    for _ in range(2):
        backbone.generate(["red", "a blue disc"], seeds=[1, 2], **settings)
    assert len(encoded) == 15


@torch.no_grad()
def test_weights_are_let_go_once_and_not_again_for_every_image(monkeypatch):
    backbone, released = make_backbone("sdxl"), []
    release = Shadow.release
    monkeypatch.setattr(Shadow, "release", lambda shadow: (released.append(shadow), release(shadow)))
    for _ in range(3):
        backbone.encode_images(torch.rand(1, 3, 64, 64))
    assert released == []
    backbone.encode_text(["red"])
    for _ in range(3):
        backbone.encode_images(torch.rand(1, 3, 64, 64))
    assert len(released) == 1


@pytest.mark.parametrize("name", ["sdxl", "qwen_image"])
def test_latents_are_in_the_models_own_scale_in_every_bucket(name, tmp_path):
    backbone = make_backbone(name)
    for width, height in ((64, 64), (64, 96)):
        data = make_dataset(tmp_path / f"{height}", size=(width, height))
        feed = Feed(backbone, data, config(**{"data.resolution": 96}), TensorCache())
        pixels = to_tensor(data.samples[0].load())
        assert feed.buckets[0] == (width, height) == pixels.shape[:0:-1]
        raw = backbone.vae.encode(pixels[None].movedim(1, -1))
        latents = feed.batch(0).latents
        expected = backbone.model.model.process_latent_in(raw)[0]
        assert any(torch.allclose(row, expected, atol=1e-5) for row in latents)
        if name == "sdxl":
            torch.testing.assert_close(expected, raw[0] * 0.13025)


# -- precision -------------------------------------------------------------------------------------------------------

HALVES = [(torch.bfloat16, None), (torch.bfloat16, torch.float32), (torch.float8_e4m3fn, torch.float32),
          (torch.float8_e4m3fn, torch.bfloat16)]
WAYS = [*((*half, False) for half in HALVES), *((*half, True) for half in HALVES if half[1] == torch.float32)]
"""Recomputing is tried where the host casts to what is quickest here."""


@pytest.mark.parametrize(("dtype", "cast", "checkpointing"), WAYS, ids=lambda value: str(value).removeprefix("torch."))
def test_weights_of_less_than_32_bits_train_through_the_hosts_casting(dtype, cast, checkpointing, dataset, tmp_path):
    backbone = make_backbone("sdxl", dtype=dtype, cast=cast)
    before, losses = all_of(backbone), []
    settings = config(**{"gradient_checkpointing": checkpointing, "steps": 2})
    for event in train(backbone, dataset, settings, tmp_path / "runs"):
        if isinstance(event, StepDone):
            losses.append(event)
    assert all(event.loss == event.loss and event.grad_norm > 0 for event in losses)
    assert all_of(backbone) == before
    trained = load_lora(event.path).modules.values()
    assert all(factors.up.abs().max() > 0 for factors in trained)


def test_a_quantised_model_trains(dataset, tmp_path):
    """Weights of a tensor class of the host's own, eight bits each and a scale, as its quantised checkpoints hold."""
    plain = make_backbone("sd3")
    backbone = make_backbone("sd3", operations=comfy.ops.mixed_precision_ops({}, torch.float32),
                             weights=quantised(plain.model.model.diffusion_model))
    noisy, t = torch.randn(2, 16, 8, 8), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        heard = backbone.encode_text(["red", "blue disc"])
        outputs = [b.predict(noisy, t, heard).clone() for b in (backbone, plain)]
    assert 0 < (outputs[0] - outputs[1]).abs().max() < 0.2 * outputs[1].abs().max()
    kinds = [type(parameter.data) for parameter in backbone.model.model.parameters()]
    *_, last = train(backbone, dataset, config(), tmp_path / "runs")
    assert all(factors.up.abs().max() > 0 for factors in load_lora(last.path).modules.values())
    assert comfy.quant_ops.QuantizedTensor in kinds
    assert [type(parameter.data) for parameter in backbone.model.model.parameters()] == kinds
    with torch.no_grad():
        torch.testing.assert_close(backbone.predict(noisy, t, heard), outputs[0])


def quantised(network):
    found = network.state_dict()
    mark = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    for name, module in network.joint_blocks.named_modules(prefix="joint_blocks"):
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.detach()
            scale = weight.abs().max() / 448
            found |= {f"{name}.weight": (weight / scale).to(torch.float8_e4m3fn), f"{name}.weight_scale": scale,
                      f"{name}.comfy_quant": mark}
    return found


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_weights_that_the_host_hands_out_for_each_use_give_the_same_gradients(name):
    """In low memory the host casts and moves weights layer by layer, in the forward and again in the backward pass."""
    (loss, plain), (low_loss, low) = (gradients_of(name, hand_out) for hand_out in (False, True))
    torch.testing.assert_close(loss, low_loss)
    assert len(plain) == len(low) > 10
    for one, other in zip(plain, low, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def gradients_of(name, hand_out):
    backbone = make_backbone(name)
    noisy = torch.randn(2, backbone.family.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heard = backbone.encode_text(["red", "blue disc"])
    with backbone.training(False):
        for module in backbone.network.modules() if hand_out else ():
            if hasattr(module, "comfy_cast_weights"):
                module.comfy_cast_weights = True
                forward = casting(module)
                assert forward or not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
                if forward:
                    module.forward = forward
        handle = adapters.attach(backbone.network, AdapterConfig(rank=2, layers="all", conv_rank=2),
                                 backbone.family.blocks, 0)
        for parameter in handle.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
        with backbone.step():
            loss = backbone.predict(noisy, torch.tensor([0.2, 0.8]), heard).square().mean()
            loss.backward()
        gradients = [parameter.grad for parameter in handle.parameters() if parameter.grad is not None]
        handle.detach()
    return loss.detach(), gradients


# -- captions --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_brackets_in_captions_are_text_and_not_weights(sandbox):
    backbone = HostBackbone(*sandbox)
    bracketed, escaped = (backbone.encode_text([text]).tensors["cross_attn"] for text in (
        "red (disc)", r"red \(disc\)"))
    assert torch.equal(bracketed, escaped)
    weighted = backbone._encode(["red (disc)"]).tensors["cross_attn"]
    assert (weighted - bracketed).abs().max() > 1e-3


def test_the_text_encoder_trains_and_its_keys_load_through_the_host(sandbox, dataset, tmp_path, caplog):
    backbone = HostBackbone(*sandbox)
    *_, last = train(backbone, dataset, config(**{"adapter.text_encoder": True}), tmp_path / "runs")
    keys = load_lora(last.path).modules
    assert sum(key.startswith("text_encoder.text_model.encoder.layers.") for key in keys) >= 12
    model, clip = apply_lora(*sandbox[:2], last.path)
    assert len(clip.patcher.patches) >= 12 and [m for m in caplog.messages if "not loaded" in m.lower()] == []
    with torch.no_grad():
        changed = HostBackbone(model, clip, sandbox[2]).encode_text(["red"]).tensors["cross_attn"]
        assert (changed - backbone.encode_text(["red"]).tensors["cross_attn"]).abs().max() > 1e-3


def test_captions_are_encoded_once_and_then_only_read(sandbox, dataset, tmp_path, monkeypatch):
    backbone, encoded = HostBackbone(*sandbox), []
    encode = HostBackbone.encode_text
    monkeypatch.setattr(HostBackbone, "encode_text", lambda self, captions: encoded.extend(captions) or (
        encode(self, captions)))
    list(train(backbone, dataset, config(steps=4), tmp_path / "runs"))
    assert sorted(encoded) == sorted(sample.caption for sample in dataset.samples)


# -- what the base is ------------------------------------------------------------------------------------------------


def test_a_fingerprint_knows_the_weights_whatever_was_done_with_them(sandbox):
    first = make_backbone("sd15").fingerprint
    assert first == make_backbone("sd15").fingerprint != make_backbone("sd15", seed=1).fingerprint
    with torch.inference_mode():
        again = load_sandbox()
    assert HostBackbone(*again).fingerprint == HostBackbone(*sandbox).fingerprint
    model, clip, vae = make_parts("sd15")
    loaded = HostBackbone(model, clip, vae)
    with loaded.training(True):
        assert loaded.fingerprint == first
    patched = model.clone()
    patched.add_patches({"diffusion_model.out.2.weight": ("diff", (torch.ones(4, 32, 3, 3),))})
    assert HostBackbone(patched, clip, vae).fingerprint != first
    comfy.model_management.load_models_gpu([patched])  # patches the weights in place
    assert HostBackbone(model, clip, vae).fingerprint == first


def test_a_model_without_a_row_trains_by_what_it_says_of_itself(dataset, tmp_path):
    model, clip, vae = make_parts("sd15")
    model.model.model_config.unet_config = {**model.model.model_config.unet_config, "context_dim": 1024}
    backbone = HostBackbone(model, clip, vae)
    assert (backbone.family.name, backbone.family.objective, backbone.family.latent_channels) == ("other", "eps", 4)
    assert backbone.family.presets["character"].learning_rate == 1e-4
    *_, last = train(backbone, dataset, config(**{"data.resolution": 128, "data.upscale": True}), tmp_path / "runs")
    assert len(load_lora(last.path).modules) > 10


# -- noise -----------------------------------------------------------------------------------------------------------

SAMPLINGS = {
    "eps": ("ModelSamplingDiscrete", "EPS", {}),
    "v": ("ModelSamplingDiscrete", "V_PREDICTION", {}),
    "v, zero terminal SNR": ("ModelSamplingDiscrete", "V_PREDICTION", {"zsnr": True}),
    "EDM": ("ModelSamplingContinuousEDM", "EDM", {}),
    "v, EDM": ("ModelSamplingContinuousEDM", "V_PREDICTION", {}),
    "flow": ("ModelSamplingDiscreteFlow", "CONST", {"shift": 3.0}),
    "Flux": ("ModelSamplingFlux", "CONST", {"shift": 1.15}),
    "Cosmos": ("ModelSamplingCosmosRFlow", "COSMOS_RFLOW", {}),
}


class Settings:
    def __init__(self, settings):
        self.sampling_settings = settings


def make_sampling(name):
    schedule, prediction, settings = SAMPLINGS[name]
    bases = (getattr(comfy.model_sampling, schedule), getattr(comfy.model_sampling, prediction))
    return type("Sampling", bases, {})(Settings(settings))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_network_that_is_right_says_what_the_loss_wants(name):
    """Through the host's own noising and the objective's own target, at every time."""
    sampling = make_sampling(name)
    schedule = HostSchedule.of(sampling)
    t = torch.linspace(0.001, 0.999, 9)
    x0, noise = torch.randn(2, 9, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = schedule.sigmas(t)
    noisy = sampling.noise_scaling(per_row(sigma, x0), noise.clone(), x0, False)
    alpha, level = (per_row(value, x0) for value in schedule.coefficients(t))
    target = OBJECTIVES[schedule.objective].target(x0, noise, alpha, level)
    torch.testing.assert_close(schedule.raw(noisy, x0, sigma), target, atol=2e-3, rtol=1e-3)
    assert (sigma.diff() >= 0).all()


@pytest.mark.parametrize("name", ["v, zero terminal SNR", "EDM", "v"])
def test_a_model_with_other_noise_levels_trains(name, dataset, tmp_path):
    model, clip, vae = make_parts("sd15")
    model.add_object_patch("model_sampling", make_sampling(name))
    backbone = HostBackbone(model, clip, vae)
    assert backbone.family.objective == "v"
    losses = [event.loss for event in train(backbone, dataset, config(**{"data.resolution": 128, "data.upscale": True}),
                                            tmp_path / "runs") if isinstance(event, StepDone)]
    assert len(losses) == 3 and all(0 < loss < 1e3 for loss in losses)


def test_a_network_that_does_not_denoise_is_refused():
    model, clip, vae = make_parts("sd15")
    kind = type("Sampling", (comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.IMG_TO_IMG), {})
    model.add_object_patch("model_sampling", kind(Settings({})))
    with pytest.raises(UserError, match="does not denoise images"):
        HostBackbone(model, clip, vae)


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["MODEL", "CLIP", "VAE"])
def test_a_missing_part_is_named(missing):
    parts = [None if name == missing else part for name, part in zip(("MODEL", "CLIP", "VAE"), make_parts("sd15"),
                                                                     strict=True)]
    with pytest.raises(UserError, match=f"^{missing} is missing"):
        HostBackbone(*parts)


def test_a_vae_of_another_family_is_named_by_its_channels(dataset, tmp_path):
    model, clip, _ = make_parts("sd15")
    with pytest.raises(UserError, match="latents with 16 channels, but Stable Diffusion 1.5 needs 4"):
        list(train(HostBackbone(model, clip, TinyVae(16)), dataset, config(**{
            "data.resolution": 128, "data.upscale": True}), tmp_path / "runs"))


def test_memory_that_runs_out_says_what_to_lower(dataset, tmp_path, monkeypatch):
    backbone = make_backbone("sd15")
    monkeypatch.setattr(type(backbone.model.model), "apply_model", raising_oom)
    with pytest.raises(UserError, match="memory ran out at step 1 .* lower data.batch_size"):
        list(train(backbone, dataset, config(), tmp_path / "runs"))


def raising_oom(*_, **__):
    raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory")


def test_layers_that_another_node_replaced_are_named(dataset, tmp_path):
    backbone = make_backbone("sd15")
    layer = backbone.model.model.diffusion_model.time_embed[0]
    layer.forward = lambda x: x
    with pytest.raises(UserError, match="diffusion_model.time_embed.0.*cannot be trained through"):
        list(train(backbone, dataset, config(), tmp_path / "runs"))


def test_a_layer_without_a_backward_is_named(dataset, tmp_path):
    class Sealed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("derivative for sealed is not implemented")

    backbone = make_backbone("sd15")
    block = backbone.model.model.diffusion_model.middle_block[1].transformer_blocks[0].norm2
    block.register_forward_hook(lambda module, args, output: Sealed.apply(output))
    with pytest.raises(UserError, match=r"layer middle_block\.1\.transformer_blocks\.0\.norm2 of UNetModel cannot "
                                        r"carry gradients \(derivative for sealed"):
        list(train(HostBackbone(backbone.model, backbone.clip, backbone.vae), dataset, config(**{
            "data.resolution": 128, "data.upscale": True}), tmp_path / "runs"))


def test_a_lora_of_another_family_is_refused(tmp_path):
    sdxl = make_backbone("sdxl")
    *_, last = train(sdxl, make_dataset(tmp_path / "data"), config(), tmp_path / "runs")
    with pytest.raises(UserError, match="is in this model: it was made for another model family"), \
            make_backbone("sd3").lora(last.path):
        pass
    with pytest.raises(UserError, match="does not exist"):
        apply_lora(sdxl.model, None, os.path.join(tmp_path, "absent.safetensors"))
