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


def kept(shape, form):
    config = TrainConfig(precision="bf16").replace(**{"data.resolution": 512})
    return count_step(PublishedNetwork(shape, config, torch.bfloat16), config, attach=FORMS[form]).kept


@pytest.mark.parametrize(("shape", "share"), [(UNET, 0.75), (FLUX, 1.0)], ids=["unet", "flux"])
def test_a_lora_keeps_no_more_than_kohyas_module_and_less_than_plain_peft(shape, share):
    """What goes into Flux's layers is float32 already, so that peft has nothing to cast there."""
    ours, kohya, peft, bare = (kept(shape, form) for form in FORMS)
    assert bare < ours <= kohya
    assert ours - bare <= share * (peft - bare)
