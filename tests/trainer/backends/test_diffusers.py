"""The Backbone contract over diffusers pipelines: tiny SD- and SDXL-shaped ones, and loading from disk."""

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from lora_bootstrap.sandbox import BASE_DIR
from lora_bootstrap.trainer.backends.diffusers import DiffusersBackbone, load_backbone
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights
from lora_bootstrap.trainer.models.backbone import Backbone, Conditioning
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.training.adapters import select_modules
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished
from lora_bootstrap.trainer.training.loop import train


@pytest.fixture(scope="module")
def tiny_sdxl(tiny_backbone):
    """Two text encoders, pooled embeddings and size ids, eps prediction; everything else of the tiny SD model."""
    torch.manual_seed(1)
    tokenizer = CLIPTokenizer.from_pretrained(BASE_DIR / "tokenizer")

    def encoder(width):
        return CLIPTextModelWithProjection(CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, projection_dim=24, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))

    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=32, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8)
    pipeline = diffusers.StableDiffusionXLPipeline(
        vae=tiny_backbone.pipeline.vae, text_encoder=encoder(12), text_encoder_2=encoder(20), tokenizer=tokenizer,
        tokenizer_2=tokenizer, unet=unet, scheduler=diffusers.DDIMScheduler(), add_watermarker=False)
    return DiffusersBackbone(pipeline, get_family("sdxl"), fingerprint="tiny-sdxl")


@pytest.fixture(params=["sd", "sdxl"])
def backbone(request, tiny_backbone, tiny_sdxl):
    return {"sd": tiny_backbone, "sdxl": tiny_sdxl}[request.param]


@torch.no_grad()
def test_a_pipeline_keeps_the_contract(backbone):
    assert isinstance(backbone, Backbone)
    pixels = torch.rand(2, 3, 32, 48)
    latents = backbone.encode_images(pixels)
    assert latents.shape == (2, 4, 8, 12) and latents.dtype == torch.float32
    assert torch.equal(latents, backbone.encode_images(pixels))  # deterministic, so that it can be cached
    conditioning = backbone.encode_text(["red, disc", "a"])
    assert isinstance(conditioning, Conditioning) and len(conditioning) == 2
    t = torch.tensor([0.2, 0.9])
    prediction = backbone.predict(backbone.noised(latents, torch.randn_like(latents), t), t, conditioning)
    assert prediction.shape == latents.shape and prediction.isfinite().all()
    pixels = backbone.decode(latents)
    assert pixels.shape == (2, 3, 32, 48) and pixels.min() >= 0 and pixels.max() <= 1


@torch.no_grad()
def test_each_row_hears_its_own_caption(backbone):
    """At batch 2 the network gives each row what it would give it alone."""
    latents, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.7])
    both = backbone.predict(latents, t, backbone.encode_text(["red", "blue, disc"]))
    for row, caption in enumerate(["red", "blue, disc"]):
        alone = backbone.predict(latents[row : row + 1], t[row : row + 1], backbone.encode_text([caption]))
        torch.testing.assert_close(both[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    swapped = backbone.predict(latents, t, backbone.encode_text(["blue, disc", "red"]))
    assert (swapped - both).abs().max() > 1e-4


def test_a_generated_picture_depends_on_its_own_prompt_and_seed_alone(backbone):
    size = {"width": 32, "height": 32, "steps": 3, "cfg": 3.0}
    both = backbone.generate(["red", "blue"], seeds=[5, 6], **size)
    assert both.shape == (2, 3, 32, 32)
    torch.testing.assert_close(both[1:], backbone.generate(["blue"], seeds=[6], **size), atol=1e-4, rtol=1e-3)
    assert (both[1:] - backbone.generate(["blue"], seeds=[7], **size)).abs().max() > 1e-3


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_remembered_prompts_draw_what_the_pipelines_own_call_draws(backbone, cfg, monkeypatch):
    backbone.remember_prompts(["red (disc)", "blue"], cfg=cfg, negative="dark")
    with monkeypatch.context() as patch:
        for encoder in backbone.text_network.values():
            patch.setattr(encoder, "forward", None)
        ours = backbone.generate(["red (disc)", "blue"], seeds=[5, 6], width=32, height=32, steps=2, cfg=cfg,
                                 negative="dark")
    with torch.no_grad():
        theirs = backbone.pipeline(
            ["red (disc)", "blue"], negative_prompt=["dark"] * 2, width=32, height=32, num_inference_steps=2,
            guidance_scale=cfg, output_type="pt",
            generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)]).images
    assert torch.equal(ours, theirs)


def test_images_for_which_memory_runs_out_are_decoded_one_by_one(tiny_backbone, monkeypatch):
    vae, sizes = tiny_backbone.pipeline.vae, []
    decode = vae._decode

    def greedy(latents, **given):
        sizes.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents, **given)

    monkeypatch.setattr(vae, "_decode", greedy)
    made = tiny_backbone.generate(["red", "blue"], seeds=[5, 6], width=32, height=32, steps=1, cfg=1.0)
    assert len(made) == 2 and sizes == [2, 1, 1] and not vae.use_slicing


