"""The marks of a character: what crops of the original show and the base never draws, though it is given all tags.

A mark is a small patch, such as a hair-pin, an odd eye or the tip of a tail. A patch of a crop belongs to a mark if it
is farther from the base's own images than any patch of theirs is from the other ones: the nearest neighbour novelty of
PatchCore (arXiv 2106.08265), on plain CIELAB patches of several sizes, so that no model is needed. Other images show
the mark as far as their nearest patches come closer to it than those of the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.filters import rgb_to_lab
from .pixels import resize_pixels

SIDES = (16, 24, 32, 48)
"""Sides to which an image is shrunk. A patch is CELLS pixels wide, so from 1/16 to 3/16 of the image."""
CELLS = 3
MOST_EXEMPLARS = 32
BEST = 4
"""An image need not show a mark in all its sizes and parts: the exemplars that fit best count."""
REACH = 0.05
"""How far around an unusual patch others belong to the same mark, as a part of the image ..."""
LEAST_UNUSUAL = 0.5
"""... if they are at least this many times as unusual as the limit."""
LEAST_REFERENCE, MOST_REFERENCE = 4, 16
MOST_STRANGE = 0.15
"""If more of the crops' patches than this are unlike the base's, the whole image is, not a mark on it."""
MARGIN = 1.02
"""A mark is at least this many times as unusual as the most unusual patch of the base's own."""
COMPARED = 8000
"""Number of the base's patches that are compared with, drawn at random."""
ROUGHLY, ROWS_AT_ONCE, IMAGES_AT_ONCE = 500, 1024, 16

Place = tuple[int, float, float, float]
"""(crop, top, left, side) of a patch, in parts of the crop."""


@dataclass(frozen=True)
class Marks:
    """What to look for in images.

    Attributes:
        exemplars: [K, D] patches that only the original shows.
        usual: [K] their usual distance to the nearest patch of an image of the base.
        places: where the exemplars are.
    """

    exemplars: Tensor
    usual: Tensor
    places: tuple[Place, ...]

    def shown(self, pixels: Tensor) -> Tensor:
        """[N] in 0..1: how fully images [N, 3, H, W] in 0..1 show the marks, wherever they do. 0 is as little as the
        base's own images usually do, 1 is as the original does."""
        share = (1 - _nearest_of(pixels, self.exemplars) / self.usual).clamp(0, 1)
        return share.topk(min(BEST, share.shape[1]), dim=1).values.mean(1)


def find_marks(anchors: Tensor, reference: Tensor | None) -> tuple[Marks | None, str]:
    """(the marks, "") or (None, why they are not measured).

    Args:
        anchors: the original crops [A, 3, H, W] in 0..1.
        reference: the base's own images for all tags of the character [R, 3, H, W], at the anchors' size.
    """
    if reference is None or len(reference) < LEAST_REFERENCE:
        count = 0 if reference is None else len(reference)
        return None, (f"Marks were not measured: {count} images of the base (round 0) to compare the original with, "
                      f"and at least {LEAST_REFERENCE} are needed.")
    reference = reference[:MOST_REFERENCE]
    rows = torch.cat([patches.flatten(0, 1) for patches in _patches(reference)])
    sample = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:COMPARED].to(rows.device)
    limit = MARGIN * _most_unusual(reference, rows, sample)
    levels = [_distances(patches, rows[sample], LEAST_UNUSUAL * limit).masked_fill(_margins(anchors, side), 0)
              for patches, side in zip(_patches(anchors), SIDES, strict=True)]
    strange = torch.cat([level.flatten() for level in levels]).gt(limit).float().mean().item()
    if strange == 0:
        return None, ("Marks were not measured: the base's own images hold all that the original shows, as far as "
                      "can be seen from the colours of small patches.")
    if strange > MOST_STRANGE:
        return None, (f"Marks were not measured: {strange:.0%} of the original is unlike the base's own images, so "
                      "what no tag names does not stand out.")
    exemplars, places = _exemplars(anchors, levels, limit)
    return Marks(exemplars, _nearest_of(reference, exemplars).median(0).values.clamp(min=1e-6), places), ""


