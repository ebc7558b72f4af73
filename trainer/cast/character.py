"""What is asked for a character, from one TOML file: its image and tags, the project's settings, the trainings', the
sweep's and the scores'.

    picture = "akane.png"             # beside the file, or a whole path
    tags = "1girl, solo, fox ears"
    trigger = "zqxakane"
    targets = [4, 16, 40]             # every other setting of BootstrapConfig, under its own name
    [style]                           # training settings of the style LoRAs; [character] of the character LoRA
    steps = 400
    [sweep]                           # a SweepPlan
    strengths = [0.6, 0.8, 1.0]
    [score]                           # a ScorePlan
    [rights]                          # what is stated about consent and rights: Rights, and the licence
    person = "real"

No torch is imported here: a mistake in the hundredth file is reported in a second.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..backends.given_base import AS_LOADED, BASE_PRECISIONS, SANDBOX, find_given_base
from ..bootstrap.config import BootstrapConfig
from ..captions.kinds import get_kind
from ..captions.tags import read_tags
from ..common.checks import check, check_choice
from ..common.errors import UserError, unknown_name
from ..common.names import with_ending
from ..common.schema import convert
from ..imports.reading import read_settings
from ..stacks.lora_stack import read_strength
from ..statements.consent import Statement
from ..sweeps.axis_text import choose_checkpoints
from ..sweeps.prompt_sets import FROM_CAPTIONS, SETS
from ..training.config import TrainConfig

MOST_CHARACTERS = 10_000
GATES = ("most_copies", "most_burn", "least_diversity", "most_validation", "most_backgrounds", "most_artefacts",
         "least_by_eye")
"""Gates of `sweeps.score.ScoreSettings` that a file may set."""
KIND = "character"


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The sweep that a character's LoRA is tested with.

    Attributes:
        checkpoints: which of the run's, as `sweep --checkpoints` has them.
        prompts: prompts to draw; the trigger alone if empty.
        prompt_set: ready-made lines for each prompt, one of `prompt_sets.SETS`.
        without: whether each prompt is also drawn without the LoRA, which burn and diversity need.
    """

    checkpoints: str = "last 3"
    strengths: tuple[float, ...] = (0.6, 0.8, 1.0)
    prompts: tuple[str, ...] = ()
    prompt_set: str = get_kind(KIND).prompt_set
    seeds: tuple[int, ...] = (1,)
    without: bool = True

    def __post_init__(self) -> None:
        check(bool(self.strengths), "strengths", self.strengths, "at least one number")
        for strength in self.strengths:
            read_strength(strength, "a cell")
        check(bool(self.seeds), "seeds", self.seeds, "at least one whole number")
        check_choice("prompt_set", self.prompt_set, SETS)
        choose_checkpoints([(1, Path())], self.checkpoints)

    def written_prompts(self, trigger: str) -> tuple[str, ...]:
        """The prompts before the set's lines are added."""
        return self.prompts or (() if self.prompt_set == FROM_CAPTIONS else (trigger,))


@dataclass(frozen=True, kw_only=True)
class ScorePlan:
    """How the sweep is judged.

    Attributes:
        gates: limits by name, in place of the usual ones of `ScoreSettings`.
    """

    gates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.gates:
            if name not in GATES:
                raise unknown_name("gate in score", name, GATES)


