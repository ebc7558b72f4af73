"""Decisions made by hand on a round's candidates: keep or reject, tags, crop, flip, a note.

They are saved in picks.json, beside the decisions.json that curation writes, and always take precedence. A decision
belongs to the image it was made on: a candidate of the same name with other pixels starts without one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, ClassVar

from PIL import Image, ImageOps

from ..common.errors import UserError
from ..common.revisions import Revisioned
from ..common.schema import convert
from ..pictures.crops import MIN_SIDE, Box

STATES = ("", "keep", "reject")
REMEMBERED = 100
"""How many changes can still be undone after the page is reloaded."""
LONGEST_NOTE = 2000
MOST_TAGS = 200


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A decision on one candidate.

    Attributes:
        state: keep, reject, or "" for undecided.
        tags: tags of its caption; None for those it was made with.
        crop: (left, top, right, bottom) in pixels, before flipping; None for the whole image.
        flip: whether the image is mirrored left to right.
    """

    state: str = ""
    tags: tuple[str, ...] | None = None
    crop: Box | None = None
    flip: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        _state(self.state, ())

    def changed(self, values: Mapping[str, Any], size: tuple[int, int]) -> Pick:
        """The pick with these values replaced. Raises UserError for values that are not valid for an image of that
        size."""
        unknown = set(values) - {item.name for item in fields(self)}
        if unknown:
            raise UserError(f"a pick has no field {sorted(unknown)[0]!r}; its fields are {', '.join(asdict(self))}.")
        return replace(self, **{name: _CHECKS[name](value, size) for name, value in values.items()})

    def apply_to(self, picture: Image.Image) -> Image.Image:
        """The image as it will be trained on. Raises UserError for a crop that is not inside it."""
        box = _crop(self.crop, picture.size)
        cut = picture.crop(box) if box else picture
        return ImageOps.mirror(cut) if self.flip else cut

    @property
    def recipe(self) -> list[Any]:
        """The parts of the pick that change the training set."""
        return [self.state, self.tags, self.crop, self.flip]


def _state(value: Any, _: object) -> str:
    if value not in STATES:
        raise UserError(f"state is {value!r}; it must be one of {', '.join(map(repr, STATES))}.")
    return value


def _tags(value: Any, _: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(tag, str) for tag in value) or len(value) > MOST_TAGS:
        raise UserError(f"tags must be null or a list of at most {MOST_TAGS} strings.")
    plain = (" ".join(tag.replace(",", " ").split()) for tag in value)
    return tuple(tag for tag in plain if tag)


def _crop(value: Any, size: tuple[int, int]) -> Box | None:
    if value is None:
        return None
    whole = isinstance(value, (list, tuple)) and len(value) == 4 and all(type(side) is int for side in value)
    if not whole or not (0 <= value[0] < value[2] <= size[0] and 0 <= value[1] < value[3] <= size[1]):
        raise UserError(f"crop is {value!r}; it must be null or left, top, right, bottom in whole pixels inside the "
                        f"{size[0]} x {size[1]} image.")
    if min(value[2] - value[0], value[3] - value[1]) < MIN_SIDE:
        raise UserError(f"crop {tuple(value)} is too small to train on; make it at least {MIN_SIDE} pixels on each "
                        "side.")
    return None if tuple(value) == (0, 0, *size) else tuple(value)


def _flip(value: Any, _: object) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"flip is {value!r}; it must be true or false.")
    return value


def _note(value: Any, _: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NOTE:
        raise UserError(f"note must be a text of at most {LONGEST_NOTE} characters.")
    return value.strip()


_CHECKS: Mapping[str, Callable[[Any, tuple[int, int]], Any]] = {
    "state": _state, "tags": _tags, "crop": _crop, "flip": _flip, "note": _note}


@dataclass(frozen=True)
class PickChange:
    """One candidate's decision before and after."""

    candidate: str
    before: Pick
    after: Pick


@dataclass(frozen=True)
class UndoStep:
    """Changes made in one action, for the history and for undo."""

    at: str
    label: str
    changes: tuple[PickChange, ...]


@dataclass(frozen=True)
class CandidateFacts:
    """What must be known about a candidate to decide on it.

    Attributes:
        content: hash of its image file.
        size: (width, height) of its image.
        earlier: the decision of an earlier round, which holds until another is made.
    """

    content: str
    size: tuple[int, int]
    earlier: Pick = Pick()


@dataclass(frozen=True)
class Picks(Revisioned):
    """All decisions on one round's candidates.

    Attributes:
        picks: candidate → (decision, hash of the image it was made on).
        history: the latest steps, oldest first.
    """

    UNREADABLE: ClassVar[str] = ("{path} does not contain picks as they were saved. Repair it, or delete it to pick "
                                 "anew.")

    picks: Mapping[str, tuple[Pick, str]] = field(default_factory=dict)
    history: tuple[UndoStep, ...] = ()

    def of(self, candidate: str, known: CandidateFacts) -> Pick:
        """The decision on a candidate; the earlier round's if there is none or if it was made on another image."""
        pick, made_on = self.picks.get(candidate, (known.earlier, known.content))
        return pick if made_on == known.content else known.earlier

    @property
    def fingerprint(self) -> str:
        """A hash that depends on the training set only, not on the revision or the notes; "" if nothing is decided."""
        rows = sorted((name, content, *pick.recipe) for name, (pick, content) in self.picks.items()
                      if pick.recipe != Pick().recipe)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest() if rows else ""

    def changed(self, label: str, changes: Iterable[tuple[str, Mapping[str, Any]]],
                known: Mapping[str, CandidateFacts]) -> Picks:
        """The next revision, with (candidate, new values) decided. Raises UserError for an unknown candidate or value.
        """
        picks, done = dict(self.picks), []
        for candidate, values in changes:
            if candidate not in known:
                raise UserError(f"the round has no candidate {candidate!r}; reload the gallery.")
            before = self.of(candidate, known[candidate])
            after = before.changed(values, known[candidate].size)
            if after != before:
                done.append(PickChange(candidate, before, after))
                picks[candidate] = (after, known[candidate].content)
            if after == known[candidate].earlier:
                picks.pop(candidate, None)
        step = UndoStep(datetime.now().astimezone().isoformat(timespec="seconds"), label[:200], tuple(done))
        history = (*self.history, step)[-REMEMBERED:] if done else self.history
        return self.next_revision(picks=picks, history=history)

    def to_dict(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "picks": {name: {**asdict(pick), "picture": content} for name, (pick, content) in self.picks.items()},
            "history": [asdict(step) for step in self.history]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Picks:
        rows = {name: (convert(pick, Pick, name), pick["picture"]) for name, pick in values["picks"].items()}
        return super().from_dict({**values, "picks": rows})
