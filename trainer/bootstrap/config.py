"""BootstrapConfig: the settings of a bootstrap project, checked when it is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from unicodedata import normalize

from ..common.errors import UserError
from ..common.names import checked_name, name_from, saved_name
from ..common.schema import convert
from ..stacks.time_split import Curve

EVEN, FREE = "even", "free"
IMAGES, MARKS = "images", "marks"
CHOICES = {"generators": (EVEN, FREE), "faces": ("auto", "on", "off")}
"""Settings of the curation with a choice of words."""
LATER = ("pose_limit", "colour_limit", "match_colours", "detail_limit", "faces", "generators", "mark_weight")
"""Settings of the curation that earlier versions did not have."""
MAX_DEPTH = 2
"""How many generations away from the real image a training image may be (science notes, section 2)."""


@dataclass(frozen=True, kw_only=True)
class CurationSettings:
    """Thresholds of the gates and weights of the score."""

    burn_limit: float = 8.0
    """Images whose burn z is above this are rejected."""
    blur_limit: float = -4.0
    """Images whose sharpness z among the candidates is below this are rejected."""
    likeness_percentile: float = 10.0
    """The gate: this percentile of each original crop's likeness to the other crops ..."""
    likeness_floor: float | None = None
    """... or this cosine, if given."""
    spare: float = 1.5
    """The gate is lowered until this many times the target pass, each angle in proportion. It is never lowered so far
    that images pass which are less alike than what the base makes of the tags alone. The notes say how far it was
    lowered."""
    tag_threshold: float = 0.5
    tag_recall: float = 0.75
    distance_weight: float = 1.0
    mark_weight: float = 0.0
    """Weight in the pick of what only the original shows (`measures.marks`); it is measured in any case."""
    pose_limit: float = 0.82
    """Images drawn from an image that should have turned are rejected if their pose is more alike than this. On the
    drawn world, 89 % of the poses that were left pass it, and 2 % of those that were turned."""
    colour_limit: float = 6.0
    """Images drawn from an image are rejected if their colours are shifted further than this, in CIELAB units ..."""
    match_colours: bool = False
    """... or are matched to the crops when the dataset is built, if asked."""
    detail_limit: float = 1.0
    """Images drawn from an image are rejected if their fine detail is beyond the crops' by this, in powers of 2."""
    faces: str = "auto"
    """Whether faces are compared apart from the whole image: on, off, or auto, which is for photographs."""
    generators: str = EVEN
    """Whether each generator gets the same share of the picks (even), or as many as fit best (free)."""

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(valid)}.")

    @property
    def recorded(self) -> dict[str, Any]:
        """The values that decisions depend on. A setting that earlier versions did not have is left out at its
        default, so that their decisions stay valid."""
        usual = {item.name: item.default for item in fields(self)}
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != usual[name]}


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """The settings of a project.

    Attributes:
        tags: everything the image shows: the subject (1girl), the character's traits, and the view in this image.
        trigger: the word that calls the character.
        name: name of the project and of its LoRA; the trigger if empty.
        targets: number of images to train on in each round: first the crops, then crops and kept images together.
        candidates: number of images to generate in each round.
        candidate_strengths: LoRA strengths that the candidates cycle through. Well below 1, the base still changes
            camera angle and mood as the prompt asks.
        candidate_curve: factors on these strengths over the sampling steps: (early, late, share of the steps from which
            the second holds), such as (0.7, 2.3, 0.4); () for the same strength throughout.
        style_on: what the style LoRAs learn: the images so far, or the marks of the crops alone (see marked.py).
        redraw_marks: whether the kept images of the last round are drawn again with the marks of the crops
            (curation/redrawn.py).
        strengths: columns of the strength grid.
        likeness: folder of a CLIP or DINOv2 model to measure likeness with; the sandbox brings its own.
        style, character: training settings by dotted name, over the family's preset.
        sample_steps, cfg: None uses the family's own.
    """

    picture: str
    tags: tuple[str, ...]
    trigger: str
    base: str = "sandbox"
    name: str = ""
    targets: tuple[int, ...] = (4, 16, 40)
    candidates: tuple[int, ...] = (48, 96)
    candidate_strengths: tuple[float, ...] = (0.6,)
    candidate_curve: tuple[float, ...] = ()
    style_on: str = IMAGES
    redraw_marks: bool = False
    seed: int = 0
    strengths: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 1.0)
    likeness: str = ""
    sample_steps: int | None = None
    cfg: float | None = None
    style: Mapping[str, Any] = field(default_factory=dict)
    character: Mapping[str, Any] = field(default_factory=dict)
    curation: CurationSettings = field(default_factory=CurationSettings)

    def __post_init__(self) -> None:
        if not self.trigger.strip() or "," in self.trigger:
            raise UserError(f"trigger is {self.trigger!r}; it must be one word without commas, such as eiei21girl.")
        if not self.tags:
            raise UserError("tags are empty; list what the image shows, such as \"1girl, fox ears, blonde hair\".")
        object.__setattr__(self, "name", checked_name(project_name(self.name, self.trigger)))
        _check_targets(self.targets, self.candidates)
        for name in ("strengths", "candidate_strengths"):
            values = getattr(self, name)
            if not values or not all(0 < value <= 2 for value in values):
                raise UserError(f"{name} is {values}; it must be numbers above 0 and at most 2.")
        _check_curve(self.candidate_curve)
        if self.style_on not in (IMAGES, MARKS):
            raise UserError(f"style_on is {self.style_on!r}; it must be {IMAGES} or {MARKS}.")

    @property
    def curve(self) -> Curve | None:
        """`candidate_curve`, if there is one."""
        if not self.candidate_curve:
            return None
        early, late, share = self.candidate_curve
        return Curve(early, late, until=share, begin=share)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BootstrapConfig:
        """Read back what `to_dict` gave, from JSON. Raises UserError for values it could not have written."""
        name = saved_name(str(values.get("name", "")), "project")
        try:
            config: BootstrapConfig = convert({**values, "name": name_from(name, "project")}, cls, "it")
        except UserError as error:
            raise UserError(f"the project's settings cannot be read: {error} Use another project name.") from error
        object.__setattr__(config, "name", name)
        return config

    def to_dict(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"curation": asdict(self.curation)}


def project_name(name: str, trigger: str) -> str:
    """The project's name; a valid one made from the trigger if it is empty."""
    return normalize("NFC", name) or name_from(trigger.strip().replace(" ", "-"), "project")


def _check_curve(values: Sequence[float]) -> None:
    if values and not (len(values) == 3 and 0 < values[2] < 1 and all(0 <= factor <= 4 for factor in values[:2])):
        raise UserError(f"candidate_curve is {tuple(values)}; it must be two factors from 0 to 4 and the share of the "
                        "steps, between 0 and 1, from which the second holds, such as 0.7, 2.3, 0.4.")


def _check_targets(targets: Sequence[int], candidates: Sequence[int]) -> None:
    if not 2 <= len(targets) <= MAX_DEPTH + 1 or list(targets) != sorted(set(targets)) or not 1 <= targets[0] <= 16:
        raise UserError(f"targets are {tuple(targets)}; they must be 2 or 3 increasing numbers, the first (crops) "
                        "from 1 to 16. More than two generations away from the real image, the character is lost.")
    needed = [target - targets[0] for target in targets[1:]]
    if len(candidates) != len(needed) or any(have < need for have, need in zip(candidates, needed, strict=True)):
        raise UserError(f"candidates are {tuple(candidates)}; targets {tuple(targets)} need {len(needed)} numbers of "
                        f"at least {', '.join(map(str, needed))} (two to four times as many give a good choice).")
