"""Generated images on disk, each with its lineage in a file beside it: round, parent LoRA, strength, prompt, seed,
sampler."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..captions.views import ViewPrompt
from ..common.errors import UserError
from ..common.events import Event, Progress
from ..common.files import file_hash, read_json, remove_file, write_json
from ..common.schema import convert, read_record
from ..models.backbone import AppliedLora, Backbone
from ..models.sampler import Sampler, save_picture
from ..pictures.images import load_pixels, to_image
from ..pictures.small_copies import remove_small
from ..stacks.local_lora import Local, local_lora
from ..stacks.time_split import Curve
from .curation.curate import Candidate

_LOOP_NAME = re.compile(r"r\d+-\d{3,}")
"""Name of an image that the loop made. A workflow's names go on after that."""
_LATER_FIELDS = ("generator", "reference", "reference_hash", "edits", "again_of", "repaired_from", "curve",
                 "marks")
"""Fields of a lineage that are written only where they hold something."""

PARTS = " · "
"""What stands between the parts of a generator's name: the model or service first, then LoRAs."""


class Stopped(Exception):
    """The user asked to stop. Everything made so far stays on disk."""


@dataclass(frozen=True)
class Lineage:
    """Where a generated image comes from: the contents of the `.json` beside it."""

    name: str
    prompt: str
    tags: list[str]
    view: Mapping[str, str]
    seed: int
    round: int
    parent_lora: str
    """Name of the LoRA file; "" for the base itself."""
    parent_lora_sha256: str
    strength: float
    base: str
    width: int
    height: int
    steps: int | None
    """`steps` and `cfg` are None where the workflow's sampler does not state them."""
    cfg: float | None
    recipe: str = ""
    """Hash of how a workflow sampled it; "" for the loop's own sampler, which the fields above describe."""
    wording: str = ""
    """How its prompt and its caption are worded; "" where an earlier version planned it."""
    generator: str = ""
    """What drew it, for people: `base file · LoRA`, an edit model, or an API node; "" where that is not known."""
    reference: str = ""
    """Name of the image that the edit model was shown; "" if it was shown none of View Prompts."""
    reference_hash: str = ""
    """Hash of that image's pixels."""
    edits: bool = False
    """Whether an edit model drew it from an image, be it one of View Prompts or another."""
    again_of: str = ""
    """Name of the candidate whose view a person had drawn again; "" for one that the plan asks for."""
    repaired_from: str = ""
    """Name of the candidate that this is a repaired copy of; "" for an image as it was drawn."""
    curve: str = ""
    """The factor on `strength` over the steps (`Curve.text`); "" where it was the same throughout."""
    marks: str = ""
    """The LoRA of the marks with which it was drawn again, and how; "" for an image as it was drawn."""

    @classmethod
    def read(cls, picture: Path) -> Lineage:
        """The lineage of a picture. Raises UserError if its `.json` is missing or unreadable."""
        path = _lineage_file(picture)
        try:
            return _read_lineage(path, os.stat(path).st_mtime_ns)
        except OSError as error:
            raise UserError(f"cannot read {path}, which says where {picture.name} comes from: {error.strerror}. Delete "
                            "both to generate the image again.") from error

    def to_dict(self) -> dict[str, Any]:
        """What is written beside the image. A field that earlier versions did not have is left out where it is empty,
        so that files and keys stay what they were."""
        return {name: value for name, value in asdict(self).items() if value or name not in _LATER_FIELDS}

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.name, ViewPrompt(tuple(self.tags), self.view), self.seed, self.round, self.parent_lora,
                         repaired_from=self.repaired_from, reference=self.reference,
                         edits=self.edits, generator=self.generator.partition(PARTS)[0])

    @property
    def asked_for(self) -> bool:
        """Whether a person asked for this very image, so that no plan has it and none may remove it."""
        return bool(self.again_of or self.repaired_from)


@lru_cache(maxsize=65536)
def _lineage_file(picture: Path) -> Path:
    return picture.with_suffix(".json")


@lru_cache(maxsize=65536)
def _read_lineage(path: Path, mtime_ns: int) -> Lineage:
    return read_record(path, Lineage, f"does not say where {path.stem} comes from",
                       "Delete both to generate the image again.")


def lineage_problem(picture: Path) -> str:
    """Why the lineage of a picture cannot be read; "" if it can."""
    try:
        Lineage.read(picture)
    except UserError as error:
        return str(error)
    return ""


