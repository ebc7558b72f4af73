"""The images that a run trains on, written beside its run.json, so that two runs can be compared long after their
folders of images have changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.files import write_json
from ..common.schema import read_record
from .dataset import Sample

FILE = "images.json"


@dataclass(frozen=True)
class RecordedImage:
    """One image as it was trained on.

    Attributes:
        content: hash of its bytes and its crop.
        name: the file's name, without its folder.
    """

    content: str
    name: str
    caption: str = ""
    repeats: int = 1
    validation: bool = False
    regularisation: bool = False


def record_images(run: Path, samples: Iterable[Sample], validation: Iterable[Sample] = ()) -> None:
    """Write the images into a run's folder, if they are not there yet. Raises UserError if that is refused."""
    if not (run / FILE).is_file():
        rows = [asdict(RecordedImage(sample.content_hash, sample.path.name, sample.caption, sample.repeats, held_back,
                                     sample.regularisation))
                for part, held_back in ((samples, False), (validation, True)) for sample in part]
        write_json(run / FILE, {"images": rows})


def read_images(run: Path) -> Sequence[RecordedImage] | None:
    """The images of the run in a folder; None for runs of earlier versions, and where the record is damaged."""
    with suppress(UserError):
        if (run / FILE).is_file():
            return read_record(run / FILE, RecordedImages).images
    return None


@dataclass(frozen=True)
class RecordedImages:
    """What images.json holds."""

    images: tuple[RecordedImage, ...]
