"""The sandbox held by the host's classes, against the diffusers pipeline in its folder."""

import logging
import os
import re

import comfy.model_management
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras import nodes_hooks
from diffusers import StableDiffusionPipeline
from PIL import Image

import nodes
from lora_bootstrap.host.backbone.sandbox import load_sandbox
from lora_bootstrap.nodes.time_split import keyframes
from lora_bootstrap.sandbox import BASE_DIR, PICTURES_DIR
from lora_bootstrap.trainer.backends.diffusers import DiffusersBackbone
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, save_lora
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.release.release import release_lora
from lora_bootstrap.trainer.release.settings import ReleaseSettings
from lora_bootstrap.trainer.stacks.time_split import WEAK_EARLY
from lora_bootstrap.trainer.training.adapters import select_modules
from lora_bootstrap.trainer.training.config import AdapterConfig
from lora_bootstrap.trainer.training.trained.adapter import TEXT_BLOCKS

TAGS = (PICTURES_DIR / "akane.txt").read_text().strip()
CLOSE = 1e-4


@pytest.fixture(scope="module")
def host():
    return load_sandbox()


@pytest.fixture(scope="module")
def pipeline():
    return StableDiffusionPipeline.from_pretrained(BASE_DIR, torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def encode(host):
    return lambda text: nodes.CLIPTextEncode().encode(host[1], text)[0]


def text_rows(pipeline, ids):
    """What diffusers' text encoder hears of token ids [B][77]: [B, 77, 128]."""
    with torch.no_grad():
        return pipeline.text_encoder(torch.tensor(ids))[0]


def difference(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def picture():
    """The shipped picture as an IMAGE of 64 px."""
    return as_pixels(Image.open(PICTURES_DIR / "akane.png").convert("RGB").resize((64, 64)))[None]


def as_pixels(image):
    """A PIL image as [H, W, 3] in 0..1."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3).float() / 255


def test_every_weight_is_loaded_and_none_is_left_over(caplog):
    with caplog.at_level(logging.DEBUG):
        load_sandbox()
    lost = [record.getMessage() for record in caplog.records
            if re.search("missing|unexpected|leftover", record.getMessage(), re.IGNORECASE)]
    # SD1 text encoders have no projection: the host's loaders say so of every one of them, at debug level.
    assert all("text_projection" in message for message in lost) and len(lost) <= 1, lost
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_unet_answers_as_in_diffusers(host, pipeline):
    network = host[0].model.diffusion_model
    generator = torch.Generator().manual_seed(0)
    for side, count in ((16, 2), (24, 1)):
        latents = torch.randn(count, 4, side, side, generator=generator)
        text = torch.randn(count, 77, 128, generator=generator)
        t = torch.tensor([17.0, 903.0])[:count]
        with torch.no_grad():
            assert difference(network(latents, t, context=text), pipeline.unet(latents, t, text).sample) <= CLOSE


def test_the_noise_schedule_and_the_objective_are_the_schedulers(host, pipeline):
    sampling = host[0].model.model_sampling
    alphas = pipeline.scheduler.alphas_cumprod
    assert torch.allclose(sampling.sigmas, ((1 - alphas) / alphas).sqrt(), rtol=1e-4)
    noisy, output, sigma = torch.tensor([[1.0]]), torch.tensor([[0.5]]), torch.tensor([2.0])
    alpha = (1 / (1 + sigma**2)).sqrt()
    expected = alpha**2 * noisy - alpha * sigma * output  # alpha x_t - sigma v, where the host divides both by alpha
    assert difference(sampling.calculate_denoised(sigma, output, noisy), expected) < 1e-6


@pytest.mark.parametrize("text", ["", "1girl", TAGS, "eiei21girl, 狐耳 ☃, " + TAGS])
def test_a_prompt_is_heard_as_in_diffusers_with_its_padding(host, pipeline, encode, text):
    ids = pipeline.tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
    assert [int(token) for token, _ in host[1].tokenize(text)["l"][0]] == ids
    assert difference(encode(text)[0][0], text_rows(pipeline, [ids])) <= CLOSE


def test_a_prompt_longer_than_a_chunk_is_heard_in_chunks_of_77(host, pipeline, encode):
    text = ", ".join(f"{tag} {number}" for number in range(12) for tag in TAGS.split(", ")[:6])
    chunks = [[int(token) for token, _ in chunk] for chunk in host[1].tokenize(text)["l"]]
    words = [token for chunk in chunks for token in chunk if token < 1444]
    assert len(chunks) > 2 and all(len(chunk) == 77 and chunk[0] == 1444 for chunk in chunks)
    assert words == pipeline.tokenizer(text, add_special_tokens=False).input_ids
    expected = text_rows(pipeline, chunks).flatten(0, 1)[None]
    assert difference(encode(text)[0][0], expected) <= CLOSE


def test_prompt_weights_lean_away_from_the_empty_prompt(pipeline, encode):
    """The host's formula: (weighted - empty) * weight + empty, for the weighted tokens alone."""
    plain, weighted = encode("1girl, red eyes, smile")[0][0], encode("1girl, (red eyes:1.2), smile")[0][0]
    empty = text_rows(pipeline, [[1444] + [1445] * 76])
    ids = pipeline.tokenizer("1girl, red eyes, smile").input_ids
    places = [ids.index(pipeline.tokenizer(word).input_ids[1]) for word in ("red", "eyes")]
    expected = plain.clone()
    expected[0, places] = (plain - empty)[0, places] * 1.2 + empty[0, places]
    assert places[1] == places[0] + 1 and difference(weighted, expected) <= CLOSE
    assert difference(weighted, plain) > 0.01


def test_the_vae_encodes_as_in_diffusers_and_does_not_sample(host, pipeline):
    pixels = picture()
    latents = host[2].encode(pixels)
    with torch.no_grad():
        expected = pipeline.vae.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert latents.shape == (1, 4, 16, 16) and difference(latents, expected) <= CLOSE
    scaled = host[0].model.process_latent_in(latents)
    assert difference(scaled, expected * 0.769) <= CLOSE
    assert difference(host[0].model.process_latent_out(scaled), latents) <= 1e-6


def test_the_vae_decodes_as_in_diffusers_also_in_tiles(host, pipeline):
    latents = host[2].encode(picture())
    with torch.no_grad():
        expected = (pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert difference(host[2].decode(latents), expected) <= CLOSE
    tiled = host[2].decode_tiled(latents, tile_x=64, tile_y=64, overlap=16)
    assert difference(tiled, expected) <= CLOSE


def test_the_host_draws_what_diffusers_draws(host, pipeline, encode):
    """DDIM without noise is Euler in sigma: from the same noise at the same sigmas comes the same picture."""
    model, _, vae = host
    backbone = DiffusersBackbone(pipeline, get_family("sandbox"), "sandbox")
    expected = backbone.generate([TAGS], seeds=[7], width=64, height=64, steps=16, cfg=3.0)
    sigmas = model.model.model_sampling.sigmas[pipeline.scheduler.timesteps]
    sigmas = torch.cat([sigmas, model.model.model_sampling.sigmas[:1]])  # set_alpha_to_one is off: it ends at step 0
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7)) * (1 + 1 / sigmas[0] ** 2).sqrt()
    latents = comfy.samplers.sample(
        model, noise, encode(TAGS), encode(""), 3.0, model.load_device, comfy.samplers.sampler_object("euler"), sigmas,
        latent_image=torch.zeros(1, 4, 16, 16), disable_pbar=True, seed=7)
    drawn = vae.decode(latents).movedim(-1, 1)
    error = (drawn - expected).abs()
    assert error.mean() < 0.002 and error.max() < 0.05


def test_a_ksampler_graph_makes_a_64_px_picture_of_the_tags(host, encode):
    from lora_bootstrap.sandbox.judge import load_judge
    from lora_bootstrap.sandbox.world import HELD_OUT, Scene

    latents = nodes.EmptyLatentImage().generate(128, 128, 4)[0]
    drawn = nodes.KSampler().sample(host[0], 3, 16, 3.0, "euler", "normal", encode(TAGS), encode(""), latents, 1.0)[0]
    images = nodes.VAEDecode().decode(host[2], drawn)[0]
    assert images.shape == (4, 64, 64, 3)
    scores = load_judge().score(images.movedim(-1, 1), [Scene(HELD_OUT["akane"])] * 4)
    assert scores.mean_identity >= 0.9


def test_previews_while_sampling_show_the_colours_of_the_picture(host):
    import latent_preview

    previewer = latent_preview.Latent2RGBPreviewer(
        host[0].model.latent_format.latent_rgb_factors, host[0].model.latent_format.latent_rgb_factors_bias)
    latents = host[0].model.process_latent_in(host[2].encode(picture()))
    shown = as_pixels(previewer.decode_latent_to_preview(latents))
    small = torch.nn.functional.avg_pool2d(picture().movedim(-1, 1), 4).movedim(1, -1)[0]
    assert torch.corrcoef(torch.stack([shown.flatten(), small.flatten()]))[0, 1] > 0.7


def test_the_host_places_it_as_it_places_any_model(host):
    model, clip, vae = host
    management = comfy.model_management
    assert model.load_device == management.get_torch_device()
    assert model.offload_device == management.unet_offload_device()
    assert clip.patcher.load_device == management.text_encoder_device()
    assert vae.patcher.offload_device == management.vae_offload_device()
    assert all(parameter.dtype == torch.float32 for parameter in model.model.diffusion_model.parameters())


def test_its_family_is_marked_for_the_trainer(host):
    assert host[0].model.model_config.lora_bootstrap_family == "sandbox"
    assert host[0].clone().model.model_config.lora_bootstrap_family == "sandbox"


def test_a_lora_trained_headless_says_the_same_in_the_host(pipeline, tmp_path, caplog):
    """Attention, convolutions, and the text encoder, each changed at random, by the names kohya gives them."""
    backbone = DiffusersBackbone(pipeline, get_family("sandbox"), "sandbox")
    path = tmp_path / "random.safetensors"
    save_lora(path, LoraWeights(random_lora(backbone)))
    model, clip, _ = load_sandbox()
    with caplog.at_level(logging.WARNING):
        model, clip = comfy.sd.load_lora_for_models(model, clip, comfy.utils.load_torch_file(str(path)), 0.7, 0.7)
    assert [record.getMessage() for record in caplog.records] == []
    latents, t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([500.0])
    text = nodes.CLIPTextEncode().encode(clip, TAGS)[0][0][0]
    comfy.model_management.load_models_gpu([model])
    with torch.no_grad():
        plain = pipeline.unet(latents, t, text).sample
        with backbone.lora(path, 0.7):
            assert difference(text, backbone.encode_text([TAGS]).tensors["prompt_embeds"]) <= CLOSE
            expected = pipeline.unet(latents, t, text).sample
        assert difference(model.model.diffusion_model(latents, t, context=text), expected) <= CLOSE
    assert difference(plain, expected) > 0.1


def random_lora(backbone):
    """Factors of rank 4 for every layer that can have them, by the keys of a headless run."""
    config, generator, modules = AdapterConfig(conv_rank=4, layers="all"), torch.Generator().manual_seed(0), {}
    parts = [("unet", backbone.network, backbone.family.blocks)]
    parts += [(prefix, network, TEXT_BLOCKS) for prefix, network in backbone.text_network.items()]
    for prefix, network, blocks in parts:
        for name in select_modules(network, config.layers, blocks, config.conv_rank):
            weight = network.get_submodule(name).weight
            down = torch.randn(4, *weight.shape[1:], generator=generator) * weight[0].numel() ** -0.5
            up = torch.randn(len(weight), 4, *[1] * (weight.ndim - 2), generator=generator) * 0.05
            modules[f"{prefix}.{name}"] = Factors(down, up, alpha=2.0)
    return modules


@pytest.mark.parametrize("steps", [10, 16, 25])
def test_a_strength_changes_at_the_same_step_here_and_without_a_host(host, steps, monkeypatch):
    monkeypatch.setattr(nodes, "NODE_CLASS_MAPPINGS", nodes_hooks.NODE_CLASS_MAPPINGS)
    sampling, group = host[0].get_model_object("model_sampling"), keyframes(WEAK_EARLY)
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    group.initialize_timesteps(host[0].model)
    followed = []
    for sigma in sigmas[:-1]:
        group.prepare_current_keyframe(sigma, {"sample_sigmas": sigmas})
        followed.append(group.strength)
    assert followed == [WEAK_EARLY.at(step / steps) for step in range(steps)]


def test_load_lora_lists_a_released_file_and_does_with_it_what_its_source_does(pipeline, tmp_path, monkeypatch):
    source = tmp_path / "girl.safetensors"
    save_lora(source, LoraWeights(random_lora(DiffusersBackbone(pipeline, get_family("sandbox"), "sandbox"))))
    release_lora(source, tmp_path / "releases", ReleaseSettings(name="released", title="Girl"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    name = os.path.join("releases", "released", "released.safetensors")
    assert name in nodes.LoraLoader.INPUT_TYPES()["required"]["lora_name"][0]
    latents, outputs = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)), []
    for file in ("girl.safetensors", name):
        model, clip = nodes.LoraLoader().load_lora(*load_sandbox()[:2], file, 0.7, 0.7)
        text = nodes.CLIPTextEncode().encode(clip, TAGS)[0][0][0]
        comfy.model_management.load_models_gpu([model])
        with torch.no_grad():
            outputs.append(model.model.diffusion_model(latents, torch.tensor([500.0]), context=text))
    assert torch.equal(*outputs)
