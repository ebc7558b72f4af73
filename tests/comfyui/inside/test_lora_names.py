"""Every spelling of LoRA keys that this host reads is read here too, and what is merged is read by the host."""

import logging
import os
from functools import cache
from itertools import pairwise

import comfy.lora
import comfy.lora_convert
import comfy.utils
import pytest
import torch
from named_models import NAMED
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, make_model, make_parts
from torch import nn

from lora_bootstrap.host.backbone.loras import unmatched_modules
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.layouts import diffusers_names, names_of_ends, text_names
from lora_bootstrap.trainer.lora.names import PREFIXES, any_layer_name, flat, layer_name
from lora_bootstrap.trainer.stacks.blocks import filter_lora, read_blocks
from lora_bootstrap.trainer.stacks.merge import MergeSettings, merge_loras, save_merged
from lora_bootstrap.trainer.stacks.stack import StackEntry

HOST = "diffusion_model."
MODELS = {**FAMILIES, **NAMED}
SOME = MODELS if os.environ.get("ALL_HOSTS") == "1" else list(MODELS)[::3]
"""For what costs seconds a family; bench/lora_names.py tries them all."""
BARE = ("", "base_model.model.", "unet.base_model.model.")
UNETS = ("lora_unet_down", "lora_unet_mid", "lora_unet_up")
SPELLINGS = (*(row.text for row in PREFIXES), *UNETS, *BARE)


class TextEncoders(nn.Module):
    """Stands for the CLIP of a family: its weights' names, and small shapes."""

    def __init__(self, *encoders):
        super().__init__()
        self.weights = {}
        for name, width in (("clip_l", 24), ("clip_g", 32)):
            for leaf in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1") if name in encoders else ():
                key = f"{name}.transformer.text_model.encoder.layers.0.{leaf}.weight"
                self.weights[key] = torch.zeros(width, width)
        for name in {"t5xxl", "umt5xxl"} & set(encoders):
            for leaf in ("0.SelfAttention.q", "0.SelfAttention.o", "1.DenseReluDense.wi_0"):
                self.weights[f"{name}.transformer.encoder.block.0.layer.{leaf}.weight"] = torch.zeros(20, 20)
        for name in {"qwen25_7b", "qwen3_06b", "qwen3_4b", "llama"} & set(encoders):
            for leaf in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj"):
                self.weights[f"{name}.transformer.model.layers.0.{leaf}.weight"] = torch.zeros(28, 28)

    def state_dict(self):
        return self.weights


ENCODERS = {"sd15": ("clip_l",), "sdxl": ("clip_l", "clip_g"), "sd3": ("clip_l", "clip_g", "t5xxl"),
            "flux": ("clip_l", "t5xxl"), "chroma": ("t5xxl",), "qwen_image": ("qwen25_7b",), "anima": ("qwen3_06b",),
            "z_image": ("qwen3_4b",), "wan21": ("umt5xxl",), "hidream": ("clip_l", "clip_g", "t5xxl", "llama"),
            "hunyuan_video": ("clip_l", "llama")}


