"""Which image an edit model is shown for a view: the original, a crop of it, or an image that was kept before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from ...captions.axes import usual_tags
from ...common.errors import UserError
from ...pictures.images import open_image, pixel_hash
from ...views.turns import Turn
from ...views.wordings import EDIT_WORDINGS
from ..picks import Pick
from ..project import CROPS
from ..rounds import Project, Round

ORIGINAL = "original"
CROP_OF: dict[str, str] = {"close-up": "face", "upper body": "upper"}
"""Framing of a view -> the crop of the original that shows it. All other framings are shown the whole image."""


@dataclass(frozen=True)
class Reference:
    """An image to edit.

    Attributes:
        name: `original`, or the name of a crop or a candidate.
        tags: what it shows.
        pick: how a kept image was cropped and flipped by hand.
    """

    name: str
    path: Path
    tags: tuple[str, ...] = ()
    pick: Pick = Pick()

    def load(self) -> Image.Image:
        """Raises UserError if the file is missing or is not an image."""
        return self.pick.apply_to(open_image(self.path))

    @cached_property
    def pixels(self) -> str:
        """Hash of its pixels."""
        return pixel_hash(self.load())


@dataclass(frozen=True)
class References:
    """The images that a round can be drawn from.

    Attributes:
        crops: the part of the original that it shows -> crop.
        kept: the images kept in the round before.
    """

    original: Reference
    crops: dict[str, Reference]
    kept: tuple[Reference, ...] = ()

    @classmethod
    def of(cls, round_: Round) -> References:
        """Raises UserError if the project's image is gone."""
        project = round_.project
        kept = project.round(round_.number - 1).list_kept() if round_.number > 1 else ()
        folder = project.folder / CROPS
        parts = {part: path for part in CROP_OF.values() if (path := _cut_crop(folder, part))}
        crops = {part: Reference(path.stem, path, tuple(project.config.tags)) for part, path in parts.items()}
        return cls(original_of(project), crops, tuple(
            Reference(item.path.stem, item.path, tuple(item.tags), item.pick) for item in kept))

    def choose(self, tags: Sequence[str], wording: str = "") -> Reference:
        """The image for a view whose caption has these tags.

        It is the kept image whose angle is nearest, unless the original is nearer. Among equally near ones, one of the
        same framing comes first. A wording that moves only the camera starts from the original.
        """
        edit = EDIT_WORDINGS.get(wording)
        kept = () if edit and edit.keeps_rest else self.kept
        turn, framing = Turn.of(tags), _framing(tags)
        nearest = min(kept, default=None, key=lambda each: (
            turn.away(Turn.of(each.tags)), _framing(each.tags) != framing, each.name))
        if nearest and turn.away(Turn.of(nearest.tags)) <= turn.away(Turn.of(self.original.tags)):
            return nearest
        if "from behind" in usual_tags(tags):  # no crop of the face shows anything of her back
            return self.original
        return self.crops.get(CROP_OF.get(framing, ""), self.original)

    def named(self, name: str) -> Reference:
        """Raises UserError if there is none of that name."""
        for reference in (self.original, *self.crops.values(), *self.kept):
            if reference.name == name:
                return reference
        raise UserError(f"reference {name!r} is not among the project's images any more; press Run again.")


def original_of(project: Project) -> Reference:
    """The whole image that a project starts from. Raises UserError if it is gone."""
    path = next((path for path in (project.folder / "picture.png", Path(project.config.picture)) if path.is_file()),
                None)
    if path is None:
        raise UserError(f"the image of project {project.name!r} is gone; run its Bootstrap Project node again.")
    return Reference(ORIGINAL, path, tuple(project.config.tags))


def _cut_crop(folder: Path, part: str) -> Path | None:
    """The crop of a part that `originals.cut_crops` made: `2-face.png`. Other names are a user's own images."""
    return next((path for path in sorted(folder.glob(f"*-{part}.png"))
                 if path.stem.removesuffix(f"-{part}").isdecimal()), None)


def _framing(tags: Sequence[str]) -> str:
    usual = usual_tags(tags)
    return next((tag for tag in (*CROP_OF, "cowboy shot", "full body") if tag in usual), "")
