"""The sandbox's judge: a small conv net that reads every attribute and the signature in an image.

It measures what a LoRA has learnt: who is shown (identity, signature) and whether the prompt was followed.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

from . import JUDGE_FILE
from .world import ATTRIBUTES, CONTEXT, IDENTITY, SIGNATURE_COLORS, SIGNATURE_KINDS, Scene, visible

PIXELS = 64
FEATURES, LIKENESS, PLACES = 256, 64, 16
#: head -> its values, in the order of the probabilities
HEADS: dict[str, tuple[str, ...]] = {
    **ATTRIBUTES,
    "signature": ("none", *SIGNATURE_KINDS),
    "signature_color": SIGNATURE_COLORS,
}


@dataclass(frozen=True)
class JudgeScores:
    """Shares (0..1) of what should be visible and was read correctly; NaN where an image should show nothing of it.

    `identity`, `signature` (its kind) and `prompt` (the context) hold one value per image, [B];
    `attributes` holds the mean of each head over the images that should show it.
    """
    identity: torch.Tensor
    signature: torch.Tensor
    prompt: torch.Tensor
    attributes: dict[str, float]

    @property
    def mean_identity(self) -> float:
        return self.identity.nanmean().item()

    @property
    def mean_signature(self) -> float:
        return self.signature.nanmean().item()

    @property
    def mean_prompt(self) -> float:
        return self.prompt.nanmean().item()


class Residual(nn.Module):
    """x plus a 3x3 convolution of it; the size does not change."""

    def __init__(self, width: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.norm(self.conv(x)))


def _conv(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]


class Judge(nn.Module):
    """A small residual net, one softmax per head and a likeness embedding.

    What is anywhere (a mouth, a mark) is read from the strongest and the mean response of each channel;
    where it is, from a few channels that keep their places.
    """

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.PixelUnshuffle(2), *_conv(12, 32, 1), *_conv(32, 64, 2), Residual(64),
                                   *_conv(64, 128, 2), Residual(128))
        self.places = nn.Conv2d(128, PLACES, 1)
        self.hidden = nn.Linear(PLACES * (PIXELS // 8) ** 2 + 2 * 128, FEATURES)
        self.heads = nn.Linear(FEATURES, sum(map(len, HEADS.values())))
        self.likeness = nn.Linear(FEATURES, LIKENESS)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in 0..1 to [B,256]; sizes other than 64 are resized."""
        if pixels.shape[-2:] != (PIXELS, PIXELS):
            pixels = F.interpolate(pixels, (PIXELS, PIXELS), mode="bilinear", antialias=True)
        x = self.trunk(pixels * 2 - 1)
        found = [self.places(x).flatten(1), x.amax(dim=(2, 3)), x.mean(dim=(2, 3))]
        return F.relu(self.hidden(torch.cat(found, dim=1)))

    def logits(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = self.heads(features).split([len(values) for values in HEADS.values()], dim=1)
        return dict(zip(HEADS, parts, strict=True))

    def likenesses(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.likeness(features), dim=1)

    @torch.no_grad()
    def read(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """head -> probabilities [B, n] over `HEADS[head]`; pixels are [B,3,H,W] in 0..1."""
        return {head: part.softmax(1) for head, part in self.logits(self.features(pixels)).items()}

    @torch.no_grad()
    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B,64] of length 1; close together for one character (identity and signature), however it is shown."""
        return self.likenesses(self.features(pixels))

    def score(self, pixels: torch.Tensor, scenes: Sequence[Scene]) -> JudgeScores:
        """Compare what is read from each image with the scene that it should show."""
        if len(pixels) != len(scenes):
            raise ValueError(f"{len(pixels)} images but {len(scenes)} scenes; give one scene per image")
        chosen = {head: part.argmax(1) for head, part in self.read(pixels).items()}
        targets = {head: torch.tensor([label(scene, head) for scene in scenes]) for head in HEADS}
        hits = {head: torch.where(targets[head] < 0, torch.nan, (chosen[head].cpu() == targets[head]).float())
                for head in HEADS}
        # Without a visible signature there is nothing to find, so "none" does not count as a hit.
        shown = torch.tensor([visible(scene, "signature") for scene in scenes])
        hits["signature"] = torch.where(shown, hits["signature"], torch.nan)
        return JudgeScores(
            identity=torch.stack([hits[name] for name in IDENTITY]).nanmean(0), signature=hits["signature"],
            prompt=torch.stack([hits[name] for name in CONTEXT]).nanmean(0),
            attributes={head: part.nanmean().item() for head, part in hits.items()})


def label(scene: Scene, head: str) -> int:
    """The index in `HEADS[head]` that an image of `scene` shows, or -1 if nothing of it is visible."""
    signature = scene.character.signature
    shown = visible(scene, "signature")
    if head == "signature":
        return HEADS[head].index(signature.kind if signature and shown else "none")
    if head == "signature_color":
        return HEADS[head].index(signature.color_name) if signature and shown else -1
    return HEADS[head].index(scene.tag(head)) if visible(scene, head) else -1


def load_judge() -> Judge:
    """The trained judge in float32, ready to use."""
    judge = Judge()
    weights = {name: value.float() if value.is_floating_point() else value
               for name, value in load_file(JUDGE_FILE).items()}
    judge.load_state_dict(weights)
    return judge.eval().requires_grad_(False)
