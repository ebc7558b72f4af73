"""Names of LoRA keys: every row of the table by a key as its tool writes it, and what is written is read."""

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.layouts import (
    diffusers_names,
    is_original,
    is_swapped,
    names_of_ends,
    row_counts,
)
from lora_bootstrap.trainer.lora.names import (
    BESIDE,
    BIAS,
    ENDINGS,
    FULL,
    KEY_STYLES,
    LORA,
    NEED_THE_MODEL,
    PEFT_BIAS,
    PREFIXES,
    SET,
    file_name,
    fitting_style,
    flat,
    layer_name,
    module_of,
    split_key,
)

UNET = "denoiser.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
FLUX = "denoiser.single_transformer_blocks.0.attn.to_q"
SD3 = "denoiser.transformer_blocks.3.attn.to_out.0"
Z_IMAGE = "denoiser.layers.0.attention.to_q"
QWEN = "denoiser.transformer_blocks.3.attn.to_q"
WAN = "denoiser.blocks.7.self_attn.q"
CLIP_L = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
CLIP_G = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"
T5 = "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q"
WIDE = "text_encoder_3.encoder.block.0.layer.1.DenseReluDense.wi_0"
GEMMA = "text_encoders.gemma2_2b.transformer.model.layers.0.self_attn.q_proj"

