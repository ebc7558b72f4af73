"""LoRA files: key names of each style, alphas, metadata, errors; and diffusers reads what is written."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.lora.names import KEY_STYLES
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.training.adapters import attach
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.metadata import lora_metadata

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "unet.up_blocks.1.resnets.0.conv_shortcut"
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


def factors(rank=4, alpha=2.0, inside=8, outside=6, kernel=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, inside, *kernel, generator=generator)
    up = torch.randn(outside, rank, *(1 for _ in kernel), generator=generator)
    return Factors(down, up, alpha)


def a_lora(**metadata):
    modules = {TO_Q: factors(), TO_Q.replace("to_q", "to_k"): factors(seed=2), TEXT: factors(seed=1)}
    return LoraWeights(modules | {CONV: factors(2, 1.0, kernel=(3, 3))}, metadata)


def product(value):
    return torch.einsum("or,ri...->oi...", value.up.flatten(1), value.down) * value.alpha / value.rank


def tiny_unet(down="CrossAttnDownBlock2D", up="CrossAttnUpBlock2D"):
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=(down, "DownBlock2D"), up_block_types=("UpBlock2D", up),
        cross_attention_dim=12, attention_head_dim=2,
    ).eval()


def tiny_text_encoder():
    torch.manual_seed(1)
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=50, hidden_size=12, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=9, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )).eval()


def tiny_pipeline(**unet):
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)  # older pipelines ask it for its scale
    return StableDiffusionPipeline(
        vae=vae, text_encoder=tiny_text_encoder(), tokenizer=None, unet=tiny_unet(**unet), scheduler=DDIMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )


@torch.no_grad()
def output(pipeline):
    """The UNet's output [2, 4, 8, 8] on what the text encoder makes of two captions."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    text = pipeline.text_encoder(torch.randint(0, 50, (2, 9), generator=generator)).last_hidden_state
    return pipeline.unet(latents, torch.tensor([100, 700]), text).sample


@torch.no_grad()
def trained(pipeline, config):
    """(output with random adapters, their LoRA) of a pipeline that is given back as it was."""
    handles = {"unet": attach(pipeline.unet, config, ("down_blocks", "mid_block", "up_blocks"), 1)}
    handles["text_encoder"] = attach(pipeline.text_encoder, config, ("layers",), 2)
    torch.manual_seed(5)
    for handle in handles.values():
        for parameter in handle.parameters():
            parameter.normal_(std=0.2)
    modules = {f"{part}.{name}": value for part, handle in handles.items() for name, value in handle.weights().items()}
    reference = output(pipeline)
    for handle in handles.values():
        handle.detach()
    return reference, LoraWeights(modules)


@pytest.mark.parametrize("style", KEY_STYLES)
def test_what_is_written_is_read_back_in_every_style(tmp_path, style):
    lora = a_lora(note="kept")
    if style == "comfy":
        lora = LoraWeights({"diffusion_model.blocks.0.attn.qkv": factors(), TEXT: factors(seed=1)}, {"note": "kept"})
    save_lora(tmp_path / "a.safetensors", lora, key_style=style)
    back = load_lora(tmp_path / "a.safetensors")
    assert back.modules.keys() == lora.modules.keys()
    for key, value in lora.modules.items():
        torch.testing.assert_close(product(back.modules[key]), product(value))
        expected = (4, 4.0) if style == "peft" else (value.rank, value.alpha)
        assert (back.modules[key].rank, back.modules[key].alpha) == expected
    assert back.metadata["note"] == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_kohya_names_are_kohyas(tmp_path):
    save_lora(tmp_path / "a.safetensors", a_lora())
    tensors = load_file(tmp_path / "a.safetensors")
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert tensors[f"{name}.lora_down.weight"].shape == (4, 8)
    assert tensors[f"{name}.lora_up.weight"].shape == (6, 4)
    assert tensors[f"{name}.alpha"].item() == 2.0
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha" in tensors
    assert len(tensors) == 12


def test_two_text_encoders_are_te1_and_te2_and_newer_transformers_names_are_completed(tmp_path):
    path = "encoder.layers.0.mlp.fc1"
    lora = LoraWeights({f"text_encoder.{path}": factors(), f"text_encoder_2.{path}": factors(seed=1)})
    save_lora(tmp_path / "a.safetensors", lora)
    names = {key.split(".")[0] for key in load_file(tmp_path / "a.safetensors")}
    assert names == {f"lora_te{n}_text_model_encoder_layers_0_mlp_fc1" for n in (1, 2)}
    assert load_lora(tmp_path / "a.safetensors", lora.modules).modules.keys() == lora.modules.keys()


def test_every_module_of_a_real_network_survives_kohyas_underscores(tmp_path):
    names = [f"unet.{name}" for name, module in tiny_unet().named_modules() if hasattr(module, "weight")]
    assert len(names) > 80
    save_lora(tmp_path / "a.safetensors", LoraWeights({name: factors() for name in names}))
    assert set(load_lora(tmp_path / "a.safetensors").modules) == set(names)


