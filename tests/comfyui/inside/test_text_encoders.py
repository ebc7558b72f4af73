"""Several prompts in one forward pass of the host's own text encoders, at tiny sizes with random weights."""

import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.flux
import comfy.text_encoders.sd3_clip
import comfy.text_encoders.z_image
import pytest
import torch

from lora_bootstrap.host.backbone.text import encode_alone, encode_prompts

PROMPTS = ["a red cat", "a blue dog on the left", "a (red:1.3) cat", "word, " * 90, "", "a girl with a hat, smiling",
           "a big dog"]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3,
         "projection_dim": 32}
LANGUAGE = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2,
            "num_hidden_layers": 3}
OPTIONS = {
    "clip_l_model_config": SMALL, "clip_g_model_config": SMALL,
    "t5xxl_model_config": {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2},
    "qwen3_4b_model_config": LANGUAGE,
}


class Spy:
    """Counts the forward passes of every encoder."""

    def __init__(self, root):
        self.passes = 0
        for module in root.modules():
            if isinstance(module, comfy.sd1_clip.SDClipModel):
                module.register_forward_hook(self._count)

    def _count(self, *_):
        self.passes += 1


def make_clip(model, tokenizer):
    clip = object.__new__(comfy.sd.CLIP)
    clip.cond_stage_model = model(device="cpu", dtype=torch.float32, model_options=OPTIONS)
    for parameter in clip.cond_stage_model.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else torch.nn.init.ones_(parameter)
    clip.tokenizer, clip.layer_idx, clip.tokenizer_options = tokenizer(), None, {}
    clip.patcher = type("Patcher", (), {"load_device": torch.device("cpu")})()
    clip.load_model = lambda *args: None
    clip.add_hooks_to_dict = lambda made: None
    return clip


FAMILIES = {
    "sd15": (comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer),
    "sdxl": (comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer),
    "flux": (comfy.text_encoders.flux.FluxClipModel, comfy.text_encoders.flux.FluxTokenizer),
    "z_image": (comfy.text_encoders.z_image.ZImageTEModel, comfy.text_encoders.z_image.ZImageTokenizer),
}
PASSES = {"sd15": 1, "sdxl": 2, "flux": 2, "z_image": 6}
"""For the seven prompts: one for each encoder, except where a language model reads each prompt as long as it is."""


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_prompts_encoded_together_are_as_if_each_were_alone_in_fewer_passes(name):
    clip = make_clip(*FAMILIES[name])
    alone = [encode_alone(clip, prompt) for prompt in PROMPTS]
    spy = Spy(clip.cond_stage_model)
    together = encode_prompts(clip, PROMPTS)
    assert spy.passes == PASSES[name]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.tensors.keys() == theirs.tensors.keys()
        for key, tensor in theirs.tensors.items():
            assert ours.tensors[key].dtype == tensor.dtype
            torch.testing.assert_close(ours.tensors[key], tensor, atol=1e-5, rtol=1e-4)
    assert not any("encode" in module.__dict__ for module in clip.cond_stage_model.modules())


@torch.no_grad()
def test_prompts_that_do_not_fit_together_are_encoded_in_halves(monkeypatch):
    clip, most, passes = make_clip(*FAMILIES["sd15"]), 3, []
    whole = encode_prompts(clip, PROMPTS)
    encoder = clip.cond_stage_model.clip_l
    forward = encoder.forward

    def limited(chunks):
        if len(chunks) > most:
            raise torch.OutOfMemoryError("out of memory")
        passes.append(len(chunks))
        return forward(chunks)

    monkeypatch.setattr(encoder, "forward", limited)
    for ours, theirs in zip(encode_prompts(clip, PROMPTS), whole, strict=True):
        torch.testing.assert_close(ours.tensors["cross_attn"], theirs.tensors["cross_attn"], atol=1e-5, rtol=1e-4)
    assert len(passes) > 2 and max(passes) <= most
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        encode_prompts(clip, PROMPTS)