def test_a_lora_trains_and_loads_with_its_text_encoders(backbone, dataset, tmp_path):
    config = TrainConfig(name="tiny", steps=3).replace(**{
        "adapter.rank": 2, "adapter.text_encoder": True, "data.resolution": 64, "data.upscale": True,
        "data.batch_size": 2, "optimizer.learning_rate": 1e-2})
    if backbone.family.name == "sdxl":
        config = config.replace(**{"data.resolution": 128})  # two steps of its buckets
    *_, last = train(backbone, dataset, config, tmp_path)
    assert isinstance(last, Finished)
    with backbone.lora(last.path) as lora:
        assert lora.unmatched == ()


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_batch_of_strengths_draws_what_each_strength_draws_alone(cfg):
    """Over the network and the text encoder of the sandbox, with guidance and without."""
    sandbox, strengths, size = load_backbone("sandbox", device="cpu"), (0.0, 0.7, 1.2), {"width": 64, "height": 64}
    lora = LoraWeights({**random_lora("unet", sandbox.network, sandbox.family.blocks),
                        **random_lora("text_encoder", sandbox.text_network["text_encoder"], ("layers",))})

    def draw(count):
        return sandbox.generate(["1girl, red eyes"] * count, seeds=[5] * count, steps=4, cfg=cfg, negative="smile",
                                **size)

    plain = draw(1)
    with sandbox.lora(lora) as applied:
        applied.set_strength(strengths)
        rows, alone = draw(3), []
        for strength in strengths:
            applied.set_strength(strength)
            alone.append(draw(1))
    torch.testing.assert_close(rows, torch.cat(alone), atol=1e-4, rtol=0)
    assert min((rows[a] - rows[b]).abs().mean() for a, b in ((0, 1), (1, 2), (0, 2))) > 0.01
    assert torch.equal(draw(1), plain)


def random_lora(part, network, blocks):
    generator, modules = torch.Generator().manual_seed(4), {}
    for name in select_modules(network, "attention+mlp", blocks, 0):
        out, inside = network.get_submodule(name).weight.flatten(1).shape
        down = torch.randn(4, inside, generator=generator) * inside**-0.5
        modules[f"{part}.{name}"] = Factors(down, torch.randn(out, 4, generator=generator) * 0.1, 2.0)
    return modules


def test_the_scheduler_says_what_the_network_predicts(tiny_backbone, tiny_sdxl):
    assert (tiny_backbone.family.objective, tiny_sdxl.family.objective) == ("v", "eps")


def test_tokens_beyond_the_limit_are_not_heard(tiny_backbone):
    assert tiny_backbone.token_count("red hair") == (2, 2)
    used, heard = tiny_backbone.token_count(", ".join(["zqxj"] * 60))
    assert used > 75 and heard == 75


def test_a_diffusers_folder_is_loaded_and_keeps_its_fingerprint(tiny_backbone, tmp_path):
    tiny_backbone.pipeline.save_pretrained(tmp_path / "model")
    loaded = load_backbone(tmp_path / "model", device="cpu")
    assert loaded.family.name == "sd15" and loaded.family.objective == "v"
    assert loaded.fingerprint == load_backbone(tmp_path / "model", device="cpu").fingerprint
    with torch.no_grad():
        x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([0.5]), loaded.encode_text(["red"])
        torch.testing.assert_close(loaded.predict(x, t, text), tiny_backbone.predict(x, t, text))


@pytest.mark.parametrize(("name", "content", "said"), [
    ("absent.safetensors", None, "Give 'sandbox', a diffusers folder, or a .safetensors file"),
    ("broken.safetensors", b"not tensors at all", "not a readable .safetensors file"),
    ("other.safetensors", "tensors", "not an SD1.5 or SDXL checkpoint"),
    ("folder", "folder", "no model_index.json"),
])
def test_a_base_that_is_not_a_model_is_one_clear_line(tmp_path, name, content, said):
    path = tmp_path / name
    if content == "tensors":
        save_file({"weight": torch.zeros(2)}, path)
    elif content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_backbone(path)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("parts", [("unet", "vae", "text_encoder"), ("unet",)], ids=["all", "one"])
def test_a_folder_with_pickled_weights_is_refused_instead_of_counting_as_every_other_one(
        tiny_backbone, tmp_path, parts):
    folder = tmp_path / "model"
    tiny_backbone.pipeline.save_pretrained(folder)
    for part in parts:
        file = next((folder / part).glob("*.safetensors"))
        name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(load_file(file), folder / part / name)
        file.unlink()
    with pytest.raises(UserError, match=r"Only \.safetensors weights are read: convert .*\.bin to that") as error:
        load_backbone(folder, device="cpu")
    assert "\n" not in str(error.value)


def test_a_folder_whose_weights_are_missing_is_one_clear_line(tiny_backbone, tmp_path):
    tiny_backbone.pipeline.save_pretrained(tmp_path / "model")
    for file in (tmp_path / "model" / "unet").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(UserError, match="could not be loaded as Stable Diffusion 1.5"):
        load_backbone(tmp_path / "model", device="cpu")


def test_where_a_network_is_and_in_which_type_is_told_by_its_first_weight(tiny_backbone, monkeypatch):
    """Each step asks; diffusers' own answer walks through every module of the network and its adapters."""
    visited, every = [], torch.nn.Module.named_modules

    def counted(self, *arguments, **named):
        for found in every(self, *arguments, **named):
            visited.append(found)
            yield found

    monkeypatch.setattr(torch.nn.Module, "named_modules", counted)
    text = Conditioning({"prompt_embeds": torch.zeros(1, 77, 32)})
    assert tiny_backbone.predict(torch.zeros(1, 4, 8, 8), torch.tensor([0.5]), text).dtype == torch.float32
    assert tiny_backbone.device == tiny_backbone.text_device == torch.device("cpu") and len(visited) < 20
