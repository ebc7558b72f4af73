"""Where to crop an image so that its subject fills as much of the frame as the guides recommend, in a shape that can be
trained."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from ..pictures.crops import Box
from ..pictures.saliency import find_subject
from .buckets import Size, assign_bucket, make_buckets

_MARGIN = 1.04
"""Space that the frame leaves around the subject, if it can."""


def subject_box(image: Image.Image, mask: Image.Image | None = None) -> Box:
    """The box of the subject: where the mask is at least half white, else of what stands out, else the whole image."""
    if mask is not None:
        found = mask.point(lambda value: 255 if value >= 128 else 0).getbbox()
        return found or (0, 0, *image.size)
    saliency = find_subject(image)
    height, width = saliency.mask.shape
    scale = np.array([image.width / width, image.height / height] * 2)
    left, top, right, bottom = np.rint(np.array(saliency.box) * scale).astype(int).tolist()
    return max(0, left), max(0, top), min(image.width, right), min(image.height, bottom)


def share_of_frame(subject: Box, frame: Box) -> float:
    """The share of the frame's area that the subject's box fills, 0..1; only its part within the frame counts."""
    width = min(subject[2], frame[2]) - max(subject[0], frame[0])
    height = min(subject[3], frame[3]) - max(subject[1], frame[1])
    return max(0, width) * max(0, height) / ((frame[2] - frame[0]) * (frame[3] - frame[1]))


def suitable_bucket(size: Size, subject: Box, share: tuple[float, float], resolution: int, step: int) -> Size:
    """The bucket that suits a subject in an image of `size`: one of the image's own shape if the subject fills enough
    of it, else of a shape between it and the subject's, so that there are surroundings on all sides."""
    own, wide, high = size[0] / size[1], subject[2] - subject[0], subject[3] - subject[1]
    aspect = own if wide * high >= share[0] * size[0] * size[1] else math.sqrt(own * wide / high)
    aspect = min(2.0, max(0.5, aspect))
    return assign_bucket((round(1e4 * aspect), 10_000), make_buckets(resolution, step), upscale=True, step=step)


def largest_frame(size: Size, subject: Box, aspect: float) -> Box:
    """The largest frame of that width / height, as near to the subject as it can be."""
    width = min(size[0], size[1] * aspect)
    return _place_frame(size, subject, (round(width), round(width / aspect)))


def frame_subject(size: Size, subject: Box, share: tuple[float, float], aspect: float, least_width: float = 0) -> Box:
    """The box to crop from an image of `size` so that the subject's box fills a share of it within `share`.

    Args:
        share: (least, most) of the frame's area. A subject that already fills the least is not cropped closer.
        aspect: width / height of the frame.
        least_width: smallest width of the frame in pixels, if the image is that wide.

    The subject stays whole if image and aspect allow it; otherwise its upper end does, where the head is.
    """
    wide, high = subject[2] - subject[0], subject[3] - subject[1]
    largest = min(size[0], size[1] * aspect)
    if wide * high >= share[0] * largest * largest / aspect:
        return largest_frame(size, subject, aspect)
    # Wide enough for the subject, and so wide that its share is in the middle of the wanted range.
    least = max(least_width, _MARGIN * max(wide, high * aspect))
    middle = math.sqrt(wide * high * aspect * 2 / (share[0] + share[1]))
    width = min(largest, max(least, middle))
    return _place_frame(size, subject, (round(width), round(width / aspect)))


def _place_frame(size: Size, subject: Box, frame: Size) -> Box:
    """A frame around the subject's middle, moved into the image; at the subject's top if it is less high than that."""
    wide, high = min(frame[0], size[0]), min(frame[1], size[1])
    left = (subject[0] + subject[2] - wide) / 2
    top = (subject[1] + subject[3] - high) / 2
    if high < subject[3] - subject[1]:
        top = subject[1] - 0.02 * high
    left = round(min(max(0, left), size[0] - wide))
    top = round(min(max(0, top), size[1] - high))
    return left, top, left + wide, top + high


def trained_size(size: Size, resolution: int, step: int, square: bool, upscale: bool) -> Size:
    """(width, height) at which a frame of `size` is saved: its bucket, or a square. If the frame does not cover that,
    it is a smaller one of whole steps, unless `upscale`. Raises UserError if it is below two steps."""
    if square:
        return assign_bucket((min(size), min(size)), make_buckets(resolution, step, 1.0), upscale, step)
    return assign_bucket(size, make_buckets(resolution, step), upscale, step)
