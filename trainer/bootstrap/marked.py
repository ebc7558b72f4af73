"""The marks of the original as masks of its crops, for style LoRAs that are trained on the marks alone.

A style LoRA that is fitted to whole crops learns their view with the mark, so at a strength that shows the mark the
candidates lose the view that was asked for. Where the loss counts the marks alone, and the rest is held to what the
base predicts (masked prior preservation, as in OneTrainer), a higher strength costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import mean
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor

from ..captions.axes import axis_of, usual_view
from ..captions.tags import split_tags
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
LEAST = 0.75
"""The least part of a mark that a crop must show to be a crop that shows it."""
LONGER = 2
"""How many times the steps of a style LoRA one of the marks is trained with which images are drawn again."""
Rectangle = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""
Found = tuple[int, Rectangle]
"""(the crop that a place was found in, where it is)."""


def mark_crops(project: Project, anchors: Tensor, reference: Tensor, surprising: Sequence[Place] = ()
               ) -> tuple[Dataset | None, str]:
    """(the crops that show a mark, with masks that are white where it is; "") or (None, why the marks are not known).

    A mark that is found in one crop is masked in every crop of the same image that holds its place. Where the crop cuts
    it off, it is not: a LoRA would learn the corner of a portrait as a mark.

    Args:
        anchors: the crops [A, 3, H, W] in 0..1, as `anchor_pixels` returns them.
        reference: the base's own images [R, 3, H, W] in 0..1 at that size.
        surprising: places of marks that were found otherwise.
    """
    crops = project.crops()
    marks, why = find_marks(anchors, reference)
    places = (*(marks.places if marks else ()), *surprising)
    if not places:
        for sample in crops:  # they were found with other tags
            remove_file(project.folder / MASKS / sample.path.name)
        return None, why
    aspect, masks = anchors.shape[-1] / anchors.shape[-2], {}
    found = [(place[0], _rectangle(place, crops.samples[place[0]], aspect)) for place in places]
    boxes = _boxes(crops)
    for index, sample in enumerate(crops):
        here = [(crop, moved) for crop, area in found if (moved := _moved(area, crop, index, boxes))]
        mask = _draw_mask(sample.size, [area for mark in _grouped(here) if _is_shown(mark, index, sample.size)
                                        for _, area in mark])
        if mask.getextrema()[1]:
            masks[sample.path] = project.folder / MASKS / sample.path.name
            save_picture(masks[sample.path], mask)
    marked_crops = with_masks(crops, masks)
    return Dataset(tuple(sample for sample in marked_crops if sample.mask), crops.notes), ""


def framings_without(crops: Dataset, marked: Dataset) -> frozenset[str]:
    """The framings, by their usual tags, of crops among which none shows a mark."""
    with_mark = {sample.path for sample in marked}
    shown, hidden = (
        {usual_view(tag) for sample in crops if (sample.path in with_mark) == has for tag in split_tags(sample.caption)
         if axis_of(tag) == "framing"} for has in (True, False))
    return frozenset(framing for framing in hidden - shown if framing)


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


def _grouped(found: Sequence[Found]) -> list[list[Found]]:
    """The areas of each mark: those that overlap, be it by way of others, are one."""
    groups: list[list[Found]] = []
    for one in found:
        near = [group for group in groups if any(_part_in(one[1], other) for _, other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([one, *(other for group in near for other in group)])
    return groups


def _is_shown(mark: Sequence[Found], crop: int, size: tuple[int, int]) -> bool:
    """Whether a crop of that size shows enough of a mark. Other crops say where the mark goes on, if they show it."""
    areas = [area for found_in, area in mark if found_in != crop] or [area for _, area in mark]
    return mean(_part_in(area, (0, 0, *size)) for area in areas) >= LEAST


def _part_in(area: Rectangle, other: Rectangle) -> float:
    """The part of an area that lies in another."""
    across = min(area[2], other[2]) - max(area[0], other[0])
    down = min(area[3], other[3]) - max(area[1], other[1])
    return max(0.0, across) * max(0.0, down) / ((area[2] - area[0]) * (area[3] - area[1]))


def _draw_mask(size: tuple[int, int], areas: Sequence[Rectangle]) -> Image.Image:
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for area in areas:
        draw.rectangle(area, fill=255)
    return mask
