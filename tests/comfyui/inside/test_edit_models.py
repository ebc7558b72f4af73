"""Edit models are trained with their control images, given to them as the host's own nodes do in sampling."""

import logging
from types import SimpleNamespace

import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy.text_encoders.llama as llama
import comfy.text_encoders.qwen_image as qwen_image
import comfy.text_encoders.qwen_vl as qwen_vl
import pytest
import torch
from comfy_extras.nodes_edit_model import ReferenceLatent
from comfy_extras.nodes_flux import FluxKontextImageScale, FluxKontextMultiReferenceLatentMethod
from comfy_extras.nodes_qwen import TextEncodeQwenImageEdit, TextEncodeQwenImageEditPlus
from PIL import Image
from tiny_models import FAMILIES, Tiny, TinyClip, TinyVae, make_model, set_weights

from lora_bootstrap.host.backbone import model as backbone_module
from lora_bootstrap.host.backbone.edit import encode_edit
from lora_bootstrap.host.backbone.loras import apply_lora, unmatched_modules
from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.models.backbone import Controls
from lora_bootstrap.trainer.proofs.proof import FILE_WORKS, SAME_TEXT
from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, Proved, StepDone

WIDTH = 32
QWEN = Tiny("QwenImage", {**FAMILIES["qwen_image"].settings, "joint_attention_dim": WIDTH}, WIDTH)
FLUX, FLUX2, KREA2 = (FAMILIES.get(name) for name in ("flux", "flux2_klein", "krea2"))
SCALE = 32
"""Coarse on purpose: the host makes a megapixel of every control image."""
CAPTION = "make (the disc) blue"


@pytest.fixture(scope="module")
def vision_clip():
    """The host's own CLIP for Qwen-Image-Edit, with its own tokenizer, in a tiny size."""
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        vision = qwen_vl.Qwen2VLVisionTransformer
        patch.setattr(qwen_vl, "Qwen2VLVisionTransformer", lambda **settings: vision(**{
            **settings, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "num_layers": 1}))
        config = llama.Qwen25_7BVLI_Config
        patch.setattr(llama, "Qwen25_7BVLI_Config", lambda **settings: config(
            hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1))
        clip = comfy.sd.CLIP(SimpleNamespace(params={}, clip=qwen_image.te(), tokenizer=qwen_image.QwenImageTokenizer),
                             model_options={"dtype": torch.float32})
        set_weights(clip.cond_stage_model)
        return clip


class EditClip(TinyClip):
    """A text encoder that loads itself as the host's do, only when it encodes."""

    def load_model(self, tokens=None):
        pass

    def tokenize(self, text, return_word_ids=False, images=(), llama_template="{}"):
        seen = (f" image{image.mean():.4f}" for image in images)
        return super().tokenize(llama_template.format(text) + "".join(seen), return_word_ids)

    def encode_from_tokens_scheduled(self, tokens):
        self.load_model(tokens)
        return super().encode_from_tokens_scheduled(tokens)


def make_edit_backbone(tiny, clip=None, settings=None):
    with torch.inference_mode():
        model = make_model(Tiny(tiny.config, {**tiny.settings, **(settings or {})}, tiny.width))
    latents = model.model.latent_format
    return HostBackbone(model, clip or EditClip(tiny),
                        TinyVae(latents.latent_channels, latents.latent_dimensions == 3, SCALE))


