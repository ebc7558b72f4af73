"""A batch of strengths against the host's own LoRA loader, one picture after another."""

import contextlib
import gc
import re

import comfy.model_management
import comfy.samplers
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import CAPTIONS, FAMILIES, make_parts
from torch import nn
from unchanged import facts

import nodes
from lora_bootstrap.host.backbone.loras import apply_lora
from lora_bootstrap.host.backbone.rows import DETERMINISTIC, NotInRows, RowLora
from lora_bootstrap.host.backbone.sandbox import load_sandbox
from lora_bootstrap.trainer.common.errors import UserError

STRENGTHS = (0.0, 0.6, 1.0, -0.5)
CLOSE = 2 / 255


@pytest.fixture(scope="module")
def sandbox():
    with torch.inference_mode():
        return load_sandbox()


def parts_of(name, sandbox):
    return sandbox if name == "sandbox" else make_parts(name)


def lora_tensors(network, prefix="diffusion_model", seed=4, size=0.15, rank=4):
    """Random factors for every linear and convolution layer of a network, in the host's general names."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            out, *inside = module.weight.shape
            down = torch.randn(rank, *inside, generator=generator)
            up = torch.randn(out, rank, *[1] * (len(inside) - 1), generator=generator)
            tensors |= {f"{prefix}.{name}.lora_down.weight": down * down[0].numel() ** -0.5,
                        f"{prefix}.{name}.lora_up.weight": up * size, f"{prefix}.{name}.alpha": torch.tensor(2.0)}
    return tensors


def lora_file(path, tensors):
    save_file(tensors, path)
    return path


@pytest.fixture
def a_lora(tmp_path):
    return lambda model, **settings: lora_file(tmp_path / "lora.safetensors",
                                               lora_tensors(model.model.diffusion_model, **settings))


def heard(clip, *captions):
    """A conditioning of one row for each caption, as a prompt node leaves it."""
    rows = [clip.encode_from_tokens(clip.tokenize(caption), return_pooled=True, return_dict=True)
            for caption in captions]
    joined = {name: None if value is None else torch.cat([row[name] for row in rows])
              for name, value in rows[0].items()}
    return [[joined.pop("cond"), joined]]


def draw(model, positive, negative, count, sampler="euler", steps=3, cfg=3.0, seed=7, denoise=1.0, side=8):
    """Latents of one seed for all rows, by the host's own sampler node."""
    latents = model.model.latent_format
    frames = [1] if latents.latent_dimensions == 3 else []
    empty = {"samples": torch.zeros(count, latents.latent_channels, *frames, side, side), "batch_index": [0] * count}
    with torch.inference_mode():
        return nodes.common_ksampler(model, seed, steps, cfg, sampler, "normal", positive, negative, empty,
                                     denoise)[0]["samples"].clone()


def pictures(vae, latents):
    with torch.inference_mode():
        return vae.decode(latents).clone()


def one_by_one(model, path, positive, negative, strengths=STRENGTHS, **settings):
    return torch.cat([draw(apply_lora(model, None, path, strength)[0], positive, negative, 1, **settings)
                      for strength in strengths])


def in_rows(model, path, positive, negative, strengths=STRENGTHS, **settings):
    rows = RowLora(model, path)
    assert rows.why_not == ""
    with rows.at(strengths) as patched:
        return draw(patched, positive, negative, len(strengths), **settings)


def difference(a, b):
    assert a.shape == b.shape
    return (a - b).abs().max().item()


# -- the same pictures -----------------------------------------------------------------------------------------------


NOT_IN_ROWS = ("anima", "flux2", "flux2_klein")
"""A LoRA of all their layers is drawn one by one: the text adapter and the shared modulation run outside the rows."""


WITHOUT_CFG = ("sandbox", "sdxl", "flux")
"""At CFG 1 the host asks for one conditioning instead of two, which is the host's doing and the same for all."""


@pytest.mark.parametrize(("name", "cfg"), [
    *((name, 3.0) for name in ("sandbox", *FAMILIES) if name not in NOT_IN_ROWS),
    *((name, 1.0) for name in WITHOUT_CFG)])
