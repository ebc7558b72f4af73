"""Which tags a trigger should come to mean: a proposal from each tag's class and frequency, which can be edited.

For a character, its traits are absorbed, never its pose, expression or background; for a style, the words for styles:
`captions.kinds` has a row for each kind of LoRA.
The trigger learns what the captions no longer name (seed guide 004; science notes, section 4).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..captions.classes import ORDER, known_class, tag_class
from ..captions.kinds import Kind, get_kind, name_lora, order_kinds
from ..captions.roles import is_sentence
from ..captions.tags import absorb, join_tags, same_tag, split_tags
from ..captions.views import VOCABULARIES
from ..captions.vocabulary import Vocabulary
from ..common.errors import UserError, unknown_name
from ..common.files import atomic_write, read_json, write_json
from ..common.schema import convert
from ..datasets.dataset import Dataset
from .diff import CaptionDiff

ACTIONS = ("keep", "absorb", "delete")
LEAST_SHARE = 0.7
SENTENCE = "a sentence, not a tag"
UNKNOWN = "in most images, but not a known trait"
"""Reasons to keep a tag."""


PURPOSES = order_kinds("character", "style")


@dataclass(frozen=True)
class TagDecision:
    """The decision on one tag.

    Attributes:
        action: keep; absorb: leave it out, so that the trigger means it; delete: leave it out as noise.
        tag_class: see `captions.classes.ORDER`.
        count: number of captions that have it; could: number of captions whose view can show it.
        reason: why, for people.
    """

    tag: str
    action: str
    tag_class: str
    count: int
    could: int
    reason: str

    @property
    def share(self) -> float:
        """Share of the images that have it, among those that can show it, 0..1."""
        return self.count / max(1, self.could)


@dataclass(frozen=True)
class _SavedDecision:
    tag: str
    action: str
    count: int = 0
    could: int = 0
    reason: str = ""


@dataclass(frozen=True)
class _SavedPlan:
    """What the JSON of a plan holds, without the classes of the tags, whose name is a word of Python."""

    purpose: str
    decisions: tuple[_SavedDecision, ...]


@dataclass(frozen=True)
class AbsorbPlan:
    """A decision on every tag of a dataset, which can be read, changed, and applied."""

    purpose: str
    decisions: tuple[TagDecision, ...]

    def of(self, action: str) -> tuple[str, ...]:
        """The tags with that action."""
        return tuple(decision.tag for decision in self.decisions if decision.action == action)

    @property
    def absorbed(self) -> tuple[str, ...]:
        """The tags the trigger should come to mean; a bootstrap keeps them in prompts, but not in training captions."""
        return self.of("absorb")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is absorbed by hand though the trigger of such a LoRA should not mean it, and what might be a trait but
        is kept, because it is not known."""
        kind = get_kind(self.purpose, "purpose")
        odd = [each for each in self.decisions if each.action == "absorb" and each.tag_class not in kind.absorbed]
        lines = [f"`{each.tag}` ({each.tag_class}) is not what the trigger of {name_lora(self.purpose)} should mean, "
                 "but is absorbed, as you decided." for each in odd]
        lines += [f"`{each.tag}` is not a known trait: it is kept in the captions. Write absorb {each.tag} to leave it "
                  "to the trigger." for each in self.decisions if kind.person and each.reason == UNKNOWN]
        if sentences := sum(each.reason == SENTENCE for each in self.decisions):
            lines.append(f"{sentences} parts of captions are sentences, which are kept: only tags can be sorted.")
        return tuple(lines)

    def change(self, actions: Mapping[str, str]) -> AbsorbPlan:
        """The plan with other actions for some tags. Raises UserError for an unknown action or tag."""
        wanted = {same_tag(tag): action for tag, action in actions.items()}
        known = {same_tag(decision.tag): decision.tag for decision in self.decisions}
        for tag, action in actions.items():
            if action not in ACTIONS:
                raise unknown_name(f"action for {tag!r}", action, ACTIONS)
            if same_tag(tag) not in known:
                raise unknown_name("tag", tag, known.values())
        return replace(self, decisions=tuple(
            replace(decision, action=wanted[same_tag(decision.tag)], reason="as you decided")
            if wanted.get(same_tag(decision.tag), decision.action) != decision.action else decision
            for decision in self.decisions))

    def text(self, gap: str = "  ") -> str:
        """A line for each tag, which can be edited and is read by `edit`: `absorb  fox ears  # identity, 14 of 16`.

        Args:
            gap: what is before the #; a text with another one is for show only.
        """
        width = max((len(decision.tag) for decision in self.decisions), default=0)
        lines = [f"# {self.purpose}: {', '.join(ACTIONS)}. Change the first word of a line."]
        lines += [f"{decision.action:7} {decision.tag:{width}}{gap}# {decision.tag_class}, {decision.count} of "
                  f"{decision.could}: {decision.reason}" for decision in self.decisions]
        return "\n".join(lines) + "\n"

    def edit(self, text: str) -> AbsorbPlan:
        """The plan with the actions of an edited `text`; other tags are unchanged. Raises UserError with the line."""
        actions = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = re.split(r"\s#", line, maxsplit=1)[0].strip()
            if not words or words.startswith("#"):
                continue
            action, _, tag = words.partition(" ")
            if action not in ACTIONS or not tag.strip():
                raise UserError(f"line {number} is {line.strip()!r}; it must be {', '.join(ACTIONS)}, then a tag.")
            actions[tag.strip()] = action
        return self.change(actions)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for `from_dict`."""
        return {"purpose": self.purpose, "decisions": [
            {"tag": decision.tag, "action": decision.action, "class": decision.tag_class, "count": decision.count,
             "could": decision.could, "share": round(decision.share, 3), "reason": decision.reason}
            for decision in self.decisions]}

    @classmethod
    def from_dict(cls, value: Any) -> AbsorbPlan:
        """The reverse of `to_dict`. Raises UserError if the value is not a plan."""
        try:
            saved: _SavedPlan = convert(value, _SavedPlan, "it")
            decisions = tuple(
                TagDecision(row.tag, row.action, str(found.get("class", "other")), row.count, row.could, row.reason)
                for row, found in zip(saved.decisions, value["decisions"], strict=True))
            plan = cls(saved.purpose, decisions)
        except UserError as error:
            raise UserError("this is not an absorb plan; it needs a purpose and decisions, each with tag and action "
                            f"({error})") from error
        return plan.change({decision.tag: decision.action for decision in decisions})

    def save(self, path: str | Path) -> None:
        """Write it as JSON for programs or, if the name ends in .txt, as `text` for people."""
        if Path(path).suffix == ".txt":
            atomic_write(path, self.text().encode())
        else:
            write_json(path, self.to_dict())


def load_plan(path: str | Path, plan: AbsorbPlan) -> AbsorbPlan:
    """`plan` with the actions of a saved one; other tags stay as proposed. Raises UserError if it cannot be read."""
    path = Path(path)
    if path.suffix == ".txt":
        try:
            return plan.edit(path.read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    known = {same_tag(decision.tag) for decision in plan.decisions}
    saved = AbsorbPlan.from_dict(read_json(path))
    return plan.change({decision.tag: decision.action for decision in saved.decisions
                        if same_tag(decision.tag) in known})


def propose(dataset: Dataset, purpose: str = "character", trigger: str = "", least_share: float = LEAST_SHARE,
            vocabulary: Vocabulary | None = None) -> AbsorbPlan:
    """What to keep, absorb and delete, from the captions of a dataset.

    A tag is counted among the images whose view can show it: a view from behind says nothing about the eyes.

    Args:
        least_share: share of those images that must have a tag for a character's trigger to absorb it.
        vocabulary: what views hide; None: the words of booru tags and of the sandbox.
    """
    kind = get_kind(purpose, "purpose")
    if not 0 < least_share <= 1:
        raise UserError(f"least_share is {least_share}; it must be above 0 and at most 1, such as {LEAST_SHARE}.")
    captions = [split_tags(sample.caption) for sample in dataset]
    own = {same_tag(tag) for tag in split_tags(trigger)}
    spelled: dict[str, Counter[str]] = {}
    for tags in captions:
        for tag in tags:
            if same_tag(tag) not in own:
                spelled.setdefault(same_tag(tag), Counter())[tag] += 1
    views = [_View(tags, vocabulary) for tags in captions]
    decisions = [_decide(names.most_common(1)[0][0], key, views, kind, least_share)
                 for key, names in spelled.items()]
    decisions.sort(key=lambda decision: (ACTIONS.index(decision.action) if decision.action != "keep" else 9,
                                         ORDER.index(decision.tag_class), -decision.count, decision.tag))
    return AbsorbPlan(purpose, tuple(decisions))


class _View:
    """One caption: its tags, and what its view can show."""

    def __init__(self, tags: Sequence[str], vocabulary: Vocabulary | None) -> None:
        self.tags, self.has = tags, {same_tag(tag) for tag in tags}
        self._vocabularies = [vocabulary] if vocabulary else list(VOCABULARIES.values())

    def shows(self, tag: str) -> bool:
        return tag in self.has or all(words.shows(tag, self.tags) for words in self._vocabularies)


def _decide(tag: str, key: str, views: Sequence[_View], kind: Kind, least_share: float) -> TagDecision:
    count, could = sum(key in view.has for view in views), sum(view.shows(key) for view in views)
    name, share = tag_class(tag), count / max(1, could)
    if is_sentence(tag):
        action, reason = "keep", SENTENCE
    elif name in kind.deleted:
        action, reason = "delete", "says nothing about what is shown"
    elif name not in kind.absorbed:
        action, reason = "keep", _say_why_kept(tag, name, share >= least_share)
    elif not kind.by_share:
        action, reason = "absorb", "what the trigger should mean"
    elif share >= least_share:
        action, reason = "absorb", f"in {share:.0%} of the images that can show it"
    else:
        action, reason = "keep", f"in only {share:.0%}, so it varies"
    return TagDecision(tag, action, name, count, could, reason)


def _say_why_kept(tag: str, name: str, often: bool) -> str:
    if name == "other" and often and known_class(tag) is None:
        return UNKNOWN
    return "to be used in prompts" if name != "class" else "says what it is"


def apply_plan(dataset: Dataset, plan: AbsorbPlan) -> tuple[Dataset, CaptionDiff]:
    """The dataset without the tags that are absorbed or deleted, and what changed."""
    gone = (*plan.absorbed, *plan.of("delete"))
    after = dataset.with_captions(lambda caption: join_tags(absorb(split_tags(caption), gone)))
    empty = sum(not sample.caption for sample in after)
    notes = [f"{empty} captions are now empty; add the trigger, or keep a tag."] if empty else []
    return after, CaptionDiff.between(dataset, after, notes=notes)