def photo(seed, size):
    """[3, H, W] noise in 0..1, coarse enough to survive resizing."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator), size)[0]


# -- what the host's own nodes make of a prompt and images -------------------------------------------------------------


def as_image(pixels):
    return pixels.movedim(0, -1)[None]


def plus(clip, vae, prompt, images):
    return TextEncodeQwenImageEditPlus.execute(clip, prompt, vae, *map(as_image, images)).args[0]


def plus_at_time_0(clip, vae, prompt, images):
    return FluxKontextMultiReferenceLatentMethod.execute(
        plus(clip, vae, prompt, images), "index_timestep_zero").args[0]


def first_edit(clip, vae, prompt, images):
    return TextEncodeQwenImageEdit.execute(clip, prompt, vae, *map(as_image, images)).args[0]


def chain(scale):
    def build(clip, vae, prompt, images):
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
        for image in images:
            latent = {"samples": vae.encode(scale(as_image(image)))}
            conditioning = ReferenceLatent.execute(conditioning, latent).args[0]
        return conditioning
    return build


def one_megapixel(image):
    from comfy_extras.nodes_post_processing import ImageScaleToTotalPixels

    return ImageScaleToTotalPixels.execute(image, "lanczos", 1.0, 1).args[0]


CASES = {
    # form → (network, whether the host's own vision model reads its captions here, graph, number of control images)
    "qwen edit": (QWEN, True, first_edit, 1),
    "qwen edit 2509": (QWEN, True, plus, 2),
    "qwen edit 2511": (QWEN, True, plus_at_time_0, 2),
    "kontext": (FLUX, False, chain(lambda image: FluxKontextImageScale.execute(image).args[0]), 1),
    "flux2": (FLUX2, False, chain(one_megapixel), 1),
    "krea2": (KREA2, False, plus_at_time_0, 2),
}
KNOWN = [form for form, (tiny, *_) in CASES.items() if tiny is not None]


def sampled(backbone, conditioning, x0, noise, sigma, guidance):
    """The model's estimate of x0 [1, ...] at a sigma, by the host's own guider and sampler."""
    if guidance is not None:
        conditioning = [[cond, {**values, "guidance": guidance}] for cond, values in conditioning]
    guider, seen = comfy.samplers.CFGGuider(backbone.model), []
    guider.set_conds(conditioning, conditioning)
    guider.set_cfg(1.0)
    guider.sample(noise, backbone.model.model.process_latent_out(x0), comfy.samplers.ksampler("euler"),
                  torch.tensor([sigma, 0.0]), callback=lambda step, denoised, *_: seen.append(denoised.clone()))
    return seen[0]


def references(monkeypatch, model):
    """What `extra_conds` hands to the network as reference latents, each time."""
    seen, extra_conds = [], type(model).extra_conds

    def recorded(self, **values):
        made = extra_conds(self, **values)
        seen.append(([latent.clone() for latent in made["ref_latents"].cond] if "ref_latents" in made else None,
                     made["ref_latents_method"].cond if "ref_latents_method" in made else None))
        return made

    monkeypatch.setattr(type(model), "extra_conds", recorded)
    return seen


@pytest.mark.parametrize("form", KNOWN)
def test_the_model_is_given_what_the_hosts_nodes_give_it_in_sampling(form, vision_clip, monkeypatch):
    tiny, reads_images, graph, count = CASES[form]
    backbone = make_edit_backbone(tiny, vision_clip if reads_images else None)
    images = [photo(1, (120, 200)), photo(2, (300, 90))][:count]
    seen = references(monkeypatch, backbone.model.model)
    generator = torch.Generator().manual_seed(5)
    x0 = torch.randn(1, *backbone._noise([0], 256, 128).shape[1:], generator=generator)
    noise, t = torch.randn(x0.shape, generator=generator), torch.tensor([0.6])
    sigma = backbone.schedule.sigmas(t)
    for caption in (CAPTION, ""):
        noisy = backbone.noised(x0, noise, t)
        given = backbone.encode_text([caption], Controls(form, [images]))
        ours = backbone.predict(noisy, t, given)
        prompt = caption.replace("(", r"\(").replace(")", r"\)")
        with torch.inference_mode():
            denoised = sampled(backbone, graph(backbone.clip, backbone.vae, prompt, images), x0, noise, sigma.item(),
                               backbone.family.guidance)
        theirs = backbone.schedule.raw(noisy, denoised.clone(), sigma)
        proven = backbone.sampling_prediction(noisy, t, caption, Controls(form, [images]))
        assert (proven - theirs).abs().max() <= 1e-4 * theirs.abs().max()
        encoded = [inputs.encoded for inputs in (
            backbone.sampling_inputs(noisy, caption, Controls(form, [images])), backbone.training_inputs(noisy, given))]
        assert all(f"reference_latents.{count - 1}" in named for named in encoded)
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max()
        (mine, my_method), (hosts, hosts_method) = seen[0], seen[-1]
        assert my_method == hosts_method and len(mine) == count
        assert all(torch.equal(a, b.clone()) for a, b in zip(mine, hosts, strict=True))
        without = backbone.predict(noisy, t, backbone.encode_text([caption]))
        assert (ours - without).abs().max() > 1e-3 * theirs.abs().max()
        seen.clear()


# -- training ----------------------------------------------------------------------------------------------------------

STEPS = 40


def pairs(folder):
    """A black image made of a white one, and the reverse, with the same caption: only the control image tells which is
    meant. The control images differ in size, so that they cannot be run in one batch."""
    rows = (("black", "white", (96, 64)), ("white", "black", (64, 128)))
    save_samples(folder, [(Image.new("RGB", (128, 128), after), CAPTION, {"name": after}) for after, _, _ in rows],
                 controls=[[Image.new("RGB", size, before)] for _, before, size in rows])
    return load_folder(folder)


def run_config(steps=1, **settings):
    return TrainConfig(name="edit", steps=steps).replace(**{
        "adapter.rank": 8, "adapter.alpha": 8.0, "data.batch_size": 2, "data.resolution": 128,
        "optimizer.learning_rate": 2e-2, "objective.weighting": "none", **settings})


@torch.no_grad()
def loss_by_control(backbone, dataset, form, own):
    """The loss of the first image, given its own control image or the second's."""
    from lora_bootstrap.trainer.pictures.images import to_tensor

    target = backbone.encode_images(to_tensor(dataset.samples[0].load())[None])
    control = to_tensor(dataset.samples[0 if own else 1].load_controls()[0])
    given = backbone.encode_text([CAPTION], Controls(form, [[control]]))
    losses = []
    for row in range(8):
        noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(row))
        t = torch.tensor([0.6 + 0.05 * row])
        flow = backbone.predict(backbone.noised(target, noise, t), t, given)
        losses.append((flow - (noise - target)).square().mean())
    return torch.stack(losses).mean().item()