SPELLINGS = [
    # (tool and family, key, the one name of its layer)
    ("kohya SDXL", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight", UNET),
    ("kohya SD", "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight", UNET),
    ("LyCORIS LoHa SDXL", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.hada_w1_a", UNET),
    ("OneTrainer SDXL", "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight", UNET),
    ("OneTrainer SDXL", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", CLIP_L),
    ("OneTrainer SDXL", "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", CLIP_G),
    ("SimpleTuner LyCORIS SDXL", "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lokr_w1", UNET),
    ("diffusers SDXL", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", UNET),
    ("diffusers 0.2x", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight", UNET),
    ("diffusers 0.1x", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight",
     UNET),
    ("PEFT", "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", UNET),
    ("PEFT in a part", "unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",
     UNET),
    ("bare diffusers", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight", UNET),
    ("ComfyUI extract", "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.diff", UNET),
    ("a checkpoint's names", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_up.weight",
     UNET),
    ("kohya Flux", "lora_unet_single_blocks_0_linear1.lora_down.weight", FLUX),
    ("kohya Flux", "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", CLIP_L),
    ("OneTrainer Stable Cascade", "lora_prior_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", CLIP_G),
    ("kohya Flux", "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight", T5),
    ("OneTrainer Flux", "lora_transformer_single_transformer_blocks_0_attn_to_q.lora_down.weight", FLUX),
    ("OneTrainer Flux", "lora_te2_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight", T5),
    ("OneTrainer OMI", "t5.encoder.block.0.layer.0.SelfAttention.q.lora_down.weight", T5),
    ("OneTrainer OMI", "clip_l.text_model.encoder.layers.0.self_attn.q_proj.lora_down.weight", CLIP_L),
    ("OneTrainer OMI", "clip_g.text_model.encoder.layers.0.mlp.fc1.lora_down.weight", CLIP_G),
    ("SimpleTuner Flux", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", FLUX),
    ("SimpleTuner LyCORIS Flux", "lycoris_single_transformer_blocks_0_attn_to_q.lokr_w1", FLUX),
    ("ai-toolkit Flux", "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", FLUX),
    ("DiffSynth Flux", "single_transformer_blocks.0.attn.to_q.lora_A.default.weight", FLUX),
    ("BFL's own", "double_blocks.3.img_attn.proj.lora_A.weight", SD3),
    ("PEFT Flux", "base_model.model.transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", FLUX),
    ("diffusers Flux", "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", T5),
    ("kohya SD3", "lora_unet_joint_blocks_3_x_block_attn_proj.lora_down.weight", SD3),
    ("kohya SD3", "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0.lora_down.weight", WIDE),
    ("OneTrainer SD3", "lora_transformer_transformer_blocks_3_attn_to_out_0.lora_down.weight", SD3),
    ("SimpleTuner LyCORIS SD3", "lycoris_transformer_blocks_3_attn_to_out_0.lokr_w2_a", SD3),
    ("diffusers SD3", "transformer.transformer_blocks.3.attn.to_out.0.lora_A.weight", SD3),
    ("diffusers SD3", "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", T5),
    ("diffusers SD3", "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight", CLIP_G),
    ("PEFT SD3", "base_model.model.transformer_blocks.3.attn.to_out.0.lora_B.weight", SD3),
    ("ai-toolkit Z-Image", "diffusion_model.layers.0.attention.to_q.lora_A.weight", Z_IMAGE),
    ("musubi Z-Image", "lora_unet_layers_0_attention_qkv.lora_down.weight", Z_IMAGE),
    ("musubi Qwen-Image", "lora_unet_transformer_blocks_3_attn_to_q.lora_down.weight", QWEN),
    ("lightning Qwen-Image", "transformer_blocks.3.attn.to_q.lora_A.default.weight", QWEN),
    ("diffusion-pipe Wan", "diffusion_model.blocks.7.self_attn.q.lora_A.weight", WAN),
    ("Wan-Fun", "lora_unet__blocks_7_self_attn_q.lora_down.weight", WAN),
    ("Mochi", "blocks.7.self_attn.q.lora_A", WAN),
    ("kohya Cascade", "lora_prior_unet_blocks_7_self_attn_q.lora_down.weight", WAN),
    ("kohya SD", "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", CLIP_L),
    ("diffusers SD", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", CLIP_L),
    ("diffusers, newer transformers", "text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight", CLIP_L),
    ("PEFT CLIP", "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight", CLIP_L),
    ("PEFT CLIP, newer transformers", "base_model.model.encoder.layers.0.self_attn.q_proj.lora_A.weight", CLIP_L),
    ("PEFT T5", "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight", T5),
    ("ComfyUI", "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.lora_up.weight", CLIP_L),
    ("ComfyUI", "text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_up.weight", CLIP_G),
    ("ComfyUI", "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight", T5),
    ("ComfyUI, short", "text_encoders.transformer.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight", T5),
    ("ComfyUI Gemma", "text_encoders.gemma2_2b.transformer.model.layers.0.self_attn.q_proj.lora_up.weight", GEMMA),
]


@pytest.mark.parametrize(("tool", "key", "layer"), SPELLINGS, ids=[f"{tool}: {key}" for tool, key, _ in SPELLINGS])
def test_a_layer_has_one_name_whatever_tool_wrote_the_key(tool, key, layer):
    assert diffusers_names(layer_name(module_of(key)), 2)[0] == layer


def test_every_prefix_of_the_table_is_tried_above():
    keys = [key.removeprefix("base_model.model.") for _, key, _ in SPELLINGS]
    used = {next((row.text for row in PREFIXES if key.startswith(row.text)), "") for key in keys}
    assert used == {row.text for row in PREFIXES} | {""}
    assert all(row.tools for row in PREFIXES) and len({row.text for row in PREFIXES}) == len(PREFIXES)


@pytest.mark.parametrize("row", ENDINGS, ids=lambda row: row.text)
def test_every_ending_is_told_from_all_others(row):
    assert split_key(f"unet.mid_block.a{row.text}") == ("unet.mid_block.a", row) and row.source


@pytest.mark.parametrize(("key", "kind", "role"), [
    ("a.lora_down.weight", LORA, "down"), ("a.lora_B.weight", LORA, "up"), ("a.lora_B.default.weight", LORA, "up"),
    ("a_lora.down.weight", LORA, "down"), ("a.lora_mid.weight", LORA, "mid"), ("a.diff", FULL, "diff"),
    ("a.diff_b", BESIDE, BIAS), ("a.lora_B.bias", BESIDE, PEFT_BIAS), ("a.set_weight", BESIDE, SET),
    ("a.alpha", "", "alpha"), ("a.dora_scale", "", "magnitude"), ("a.lora_magnitude_vector.weight", "", "magnitude"),
])
def test_an_ending_says_which_tensor_of_which_kind_it_is(key, kind, role):
    module, row = split_key(key)
    assert (module, row.kind, row.role) == ("a", kind, role)


@pytest.mark.parametrize("key", ["a.oft_R.weight", "a.oft_blocks", "a.a2.weight", "a.on_input"])
def test_kinds_that_need_the_model_are_known_as_such(key):
    assert split_key(key)[1].kind in NEED_THE_MODEL


@pytest.mark.parametrize("name", ["some_network", "bundle_emb.akane", "clip_vision.layers.0", "vae.decoder.conv_in",
                                  "control_model.input_blocks.0"])
def test_names_of_other_networks_are_not_taken_for_a_layer(name):
    assert layer_name(name) is None and split_key(f"{name}.string_to_param") is None


# -- text encoders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "encoder.block.0.layer.0.SelfAttention.q", "encoder.block.23.layer.1.DenseReluDense.wo",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", "encoder.final_layer_norm", "shared",
])
@pytest.mark.parametrize("prefix", ["lora_te2_", "lora_te3_", "text_encoder_2.", "text_encoders.t5xxl.transformer."])
def test_t5_is_known_by_its_layers_whatever_number_it_has(prefix, path):
    found = layer_name(prefix + (path if prefix.endswith(".") else flat(path)))
    assert (found.part, found.path) == ("text_encoder_3", path)


def test_text_model_is_put_before_clips_layers_alone():
    assert layer_name("lora_te3_encoder_block_0_layer_0_SelfAttention_q").path.startswith("encoder.block.")
    assert layer_name("text_encoder_2.encoder.layers.3.mlp.fc1").path == "text_model.encoder.layers.3.mlp.fc1"
    assert layer_name("text_encoder_2.text_projection").path == "text_projection"


# -- writing -----------------------------------------------------------------------------------------------------------


WRITTEN = ["unet.mid_block.attentions.0.proj_in", "transformer.transformer_blocks.0.attn.to_q",
           "diffusion_model.double_blocks.0.img_attn.qkv", CLIP_L, CLIP_G, T5, GEMMA]


@pytest.mark.parametrize("style", KEY_STYLES)
@pytest.mark.parametrize("key", WRITTEN)
def test_what_is_written_in_a_style_is_read_back(style, key):
    if style == "comfy" and key.startswith("unet."):
        with pytest.raises(UserError, match="use key style kohya"):
            file_name(key, style)
        return
    for others in ((), ("text_encoder",), ("text_encoder", "text_encoder_2", "text_encoder_3")):
        assert layer_name(file_name(key, style, others)).key == key


@pytest.mark.parametrize(("key", "style", "others", "name"), [
    (CLIP_L, "kohya", (), "lora_te_text_model_encoder_layers_0_self_attn_q_proj"),
    (CLIP_L, "kohya", ("text_encoder_2",), "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"),
    (T5, "kohya", ("text_encoder",), "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
    (T5, "kohya", (), "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
    (T5, "peft", (), "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
    ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1", "kohya", (),
     "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    ("transformer.single_transformer_blocks.0.attn.to_q", "kohya", (),
     "lora_transformer_single_transformer_blocks_0_attn_to_q"),
    ("transformer.single_transformer_blocks.0.attn.to_q", "comfy", (),
     "transformer.single_transformer_blocks.0.attn.to_q"),
])
def test_names_are_written_as_the_host_maps_them(key, style, others, name):
    assert file_name(key, style, others) == name


@pytest.mark.parametrize(("module", "style"), [
    ("lora_unet_input_blocks_4_1_proj_in", "kohya"), ("unet.mid_block.attentions.0.proj_in", "kohya"),
    ("lycoris_mid_block_attentions_0_proj_in", "kohya"), ("lora_unet_double_blocks_0_img_attn_qkv", "kohya"),
    ("lora_unet_layers_0_attention_qkv", "kohya"), ("diffusion_model.layers.0.attention.to_q", "peft"),
    ("lora_transformer_transformer_blocks_0_attn_to_q", "peft"), ("lycoris_transformer_blocks_0_attn_to_q", "peft"),
    ("transformer_blocks.0.attn.to_q", "peft"), ("diffusion_model.single_blocks.0.linear1_qkv", "peft"),
    ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "kohya"),
])
def test_a_merge_takes_the_style_in_which_the_host_reads_its_layers(module, style):
    assert fitting_style([layer_name(module).key]) == style


# -- layouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "double_blocks.0.txt_attn.norm.query_norm", "img_in", "time_in.in_layer", "vector_in.out_layer",
    "guidance_in.in_layer", "final_layer.adaLN_modulation.1", "distilled_guidance_layer.layers.0.in_layer",
    "joint_blocks.0.context_block.attn.ln_q", "layers.0.attention.q_norm", "cap_embedder.1", "t_embedder.mlp.0",
    "context_refiner.0.attention_norm1", "transformer_blocks.0.img_mod.1", "blocks.0.cross_attn.k_img",
    "transformer_blocks.0.attn.norm_added_q", "transformer_blocks.0.norm1_context.linear",
    "time_text_embed.timestep_embedder.linear_1", "single_transformer_blocks.0.attn.to_qkv_mlp_proj",
    "single_transformer_blocks.0.attn.to_out", "down_blocks.0.resnets.0.time_emb_proj", "conv_norm_out",
])
def test_dots_that_kohya_made_underscores_of_are_found_again(path):
    assert layer_name(f"lora_unet_{flat(path)}").path == path


@pytest.mark.parametrize(("original", "diffusers"), [
    ("img_in", "x_embedder"), ("time_in.in_layer", "time_text_embed.timestep_embedder.linear_1"),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2"), ("final_layer.linear", "proj_out"),
])
def test_outside_of_fluxs_blocks_names_meet_where_it_is_surely_flux(original, diffusers):
    layer, block = layer_name(f"lora_unet_{flat(original)}"), layer_name("lora_unet_double_blocks_0_img_attn_qkv")
    assert diffusers_names(layer, 2, ends=names_of_ends([layer, block])) == (f"denoiser.{diffusers}",)
    assert diffusers_names(layer, 2, ends=names_of_ends([layer])) == (f"denoiser.{original}",)


def test_attention_of_z_image_is_fused_in_its_own_layout_alone():
    fused, split, neither = map(layer_name, (
        "lora_unet_layers_0_attention_qkv", "diffusion_model.layers.0.attention.to_q",
        "diffusion_model.layers.0.feed_forward.w1"))
    assert diffusers_names(fused, 2) == tuple(f"denoiser.layers.0.attention.to_{letter}" for letter in "qkv")
    assert [is_original(name) for name in (fused, split, neither)] == [True, False, False]


@pytest.mark.parametrize(("parts", "shape", "rows"), [
    (3, (24, 8), (8, 8, 8)), (3, (3840, 2304), (2304, 768, 768)), (4, (56, 8), (8, 8, 8, 32)), (1, (5, 8), (5,))])
def test_rows_of_a_fused_layer_are_its_parts(parts, shape, rows):
    assert row_counts(parts, *shape) == rows


def test_the_last_context_of_sd3_is_not_diffusers_layer_as_its_halves_are_swapped_there():
    last = layer_name("lora_unet_joint_blocks_23_context_block_adaLN_modulation_1")
    assert is_swapped(last, (128, 64)) and not is_swapped(last, (384, 64))
