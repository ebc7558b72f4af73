"""What a LoRA file holds beside its layers goes along in a merge, or the merge says why it does not."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.stacks.blocks import filter_lora
from lora_bootstrap.trainer.stacks.merge import merge_loras, save_merged
from lora_bootstrap.trainer.stacks.stack import StackEntry

from ...helpers.lora_files import plain, random, write

UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"


def entries(folder):
    return [StackEntry(path=folder / f"{name}.safetensors", strength=strength, clip_strength=2.0)
            for name, strength in (("a", 0.8), ("b", -0.5))]


def merged_tensors(folder):
    merged = merge_loras(entries(folder))
    save_merged(folder / "merged.safetensors", merged)
    return load_file(folder / "merged.safetensors"), merged.lines


def test_a_bundled_embedding_goes_along(tmp_path):
    key, embedding = "bundle_emb.akane.string_to_param.*", random(2, 8).float()
    layer = {f"{UNET}.{end}": tensor for end, tensor in plain().items()}
    save_file({**layer, key: embedding}, tmp_path / "a.safetensors")
    write(tmp_path / "b.safetensors", {UNET: plain(4, 5)})
    tensors, lines = merged_tensors(tmp_path)
    assert torch.equal(tensors[key], embedding) and not any("not read" in line for line in lines)


def test_a_lora_that_replaces_weights_is_not_merged(tmp_path):
    write(tmp_path / "a.safetensors", {UNET: plain(), "unet.mid_block.norm": {"set_weight": random(12).float()}})
    write(tmp_path / "b.safetensors", {UNET: plain(4, 5)})
    with pytest.raises(UserError, match=r"puts weights or shapes in place of the model's \(1,"):
        merge_loras(entries(tmp_path))


def test_a_new_shape_is_not_merged_away(tmp_path):
    write(tmp_path / "a.safetensors", {UNET: {**plain(), "reshape_weight": torch.tensor([20, 24])}})
    write(tmp_path / "b.safetensors", {UNET: plain(4, 5)})
    with pytest.raises(UserError, match="puts weights or shapes"):
        merge_loras(entries(tmp_path))


def test_norms_that_files_name_differently_are_one(tmp_path):
    rows = [random(12, seed=seed).float() for seed in range(4)]
    write(tmp_path / "a.safetensors", {UNET: plain(), "diffusion_model.layers.0.attention.q_norm": {
        "w_norm": rows[0], "b_norm": rows[1]}})
    write(tmp_path / "b.safetensors", {UNET: plain(4, 5), "transformer.layers.0.attention.norm_q": {
        "diff": rows[2], "diff_b": rows[3]}})
    tensors, _ = merged_tensors(tmp_path)
    norm = "diffusion_model.layers.0.attention.q_norm"
    assert [key for key in tensors if "norm" in key] == [f"{norm}.diff", f"{norm}.diff_b"]
    torch.testing.assert_close(tensors[f"{norm}.diff"], 0.8 * rows[0] - 0.5 * rows[2])
    torch.testing.assert_close(tensors[f"{norm}.diff_b"], 0.8 * rows[1] - 0.5 * rows[3])


@pytest.mark.parametrize(("first", "second"), [
    ("diffusion_model.blocks.0.attn.wq", "transformer.transformer_blocks.0.attn.to_q"),  # Krea 2
    ("diffusion_model.txtfusion.refiner_blocks.0.mlp.up", "text_fusion.refiner_blocks.0.ff.up"),
    ("lora_unet_tproj_1", "time_mod_proj"),
    ("lora_unet_single_blocks_0_linear1", "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"),  # Flux 2
    ("diffusion_model.double_blocks.0.img_attn.qkv", "diffusion_model.double_blocks.0.img_attn_qkv"),  # Hunyuan Video
    ("lora_unet_double_blocks_0_txt_mlp_0", "transformer.double_blocks.0.txt_mlp.fc1"),
    ("lora_unet_patchify_proj", "patchify_proj"),  # LTX
    ("lora_te_layers_0_self_attn_q_proj", "text_encoders.qwen3_06b.transformer.model.layers.0.self_attn.q_proj"),
    ("text_encoders.transformer.model.layers.0.mlp.up_proj",
     "text_encoders.llama.transformer.model.layers.0.mlp.up_proj"),
    ("text_encoders.transformer.encoder.block.0.layer.0.SelfAttention.q",
     "text_encoders.umt5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"),
])
def test_two_names_that_the_host_has_for_one_layer_are_one(first, second, tmp_path):
    for seed, (name, module) in enumerate((("a", first), ("b", second))):
        # Flux 2 has no biases
        bias = {} if "linear1" in first else {"diff_b": random(12, seed=seed).float()}
        write(tmp_path / f"{name}.safetensors", {module: {**plain(4, seed), **bias}})
    tensors, _ = merged_tensors(tmp_path)
    assert {key.removeprefix(first).removeprefix(second).removesuffix(".weight") for key in tensors} <= {
        ".lora_up", ".lora_down", ".alpha", ".diff_b", ".lora_A", ".lora_B"} and len(tensors) <= 4


def test_a_text_encoders_biases_have_its_strength(tmp_path):
    module, row = "lora_te_text_model_encoder_layers_0_mlp_fc1", random(12).float()
    for name in "ab":
        write(tmp_path / f"{name}.safetensors", {module: {**plain(), "diff_b": row}})
    tensors, _ = merged_tensors(tmp_path)
    torch.testing.assert_close(tensors[f"{module}.diff_b"], 4 * row)


def test_biases_of_two_models_are_told_apart(tmp_path):
    for name, size in (("a", 12), ("b", 13)):
        write(tmp_path / f"{name}.safetensors", {UNET: {**plain(), "diff_b": random(size).float()}})
    with pytest.raises(UserError, match=r"\[12\] and \[13\] values .* different models"):
        merge_loras(entries(tmp_path))


def test_a_layer_of_an_unknown_network_goes_along_and_can_be_chosen(tmp_path):
    module = "somebodys_network_blocks_0_q"
    for seed, name in enumerate("ab"):
        write(tmp_path / f"{name}.safetensors", {UNET: plain(4, seed), module: plain(4, seed + 5)})
    tensors, lines = merged_tensors(tmp_path)
    first, second = ((plain(4, seed)["lora_up.weight"] @ plain(4, seed)["lora_down.weight"]) / 2 for seed in (5, 6))
    found = tensors[f"{module}.lora_up.weight"] @ tensors[f"{module}.lora_down.weight"]
    torch.testing.assert_close(found * tensors[f"{module}.alpha"] / 8, 0.8 * first - 0.5 * second, rtol=1e-4, atol=1e-5)
    assert any("layers of a network that is not known here (1, such as somebodys_network_blocks_0_q)" in line
               for line in lines)
    made = filter_lora(tmp_path / "a.safetensors", "somebodys*", tmp_path)
    assert set(load_file(made.path)) == {f"{module}.{end}" for end in plain()}