def picture_seed(seed: int, number: int, index: int) -> int:
    """A 31-bit seed for image `index` of round `number`, different for each."""
    digest = hashlib.sha256(f"{seed}-{number}-{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


@dataclass(frozen=True)
class PlannedView:
    """One candidate to draw.

    Attributes:
        text: the whole prompt: the view's, with the texts put before and after it.
        wording: how the prompt and the caption are worded; "" as earlier versions worded them.
    """

    index: int
    prompt: ViewPrompt
    text: str
    seed: int
    wording: str = ""


class PictureMaker:
    """Generates images for planned views into a folder; images that already exist are not made again."""

    def __init__(self, backbone: Backbone, sampler: Sampler, should_stop: Callable[[], bool]) -> None:
        self.backbone, self.sampler, self.should_stop = backbone, sampler, should_stop

    def make(self, what: str, folder: Path, views: Sequence[PlannedView], *, number: int = 0, lora: Path | None = None,
             strengths: Sequence[float] = (1.0,),
             curve: Curve | None = None) -> Generator[Event, None, tuple[list[Path], bool]]:
        """Yields progress; returns (the images' paths, whether all of them already existed).

        The images cycle through `strengths`, which `curve` multiplies over the steps. Other images in the folder, left
        by earlier settings, are removed.
        """
        digest = file_hash(lora) if lora else ""
        plan = [
            Lineage(f"r{number}-{view.index:03d}", view.text, list(view.prompt.tags), dict(view.prompt.view), view.seed,
                    number, lora.stem if lora else "", digest,
                    strengths[view.index % len(strengths)] if lora else 0.0, self.backbone.fingerprint,
                    wording=view.wording, curve=curve.text if curve and lora else "", **vars(self.sampler))
            for view in views
        ]
        missing = [lineage for lineage in plan if not is_there(folder, lineage)]
        done = len(plan) - len(missing)
        for strength in dict.fromkeys(lineage.strength for lineage in missing):
            group = [lineage for lineage in missing if lineage.strength == strength]
            for start in range(0, len(group), self.sampler.batch):
                if self.should_stop():
                    raise Stopped
                batch = group[start : start + self.sampler.batch]
                self._make_batch(folder, batch, lora, strength, curve)
                done += len(batch)
                yield Progress(what, done, len(plan))
        _remove_others(folder, {lineage.name for lineage in plan})
        return [folder / f"{lineage.name}.png" for lineage in plan], not missing

    def make_again(self, what: str, folder: Path, asked: Sequence[Lineage], lora: Path,
                   curve: Curve | None = None) -> Generator[Event, None, list[Path]]:
        """Make images that a person asked for beside those of the plan. Yields progress, and returns their paths.

        Args:
            asked: what to write beside each; base and sampler are filled in.
        """
        digest, base = file_hash(lora), self.backbone.fingerprint
        for done, lineage in enumerate(asked):
            if self.should_stop():
                raise Stopped
            mine = replace(lineage, parent_lora=lora.stem, parent_lora_sha256=digest, base=base, **vars(self.sampler))
            self._make_batch(folder, [mine], lora, mine.strength, curve)
            yield Progress(what, done + 1, len(asked))
        return [folder / f"{lineage.name}.png" for lineage in asked]

    def redraw(self, batch: Sequence[Lineage], lora: Path, curve: Curve | None, beside: Path,
               local: Local) -> tuple[Tensor, Tensor]:
        """Images of one strength as they were drawn, with another LoRA that counts locally.

        Returns (pixels [B, 3, H, W] in 0..1, where it counted [B, 1, H, W] in 0..1).
        """
        strength = batch[0].strength
        with (self.backbone.lora(lora, strength) as applied,
              local_lora(self.backbone, beside, local, self.sampler.cfg) as change):
            follow = _follow(curve, applied, strength) if curve else None

            def at_step(done: float) -> None:
                change.at_step(done)
                if follow:
                    follow(done)

            pixels = self.sampler.pictures(self.backbone, [lineage.prompt for lineage in batch],
                                           [lineage.seed for lineage in batch], at_step)
        return pixels, change.places(*pixels.shape[-2:])

    def pixels(self, paths: Sequence[Path]) -> Tensor:
        """[N, 3, H, W] in 0..1, at the size at which images are compared."""
        return load_pixels(paths, self.sampler.measured_size)

    def _make_batch(self, folder: Path, batch: Sequence[Lineage], lora: Path | None, strength: float,
                    curve: Curve | None) -> None:
        prompts, seeds = [lineage.prompt for lineage in batch], [lineage.seed for lineage in batch]
        if lora is None:
            pixels = self.sampler.pictures(self.backbone, prompts, seeds)
        else:
            with self.backbone.lora(lora, strength) as applied:
                at_step = _follow(curve, applied, strength) if curve else None
                pixels = self.sampler.pictures(self.backbone, prompts, seeds, at_step)
        for lineage, picture in zip(batch, pixels, strict=True):
            save_candidate(folder, to_image(picture), lineage)


def _follow(curve: Curve, applied: AppliedLora, strength: float) -> Callable[[float], None]:
    return lambda done: applied.set_strength(strength * curve.at(done))


def save_candidate(folder: Path, image: Image.Image, lineage: Lineage) -> Path:
    """Write an image, then its lineage."""
    path = folder / f"{lineage.name}.png"
    remove_file(path.with_suffix(".json"))  # an old one must not vouch for a new image
    save_picture(path, image)
    write_json(path.with_suffix(".json"), lineage.to_dict())
    return path


def is_there(folder: Path, lineage: Lineage) -> bool:
    """Whether the folder has an image with that lineage."""
    picture = folder / f"{lineage.name}.png"
    with suppress(UserError):  # what cannot be read is made again
        return picture.is_file() and Lineage.read(picture) == lineage
    return False


def _remove_others(folder: Path, names: set[str]) -> None:
    """Remove images that the loop made with other settings. Those made by a workflow stay; their lineage has a
    recipe. Files with other names, such as `reference-sheet.png`, are somebody else's."""
    for sidecar in folder.glob("r*-*.json"):
        if _LOOP_NAME.fullmatch(sidecar.stem) and sidecar.stem not in names and _has_no_recipe(sidecar):
            _remove_picture(sidecar.with_suffix(".png"))
            remove_file(sidecar)
    for picture in folder.glob("r*-*.png"):
        if _LOOP_NAME.fullmatch(picture.stem) and not picture.with_suffix(".json").exists():
            _remove_picture(picture)


def _remove_picture(picture: Path) -> None:
    remove_file(picture)
    remove_small(picture)


def _has_no_recipe(sidecar: Path) -> bool:
    with suppress(UserError):  # what cannot be read may be somebody else's
        return not convert(read_json(sidecar), dict).get("recipe")
    return False
