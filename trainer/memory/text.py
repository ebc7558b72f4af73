"""The text encoders of a base where they are trained too, counted as its network is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..models.families import Family
from ..models.noise import NoiseSchedule
from ..training.config import TrainConfig
from ..training.trained.adapter import TEXT_BLOCKS
from .cache import cached
from .published import FlowSchedule
from .shapes import Shape, shape_family
from .step import StepCount, count_step


@dataclass(frozen=True)
class Clip:
    """A CLIP text encoder at its published size."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    activation: str = "quick_gelu"

    @classmethod
    def of(cls, encoder: Any) -> Clip:
        """The size of a text encoder of transformers."""
        config = encoder.config
        return cls(config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size,
                   config.hidden_act)


LARGE, BIG = Clip(12, 768, 12, 3072), Clip(32, 1280, 20, 5120, "gelu")
"""CLIP ViT-L/14 (openai/clip-vit-large-patch14) and OpenCLIP ViT-bigG/14 (laion/CLIP-ViT-bigG-14-laion2B-39B-b160k)."""
CLIPS = {"sd15": (LARGE,), "sdxl": (LARGE, BIG)}
"""Name of a shape → its text encoders, if they are trained; LoRAs leave language models as they are."""


def count_text(shape: Shape, config: TrainConfig) -> int:
    """Bytes that the text encoders take in a step if they are trained: their weights in 16 bits, their LoRA with its
    state, and what is kept for the backward pass. 0 for a shape that is not in CLIPS."""
    return count_encoders(CLIPS.get(shape.name, ()), shape, config)


def count_encoders(clips: Iterable[Clip], shape: Shape, config: TrainConfig) -> int:
    """As count_text, for text encoders of these sizes."""
    config = config.replace(precision="bf16")
    return sum(_count(clip, shape, config).peak for clip in clips)


def _count(clip: Clip, shape: Shape, config: TrainConfig) -> StepCount:
    question = {"text": vars(clip), "tokens": shape.tokens, "adapter": config.to_dict()["adapter"],
                "batch": config.data.batch_size, "optimizer": config.optimizer.name}
    return cached(question, lambda: count_step(_Text(clip, shape, config), config))


class _Text:
    """A `step.Rehearsal` of a text encoder; what it encodes stands for its prediction."""

    blocks: tuple[str, ...] = TEXT_BLOCKS
    schedule: NoiseSchedule = FlowSchedule()
    network: nn.Module

    def __init__(self, clip: Clip, shape: Shape, config: TrainConfig) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        self._size = (config.data.batch_size, shape.tokens, clip.width)
        self.family: Family = shape_family(shape)
        with torch.device("meta"):
            made: nn.Module = CLIPTextModel(CLIPTextConfig(
                hidden_size=clip.width, num_hidden_layers=clip.layers, num_attention_heads=clip.heads,
                intermediate_size=clip.feed_forward, hidden_act=clip.activation))
        self.network = made.to(torch.bfloat16).requires_grad_(False)

    def latents(self) -> Tensor:
        return torch.empty(self._size)

    def predict(self, noisy: Tensor, t: Tensor) -> Tensor:
        network: Any = self.network
        made: Tensor = network(torch.zeros(self._size[:2], dtype=torch.long)).last_hidden_state
        return made.float()

    def step(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
