"""Bytes that a step keeps for its backward pass: no more than kohya's module keeps, and well below plain peft."""

from dataclasses import replace

import pytest
import torch

from lora_bootstrap.bench.lora_forms import FORMS
from lora_bootstrap.trainer.memory.published import PublishedNetwork
from lora_bootstrap.trainer.memory.shapes import SHAPES
from lora_bootstrap.trainer.memory.step import count_step
from lora_bootstrap.trainer.training.config import TrainConfig

UNET = replace(SHAPES["sd15"], settings={  # two levels of the real one
    "block_out_channels": (320, 640), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "layers_per_block": 1, "cross_attention_dim": 768,
    "attention_head_dim": 8})
FLUX = replace(SHAPES["flux"], settings={"guidance_embeds": True, "num_layers": 1, "num_single_layers": 2})


def kept(shape, form, precision="bf16", **settings):
    config = TrainConfig(precision=precision).replace(**{"data.resolution": 512, **settings})
    return count_step(PublishedNetwork(shape, config, torch.bfloat16), config, attach=FORMS[form]).kept


@pytest.mark.parametrize("shape", [UNET, FLUX], ids=lambda shape: shape.name)
def test_a_step_keeps_no_more_than_kohyas_module_and_much_less_than_plain_peft(shape):
    ours, kohya, peft, bare = (kept(shape, form) for form in FORMS)
    assert bare < ours <= kohya
    assert ours - bare < 0.75 * (peft - bare)


def test_a_base_in_16_bits_would_keep_far_more_without_autocast():
    assert kept(UNET, "ours") < 0.85 * kept(UNET, "ours", precision="fp32")