@dataclass(frozen=True, kw_only=True)
class Character:
    """One member of a cast.

    Attributes:
        project: its bootstrap project, which names its base too.
        base_precision: how the base's weights are held, one of BASE_PRECISIONS.
        statement: what is stated about consent and rights.
        price: of an hour of a worker, in the user's currency; None: what the batch was given.
        file: where it was read.
    """

    project: BootstrapConfig
    base_precision: str = AS_LOADED
    sweep: SweepPlan = field(default_factory=SweepPlan)
    score: ScorePlan = field(default_factory=ScorePlan)
    statement: Statement = field(default_factory=Statement)
    price: float | None = None
    file: str = ""

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def base(self) -> tuple[str, str]:
        """(base, its precision): what a worker has to load."""
        return self.project.base, self.base_precision

    @property
    def sweep_name(self) -> str:
        return with_ending(self.name, "-checkpoints")

    @property
    def key(self) -> str:
        """A hash of all that decides its results; neither the price nor the file's place does, nor an empty statement,
        which earlier versions did not have."""
        digest = hashlib.sha256(Path(self.project.picture).read_bytes()).hexdigest()
        asked = {**self.to_dict(), "price": None, "file": ""}
        if self.statement.is_empty:
            del asked["statement"]
        deciding = {**asked, "project": {**asked["project"], "picture": digest}}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:24]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which `from_dict` reads."""
        return {**{item.name: getattr(self, item.name) for item in fields(self)}, "project": self.project.to_dict(),
                "sweep": asdict(self.sweep), "score": {"gates": dict(self.score.gates)},
                "statement": asdict(self.statement)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Character:
        made: Character = convert(values, cls, "the character")
        return made


def read_cast(paths: Sequence[Path], check_base: Callable[[str], object] = find_given_base) -> list[Character]:
    """The characters of these files. Raises UserError, naming the file and the line, for the first mistake, and for two
    characters with one name.

    Args:
        check_base: raises UserError for a base that cannot be used. A plan needs no weights: it takes a family's name.
    """
    if len(paths) > MOST_CHARACTERS:
        raise UserError(f"{len(paths)} characters are too many for one batch; give at most {MOST_CHARACTERS}.")
    cast: dict[str, Character] = {}
    for path in paths:
        character = read_character(path, check_base)
        if other := cast.get(character.name.casefold()):
            raise UserError(f"{path}: the name {character.name!r} is also that of {other.file}. Set another `name`.")
        cast[character.name.casefold()] = character
    return list(cast.values())


_GROUPS = ("style", "character", "curation", "sweep", "score", "rights")
_OWN = ("base_precision", "price")
"""Settings of a Character that BootstrapConfig does not have, beside the groups."""


def read_character(path: Path, check_base: Callable[[str], object] = find_given_base) -> Character:
    """The character that a TOML file asks for. Raises UserError, naming the file and the line."""
    try:
        given = read_settings(path)
    except UserError as error:
        raise UserError(f"{path} cannot be read: {error.__cause__ or error}. Repair it, or give a character's .toml "
                        "file.") from error
    try:
        character = _build(given, path)
        _check(character)
        check_base(character.project.base)
    except UserError as error:
        raise UserError(f"{path}{_line_words(path, str(error))}: {error}") from error
    return replace(character, file=str(path))


def _build(given: Mapping[str, Any], path: Path) -> Character:
    groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    values: dict[str, Any] = {}
    for dotted, value in given.items():
        group, dot, name = dotted.partition(".")
        if dot and group in groups:
            groups[group][name] = value
        else:
            values[dotted] = value
    own = {name: values.pop(name) for name in _OWN if name in values}
    sweep, score, rights = (groups.pop(name) for name in ("sweep", "score", "rights"))
    stated = {"licence": rights.pop("licence", ""), "rights": rights}
    if isinstance(values.get("tags"), str):
        values["tags"] = read_tags(values["tags"])
    if isinstance(values.get("picture"), str):
        values["picture"] = str(path.parent.absolute() / Path(values["picture"]).expanduser())
    for name in ("base", "likeness"):
        if isinstance(values.get(name), str):
            values[name] = _whole_path(values[name])
    project = convert({**values, **{name: group for name, group in groups.items() if group}}, BootstrapConfig, "",
                      strict=True)
    return Character(project=project, sweep=convert(sweep, SweepPlan, "sweep", strict=True),
                     statement=convert(stated, Statement, "", strict=True),
                     score=ScorePlan(gates=convert(score, Mapping[str, float], "score")),
                     base_precision=convert(own.get("base_precision", AS_LOADED), str, "base_precision"),
                     price=convert(own.get("price"), float | None, "price"))


def _whole_path(text: str) -> str:
    """A path that leads to the same place from the folder that a worker of a cluster runs in. The sandbox, and what
    is not a file or a folder, stays."""
    path = Path(text).expanduser().absolute()
    return str(path) if text not in ("", SANDBOX) and path.exists() else text


def _check(character: Character) -> None:
    project = character.project
    if not Path(project.picture).is_file():
        raise UserError(f"picture {project.picture!r} is not a file; give one image of the character, beside this file "
                        "or by its whole path.")
    if project.likeness and not Path(project.likeness).is_dir():
        raise UserError(f"likeness {project.likeness!r} is not a folder. Give the folder of a CLIP or DINOv2 model, or "
                        "leave it out.")
    check_choice("base_precision", character.base_precision, BASE_PRECISIONS)
    check(character.price is None or 0 <= character.price < 1e6, "price", character.price, "a price an hour, from 0")
    for settings in (project.style, project.character):
        TrainConfig().replace(**settings)


_KEY = re.compile(r'\s*\[?\s*(?:"([^"]+)"|([\w.-]+))\s*(?:=|\])')


def _line_words(path: Path, error: str) -> str:
    """", line 7" if a line of the file sets what the error is about, quoted names first; else ""."""
    about = error.partition(" Did you mean ")[0].partition(" Valid: ")[0].partition("; ")[0]
    lines = path.read_text("utf-8-sig").splitlines()
    for words in (re.findall(r"'([^']+)'", about), re.findall(r"[\w.-]+", about)):
        for number, line in enumerate(lines, 1):
            match = _KEY.match(line)
            key = (match[1] or match[2]) if match else ""
            if key and (key in words or key.rpartition(".")[2] in words):
                return f", line {number}"
    return ""