def _patches(pixels: Tensor) -> Iterator[Tensor]:
    """[N, P, D] of each of SIDES: all patches of the shrunk images, in CIELAB."""
    for side in SIDES:
        yield F.unfold(rgb_to_lab(resize_pixels(pixels, side)), CELLS).transpose(1, 2) / CELLS


def _nearest_of(pixels: Tensor, exemplars: Tensor) -> Tensor:
    """[N, K] distance of each exemplar to the nearest patch of each image, at any size."""
    return torch.cat([
        torch.stack([torch.cdist(exemplars[None], patches).amin(2) for patches in _patches(batch)]).amin(0)
        for batch in pixels.split(IMAGES_AT_ONCE)])


def _distances(patches: Tensor, others: Tensor, least: float) -> Tensor:
    """[N, P] distance of each patch to the nearest of `others` [M, D]; where it is not above `least`, some number that
    is not above it either."""
    rows = patches.flatten(0, 1)
    near = torch.cdist(rows, others[:ROUGHLY]).amin(1)  # never less than the distance to the nearest of all
    far = (near > least).nonzero()[:, 0]
    for chunk in far.split(ROWS_AT_ONCE):
        near[chunk] = torch.cdist(rows[chunk], others).amin(1)
    return near.view(patches.shape[:2])


def _most_unusual(reference: Tensor, rows: Tensor, sample: Tensor) -> float:
    """The largest distance of a patch of the base's own images to those of the other images."""
    owner = torch.cat([torch.arange(len(reference), device=rows.device).repeat_interleave((side - CELLS + 1) ** 2)
                       for side in SIDES])

    def distances(chosen: Tensor, others: Tensor) -> Tensor:
        apart = torch.cdist(rows[chosen], rows[others])
        return apart.masked_fill_(owner[chosen][:, None] == owner[others], torch.inf).amin(1)

    everything = torch.arange(len(rows), device=rows.device)
    most = torch.cat([distances(chunk, sample[:ROUGHLY]) for chunk in everything.split(ROWS_AT_ONCE)])
    largest = 0.0
    for chunk in most.argsort(descending=True).split(ROWS_AT_ONCE):
        if most[chunk[0]] <= largest:  # none that is left can be as far from its nearest
            break
        largest = max(largest, distances(chunk, sample).max().item())
    return largest


def _margins(pixels: Tensor, side: int) -> Tensor:
    """[N, P] whether a patch touches a row or column of a single colour: the ground around a crop that was padded to
    the size of the images, whose edge is not part of the original."""
    flat = [(pixels.amax(across) - pixels.amin(across)).amax(1) < 2 / 255 for across in (3, 2)]
    inside = (flat[0][:, :, None] | flat[1][:, None, :]).float()[:, None]
    shrunk = F.adaptive_max_pool2d(inside, side)
    return F.unfold(shrunk, CELLS).amax(1) > 0


def _exemplars(anchors: Tensor, levels: Sequence[Tensor], limit: float) -> tuple[Tensor, tuple[Place, ...]]:
    """The most unusual patches [K, D] among those above `limit` and those around them, and their places."""
    seeds = [_place(level, *at) for level, distances in enumerate(levels) for at in (distances > limit).nonzero()]
    found = []
    for level, distances in enumerate(levels):
        across = SIDES[level] - CELLS + 1
        middles = (torch.arange(across, device=distances.device) + CELLS / 2) / SIDES[level]
        near = torch.zeros(len(distances), across, across, dtype=torch.bool, device=distances.device)
        for crop, top, left, side in seeds:
            rows, columns = ((middles - start - side / 2).abs() < REACH for start in (top, left))
            near[crop] |= rows[:, None] & columns[None]
        near = near.flatten(1) & (distances > LEAST_UNUSUAL * limit)
        found += [(distances[tuple(at)].item(), level, at) for at in near.nonzero()]
    found = sorted(found, key=lambda entry: -entry[0])[:MOST_EXEMPLARS]
    patches = list(_patches(anchors))
    return (torch.stack([patches[level][tuple(at)] for _, level, at in found]),
            tuple(_place(level, *at) for _, level, at in found))


def _place(level: int, crop: Tensor, at: Tensor) -> Place:
    row, column = divmod(int(at), SIDES[level] - CELLS + 1)
    return int(crop), row / SIDES[level], column / SIDES[level], CELLS / SIDES[level]