def test_names_that_nobody_knows_are_looked_up_in_the_network(tmp_path):
    key = "unet.my_odd_block.0.to_q"
    save_lora(tmp_path / "a.safetensors", LoraWeights({key: factors()}))
    assert list(load_lora(tmp_path / "a.safetensors", [key]).modules) == [key]


def test_original_layout_names_are_told_from_diffusers_names(tmp_path):
    save_file({"lora_unet_input_blocks_4_1_proj_in.lora_down.weight": torch.ones(2, 4),
               "lora_unet_input_blocks_4_1_proj_in.lora_up.weight": torch.ones(4, 2)}, tmp_path / "a.safetensors")
    assert list(load_lora(tmp_path / "a.safetensors").modules) == ["diffusion_model.input_blocks.4.1.proj_in"]


def test_a_module_without_alpha_has_scale_one_unless_diffusers_metadata_says_more(tmp_path):
    tensors = {f"unet.mid_block.{n}.lora_{role}.weight": torch.ones(4, 4) for n in "ab" for role in "AB"}
    save_file(tensors, tmp_path / "plain.safetensors")
    assert [value.alpha for value in load_lora(tmp_path / "plain.safetensors").modules.values()] == [4.0, 4.0]
    table = {"unet.lora_alpha": 8, "unet.alpha_pattern": {"mid_block.b": 16}}
    save_file(tensors, tmp_path / "told.safetensors", {"lora_adapter_metadata": json.dumps(table)})
    told = load_lora(tmp_path / "told.safetensors")
    assert [value.alpha for value in told.modules.values()] == [8.0, 16.0]
    save_lora(tmp_path / "again.safetensors", told, key_style="peft")
    again = load_lora(tmp_path / "again.safetensors").modules["unet.mid_block.b"]
    torch.testing.assert_close(product(again), product(told.modules["unet.mid_block.b"]))