class Host:
    """What this host's own loader makes of files, for a tiny model of a family."""

    def __init__(self, family):
        self.most = 30 if family in FAMILIES else 12  # layers of each file
        model, encoders = make_model(MODELS[family]).model, TextEncoders(*ENCODERS.get(family, ()))
        # what the loader adds is the difference: zeros take no memory and round nothing
        self.weights = {key: torch.zeros(()).expand(weight.shape)
                        for key, weight in {**model.state_dict(), **encoders.state_dict()}.items()}
        self.places = comfy.lora.model_lora_keys_clip(encoders, comfy.lora.model_lora_keys_unet(model, {}))

    def shape(self, name):
        place = self.places[name]
        key, rows = (place, None) if isinstance(place, str) else (place[0], place[1])
        shape = tuple(self.weights[key].shape)
        return (rows[2], *shape[1:]) if rows else shape

    def spelled(self, prefix):
        """Names of layers that begin so, one for each place of the network."""
        longer = tuple(text for text in SPELLINGS if text != prefix and text.startswith(prefix))
        names = {self.places[name]: name for name in sorted(self.places) if name.startswith(prefix)
                 and not name.startswith(longer) and self.is_layer(name) and not name.endswith("linear1_qkv")}
        # a layer is named whole or in rows, never both; diffusers' names of rows can have the host's prefix
        whole = [name for name in sorted(names.values()) if prefix != HOST or isinstance(self.places[name], str)]
        return whole[:: max(1, len(whole) // self.most)]

    def rows(self):
        """Names of rows with the host's prefix: ai-toolkit's for Z-Image."""
        return [name for name in sorted(self.places) if name.startswith(HOST) and self.is_layer(name)
                and not isinstance(self.places[name], str) and not name.endswith("linear1_qkv")]

    def is_layer(self, name):
        """Whether the host can add to it; its names of Lumina 2's keys and values are beyond what there is."""
        key, rows = (self.places[name], None) if isinstance(self.places[name], str) else self.places[name][:2]
        weight = self.weights.get(key)
        return key.endswith(".weight") and weight is not None and weight.ndim >= 2 and (
            rows is None or rows[1] + rows[2] <= len(weight))

    def delta(self, path, strength, caplog):
        lora = comfy.lora_convert.convert_lora(comfy.utils.load_torch_file(str(path), safe_load=True))
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            patches = comfy.lora.load_lora(lora, self.places)
        assert [line for line in caplog.messages if "not loaded" in line] == []
        found = {}
        for place, patch in patches.items():
            key, rows, turn = (place, None, None) if isinstance(place, str) else (*place, None)[:3]
            before = self.weights[key].float()
            after = comfy.lora.calculate_weight([(strength, patch, 1.0, rows, turn)], before.clone(), key)
            found[key] = found.get(key, 0) + after - before
        return found


host_of = cache(Host)
"""A tiny model takes as long to build as what most tests ask of it."""


def write(path, host, names, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in names:
        outputs, inputs, *kernel = host.shape(name)
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, inputs, *kernel, generator=generator) * 0.1
        tensors[f"{name}.lora_up.weight"] = torch.randn(outputs, 2, *(1 for _ in kernel), generator=generator) * 0.1
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, path)
    return path


def assert_the_host_reads_the_merge(host, paths, caplog, tmp_path):
    merged = merge_loras([StackEntry(path=path, strength=strength, clip_strength=strength)
                          for path, strength in zip(paths, (0.8, -0.5), strict=True)], MergeSettings())
    save_merged(tmp_path / "merged.safetensors", merged)
    first, second = host.delta(paths[0], 0.8, caplog), host.delta(paths[1], -0.5, caplog)
    found = host.delta(tmp_path / "merged.safetensors", 1.0, caplog)
    assert found.keys() == first.keys() | second.keys()
    for key, delta in found.items():
        torch.testing.assert_close(delta, first.get(key, 0) + second.get(key, 0), rtol=1e-4, atol=1e-6)


def pair(tmp_path, host, *spelled):
    return [write(tmp_path / f"{seed}.safetensors", host, names, seed) for seed, names in enumerate(spelled, 1)]


# of Krea 2, diffusers' names of the text fusion are not known here: merges keep the files' own
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "krea2"])
def test_every_name_that_the_host_reads_is_read(family):
    host = host_of(family)
    unread = [name for name in host.places if host.is_layer(name) and layer_name(name) is None]
    assert len(host.places) > 50 and unread == []


@pytest.mark.parametrize("family", [*FAMILIES, "hunyuan_video"])
def test_the_names_that_the_host_has_for_one_layer_are_one_here(family):
    host, by_place = host_of(family), {}
    layers = {name: any_layer_name(name) for name in host.places if host.is_layer(name)}
    ends, texts = names_of_ends(layers.values()), text_names(layers.values())
    for name, layer in layers.items():
        names = [texts.get(text, text) for text in diffusers_names(layer, 1, ends=ends, shape=host.shape(name))]
        # of what is split here the host has one name; adaLN's halves are swapped in diffusers' norm_out
        if len(names) == 1 and isinstance(host.places[name], str):
            by_place.setdefault(host.places[name], set()).add(flat(names[0]))
    assert len(by_place) > 15
    assert [names for names in by_place.values() if len(names) > 1] == []


@pytest.mark.parametrize("family", MODELS)
def test_a_merge_in_every_spelling_that_the_host_reads_is_read_by_it(family, tmp_path, caplog, record_property):
    host, tried = host_of(family), []
    for prefix in SPELLINGS:
        if names := host.spelled(prefix):
            assert_the_host_reads_the_merge(host, pair(tmp_path, host, names, names), caplog, tmp_path)
            tried.append(prefix)
    if names := host.rows():
        assert_the_host_reads_the_merge(host, pair(tmp_path, host, names, names[::2]), caplog, tmp_path)
        tried.append(f"{HOST}*.to_q")
    assert len(tried) >= (4 if family in FAMILIES and family != "wan" else 2)
    record_property("spellings", " ".join(prefix or "(none)" for prefix in tried))