def test_a_batch_of_strengths_is_what_the_loader_draws_one_by_one(name, cfg, sandbox, a_lora, record_property):
    model, clip, vae = parts_of(name, sandbox)
    path, prompts = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, CAPTIONS[2]))
    alone = pictures(vae, one_by_one(model, path, *prompts, cfg=cfg))
    together = pictures(vae, in_rows(model, path, *prompts, cfg=cfg))
    error = difference(together, alone)
    record_property("error", error)
    assert error <= CLOSE
    assert min(difference(alone[a], alone[b]) for a in range(4) for b in range(a)) > 5 * CLOSE


def test_the_order_of_rows_is_the_order_of_strengths(sandbox, a_lora):
    model, clip, _ = sandbox
    path, prompts = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, ""))
    forth, back = (in_rows(model, path, *prompts, strengths=order) for order in (STRENGTHS, STRENGTHS[::-1]))
    assert difference(forth, back.flip(0)) < 1e-4
    assert difference(forth, back) > 0.1


def test_the_prompt_can_be_encoded_at_each_rows_strength(sandbox, tmp_path):
    """As LoraLoader does with a LoRA that also changes the text encoder: the caller joins the encoded prompts."""
    model, clip, vae = sandbox
    encoder = clip.cond_stage_model.clip_l.transformer.text_model
    path = lora_file(tmp_path / "lora.safetensors", {
        **lora_tensors(model.model.diffusion_model),
        **lora_tensors(encoder, "text_encoders.clip_l.transformer.text_model", size=0.4)})
    singles, prompts = [], []
    for strength in STRENGTHS:
        loaded, loaded_clip = apply_lora(model, clip, path, strength, strength)
        with torch.inference_mode():
            prompts.append([heard(loaded_clip, text) for text in (CAPTIONS[0], "blue")])
        singles.append(draw(loaded, *prompts[-1], 1))
    assert difference(prompts[0][0][0][0], prompts[2][0][0][0]) > 0.1
    joined = [[[torch.cat([row[side][0][0] for row in prompts]),
                {"pooled_output": torch.cat([row[side][0][1]["pooled_output"] for row in prompts])}]]
              for side in (0, 1)]
    together = in_rows(model, path, *joined)
    assert difference(pictures(vae, together), pictures(vae, torch.cat(singles))) <= CLOSE
    unjoined = in_rows(model, path, *prompts[0])
    assert difference(pictures(vae, together), pictures(vae, unjoined)) > 2 * CLOSE


def test_conditionings_run_one_after_another_when_memory_is_short(sandbox, a_lora, monkeypatch):
    model, clip, _ = sandbox
    path, prompts, seen = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, "")), []
    watched = model.clone()
    watched.set_model_unet_function_wrapper(
        lambda apply, given: seen.append(len(given["input"])) or apply(given["input"], given["timestep"], **given["c"]))
    at_once = in_rows(watched, path, *prompts)
    monkeypatch.setattr(type(model.model), "memory_required", lambda *_, **__: 1e18)
    after_another = in_rows(watched, path, *prompts)
    assert seen == [8] * 3 + [4] * 6
    assert difference(at_once, after_another) < 1e-4


def test_a_style_on_the_model_stays_in_force(sandbox, tmp_path):
    model, clip, vae = sandbox
    network, prompts = model.model.diffusion_model, (heard(clip, CAPTIONS[0]), heard(clip, ""))
    style, path = (lora_file(tmp_path / f"{seed}.safetensors", lora_tensors(network, seed=seed)) for seed in (1, 2))
    styled = apply_lora(model, None, style, 0.8)[0]
    together = in_rows(styled, path, *prompts)
    assert difference(pictures(vae, together), pictures(vae, one_by_one(styled, path, *prompts))) <= CLOSE
    assert difference(together[0], draw(styled, *prompts, 1)[0]) < 1e-4  # at strength 0 the style alone
    assert difference(together[0], draw(model, *prompts, 1)[0]) > 0.1


def test_two_loras_can_each_have_their_rows(sandbox, tmp_path):
    model, clip, _ = sandbox
    network, prompts = model.model.diffusion_model, (heard(clip, CAPTIONS[0]), heard(clip, ""))
    paths = [lora_file(tmp_path / f"{seed}.safetensors", lora_tensors(network, seed=seed)) for seed in (1, 2)]
    alone = torch.cat([draw(apply_lora(model, None, path)[0], *prompts, 1) for path in paths])
    with RowLora(model, paths[0]).at((1.0, 0.0)) as first, RowLora(first, paths[1]).at((0.0, 1.0)) as both:
        assert difference(draw(both, *prompts, 2), alone) < 1e-4


