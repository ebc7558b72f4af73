"""Where an image differs from what the base would draw for its caption: there it surprises the base.

Noise is laid over an image, and the base says in one step what it takes the image for. Small noise hides small things
only, so a hair-pin, an odd eye or the tip of a tail comes back as the base would draw it, whatever its colour, and all
else as it was: anomaly detection by partial diffusion (AnoDDPM, Wyatt et al., CVPR Workshops 2022), in one step. Unlike
patches (marks.py) it sees that a colour that the base draws elsewhere, too, does not belong where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from ..models.backbone import Backbone, predict_for
from ..models.noise import per_row
from ..pictures.filters import rgb_to_lab
from ..training.objectives import OBJECTIVES
from .marks import MOST_STRANGE, Place
from .remembered import remembered

TIMES = (0.3, 0.45, 0.6)
"""0 is clean and 1 pure noise. With less the base sees what is there, with more it has to guess the view."""
NOISES = 6
"""For each time; their mean counts, as each hides something else."""
GRID = 32
"""How many places an image has, across and down."""
MUCH = 1.75
"""A mark surprises the base so many times as much as an image of its own usually does where it surprises most ..."""
AROUND = 0.5
"""... and what lies around belongs to the mark where it surprises at least this part of that."""


@torch.no_grad()
def surprise(backbone: Backbone, pixels: Tensor, captions: Sequence[str]) -> Tensor:
    """[N, GRID, GRID] distance in CIELAB between images [N, 3, H, W] in 0..1 and what the base takes them for, at each
    place. Inside `remembered.remember_figures`, each is measured once for a base and a caption."""
    return torch.cat([remembered(f"surprise {backbone.fingerprint} {caption}", image[None],
                                 partial(_surprise, backbone, caption))
                      for image, caption in zip(pixels, captions, strict=True)])


def find_surprising(crops: Tensor, reference: Tensor) -> tuple[Place, ...]:
    """The places of the marks; none if nothing stands out, or so much that the whole image is unlike the base's.

    They are sought in that crop alone which surprises the base least: others are cut as the base never draws.

    Args:
        crops: of the original [A, GRID, GRID], as `surprise` returns it.
        reference: of the base's own images, likewise.
    """
    crop = int(crops.flatten(1).mean(1).argmin())
    limit = MUCH * reference.flatten(1).amax(1).median()
    found = ndimage.binary_propagation(crops[crop] > limit, np.ones((3, 3)), crops[crop] > AROUND * limit)
    if found.mean() > MOST_STRANGE:
        return ()
    return tuple((crop, row / GRID, column / GRID, 1 / GRID) for row, column in np.argwhere(found).tolist())


def _surprise(backbone: Backbone, caption: str, image: Tensor) -> Tensor:
    """[1, GRID, GRID] of one image [1, 3, H, W]."""
    latents, objective = backbone.encode_images(image), OBJECTIVES[backbone.family.objective]
    noise = torch.cat([torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
                       for seed in range(NOISES)] * len(TIMES)).to(latents)
    rows, t = latents.expand_as(noise), torch.tensor(TIMES).repeat_interleave(NOISES)
    alpha, sigma = (per_row(each, rows) for each in backbone.schedule.coefficients(t))
    predicted = predict_for(caption, backbone, backbone.noised(rows, noise, t), t)
    wrong = objective.x0_gain(alpha, sigma) * (predicted - objective.target(rows, noise, alpha, sigma))
    taken = [rgb_to_lab(backbone.decode(some).clamp(0, 1)) for some in (rows - wrong).split(NOISES)]
    apart = torch.cat(taken).mean(0) - rgb_to_lab(backbone.decode(latents).clamp(0, 1))[0]
    return avg_pool2d(adaptive_avg_pool2d(apart, GRID), 3, 1, 1, count_include_pad=False).norm(dim=0).cpu()[None]
