"""The marks of the original as masks of its crops, for style LoRAs that are trained on the marks alone.

A style LoRA that is fitted to whole crops learns their view with the mark, so at a strength that shows the mark the
candidates lose the view that was asked for. Where the loss counts the marks alone, and the rest is held to what the
base predicts (masked prior preservation, as in OneTrainer), a higher strength costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from ..common.errors import UserError
from ..common.files import remove_file
from ..common.schema import convert
from ..datasets.dataset import Dataset, Sample, with_masks
from ..measures.marks import Place, find_marks
from ..models.sampler import save_picture
from ..pictures.crops import Box
from .config import MARKS
from .originals import read_saved
from .rounds import Project

MASKS = "marks"
"""Folder of a project that holds the masks."""
MARGIN = 0.2
"""How far a mask reaches beyond each patch, as a part of the patch."""
SETTINGS: Mapping[str, Any] = {"data.masked_loss": True, "data.unmasked_weight": 0.0, "data.masked_prior": 1.0}
"""Training settings with which the masks alone are learned."""
Rectangle = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""


def mark_crops(project: Project, anchors: Tensor, reference: Tensor) -> tuple[Dataset | None, str]:
    """(the crops that show a mark, with masks that are white where it is; "") or (None, why the marks are not known).

    A mark that is found in one crop is masked in every crop of the same image that holds its place.

    Args:
        anchors: the crops [A, 3, H, W] in 0..1, as `anchor_pixels` returns them.
        reference: the base's own images [R, 3, H, W] in 0..1 at that size.
    """
    crops = project.crops()
    marks, why = find_marks(anchors, reference)
    if marks is None:
        for sample in crops:  # they were found with other tags
            remove_file(project.folder / MASKS / sample.path.name)
        return None, why
    aspect, masks = anchors.shape[-1] / anchors.shape[-2], {}
    found = [(place[0], _rectangle(place, crops.samples[place[0]], aspect)) for place in marks.places]
    boxes = _boxes(crops)
    for index, sample in enumerate(crops):
        marked = [moved for crop, area in found if (moved := _moved(area, crop, index, boxes))]
        mask = _draw_mask(sample.size, marked)
        if mask.getextrema()[1]:
            masks[sample.path] = project.folder / MASKS / sample.path.name
            save_picture(masks[sample.path], mask)
    marked_crops = with_masks(crops, masks)
    return Dataset(tuple(sample for sample in marked_crops if sample.mask), crops.notes), ""


def style_round(project: Project, number: int) -> int:
    """The round whose style LoRA draws round `number`: the marks of the crops are learned once, in the first."""
    learned = project.config.style_on == MARKS and any((project.folder / MASKS).glob("*.png"))
    return 1 if learned else number


def _rectangle(place: Place, sample: Sample, aspect: float) -> Rectangle:
    """Where a patch is in the crop, in its pixels. Crops of another aspect stand in the middle of padded anchors."""
    _, top, left, side = place
    width, height = sample.size
    whole = max(width, height * aspect), max(height, width / aspect)
    x, y = left * whole[0] - (whole[0] - width) / 2, top * whole[1] - (whole[1] - height) / 2
    across, down = side * whole[0], side * whole[1]
    return x - MARGIN * across, y - MARGIN * down, x + (1 + MARGIN) * across, y + (1 + MARGIN) * down


def _boxes(crops: Dataset) -> Sequence[Box | None]:
    """The part of the original that each crop shows; None where that is not known, as for images of one's own."""
    saved = read_saved(crops.samples[0].path.parent)
    return [_box(saved.get(sample.path.name, {}).get("box"), sample) for sample in crops]


def _box(value: Any, sample: Sample) -> Box | None:
    with suppress(UserError):
        left, top, right, bottom = convert(value, tuple[int, int, int, int])
        return (left, top, right, bottom) if (right - left, bottom - top) == sample.size else None
    return None


def _moved(area: Rectangle, crop: int, other: int, boxes: Sequence[Box | None]) -> Rectangle | None:
    """The same place in another crop of the image; None if that cannot be known."""
    if crop == other:
        return area
    here, there = boxes[crop], boxes[other]
    if here is None or there is None:
        return None
    x, y = here[0] - there[0], here[1] - there[1]
    return area[0] + x, area[1] + y, area[2] + x, area[3] + y


def _draw_mask(size: tuple[int, int], areas: Sequence[Rectangle]) -> Image.Image:
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for area in areas:
        draw.rectangle(area, fill=255)
    return mask
