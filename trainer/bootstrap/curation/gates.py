"""Gates for candidates that were drawn from an image: an edit model that does not turn the character, or that changes
her colours or her fine detail. Also the face of a real person, which is compared apart from the whole image.

The limits are measured on the drawn world: poses that were turned against poses that were not, and images with and
without a cast, a blur or a loss of colour.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ...captions.axes import usual_tags
from ...captions.tags import same_tag
from ...captions.views import OWN, ViewPrompt
from ...datasets.retouch import lab_statistics, match_colours
from ...measures.eyes import Likeness
from ...measures.likeness import leave_one_out, likeness_to
from ...measures.remembered import per_image
from ...measures.subject import (
    Subject,
    colour_shift,
    detail_change,
    match_aim,
    read_subject,
    read_subjects,
    same_pose,
    subject_mask,
)
from ...pictures.crops import find_face
from ...pictures.images import to_image, to_tensor
from ...views.turns import asks_to_turn
from ..config import CurationSettings

COLOUR_AXES = ("style", "lighting")
"""Where a view asks for another of these, other colours and another texture are wanted."""
SAME_COLOURS = 2.5
"""A shift up to this is none. On the drawn world, 95 % of the images without a cast are below it."""
PHOTOGRAPHIC = ("photo", "photograph", "photography", "photorealistic", "realistic", "real life")
"""Tags of an image of a real person."""


class Drawn(Protocol):
    """What the gates ask of a candidate (`curate.Candidate`)."""

    @property
    def name(self) -> str: ...
    @property
    def prompt(self) -> ViewPrompt: ...
    @property
    def reference(self) -> str: ...
    @property
    def edits(self) -> bool: ...


@dataclass(frozen=True)
class EditFigures:
    """Figures of the candidates by index. Where a candidate has none, it was not measured.

    Attributes:
        pose: how alike the pose is to one that should have been left, 0 to 1.
        colours: shift of the subject's colours, in CIELAB units.
        detail: fine detail beyond the crops' range, in powers of 2.
    """

    pose: Mapping[int, float] = field(default_factory=dict)
    colours: Mapping[int, float] = field(default_factory=dict)
    detail: Mapping[int, float] = field(default_factory=dict)

    def of(self, index: int) -> dict[str, float]:
        figures = {"same_pose": self.pose, "colour_shift": self.colours, "detail_change": self.detail}
        return {name: round(values[index], 4) for name, values in figures.items() if index in values}


def is_edited(candidate: Drawn) -> bool:
    """Whether it was drawn from an image. What is compared with the base's own images means nothing for it."""
    return candidate.edits or bool(candidate.reference)


def measure_edits(candidates: Sequence[Drawn], pixels: Tensor, anchors: Tensor,
                  own_view: Collection[str]) -> EditFigures:
    """Compare the candidates that were drawn from an image with the crops, and with the image that each was drawn from
    if it is a candidate too, as one kept in the round before is.

    Args:
        pixels, anchors: [N, 3, H, W] and [A, 3, H, W] in 0..1.
        own_view: the tags of what the original image shows.
    """
    edited = [index for index, candidate in enumerate(candidates) if is_edited(candidate)]
    if not edited:
        return EditFigures()
    original = ViewPrompt(tuple(own_view), {})
    places = {candidate.name: index for index, candidate in enumerate(candidates)}
    drawn_from = {index: places[name] for index in edited if (name := candidates[index].reference) in places}
    measured = sorted({*edited, *drawn_from.values()})
    subjects = dict(zip(measured, read_subjects(pixels[measured]), strict=True))
    originals = read_subjects(anchors)
    pose: dict[int, float] = {}
    for index in edited:
        asked = candidates[index].prompt
        left = originals if asks_to_turn(asked, original) else []
        place = drawn_from.get(index)
        if place is not None and asks_to_turn(asked, candidates[place].prompt):
            left = [*left, subjects[place]]
        if left:
            pose[index] = max(same_pose(subjects[index], other) for other in left)
    alike = [index for index in edited if keeps_colours(candidates[index].prompt.view, own_view)]
    return EditFigures(pose, {index: colour_shift(subjects[index], originals) for index in alike},
                       {index: detail_change(subjects[index], originals) for index in alike})