def test_tokens_folded_into_the_batch_keep_their_rows_strength(a_lora, monkeypatch):
    model, clip, vae = make_parts("sd15")
    path, prompts = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, ""))
    inner = model.model.diffusion_model.middle_block[1].transformer_blocks[0].ff
    alone, sizes = one_by_one(model, path, *prompts), []

    def folded(x):
        sizes.append(len(x.flatten(0, 1)) / len(x))
        return type(inner).forward(inner, x.flatten(0, 1)).unflatten(0, x.shape[:2])

    monkeypatch.setattr(inner, "forward", folded)
    assert difference(pictures(vae, in_rows(model, path, *prompts)), pictures(vae, alone)) <= CLOSE
    assert min(sizes) > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_halves_and_the_factors_are_freed(dtype, a_lora):
    model, clip, _ = make_parts("sd3", dtype=dtype)
    path, prompt = a_lora(model), heard(clip, CAPTIONS[0])
    rows = RowLora(model, path)

    def held():
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) and thing.dtype == dtype for thing in gc.get_objects())

    before = held()
    with rows.at(STRENGTHS) as patched:
        drawn = draw(patched, prompt, prompt, 4)
        assert held() >= before + 2 * len(rows._layers)
    assert held() == before
    alone = one_by_one(model, path, prompt, prompt)
    spread = difference(alone[1], alone[2])
    assert drawn.isfinite().all() and difference(drawn, alone) < 0.1 * spread


def test_the_samplers_that_draw_a_row_as_alone_are_those_of_the_table(a_lora):
    """All that the host has, with three steps. The last row tells: what draws noise draws the first row as alone."""
    model, clip, vae = make_parts("flux")
    path, prompts = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, CAPTIONS[2]))
    strengths, names = (0.2, 1.0), comfy.samplers.KSampler.SAMPLERS

    def by_all(patched, count):
        return {name: pictures(vae, draw(patched, *prompts, count, sampler=name)) for name in names}

    alone = by_all(apply_lora(model, None, path, strengths[-1])[0], 1)
    with RowLora(model, path).at(strengths) as patched:
        rows = by_all(patched, len(strengths))
    same = {name for name in names if difference(rows[name][-1:], alone[name]) <= CLOSE}
    assert same == DETERMINISTIC & set(names)
    assert {"euler", "dpmpp_2m", "ddim", "uni_pc"} <= same


# -- what cannot be done ---------------------------------------------------------------------------------------------

Q = "diffusion_model.double_blocks.0.img_attn.proj"
HALF = torch.ones(4, 128)


@pytest.mark.parametrize(("tensors", "said"), [
    ({f"{Q}.hada_w1_a": HALF.T, f"{Q}.hada_w1_b": HALF, f"{Q}.hada_w2_a": HALF.T, f"{Q}.hada_w2_b": HALF}, "'loha'"),
    ({f"{Q}.lokr_w1": torch.ones(2, 2), f"{Q}.lokr_w2": torch.ones(64, 64)}, "'lokr'"),
    ({f"{Q}.lora_up.weight": HALF.T, f"{Q}.lora_down.weight": HALF, f"{Q}.dora_scale": torch.ones(128, 1)}, "a DoRA"),
    ({f"{Q}.lora_up.weight": HALF.T, f"{Q}.lora_down.weight": HALF, f"{Q}.lora_mid.weight": torch.ones(4, 4, 1, 1)},
     "Tucker"),
    ({f"{Q}.lora_up.weight": HALF.T, f"{Q}.lora_down.weight": HALF, f"{Q}.reshape_weight": torch.tensor([128, 128])},
     "reshapes it"),
    ({"transformer.transformer_blocks.0.attn.to_q.lora_B.weight": HALF.T,
      "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": HALF}, "several layers of the LoRA side by side"),
    ({f"{Q}.diff": torch.ones(128, 128)}, "'diff'"),
    ({f"{Q}.diff_b": torch.ones(128)}, "'diff'"),
    ({f"{Q}.set_weight": torch.ones(128, 128)}, "'set'"),
    ({f"{Q}.lora_up.weight": torch.ones(64, 4), f"{Q}.lora_down.weight": HALF}, r"shape \[128, 128\], but the LoRA's"),
    ({"diffusion_model.nowhere.lora_up.weight": HALF.T, "diffusion_model.nowhere.lora_down.weight": HALF}, ""),
], ids=["LoHa", "LoKr", "DoRA", "Tucker", "reshape", "slice", "diff", "bias", "set", "other shape", "unknown"])
def test_what_is_no_plain_lora_is_named_in_one_line(tmp_path, tensors, said):
    model, *_ = make_parts("flux")
    others = {key: value for key, value in lora_tensors(model.model.diffusion_model).items() if "single_blocks" in key}
    rows = RowLora(model, lora_file(tmp_path / "other.safetensors",
                                    {key: value.clone().contiguous() for key, value in {**others, **tensors}.items()}))
    if not said:  # what the host's loader ignores is ignored here
        assert rows.why_not == ""
        return
    assert re.fullmatch(r"1 of the \d+ layers in other.safetensors cannot have a different strength .* "
                        rf"diffusion_model\.\S*: it .*{said}.*\.", rows.why_not)
    with pytest.raises(ValueError, match="1 of the"), rows.at(STRENGTHS):
        pass