def test_a_lora_learns_from_the_control_images_which_image_is_meant(tmp_path, vision_clip, caplog):
    form, backbone = "qwen edit 2509", make_edit_backbone(QWEN, vision_clip)
    dataset, notes, after = pairs(tmp_path / "data"), [], {}
    before = loss_by_control(backbone, dataset, form, True)
    for event in loop.train(backbone, dataset, run_config(STEPS), tmp_path / "runs"):
        notes += [event.message] if isinstance(event, Warned) else []
        if isinstance(event, StepDone) and event.step == STEPS:
            after = {own: loss_by_control(backbone, dataset, form, own) for own in (True, False)}
    assert isinstance(event, Finished)
    assert any(note.startswith("2 of 2 images have a control image") for note in notes)
    assert after[True] < before - 0.15 and after[True] < after[False] - 0.15  # the noise itself leaves a loss of 1
    with caplog.at_level(logging.WARNING):
        model, clip = apply_lora(backbone.model, backbone.clip, event.path)
    assert [line for line in caplog.messages if "not loaded" in line.lower()] == []
    assert unmatched_modules(backbone.model, backbone.clip, event.path) == ()
    loaded = loss_by_control(HostBackbone(model, clip, backbone.vae), dataset, form, True)
    assert loaded == pytest.approx(after[True], rel=1e-3)


