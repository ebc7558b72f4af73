"""What a person asks for in the gallery besides picking: a view drawn again, and an image that was repaired elsewhere.

A wish to draw again waits in the round's again.json until a Run has drawn it. Both kinds of image are candidates like
any other; their lineage names the image that they come from.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from ..captions.sentences import TAGS
from ..captions.tags import read_tags, same_tag
from ..captions.views import ViewPrompt
from ..common.errors import UserError
from ..common.revisions import Revisioned, save_change
from ..pictures.crops import MIN_SIDE, Box
from ..pictures.images import open_image, pixel_hash
from ..sweeps.axis_text import MOST_SEED
from .candidates import Lineage, PlannedView, save_candidate
from .picks import Pick, Picks
from .rounds import REFERENCE, Round

MOST_WISHES = 500
"""Wishes of one round that may wait at the same time."""
LONGEST_PROMPT = 10_000
MOST_STRENGTH = 4.0
_INDEX = re.compile(r"r\d+-(\d+)")
_CALL = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Wish:
    """A candidate that is to be drawn again, once.

    Attributes:
        id: 8 hexadecimal digits, which end the new candidate's name.
        candidate: name of the one to draw again.
        prompt: the whole prompt; "" for the one that it was drawn with.
        strength: the LoRA's; None for the one that the workflow draws with.
    """

    id: str
    candidate: str
    seed: int
    prompt: str = ""
    strength: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Wish:
        """A new wish from what a browser sent. Raises UserError for values that are not valid."""
        seed, prompt, strength = values.get("seed"), values.get("prompt") or "", values.get("strength")
        if type(seed) is not int or not 0 <= seed <= MOST_SEED:
            raise UserError(f"seed is {seed!r}; it must be a whole number from 0 to {MOST_SEED}.")
        if not isinstance(prompt, str) or len(prompt) > LONGEST_PROMPT:
            raise UserError(f"prompt must be a text of at most {LONGEST_PROMPT} characters.")
        if strength is not None and not _is_strength(strength):
            raise UserError(f"strength is {strength!r}; it must be null or a number from -{MOST_STRENGTH:g} to "
                            f"{MOST_STRENGTH:g}.")
        return cls(secrets.token_hex(4), str(values.get("candidate")), seed, " ".join(prompt.split()),
                   None if strength is None else float(strength))


def _is_strength(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= MOST_STRENGTH


@dataclass(frozen=True)
class Wishes(Revisioned):
    """All wishes of one round that were not known to be drawn when it was last saved, oldest first."""

    UNREADABLE: ClassVar[str] = "{path} does not list images to draw again ({error}). Repair or delete it."

    wishes: tuple[Wish, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"revision": self.revision, "wishes": [asdict(wish) for wish in self.wishes]}


@dataclass(frozen=True)
class WishedView:
    """A wish as a round draws it.

    Attributes:
        generator: the model or service that drew the old candidate, as `Candidate.generator`.
    """

    wish: Wish
    view: PlannedView
    name: str
    generator: str = ""

    def lineage(self, planned: Lineage, strength: float | None = None) -> Lineage:
        """What is written beside the image.

        Args:
            planned: the lineage of such a view if the plan had asked for it.
            strength: the LoRA's; None for that of `planned`.
        """
        return replace(planned, name=self.name, again_of=self.wish.candidate,
                       strength=planned.strength if strength is None else strength)


def wishes_file(round_: Round) -> Path:
    return round_.folder / "again.json"


def list_wished(round_: Round) -> list[WishedView]:
    """The wishes of a round that still wait: whose candidate exists, and which are not drawn yet.

    Raises UserError if again.json cannot be read.
    """
    if round_.number == REFERENCE:
        return []
    wishes = Wishes.load(wishes_file(round_)).wishes
    if not wishes:
        return []
    known = {path.stem: path for path in round_.pictures()}
    return [_plan_wish(round_, wish, known[wish.candidate]) for wish in _waiting(round_, wishes, known)]


def change_wishes(round_: Round, add: Iterable[Wish] = (), remove: Iterable[str] = ()) -> None:
    """Save new wishes, and take back those with these ids. What is drawn meanwhile is dropped.

    Raises UserError for a candidate that the round does not have, and for too many wishes.
    """
    known, added, gone = {path.stem for path in round_.pictures()}, tuple(add), set(remove)
    for wish in added:
        if wish.candidate not in known:
            raise UserError(f"the round has no candidate {wish.candidate!r}; reload the gallery.")

    def change(saved: Wishes) -> Wishes:
        waiting = [wish for wish in _waiting(round_, saved.wishes, known) if wish.id not in gone]
        if len(waiting) + len(added) > MOST_WISHES:
            raise UserError(f"{len(waiting) + len(added)} images would wait to be drawn again; at most {MOST_WISHES} "
                            "may. Press Run to draw those that wait.")
        return saved.next_revision(wishes=(*waiting, *added))

    save_change(wishes_file(round_), Wishes, change)


def _waiting(round_: Round, wishes: Iterable[Wish], known: Iterable[str]) -> list[Wish]:
    drawn = {path.stem for path in round_.list_candidates()}
    return [wish for wish in wishes if wish.candidate in known and _name(round_, wish.candidate, wish.id) not in drawn]


def _name(round_: Round, candidate: str, ending: str) -> str:
    """The name of another image of a candidate's view: beside it by name, and like no name that a plan gives."""
    index = _INDEX.match(candidate)
    return f"r{round_.number}-{index[1] if index else '000'}-{ending}"