def test_a_layer_another_node_replaced_and_a_compiled_model_are_named(a_lora):
    model, *_ = make_parts("sd15")
    path = a_lora(model)
    replaced, compiled, layer = model.clone(), model.clone(), "diffusion_model.time_embed.0"
    replaced.add_object_patch(layer, nn.Identity())
    assert f"{layer}: it is not a plain linear or convolution layer (Identity)" in RowLora(replaced, path).why_not
    compiled.add_object_patch("diffusion_model", torch.compile(model.model.diffusion_model))
    assert "is compiled" in RowLora(compiled, path).why_not
    assert RowLora(model, path).why_not == ""


def test_a_network_that_does_not_keep_to_rows_is_found_out_while_it_runs(a_lora, monkeypatch):
    model, clip, _ = make_parts("sd15")
    network, prompt = model.model.diffusion_model, heard(clip, CAPTIONS[0])
    embed = network.time_embed
    with monkeypatch.context() as patch:
        patch.setattr(embed, "forward", lambda x: type(embed).forward(embed, x[:1]))
        with pytest.raises(NotInRows, match=r"time_embed\.0 gets 1 rows for a batch of 8, .* one by one\."):
            in_rows(model, a_lora(model), prompt, heard(clip, ""))
    network.add_module("spare", nn.Linear(4, 4))
    with pytest.raises(NotInRows, match=r"1 of the LoRA's \d+ layers, such as diffusion_model\.spare, are not run"):
        in_rows(model, a_lora(model), prompt, prompt)
    assert all(not module._forward_hooks for module in network.modules())


def test_the_latent_batch_must_be_as_long_as_the_strengths(sandbox, a_lora):
    model, clip, _ = sandbox
    rows, prompts = RowLora(model, a_lora(model)), (heard(clip, CAPTIONS[0]), heard(clip, ""))
    for count in (1, 2, 4):  # with guidance, one picture is a batch of two for the network
        with pytest.raises(ValueError, match=f"2 strengths need a latent batch of 2, not {count}") if count != 2 else (
                contextlib.nullcontext()), rows.at((0.5, 1.0)) as patched:
            draw(patched, *prompts, count)
    with pytest.raises(ValueError, match="no strengths"), rows.at(()):
        pass


def test_a_missing_file_is_one_clear_line(sandbox, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        RowLora(sandbox[0], tmp_path / "none.safetensors")


# -- the MODEL comes back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [None, ZeroDivisionError, comfy.model_management.InterruptProcessingException])
def test_the_model_comes_back_bit_identical(sandbox, a_lora, end):
    model, clip, _ = sandbox
    path, prompts, calls = a_lora(model), (heard(clip, CAPTIONS[0]), heard(clip, "")), []
    plain = draw(model, *prompts, 1)
    before, options = facts(model.model), str(model.model_options)

    def stop_in_the_middle(q, k, v, extra):
        calls.append(sum(len(module._forward_hooks) for module in model.model.modules()))
        if end is not None and len(calls) == 5:
            raise end
        return q, k, v

    stopping = model.clone()
    stopping.set_model_attn1_patch(stop_in_the_middle)
    if end is None:
        in_rows(stopping, path, *prompts)
    else:
        with pytest.raises(end):
            in_rows(stopping, path, *prompts)
    assert min(calls) > 100  # the hooks were there
    assert facts(model.model) == before and str(model.model_options) == options
    assert model.wrappers == stopping.wrappers == model.patches == stopping.patches == {}
    assert torch.equal(draw(model, *prompts, 1), plain)
