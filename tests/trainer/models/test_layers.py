"""Attention is found in networks of any family, by structure where names do not tell."""

import pytest
from torch import nn

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.layers import coverage, find_blocks, select_modules


def tree(paths, **classes):
    """A network with a linear layer at each dotted path; `classes` gives modules of that name a class."""
    network = nn.Module()
    for path in paths.split():
        *parents, leaf = path.split(".")
        parent = network
        for name in parents:
            if not hasattr(parent, name):
                lists = name in ("blocks", "layers", "encoder") or name.endswith(("_blocks", "_refiner"))
                kind = classes.get(name, nn.ModuleList if lists else nn.Module)
                parent.add_module(name, kind())
            parent = getattr(parent, name)
        parent.add_module(leaf, nn.Linear(2, 2))
    return network


class PlainAttention(nn.Module):
    pass


FAMILIES = {
    # attention, feed-forward and the rest of one block, as the host's files name them
    "Krea 2": ("blocks.0.attn.wq blocks.0.attn.wk blocks.0.attn.wv blocks.0.attn.gate blocks.0.attn.wo",
               "blocks.0.mlp.gate blocks.0.mlp.up blocks.0.mlp.down", ""),
    "Anima": ("blocks.0.self_attn.q_proj blocks.0.self_attn.output_proj blocks.0.cross_attn.output_proj",
              "blocks.0.mlp.layer1 blocks.0.mlp.layer2",
              "blocks.0.adaln_modulation_self_attn.1 blocks.0.adaln_modulation_mlp.1"),
    "Wan": ("blocks.0.self_attn.q blocks.0.self_attn.o blocks.0.cross_attn.k_img blocks.0.cross_attn.v_img",
            "blocks.0.ffn.0 blocks.0.ffn.2", ""),
    "AuraFlow": ("layers.0.attn.w1q layers.0.attn.w2o", "layers.0.mlpX.c_fc1 layers.0.mlp.c_proj", "layers.0.modC.1"),
    "HiDream": ("blocks.0.block.attn1.to_q_t blocks.0.block.attn1.to_out_t",
                "blocks.0.block.ff_i.experts.0.w1 blocks.0.block.ff_i.shared_experts.w2 blocks.0.block.ff_t.w3",
                "blocks.0.block.adaLN_modulation.1"),
    "CogVideoX": ("blocks.0.q blocks.0.k blocks.0.v blocks.0.attn_out", "blocks.0.ff_proj blocks.0.ff_out",
                  "blocks.0.norm1.linear"),
    "nameless": ("blocks.0.mix.query_w blocks.0.mix.key_w blocks.0.mix.last", "blocks.0.feed_forward.w1", ""),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_is_found_whatever_a_family_calls_its_layers(name):
    attention, mlp, rest = (set(part.split()) for part in FAMILIES[name])
    network = tree(" ".join(FAMILIES[name]) + " x_embedder.proj final_layer.linear")
    blocks = find_blocks(network)[0]
    assert set(select_modules(network, "attention", blocks, 0)) == attention
    assert set(select_modules(network, "attention+mlp", blocks, 0)) == attention | mlp
    assert set(select_modules(network, "all", blocks, 0)) == attention | mlp | rest


def test_a_module_called_anything_is_attention_by_its_class():
    network = tree("blocks.0.mixer.a blocks.0.mixer.b", mixer=PlainAttention)
    assert set(select_modules(network, "attention", ("blocks",), 0)) == {"blocks.0.mixer.a", "blocks.0.mixer.b"}


def test_blocks_beside_embedders_final_layers_and_adapters_of_the_text_are_found():
    network = tree("blocks.0.attn.q llm_adapter.blocks.0.self_attn.q_proj llm_adapter.out_proj final_layer.linear "
                   "x_embedder.layers.0.attn.q")
    assert find_blocks(network) == (("blocks",), ("llm_adapter",))
    assert set(select_modules(network, "all", *find_blocks(network)[:1], 0, find_blocks(network)[1])) == {
        "blocks.0.attn.q"}


def test_blocks_further_in_are_found_and_the_eye_beside_them_is_left_out():
    language = " ".join(f"language_model.layers.{row}.self_attn.q_proj" for row in range(8))
    network = tree(f"visual.blocks.0.attn.qkv {language} head.layers.0.attn.q")
    assert find_blocks(network)[0] == ("layers",)
    chosen = select_modules(network, "all", *find_blocks(network)[:1], 0, find_blocks(network)[1])
    assert set(chosen) == set(language.split())


def test_a_choice_that_leaves_attention_without_a_lora_is_refused():
    network = tree("blocks.0.mlp.fc1 blocks.0.strange.one")
    with pytest.raises(UserError, match=r"'attention\+mlp' would leave the attention .* Choose layers 'all'"):
        select_modules(network, "attention+mlp", ("blocks",), 0)
    assert len(select_modules(network, "all", ("blocks",), 0)) == 2


def test_coverage_counts_what_has_a_lora_and_names_attention_without():
    network = tree("blocks.0.attn.q blocks.0.attn.o blocks.0.mlp.fc1 final_layer.linear")
    covered = coverage(network, {"blocks.0.attn.q", "blocks.0.mlp.fc1"}, ("blocks",))
    assert (covered.adapted, covered.linear, covered.bare_attention) == (2, 3, ("blocks.0.attn.o",))
    deaf = nn.ModuleDict({"layers": nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16)])})
    assert coverage(deaf, {"layers.0.linear1"}, ("layers",)).bare_attention == ("layers.0.self_attn",)