def test_older_diffusers_names_are_read(tmp_path):
    stem = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora"
    tensors = {f"{stem}.down.weight": torch.ones(2, 4), f"{stem}.up.weight": torch.ones(4, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    keys = list(load_lora(tmp_path / "a.safetensors").modules)
    assert keys == ["unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"]


@pytest.mark.parametrize("style", ["kohya", "peft"])
@pytest.mark.parametrize(
    "sizes", [
        {"alpha": 4.0}, {"alpha": 2.0}, {"alpha": 2.0, "conv_rank": 2},
        {"alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0},
        {"alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0, "layers": "attention"},
    ],
    ids=["alpha=rank", "alpha=rank/2", "conv", "conv with its own alpha", "conv and attention alone"],
)
def test_diffusers_loads_the_file_to_the_training_time_output(tmp_path, style, sizes):
    pipeline = tiny_pipeline()
    before = output(pipeline)
    reference, lora = trained(pipeline, AdapterConfig(**{"rank": 4, "layers": "all", **sizes}))
    assert torch.equal(output(pipeline), before)
    assert (reference - before).abs().max() > 0.05
    save_lora(tmp_path / "a.safetensors", lora, key_style=style)
    pipeline.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    assert (output(pipeline) - reference).abs().max() < 1e-4
    loaded = [name for name, _ in pipeline.unet.named_modules() if name.endswith(".lora_A")]
    assert len(loaded) == sum(key.startswith("unet.") for key in lora.modules)


@pytest.mark.parametrize("style", ["kohya", "peft"])
def test_diffusers_gets_alphas_right_where_most_modules_are_convolutions(tmp_path, style):
    pipeline = tiny_pipeline(down="DownBlock2D", up="UpBlock2D")
    sizes = {"rank": 4, "alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0}
    reference, lora = trained(pipeline, AdapterConfig(layers="attention", **sizes))
    assert [sum(value.down.ndim == n for key, value in lora.modules.items() if key.startswith("unet."))
            for n in (2, 4)] == [8, 18]
    save_lora(tmp_path / "a.safetensors", lora, key_style=style)
    pipeline.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    assert (output(pipeline) - reference).abs().max() < 1e-4


def test_metadata_names_the_base_the_data_and_the_settings(tmp_path):
    config = TrainConfig(name="mira", adapter=AdapterConfig(rank=8, alpha=4.0, conv_rank=2)).replace(
        **{"data.trigger": "mira girl", "data.resolution": 64})
    metadata = lora_metadata(
        config, get_family("sandbox"), base_fingerprint="b" * 64, dataset_fingerprint="d" * 64,
        tag_frequency={"1girl": 4, "red hair": 2}, image_count=4, lineage={"round": 2}, step=100, epoch=5)
    save_lora(tmp_path / "a.safetensors", a_lora(**metadata))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        read = file.metadata()
    expected = {
        "ss_network_module": "networks.lora", "ss_network_dim": "8", "ss_network_alpha": "4.0", "ss_steps": "100",
        "ss_num_train_images": "4", "ss_resolution": "(64, 64)", "ss_output_name": "mira", "ss_epoch": "5",
        "modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": "sandbox/lora",
        "modelspec.trigger_phrase": "mira girl", "modelspec.prediction_type": "v", "modelspec.title": "mira",
        "lora_bootstrap.base_hash": "b" * 64, "lora_bootstrap.dataset_hash": "d" * 64,
    }
    assert {key: read.get(key) for key in expected} == expected
    assert json.loads(read["ss_tag_frequency"]) == {"mira": {"1girl": 4, "red hair": 2}}
    assert json.loads(read["ss_network_args"]) == {"conv_alpha": 1.0, "conv_dim": 2}
    assert json.loads(read["lora_bootstrap.lineage"]) == {"round": 2}
    assert TrainConfig.from_dict(json.loads(read["lora_bootstrap.config"])) == config


@pytest.mark.parametrize(("settings", "args"), [
    ({"kind": "dora"}, {"algo": "lora", "rs_lora": False, "dora_wd": True, "wd_on_output": False}),
    ({"kind": "loha", "conv_rank": 4}, {"algo": "loha", "rs_lora": False, "conv_dim": 4, "conv_alpha": 4.0}),
    ({"kind": "lokr", "lokr_factor": 8}, {"algo": "lokr", "rs_lora": False, "factor": 8}),
    ({"rank_stabilized": True, "conv_rank": 4}, {"algo": "lora", "rs_lora": True, "conv_dim": 4, "conv_alpha": 16.0})])
def test_metadata_names_the_kind_of_adapter_as_lycoris_does(settings, args):
    facts = lora_metadata(TrainConfig(adapter=AdapterConfig(**settings)), get_family("sandbox"), base_fingerprint="b",
                          dataset_fingerprint="d")
    assert facts["ss_network_module"] == "lycoris.kohya" and json.loads(facts["ss_network_args"]) == args
    assert ("alphas are alpha * sqrt(rank)" in facts.get("lora_bootstrap.adapter_scale", "")) == args["rs_lora"]


def test_the_hash_is_of_the_weights_alone(tmp_path):
    for name, note in (("a", "one"), ("b", "two")):
        save_lora(tmp_path / name, a_lora(note=note))
    a, b = (load_lora(tmp_path / name).metadata["modelspec.hash_sha256"] for name in "ab")
    save_lora(tmp_path / "c", LoraWeights({TO_Q: factors(seed=9)}))
    assert a == b and len(a) == 66
    assert load_lora(tmp_path / "c").metadata["modelspec.hash_sha256"] != a


def test_half_precision_halves_the_file_and_keeps_alpha(tmp_path):
    lora = LoraWeights({TO_Q: factors(32, 1 / 3, 256, 256)})
    save_lora(tmp_path / "full", lora)
    save_lora(tmp_path / "half", lora, dtype=torch.float16)
    assert (tmp_path / "half").stat().st_size < 0.52 * (tmp_path / "full").stat().st_size
    assert load_lora(tmp_path / "half").modules[TO_Q].alpha == pytest.approx(1 / 3, rel=1e-7)


def bad(down=None, up=None, **others):
    stem = "lora_unet_mid_block_resnets_0_conv1"
    rows = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, **others}
    return {key: value for key, value in rows.items() if value is not None}


@pytest.mark.parametrize(("tensors", "message"), [
    ({"model.weight": torch.ones(2, 2)}, "contains no LoRA"),
    (bad(torch.ones(2, 4)), "has no up weight"),
    (bad(torch.ones(2, 4), torch.ones(4, 3)), "do not fit each other"),
    (bad(torch.ones(2, 4), torch.full((4, 2), float("nan"))), "not numbers"),
    (bad(torch.ones(2, 4), torch.ones(4, 2), **{
        "lora_unet_mid_block_resnets_0_conv1.dora_scale": torch.ones(4)}), "DoRA"),
])
def test_a_file_that_holds_no_sound_lora_is_refused_in_one_line(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=message) as caught:
        load_lora(tmp_path / "a.safetensors")
    assert "a.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_truncated_or_pickled_file_is_refused_in_one_line(tmp_path):
    save_lora(tmp_path / "whole", a_lora())
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-8])
    (tmp_path / "text").write_bytes(b"hello")
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"a": torch.ones(2)}, tmp_path / "pickle")
    reasons = dict.fromkeys(("cut", "text", "empty"), "not a complete") | {"pickle": "a pickle", "gone": "not exist"}
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as caught:
            load_lora(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_weights_that_are_not_numbers_are_never_written(tmp_path):
    save_lora(tmp_path / "a", a_lora())
    kept = (tmp_path / "a").read_bytes()
    broken = factors()
    broken.up[0, 0] = float("nan")
    with pytest.raises(UserError, match="diverged"):
        save_lora(tmp_path / "a", LoraWeights({TO_Q: broken}))
    with pytest.raises(UserError, match="float32"):
        save_lora(tmp_path / "a", LoraWeights({TO_Q: Factors(torch.full((2, 4), 1e6), torch.ones(4, 2), 1)}),
                  dtype=torch.float16)
    assert (tmp_path / "a").read_bytes() == kept


def test_an_unknown_style_and_names_it_cannot_spell_are_refused(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'kohya'"):
        save_lora(tmp_path / "a", a_lora(), key_style="kohia")
    with pytest.raises(UserError, match="use key style kohya"):
        save_lora(tmp_path / "a", a_lora(), key_style="comfy")
