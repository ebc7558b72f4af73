"""A file made of others names each layer so that whatever reads those reads it too."""

import pytest

from lora_bootstrap.trainer.lora.names import layer_name
from lora_bootstrap.trainer.lora.spellings import OwnName, choose_names


def chosen(*modules, peft=False, others=()):
    """The names that layers get which files call so."""
    own = {}
    for module in modules:
        name = layer_name(module)
        own[name.key if name else f"diffusion_model.{module}"] = OwnName(module, peft)
    style, names = choose_names(own, others)
    return style, list(names.values())


@pytest.mark.parametrize("module", [
    "diffusion_model.hyper_blocks.0.mix_q", "lora_unet_hyper_blocks_0_mix_q", "lycoris_hyper_blocks_0_mix_q",
    "lora_transformer_hyper_blocks_0_mix_q", "transformer.hyper_blocks.0.mix_q",
    "base_model.model.hyper_blocks.0.mix_q", "somebodys_prefix_hyper_blocks_0_mix_q",
    "lora_te_layers_0_self_attn_q_proj", "lora_llm_layers_0_q_proj",
    "diffusion_model.blocks.0.modulation", "blocks.0.attn.qkv_x", "lora_prior_unet_down_blocks_0_0_a",
    "text_encoders.qwen3_06b.transformer.model.layers.0.self_attn.q_proj"])
def test_a_layer_that_is_not_known_keeps_its_own_name(module):
    assert chosen(module)[1] == [module]
    # also beside a layer that is known and has another spelling
    assert chosen(module, "lora_te3_encoder_block_0_layer_0_SelfAttention_q")[1][0] == module


@pytest.mark.parametrize(("modules", "names"), [
    (("lora_transformer_transformer_blocks_0_attn_to_q", "lora_transformer_proj_out"),
     ["lora_transformer_transformer_blocks_0_attn_to_q", "lora_transformer_proj_out"]),
    (("diffusion_model.double_blocks.0.img_mlp.0",), ["diffusion_model.double_blocks.0.img_mlp.0"]),
    # a bare name of the original layout is in no map of the host
    (("double_blocks.0.img_mlp.0",), ["lora_unet_double_blocks_0_img_mlp_0"]),
    (("lora_unet_double_blocks_0_img_mlp_0", "diffusion_model.double_blocks.0.img_mlp.2"),
     ["lora_unet_double_blocks_0_img_mlp_0", "lora_unet_double_blocks_0_img_mlp_2"]),
    # some of Qwen-Image's names are known and some are not: all stay
    (("transformer_blocks.0.attn.to_q", "transformer_blocks.0.img_mlp.net.0.proj"),
     ["transformer_blocks.0.attn.to_q", "transformer_blocks.0.img_mlp.net.0.proj"]),
    # diffusers' number of Flux's T5 is in no map of the host
    (("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q",),
     ["text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"]),
    # the host reads Wan-Fun's prefix in some files only
    (("lora_unet__blocks_0_cross_attn_k",), ["lora_unet_blocks_0_cross_attn_k"]),
])
def test_names_stay_where_the_files_agree_and_the_host_reads_them(modules, names):
    assert chosen(*modules)[1] == names


@pytest.mark.parametrize("module", ["unet.mid_block.attentions.0.proj_in", "lycoris_mid_block_attentions_0_proj_in",
                                    "diffusion_model.middle_block.1.proj_in", "mid_block.attentions.0.proj_in"])
def test_a_unet_gets_kohyas_names(module):
    style, names = chosen(module, "text_encoder.text_model.encoder.layers.0.mlp.fc1", peft=True)
    assert style == "kohya" and names[1] == "lora_te_text_model_encoder_layers_0_mlp_fc1"
    assert names[0] in ("lora_unet_mid_block_attentions_0_proj_in", "lora_unet_middle_block_1_proj_in")


@pytest.mark.parametrize(("module", "peft", "style"), [
    ("diffusion_model.blocks.0.self_attn.q", True, "peft"), ("diffusion_model.blocks.0.self_attn.q", False, "kohya"),
    ("transformer.transformer_blocks.0.attn.to_q", False, "peft"),
    ("lora_transformer_transformer_blocks_0_attn_to_q", False, "kohya")])
def test_tensors_are_called_as_the_files_call_them(module, peft, style):
    assert chosen(module, peft=peft)[0] == style