BLOCK = ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down")


def blocks_of(**counts):
    """Paths of so many blocks under each name; a double underscore stands for a dot."""
    return " ".join(f"{name.replace('__', '.')}.{row}.{layer}" for name, count in counts.items() for row in range(count)
                    for layer in BLOCK)


@pytest.mark.parametrize(("counts", "trained"), [
    ({"text_transformer_blocks": 1, "visual_transformer_blocks": 3}, 4),  # Kandinsky 5
    ({"encoder_blocks": 2, "decoder_blocks": 2}, 4), ({"text_blocks": 1, "vision_blocks": 3}, 4), ({"encoder": 2}, 2),
    ({"transformer__layers": 6, "context_refiner": 1}, 7), ({"model__blocks": 2, "model__llm_adapter__blocks": 1}, 2),
    ({"blocks": 8, "vision_blocks": 1}, 8)])
def test_the_blocks_of_a_network_without_a_row_are_those_with_the_weights(counts, trained):
    network = tree(blocks_of(**counts) + " final_layer.linear")
    blocks, excluded = find_blocks(network)
    chosen = select_modules(network, "all", blocks, 0, excluded)
    assert len(chosen) == trained * len(BLOCK) and not any("llm_adapter" in name for name in chosen)
    assert coverage(network, chosen, blocks, excluded).bare_attention == ()


def test_blocks_that_are_in_no_list_are_found_too():
    network = tree(" ".join(f"block_{row}.{layer}" for row in range(3) for layer in BLOCK) + " final.linear")
    blocks, excluded = find_blocks(network)
    assert len(select_modules(network, "all", blocks, 0, excluded)) == 3 * len(BLOCK)


@pytest.mark.parametrize("name", ["multimodal_attn", "module_attn", "model_attn", "adapter_attn"])
def test_a_second_attention_counts_whatever_it_is_called(name):
    network = tree(f"blocks.0.attn.q blocks.0.attn.k blocks.0.{name}.q blocks.0.{name}.k blocks.0.mlp.up")
    assert set(select_modules(network, "attention", ("blocks",), 0)) == {
        f"blocks.0.{part}.{layer}" for part in ("attn", name) for layer in "qk"}


def test_query_key_and_value_in_one_layer_are_attention_in_a_module_of_any_name():
    network = tree("blocks.0.mixer.Wqkv blocks.0.mixer.last blocks.0.cross_attn.q blocks.0.cross_attn.k")
    assert {"blocks.0.mixer.Wqkv", "blocks.0.mixer.last"} <= set(select_modules(network, "attention", ("blocks",), 0))


def test_attention_of_convolutions_over_one_size_is_said_to_have_no_lora():
    network = tree("blocks.0.attention.q blocks.0.ff.up")
    network.get_submodule("blocks.0.attention").add_module("qkv", nn.Conv1d(2, 6, 1))
    chosen = select_modules(network, "all", ("blocks",), 0)
    assert coverage(network, chosen, ("blocks",)).bare_attention == ("blocks.0.attention.qkv",)
