"""What a job is: a training with its images, its sweep and its scoring, as one zip that any machine can run.

    job.json                        Job: settings, base by hash, sweep plan; without paths of the machine it comes from
    images.json                     PackedSets: which file is which image, with captions, masks and repeats
    files/<hash>/<name>             the images and masks
    loras/<name>.safetensors        LoRAs that are beside the training, if they were packed

A result is such a zip too. `forms.py` says what else is in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common.checks import check
from ..common.errors import UserError
from ..common.names import checked_name
from ..common.schema import read_record
from ..pictures.flatten import parse_colour
from ..pictures.images import GROUND
from ..stacks.lora_stack import read_strength
from ..statements.plain_text import one_line
from ..sweeps.prompt_sets import AS_WRITTEN
from ..training.config import TrainConfig

FORMAT = 1
REMEDY = "Update the pack if a newer version wrote it, or pack it again."
JOB, IMAGES, FILES, LORAS = "job.json", "images.json", "files", "loras"
MOST_LETTERS = 1000
"""Letters of what a job says of its base."""
_FILE = re.compile(r"files/[0-9a-f]{64}/[^/]+")


@dataclass(frozen=True)
class JobBase:
    """The base model of a job, whose weights are not in it.

    Attributes:
        name: "sandbox", or the name of its file or folder.
        fingerprint: as `backends.diffusers` computes it, also for a job of ComfyUI.
        precision: in which its weights are held, a key of `held.PRECISIONS`.
        source: where to get it, in the words of whoever packed the job.
    """

    name: str
    family: str
    fingerprint: str
    precision: str = "auto"
    source: str = ""

    def __post_init__(self) -> None:
        checked_name(self.name, "base")
        for name in ("family", "fingerprint", "source"):
            text = one_line(getattr(self, name))  # a terminal shows it
            check(len(text) <= MOST_LETTERS, f"length of the base's {name}", len(text), f"at most {MOST_LETTERS}")
            object.__setattr__(self, name, text)


@dataclass(frozen=True)
class Desk:
    """How the machine that packed the job would train it, by which its own run of it would be recognized.

    Attributes:
        base: fingerprint of the base there. ComfyUI's is another one than that of the same file without it.
        family: of the base there.
        precision: what "auto" stands for there; "" if the job's settings name one.
    """

    base: str
    family: str
    precision: str = ""


@dataclass(frozen=True)
class BesideLora:
    """A LoRA that is beside the training.

    Attributes:
        tensors: `tensor_hash` of its file.
        packed: whether its file is in the job.
    """

    name: str
    tensors: str
    strength: float
    packed: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "LoRA")
        read_strength(self.strength, self.name)

    @property
    def file(self) -> str:
        """Its place in the job, if it is packed."""
        return f"{LORAS}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What is drawn once the run is finished.

    Attributes:
        checkpoints: as `choose_checkpoints` reads it.
        prompt_set: one of `prompt_sets.SETS`.
        width, height, steps, cfg: of the images; None: the family's.
        scored: whether the sweep is scored.
    """

    name: str
    checkpoints: str = "all"
    strengths: tuple[float, ...] = (0.8, 1.0)
    prompts: tuple[str, ...] = ()
    prompt_set: str = AS_WRITTEN
    seeds: tuple[int, ...] = (0,)
    without: bool = True
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    cfg: float | None = None
    scored: bool = True

    def __post_init__(self) -> None:
        checked_name(self.name, "sweep")
        for value in self.strengths:
            read_strength(value, "a cell")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What job.json holds.

    Attributes:
        config: every setting of the training, as `TrainConfig.to_dict`.
        dataset, validation, regularisation: fingerprints of what the run trains on, measures and keeps; "" for none.
            Those of the first two are after `validation_fraction` has held images back.
        images: number of images that are trained on.
        versions: of this pack and of its libraries where the job was packed.
    """

    format: int
    config: Mapping[str, Any]
    base: JobBase
    desk: Desk
    dataset: str
    images: int
    validation: str = ""
    regularisation: str = ""
    beside: tuple[BesideLora, ...] = ()
    sweep: SweepPlan | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise UserError(f"the job has format {self.format}; {FORMAT} is the one that is read here. Update the "
                            "pack, or pack the job with this version.")
        self.settings  # noqa: B018 (raises for settings that cannot be)

    @property
    def settings(self) -> TrainConfig:
        return TrainConfig.from_dict(self.config)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def id(self) -> str:
        """16 hexadecimal digits: equal jobs have equal ones, whatever packed them."""
        facts = {**asdict(self), "versions": {}}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> Job:
        """Raises UserError for a file that is not a job of this version."""
        return read_record(path, cls, "is not a job", REMEDY)


@dataclass(frozen=True)
class PackedImage:
    """A `Sample` with its files in the job."""

    file: str
    size: tuple[int, int]
    caption: str = ""
    repeats: int = 1
    crop: tuple[int, int, int, int] | None = None
    parent: str = ""
    mask: str = ""
    ground: str = GROUND

    def __post_init__(self) -> None:
        for name in filter(None, (self.file, self.mask)):
            if not _FILE.fullmatch(name):
                raise UserError(f"image {name!r} is not in {FILES}/ of the job.")
            checked_name(name.rpartition("/")[2], "image")  # a backslash leads elsewhere on Windows
        check(0 <= self.repeats <= 1_000_000, "repeats", self.repeats, "from 0 to 1000000")
        check(min(self.size) > 0, "size", self.size, "greater than 0")
        parse_colour(self.ground)


@dataclass(frozen=True)
class PackedSets:
    """What images.json holds: the images as they were given, in their order; None for a set that was not given."""

    train: tuple[PackedImage, ...]
    validation: tuple[PackedImage, ...] | None = None
    regularisation: tuple[PackedImage, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> PackedSets:
        """Raises UserError for a file that does not say which images are which."""
        return read_record(path, cls, "does not list the images of a job")