@pytest.mark.parametrize("family", SOME)
def test_a_merge_of_one_spelling_with_the_next_is_read_by_the_host_or_refused(family, tmp_path, caplog,
                                                                              record_property):
    host, equal, refused = host_of(family), 0, []
    spelled = {prefix: names for prefix in SPELLINGS if (names := host.spelled(prefix))}
    for one, other in pairwise(spelled):
        try:
            assert_the_host_reads_the_merge(host, pair(tmp_path, host, spelled[one], spelled[other]), caplog, tmp_path)
            equal += 1
        except UserError as error:
            assert "in ways that cannot be matched here" in str(error) or "has no names for the three" in str(error)
            refused.append(f"{one} {other}")
    assert equal or family in NAMED
    record_property("pairs", f"{equal} equal, {len(refused)} refused")


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux", "z_image", "wan21"])
def test_biases_and_norms_of_a_merge_are_those_of_its_parents_in_the_host(family, tmp_path, caplog):
    host, paths = host_of(family), []
    places = {place: name for name, place in host.places.items() if name.startswith(HOST) and isinstance(place, str)}
    names = [name for place, name in places.items() if place in host.weights and not name.endswith(".bias")]
    norms = [name for name in names if host.weights[host.places[name]].ndim == 1]
    layers = [name for name in names if host.is_layer(name) and f"{name}.bias" in host.weights][::2]
    assert len(norms) > 3 and len(layers) > 2
    for seed in (1, 2):
        path = write(tmp_path / f"{seed}.safetensors", host, layers, seed)
        generator = torch.Generator().manual_seed(seed)
        vectors = {f"{name}.diff_b": len(host.weights[f"{name}.bias"]) for name in layers[seed:]}
        vectors |= {f"{name}.{('diff', 'w_norm')[number % 2]}": host.shape(name)[0]
                    for number, name in enumerate(norms[seed:])}
        save_file({**load_file(path), **{key: torch.randn(size, generator=generator) for key, size in vectors.items()}},
                  path)
        paths.append(path)
    assert_the_host_reads_the_merge(host, paths, caplog, tmp_path)


@pytest.mark.parametrize("family", SOME)
def test_blocks_of_a_lora_are_read_by_the_host_as_they_were(family, tmp_path, caplog):
    host = host_of(family)
    for prefix in (HOST, "lora_unet_"):
        path = write(tmp_path / "a.safetensors", host, host.spelled(prefix), 1)
        block = next(iter(read_blocks(path).keys))
        whole, half = host.delta(path, 1.0, caplog), host.delta(
            filter_lora(path, f"{block} = 0.5", tmp_path).path, 1.0, caplog)
        assert half.keys() == whole.keys()
        shares = {round(float(half[key].norm() / whole[key].norm()), 3) for key in whole}
        assert shares == {0.5, 1.0}


@pytest.mark.parametrize(("family", "first", "second"), [
    ("flux", "lora_te2_", "text_encoders.t5xxl.transformer."),
    ("flux", "lora_te3_", "lora_te2_"),
    ("sd3", "lora_te3_", "text_encoders.t5xxl.transformer."),
    ("chroma", "lora_te1_", "text_encoders.t5xxl.transformer."),
    ("sd3", "lora_te1_", "lora_te2_"), ("flux", "lora_te3_", "lora_te1_"),
    ("flux", "lora_transformer_", "diffusion_model."), ("flux", "lora_unet_", "transformer."),
    ("sd3", "lora_unet_", "lycoris_"), ("z_image", "lora_unet_", "lycoris_"), ("z_image", "transformer.", "lycoris_"),
    ("qwen_image", "lora_unet_", "transformer."), ("sdxl", "lora_unet_", "unet."),
    ("sdxl", "lora_unet_down", "diffusion_model."),
])
def test_a_merge_of_two_spellings_is_read_by_the_host(family, first, second, tmp_path, caplog):
    host = host_of(family)
    denoiser = host.spelled("lora_unet_")[:3]
    both = [[*host.spelled(prefix), *(denoiser if prefix.startswith(("lora_te", "text_encoders.")) else ())]
            for prefix in (first, second)]
    assert len(both[0]) > 2 and len(both[1]) > 2
    paths = [write(tmp_path / f"{seed}.safetensors", host, names, seed) for seed, names in enumerate(both)]
    assert_the_host_reads_the_merge(host, paths, caplog, tmp_path)


@pytest.mark.parametrize("endings", [
    ("lora_up.weight", "lora_down.weight", "alpha"), ("lora_A.default.weight", "lora_B.default.weight"),
    ("diff", "diff_b"), ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("lokr_w1", "lokr_w2", "dora_scale"),
    ("w_norm", "b_norm")])
def test_modules_of_every_kind_are_found_in_the_model_or_counted_once(endings, tmp_path):
    model, clip, _ = make_parts("sd15")
    known, strange = "diffusion_model.input_blocks.1.1.proj_in", "diffusion_model.nowhere"
    for modules in ((known, strange), (strange,)):
        save_file({f"{module}.{end}": torch.zeros(1) for module in modules for end in endings},
                  tmp_path / "a.safetensors")
        if known in modules:
            assert unmatched_modules(model, clip, tmp_path / "a.safetensors") == (strange,)
        else:
            with pytest.raises(UserError, match="none of the 1 modules"):
                unmatched_modules(model, clip, tmp_path / "a.safetensors")
