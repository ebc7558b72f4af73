"""The crops of the original image: cutting and captioning them, and weighting them against generated images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ..captions.roles import TagRoles, caption_for, is_of_the_head
from ..captions.sentences import SENTENCES, TAGS, worded
from ..captions.tags import absorb, add_trigger, join_tags, split_tags
from ..captions.views import AXES
from ..captions.vocabulary import Vocabulary
from ..common.errors import UserError
from ..common.schema import read_record
from ..datasets.dataset import CROPS_FILE, Dataset, Sample, save_samples
from ..pictures.crops import Box, Crop, suggest_crops

CROP_FRAMING = {"upper": "upper body", "face": "close-up"}
Item = tuple[Image.Image, str, dict[str, Any]]
"""(image, caption, lineage), for `save_samples`."""


def cut_crops(image: Image.Image, count: int, parent: str, roles: TagRoles, vocabulary: Vocabulary,
              trigger: str, wording: str = TAGS) -> list[Item]:
    """`count` captioned crops. Each caption names only what its crop shows."""
    crops = suggest_crops(image, count)
    face = next((crop.box for crop in crops if crop.name == "face"), None)
    items = []
    for index, crop in enumerate(crops):
        box = square_box(crop.box, image.size)
        tags = crop_tags(Crop(crop.name, box), image.size, roles, vocabulary, trigger, face)
        meta = {"name": f"{index}-{crop.name}", "parent": parent, "box": list(box), "round": 0, "tags": list(tags)}
        items.append((image.crop(box), worded(tags, wording, trigger), meta))
    return items


def own_crops(own: Dataset, trigger: str) -> list[Item]:
    """Images cut and captioned by hand, as crops."""
    return [(sample.load(), join_tags(add_trigger(split_tags(sample.caption), trigger)),
             {"name": f"{index}-own", "parent": sample.parent, "round": 0}) for index, sample in enumerate(own)]


def save_round(folder: Path, crops: Dataset, generated: Sequence[tuple[Image.Image, str, dict]]) -> None:
    """Write a round's training set: the crops `crop_repeats` times, and each (image, caption, lineage) once."""
    originals = [(crop.load(), crop.caption, {"name": crop.path.stem, "parent": crop.parent, "round": 0,
                                              "tags": read_saved(crop.path.parent).get(crop.path.name, {}).get("tags")})
                 for crop in crops]
    save_samples(folder / f"{crop_repeats(len(crops), len(generated))}_original", originals)
    save_samples(folder / "1_generated", [(picture, caption, {**lineage, "parent": lineage["name"]})
                                          for picture, caption, lineage in generated])


def read_saved(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """What `save_samples` noted of each image in the folder, by the file's name; {} where it noted nothing."""
    with suppress(UserError):  # the dataset's own notes say that it is damaged
        if (folder / CROPS_FILE).is_file():
            return read_record(folder / CROPS_FILE, dict[str, dict[str, Any]])
    return {}


def absorbed_sentence(sample: Sample, saved: Mapping[str, Mapping[str, Any]], traits: Sequence[str],
                      trigger: str) -> str | None:
    """The sample's caption without what it says of these traits; None if it is not the sentence of its saved tags.

    Args:
        saved: see `read_saved`.
    """
    meta = saved.get(sample.path.name, {})
    tags, view = meta.get("tags"), meta.get("view")
    if not tags or sample.caption != worded(tags, SENTENCES, trigger, view):
        return None
    return worded(absorb(tags, traits), SENTENCES, trigger, view)


def crop_tags(crop: Crop, size: tuple[int, int], roles: TagRoles, vocabulary: Vocabulary, trigger: str,
              face: Box | None = None) -> tuple[str, ...]:
    """The user's tags as they apply to the crop: its own framing, and nothing that it cannot show.

    A crop without the middle of the face is a detail: it gets no framing and no tags of the head.
    """
    view = list(roles.view)
    whole_view = [tag for tag in view if vocabulary.axis_of(tag) != "framing"]
    if face and not _holds_middle(crop.box, face):
        tags = caption_for(roles, whole_view, vocabulary, trigger)
        return tuple(tag for tag in tags if not is_of_the_head(tag))
    framing = crop_framing(crop, size)
    if framing in vocabulary.axes["framing"]:
        view = [*whole_view, framing]
    view.sort(key=lambda tag: _place(vocabulary.axis_of(tag)))
    return caption_for(roles, view, vocabulary, trigger)


def _place(axis: str | None) -> int:
    """The place of an axis in a prompt; what is on no axis comes last."""
    return AXES.index(axis) if axis in AXES else len(AXES)


def _holds_middle(box: Box, inner: Box) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def crop_framing(crop: Crop, size: tuple[int, int]) -> str:
    """The framing that a crop shows; "" if it is that of the whole image."""
    if crop.name in CROP_FRAMING:
        return CROP_FRAMING[crop.name]
    share = (crop.box[3] - crop.box[1]) / size[1]
    return "" if crop.name == "whole" or share > 0.75 else "upper body" if share > 0.5 else "close-up"


def square_box(box: Box, size: tuple[int, int]) -> Box:
    """The box made square by growing its shorter side within the image, or unchanged if the image is too narrow.

    Images are generated square, so square crops suit best.
    """
    left, top, right, bottom = box
    side = max(right - left, bottom - top)
    if side > min(size):
        return box
    left = min(max(0, (left + right - side) // 2), size[0] - side)
    top = min(max(0, (top + bottom - side) // 2), size[1] - side)
    return left, top, left + side, top + side


def crop_repeats(crops: int, generated: int) -> int:
    """How often each original crop is repeated in an epoch, so that crops are at least a third of the samples."""
    return max(1, math.ceil(generated / (2 * crops)))


def real_share(crops: int, generated: int) -> float:
    """Share of the original crops among a round's samples, counting repeats."""
    real = crops * crop_repeats(crops, generated)
    return real / (real + generated)
