"""Figures of an image's subject, apart from its surroundings: its pose, its colours and its fine detail.

They say how an edited image differs from the image that it was made from. Pose: gradients by direction in the cells of
the subject's box (Dalal & Triggs, "Histograms of Oriented Gradients", CVPR 2005). Nothing here needs a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from ..pictures.crops import Box
from ..pictures.filters import laplacian, rgb_to_grayscale, rgb_to_lab
from ..pictures.images import to_image, to_tensor
from ..pictures.saliency import Saliency, find_subject
from .remembered import per_image

Map = NDArray[np.float64]
_SIDE, _CELL, _DIRECTIONS = 32, 4, 6
_POSE = (_SIDE // _CELL) ** 2 * _DIRECTIONS
_COLOURS = 10
_LEAST_SHARE = 0.02
"""Colours that fill less of the subject than this are the edges between others."""
_LEAST_DETAIL = 1e-3


@dataclass(frozen=True)
class Subject:
    """What is measured of one subject.

    Attributes:
        pose: [384] gradients by cell and direction, of length 1.
        colours: [K, 3] the subject's main colours in CIELAB; `shares` [K]: how much of it each fills.
        detail: mean of the Laplacian within the subject, as a power of 2.
    """

    pose: Map
    colours: Map
    shares: Map
    detail: float


def read_subject(image: Image.Image) -> Subject:
    """Measure the subject of an RGB image. If nothing stands out, the whole image is the subject."""
    saliency = find_subject(image)
    mask = subject_mask(image, saliency)
    inside = np.asarray(mask) >= 128
    colours, shares = _main_colours(np.asarray(image)[inside])
    return Subject(_pose(image, mask, _box(image, saliency)), colours, shares, _detail(image, inside))


def read_subjects(pixels: Tensor) -> list[Subject]:
    """The subject of each image [B, 3, H, W] in 0..1. Inside `remembered.remember_figures`, each is measured once."""
    return [_unpack(row) for row in subject_figures(pixels)]


@per_image
def subject_figures(pixels: Tensor) -> Tensor:
    """[B, 425] the subjects of images [B, 3, H, W] in 0..1 as numbers, which can be stored."""
    rows = [_pack(read_subject(to_image(row))) for row in pixels]
    return torch.stack(rows) if rows else torch.zeros(0, _POSE + 1 + 4 * _COLOURS)


def _pack(subject: Subject) -> Tensor:
    """Pose, detail, then for each of _COLOURS its L*, a*, b* and its share; the rest is 0."""
    colours = np.zeros((_COLOURS, 4))
    colours[: len(subject.shares)] = np.column_stack([subject.colours, subject.shares])
    return torch.from_numpy(np.concatenate([subject.pose, [subject.detail], colours.ravel()])).float()


def _unpack(row: Tensor) -> Subject:
    values = row.double().numpy()
    colours = values[_POSE + 1:].reshape(_COLOURS, 4)
    colours = colours[colours[:, 3] > 0]
    return Subject(values[:_POSE], colours[:, :3], colours[:, 3], float(values[_POSE]))


def subject_mask(image: Image.Image, saliency: Saliency | None = None) -> Image.Image:
    """The subject in white, in mode L and of the image's size."""
    small = (saliency or find_subject(image)).mask
    return Image.fromarray((small * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)


def same_pose(a: Subject, b: Subject) -> float:
    """How alike two poses are, 0 to 1. Another background or style changes little."""
    return float(a.pose @ b.pose)


def colour_shift(subject: Subject, originals: Sequence[Subject]) -> float:
    """By how much the subject's colours are shifted together, in CIELAB units: the length of the median difference of
    its main colours to the originals' nearest ones. Colours that are only missing, as from behind, do not count."""
    return float(np.linalg.norm(_middle_shift(subject, _shifts(subject, originals))))


def match_aim(subject: Subject, originals: Sequence[Subject]) -> Map:
    """[2, 3] what a match of colours aims at, as a change of the mean and a factor of the spread of L*, a*, b*: from
    the subject's main colours to the originals' nearest ones. The means of two images would also differ by what they
    show of the subject."""
    shifts = _shifts(subject, originals)
    spread = [_spread(values, subject.shares) for values in (subject.colours + shifts, subject.colours)]
    return np.stack([_middle_shift(subject, shifts), spread[0] / spread[1]])


def detail_change(subject: Subject, originals: Sequence[Subject]) -> float:
    """Fine detail beyond the range of the originals', in powers of 2; negative if the subject is smoother."""
    details = [original.detail for original in originals]
    return subject.detail - float(np.clip(subject.detail, min(details), max(details)))


def _shifts(subject: Subject, originals: Sequence[Subject]) -> Map:
    """[K, 3] from each main colour to the originals' nearest one."""
    known = np.concatenate([original.colours for original in originals])
    return known[np.linalg.norm(subject.colours[:, None] - known[None], axis=-1).argmin(1)] - subject.colours


def _middle_shift(subject: Subject, shifts: Map) -> Map:
    return np.array([_median(shifts[:, channel], subject.shares) for channel in range(3)])


def _spread(values: Map, weights: Map) -> Map:
    middle = np.average(values, axis=0, weights=weights)
    return np.maximum(np.sqrt(np.average((values - middle) ** 2, axis=0, weights=weights)), 1.0)


def _box(image: Image.Image, saliency: Saliency) -> Box:
    left, top, right, bottom = saliency.box
    height, width = saliency.mask.shape
    across, down = image.width / width, image.height / height
    start = round(left * across), round(top * down)
    return *start, max(round(right * across), start[0] + 1), max(round(bottom * down), start[1] + 1)


def _pose(image: Image.Image, mask: Image.Image, box: Box) -> Map:
    def small(part: Image.Image) -> Map:
        return np.asarray(part.crop(box).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.float64) / 255

    pixels = np.sqrt(small(image))
    down, across = ndimage.sobel(pixels, 0), ndimage.sobel(pixels, 1)
    strength = np.hypot(across, down)
    strongest = strength.argmax(-1)[..., None]
    weight, down, across = (np.take_along_axis(values, strongest, -1)[..., 0] for values in (strength, down, across))
    near = ndimage.grey_dilation((small(mask) > 0.5).astype(float), 3)
    weight = np.minimum(weight, np.percentile(weight, 90)) * near  # one strong outline must not outweigh the rest
    direction = (np.arctan2(down, across) % np.pi / np.pi * _DIRECTIONS).astype(int).clip(max=_DIRECTIONS - 1)
    cells = np.add.outer(np.arange(_SIDE) // _CELL * (_SIDE // _CELL), np.arange(_SIDE) // _CELL)
    counts = np.bincount((cells * _DIRECTIONS + direction).ravel(), weight.ravel(), _POSE)
    pose = np.sqrt(counts)
    return pose / max(np.linalg.norm(pose), 1e-6)


def _main_colours(pixels: NDArray[np.uint8]) -> tuple[Map, Map]:
    """(the main colours [K, 3] of pixels [N, 3] in CIELAB, their shares [K])."""
    reduced = Image.fromarray(pixels[None]).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=3)
    counts = np.bincount(np.asarray(reduced).ravel(), minlength=_COLOURS)
    palette = np.array(reduced.getpalette(), dtype=np.float32)[: 3 * len(counts)].reshape(-1, 3) / 255
    shares = counts[: len(palette)] / counts.sum()
    main = shares >= min(_LEAST_SHARE, shares.max())
    lab = rgb_to_lab(torch.from_numpy(palette[main]).T[None, :, :, None])[0, :, :, 0].T
    return lab.numpy().astype(np.float64), shares[main]


def _detail(image: Image.Image, inside: NDArray[np.bool_]) -> float:
    edges = laplacian(rgb_to_grayscale(to_tensor(image)[None]))[0, 0].abs().numpy()
    return float(np.log2(edges[inside].mean() + _LEAST_DETAIL))


def _median(values: Map, weights: Map) -> float:
    order = values.argsort()
    place = np.searchsorted(weights[order].cumsum(), weights.sum() / 2)
    return float(values[order][min(int(place), len(values) - 1)])
