"""The proof before the first step: the base predicts in training what it predicts when images are sampled from it.

No list of model families can be complete, so nobody can know that training conditions a network on all that sampling
does. This comparison does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.backbone import Backbone, Conditioning, Controls, NetworkInputs
from .proof import QUANTISED, SAME_TEXT, Proof, is_quantised, relative_difference, same_chance, tolerance

TIMES = (0.2, 0.5, 0.8)
SHOWN = 4
"""Differences that are named."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Noisy latents [1, ...] and a caption, and what the base predicts for them.

    Attributes:
        controls: the control images beside it, one row.
        trained, sampled: the prediction [1, ...] of the training step without adapters, and of the sampling path.
    """

    noisy: Tensor
    t: Tensor
    caption: str
    trained: Tensor
    sampled: Tensor
    controls: Controls | None = None


@torch.no_grad()
def prove_same_text(backbone: Backbone, latents: Tensor, captions: Sequence[str],
                    conditioning: Callable[[str], Conditioning],
                    controls: Controls | None = None) -> tuple[Proof, Probe]:
    """Compare both paths at three noise levels for each caption. The network must be without adapters.

    Args:
        latents: [1, ...], clean.
        conditioning: makes that of a caption as the training step receives it, from the cache if there is one.
        controls: the control images beside every caption, one row.

    Returns the proof, and the first caption's middle level.
    """
    device = backbone.device
    texts = [caption for caption in captions for _ in TIMES]
    t = torch.tensor(TIMES, device=device).repeat(len(captions))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(device)
    noisy = backbone.noised(latents.to(device).expand(len(t), *latents.shape[1:]),
                            noise.expand(len(t), *latents.shape[1:]), t)
    heard = {caption: conditioning(caption).to(device) for caption in captions}
    with same_chance(device):  # row by row, as a batch takes more memory than a step may have
        ours = torch.cat([backbone.predict(noisy[row : row + 1], t[row : row + 1], heard[text])
                          for row, text in enumerate(texts)]).float()
    with same_chance(device):
        theirs = backbone.sampling_prediction(noisy, t, texts, controls).float()
    figures = [relative_difference(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    figure, limit, found = max(figures), tolerance(backbone.network), []
    caption = texts[figures.index(figure)]
    if figure > limit:
        found = differences(backbone.training_inputs(noisy[:1], heard[caption]),
                            backbone.sampling_inputs(noisy[:1], caption, controls), limit)
        if not found and is_quantised(backbone.network):
            limit = QUANTISED
    passed = figure <= limit
    words = (f"training and sampling predict the same (relative difference {figure:.1e}, at most {limit:g})" if passed
             else _refusal(caption, figure, limit, found))
    rows = slice(len(TIMES) // 2, len(TIMES) // 2 + 1)
    return Proof(SAME_TEXT, passed, words, figure), Probe(noisy[rows], t[rows], captions[0], ours[rows], theirs[rows],
                                                      controls)


def _refusal(caption: str, figure: float, limit: float, found: Sequence[str]) -> str:
    reason = "; ".join(found[:SHOWN]) if found else (
        "both are conditioned on the same, so the model itself runs differently, perhaps by another node's patch")
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    text = f"{caption[:57]}..." if len(caption) > 60 else caption
    return (f"training is not started: for the caption {text!r} this base predicts something else in training than "
            f"when images are sampled (relative difference {figure:.2g}, at most {limit:g}): {reason}{more}. Use the "
            "model and its text encoders as their own loaders give them, and the newest version of this pack. If that "
            "does not help, report this line.")


def differences(training: NetworkInputs, sampling: NetworkInputs, limit: float) -> list[str]:
    """In what the two differ, one line for each tensor: what the text encoders made, or else what the network is
    given."""
    return (_differing(training.encoded, sampling.encoded, limit)
            or _differing(training.given, sampling.given, limit))


def _differing(training: Mapping[str, Tensor], sampling: Mapping[str, Tensor], limit: float) -> list[str]:
    lines = []
    for name in dict.fromkeys((*sampling, *training)):
        ours, theirs = training.get(name), sampling.get(name)
        if ours is None or theirs is None:
            lines.append(f"{name} is missing in {'training' if ours is None else 'sampling'}")
        elif _shape(ours) != _shape(theirs):
            lines.append(f"{name} is {list(ours.shape)} in training, {list(theirs.shape)} in sampling")
        elif (figure := relative_difference(ours.cpu(), theirs.cpu().reshape(ours.shape))) > limit:
            lines.append(f"{name} differs by {figure:.2g}")
    return lines


def _shape(tensor: Tensor) -> list[int]:
    """Without leading ones: a row of a batch may have kept its batch dimension."""
    sides = list(tensor.shape)
    while sides and sides[0] == 1:
        sides.pop(0)
    return sides