def keeps_colours(view: Mapping[str, str], shown: Collection[str]) -> bool:
    """Whether a view asks for the style and the light of an image with these tags."""
    known = {same_tag(OWN), *map(same_tag, shown)}
    return all(same_tag(view[axis]) in known for axis in COLOUR_AXES if axis in view)


def refuse_edits(candidates: Sequence[Drawn], refused: list[str], figures: EditFigures,
                 settings: CurationSettings) -> None:
    """Refuse what did not turn, and what differs too much in colours or in fine detail, with the figure."""
    for index in range(len(candidates)):
        reason = _edit_reason(candidates[index], index, figures, settings)
        refused[index] = refused[index] or reason


def _edit_reason(candidate: Drawn, index: int, figures: EditFigures, settings: CurationSettings) -> str:
    pose, shift, change = (values.get(index, 0.0) for values in (figures.pose, figures.colours, figures.detail))
    if pose > settings.pose_limit:
        return f"did not turn: its pose is as before (likeness {pose:.2f}, above {settings.pose_limit:.2f})"
    if shift > settings.colour_limit and not settings.match_colours:
        return f"the colours are shifted by {shift:.1f} from the crops', above {settings.colour_limit:g}"
    if -change > settings.detail_limit:
        return f"smoothed: {2 ** -change:.1f} times less fine detail than the crops"
    if change > settings.detail_limit:
        return f"overdrawn: {2 ** change:.1f} times more fine detail than the crops"
    return ""


def unmeasured_burn(candidates: Sequence[Drawn]) -> list[str]:
    """A note on candidates whose burn means nothing."""
    count = sum(map(is_edited, candidates))
    images = "1 image that was" if count == 1 else f"{count} images that were"
    return [f"Burn was not measured for {images} drawn from an image: the base drew nothing to compare with."
            ] if count else []


def match_to_crops(image: Image.Image, originals: Sequence[Subject]) -> Image.Image:
    """The image with its subject's colours matched to the originals'. The surroundings change along with them. An image
    whose colours are those of the originals is left unchanged."""
    subject = read_subject(image)
    if colour_shift(subject, originals) <= SAME_COLOURS:
        return image
    mask = subject_mask(image)
    own, (change, factor) = lab_statistics(image, mask), match_aim(subject, originals)
    target = torch.stack([own[0] + torch.from_numpy(change).float(), own[1] * torch.from_numpy(factor).float()])
    return match_colours(image, target, mask=mask)


# -- faces -------------------------------------------------------------------------------------------------------------


def measures_faces(setting: str, tags: Collection[str]) -> bool:
    """Whether faces are compared: if asked for, or if the original's tags say that it is a photograph."""
    return setting == "on" or (setting == "auto" and not {same_tag(tag) for tag in tags}.isdisjoint(
        map(same_tag, PHOTOGRAPHIC)))


def face_likeness(candidates: Sequence[Drawn], pixels: Tensor, anchors: Tensor,
                  eye: Likeness) -> tuple[Tensor, Tensor]:
    """([N] likeness of each face to the crops' faces, NaN where the view shows none; that of the crops' faces to each
    other, [A])."""
    shown = [index for index, candidate in enumerate(candidates)
             if "from behind" not in usual_tags(candidate.prompt.tags)]
    result = torch.full((len(candidates),), float("nan"))
    own = eye.embed(_faces(anchors))
    if shown:
        result[shown] = likeness_to(eye.embed(_faces(pixels[shown])), own).float()
    return result, leave_one_out(own)


def _faces(pixels: Tensor) -> Tensor:
    """The face of each image, at the images' size; the whole image if it is too small for a crop."""
    size = pixels.shape[-1], pixels.shape[-2]
    pictures, boxes = map(to_image, pixels), face_boxes(pixels).int().tolist()
    return torch.stack([to_tensor((picture.crop(box) if any(box) else picture).resize(size))
                        for picture, box in zip(pictures, boxes, strict=True)])


@per_image
def face_boxes(pixels: Tensor) -> Tensor:
    """[B, 4]: the box (left, top, right, bottom) of each image's face in pixels; zeros if the image is too small."""
    boxes = [find_face(picture) or (0, 0, 0, 0) for picture in map(to_image, pixels)]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