def _plan_wish(round_: Round, wish: Wish, picture: Path) -> WishedView:
    old, name = Lineage.read(picture), _name(round_, wish.candidate, wish.id)
    prompt = wish.prompt or old.prompt
    tags = follow_prompt(old.tags, old.prompt, prompt) if old.wording in ("", TAGS) else list(old.tags)
    shown = {axis: tag for axis, tag in old.view.items() if tag in tags or tag not in old.tags}
    view = PlannedView(int(name.split("-")[1]), ViewPrompt(tuple(tags), shown), prompt, wish.seed, old.wording)
    return WishedView(wish, view, name, old.candidate.generator)


def follow_prompt(tags: Iterable[str], before: str, after: str) -> list[str]:
    """The tags of an image whose prompt was changed by hand: what was taken out of the prompt goes, what was added
    comes. Weights, LoRAs in angle brackets and embeddings are not tags."""
    old, new = ({same_tag(tag): tag for tag in _prompt_tags(text)} for text in (before, after))
    kept = [tag for tag in tags if same_tag(tag) not in old.keys() - new.keys()]
    return [*kept, *(tag for key, tag in new.items() if key not in old)]


def _prompt_tags(prompt: str) -> list[str]:
    return [tag for tag in read_tags(_CALL.sub("", prompt)) if not tag.lower().startswith("embedding:")]


# -- what was repaired elsewhere ---------------------------------------------------------------------------------------


def find_candidate(round_: Round, name: str) -> Path:
    """The image of a candidate. Raises UserError if the round has none of that name."""
    for path in round_.pictures():
        if path.stem == name:
            return path
    raise UserError(f"round {round_.number} of {round_.project.name!r} has no candidate {name!r}. Choose one in the "
                    "gallery, and press Send.")


def keep_repaired(round_: Round, name: str, image: Image.Image) -> Path:
    """Save a repaired copy of a candidate beside it, with what was decided on it. Curation then leaves the old one out.

    Tags, note, crop and flip carry over. If the old one counts as kept, the new one is kept in its place. The same
    image is saved once.

    Raises UserError if the round has no such candidate, or if nothing was changed.
    """
    old = find_candidate(round_, name)
    digest = pixel_hash(image)
    if digest == pixel_hash(open_image(old)):
        raise UserError(f"the image is {name} itself, without a change. Link what your nodes make of it.")
    new = _name(round_, name, digest[:8])
    path = round_.candidates_folder / f"{new}.png"
    was_kept = any(kept.path == old for kept in round_.list_kept())
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        save_candidate(round_.candidates_folder, image, replace(
            Lineage.read(old), name=new, round=round_.number, width=image.width, height=image.height,
            repaired_from=name))
    elif _is_decided(round_.picks, new):
        return path
    _carry_over(round_, name, new, was_kept)
    return path


def _is_decided(picks: Picks, name: str) -> bool:
    """Whether anything was decided on a candidate, also if it was undone since."""
    return name in picks.picks or any(change.candidate == name for step in picks.history for change in step.changes)


def _carry_over(round_: Round, old: str, new: str, was_kept: bool) -> None:
    known = round_.collect_facts({old, new})

    def change(picks: Picks) -> Picks:
        pick = picks.of(old, known[old])
        carried = {"tags": pick.tags, "note": pick.note, "flip": pick.flip,
                   "crop": _scale_crop(pick, known[old].size, known[new].size), "state": "keep" if was_kept else ""}
        changes = [(new, carried)] + ([(old, {"state": "reject"})] if was_kept else [])
        return picks.changed(f"repairing {old}", changes, known)

    save_change(round_.picks_file, Picks, change)


def _scale_crop(pick: Pick, old: tuple[int, int], new: tuple[int, int]) -> Box | None:
    """The crop in the pixels of an image of another size; None if that is too small to train on."""
    if pick.crop is None:
        return None
    left, top, right, bottom = (round(side * new[at % 2] / old[at % 2]) for at, side in enumerate(pick.crop))
    return (left, top, right, bottom) if min(right - left, bottom - top) >= MIN_SIDE else None