@pytest.mark.skipif(not hasattr(comfy.model_management, "in_training"), reason="Flux cannot be trained on this host")
def test_the_proofs_compare_both_sides_with_the_control_image_and_notice_one_that_is_missing(tmp_path, monkeypatch):
    backbone, dataset = make_edit_backbone(FLUX), pairs(tmp_path / "data")
    settings = run_config(**{"data.caption_dropout": 0.5})
    events = list(loop.train(backbone, dataset, settings, tmp_path / "runs"))
    passed = {event.proof.name: event.proof.passed for event in events if isinstance(event, Proved)}
    assert passed[SAME_TEXT] and passed[FILE_WORKS]

    def without_latents(*parts):
        ((cond, made),) = encode_edit(*parts)
        return [[cond, {name: value for name, value in made.items() if name != "reference_latents"}]]

    monkeypatch.setattr(backbone_module, "encode_edit", without_latents)
    with pytest.raises(UserError, match="reference_latents.0 is missing in training"):
        list(loop.train(backbone, dataset, settings, tmp_path / "others"))  # nothing is cached beside these


def test_previews_are_drawn_from_the_first_control_image_at_its_images_size(tmp_path, vision_clip, monkeypatch):
    backbone = make_edit_backbone(QWEN, vision_clip)
    seen = references(monkeypatch, backbone.model.model)
    first = Controls("qwen edit 2509", [[photo(1, (64, 64))]])
    drawn = [backbone.generate([CAPTION], seeds=[3], width=256, height=128, steps=2, cfg=cfg, controls=first)
             for cfg in (1, 4)]
    assert [image.shape for image in drawn] == [(1, 3, 128, 256)] * 2
    assert all(latents is not None and len(latents) == 1 for latents, _ in seen)  # the negative prompt's too
    other = Controls("qwen edit 2509", [[photo(2, (64, 64))]])
    again = backbone.generate([CAPTION], seeds=[3], width=256, height=128, steps=2, cfg=1, controls=other)
    assert (again - drawn[0]).abs().max() > 1e-3


def test_a_model_that_takes_no_control_images_is_refused_before_anything_is_trained(tmp_path):
    backbone = make_edit_backbone(FAMILIES["z_image"])
    with pytest.raises(UserError, match="has control images, but Z-Image cannot be trained with them"):
        list(loop.train(backbone, pairs(tmp_path / "data"), run_config(), tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_what_qwens_files_say_decides_the_form_and_the_user_may(vision_clip):
    backbone = make_edit_backbone(QWEN, vision_clip)
    assert (backbone.base_file, backbone.edit_form("auto")) == ("", "qwen edit 2509")
    backbone.base_file = "/models/qwen_image_edit_fp8.safetensors"
    assert backbone.edit_form("auto") == "qwen edit"
    assert backbone.edit_form("qwen edit 2511") == "qwen edit 2511"
    backbone = make_edit_backbone(QWEN, vision_clip, {"default_ref_method": "index_timestep_zero"})
    assert backbone.edit_form("auto") == "qwen edit 2511"


def test_the_host_is_asked_for_memory_for_the_control_images_too(vision_clip, monkeypatch):
    backbone, asked = make_edit_backbone(QWEN, vision_clip), []
    load = backbone._bring
    monkeypatch.setattr(backbone, "_bring", lambda *parts, memory=0: (asked.append(memory), load(*parts))[1])
    noisy, t = torch.zeros(1, 16, 1, 4, 4), torch.tensor([0.5])
    rows = [None, Controls("qwen edit 2509", [[photo(1, (64, 64))]])]
    given = [backbone.encode_text([CAPTION], controls) for controls in rows]
    with backbone.training(False), torch.no_grad():
        sizes = []
        for conditioning in given:
            backbone._drop()
            asked.clear()
            backbone.predict(noisy, t, conditioning)
            sizes.append(asked[0])
    assert sizes[1] == pytest.approx(sizes[0] * (16 + 32 * 32) / 16, rel=0.01)
