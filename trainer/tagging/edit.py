"""Edits captions tag by tag: an edit is a value, `TagEdits`, whose fields are applied to a dataset's captions in their
order, and the result comes with a diff. Sentences are split at their commas as tags are, so do not sort them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from re import IGNORECASE, compile as compile_pattern
from typing import Any

from ..captions.aliases import MODES, OWN_RULES, TagRules
from ..captions.classes import tag_class
from ..captions.patterns import Replacement
from ..captions.sentences import TAGS, is_prose, worded
from ..captions.tags import absorb, add_trigger, distinct_tags, join_tags, same_tag, spaced, split_tags, underscored
from ..common.errors import UserError, unknown_name
from ..datasets.dataset import Dataset
from ..models.families import WORDINGS
from .diff import CaptionDiff
from .orders import NOISE, ORDERS, USUAL, places

UNDERSCORES: Mapping[str, Callable[[str], str]] = {
    "keep": lambda tag: tag, "blanks": spaced, "underscores": underscored,
}
"""How spaces within a tag are written, by name."""
TOKEN_BUDGETS = (75, 150, 225)
"""One, two and three chunks of a CLIP text encoder, without their start and end marks."""
TokenCount = Callable[[str], Any]
"""caption → its tokens, or (its tokens, those that the model reads) as `Backbone.token_count` returns them."""


@dataclass(frozen=True, kw_only=True)
class TagEdits:
    """What to do to captions. The defaults leave them unchanged.

    Attributes:
        underscores: how to write spaces within tags: keep, blanks, or underscores.
        aliases: replace other names of a tag by its usual one.
        replace: (tag, what to write instead; "" removes it), whole tags only.
        patterns: (regular expression, replacement), applied to each tag by itself, whatever its case.
        remove: tags to leave out.
        blacklist: tags to leave out, with * for anything: `*background`.
        drop_noise: also leave out `orders.NOISE`.
        implications: what to do with tags that another tag implies: off, drop them, or add those that are missing.
        add: tags to add to each caption, behind the others unless `order` says otherwise.
        add_first: put added tags before the others instead, even if the caption already has them.
        deduplicate: keep each tag only once.
        order: sort by class, see `order_by`; within a class the most certain first, or else as they were.
        order_by: name of the order, one of `orders.ORDERS`.
        trigger: word to put first.
        token_budget: drop the least certain tags until the caption has no more tokens than this; 0: no limit.
        rules: the aliases and implications.
        wording: how the caption is written: as these tags, or as a sentence made of them (`models.families.WORDINGS`).
            Captions that are sentences already stay as they are.
    """

    underscores: str = "keep"
    aliases: bool = False
    replace: tuple[tuple[str, str], ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    drop_noise: bool = False
    implications: str = "off"
    add: tuple[str, ...] = ()
    add_first: bool = False
    deduplicate: bool = True
    order: bool = False
    order_by: str = USUAL
    trigger: str = ""
    token_budget: int = 0
    rules: TagRules = field(default=OWN_RULES, repr=False)
    wording: str = TAGS

    def __post_init__(self) -> None:
        if self.underscores not in UNDERSCORES:
            raise unknown_name("way to write spaces", self.underscores, UNDERSCORES)
        if self.implications not in MODES:
            raise unknown_name("use of implications", self.implications, MODES)
        if self.order_by not in ORDERS:
            raise unknown_name("order of tags", self.order_by, ORDERS)
        if self.wording not in WORDINGS:
            raise unknown_name("wording", self.wording, WORDINGS)
        if self.token_budget < 0:
            raise UserError(f"token_budget is {self.token_budget}; it must be 0 (any length) or more, such as "
                            f"{', '.join(map(str, TOKEN_BUDGETS))}.")


@dataclass(frozen=True)
class EditedTags:
    """A caption's tags after an edit, and those cut because it was too long, the least certain first.

    Attributes:
        caption: the tags as they are written.
    """

    tags: tuple[str, ...]
    caption: str
    cut: tuple[str, ...] = ()


class Editor:
    """An edit prepared for many captions.

    Args:
        token_count: needed for a `token_budget`.

    Raises:
        UserError: a pattern that is wrong or could hang, or a budget without a `token_count`.
    """

    def __init__(self, edits: TagEdits, token_count: TokenCount | None = None) -> None:
        if edits.token_budget and token_count is None:
            raise UserError(f"a token_budget of {edits.token_budget} needs the base model's tokenizer to count with; "
                            "give the base, or leave the budget out.")
        self.edits, self._count = edits, token_count
        self._patterns = [Replacement(pattern, template) for pattern, template in edits.patterns]
        self._replace = {same_tag(old): split_tags(new) for old, new in edits.replace}
        self._remove = {same_tag(tag) for tag in edits.remove}
        # fnmatch translates its stars so that they cannot backtrack into each other.
        black = (*edits.blacklist, *NOISE * edits.drop_noise)
        self._black = [compile_pattern(translate(same_tag(tag)), IGNORECASE) for tag in black]
        self._steps = (self._write_underscores, self._apply_aliases, self._replace_tags, self._apply_patterns,
                       self._remove_tags, self._apply_implications, self._add_tags, self._keep_first)

    def edit(self, tags: Iterable[str], scores: Mapping[str, float] | None = None) -> EditedTags:
        """The edited tags.

        Args:
            scores: how certain each tag is, by `same_tag`; a tag without a score was written by hand, and is certain.
        """
        scores = scores or {}
        found = list(tags)
        for step in self._steps:
            found = step(found)
        if self.edits.order:
            place = places(self.edits.order_by, found)
            found.sort(key=lambda tag: (place(tag), -scores.get(same_tag(tag), 1.0)))
        found = add_trigger(found, self.edits.trigger)
        cut = self._cut_to_budget(found, scores) if self.edits.token_budget else []
        left = [tag for place, tag in enumerate(found) if place not in cut]
        return EditedTags(tuple(left), self._write(left), tuple(found[place] for place in cut))

    def _write(self, tags: Sequence[str]) -> str:
        return join_tags(tags) if is_prose(tags) else worded(tags, self.edits.wording, self.edits.trigger)

    def _write_underscores(self, tags: list[str]) -> list[str]:
        return [UNDERSCORES[self.edits.underscores](tag) for tag in tags]

    def _apply_aliases(self, tags: list[str]) -> list[str]:
        return [self._like(tag, self.edits.rules.canonical(tag)) for tag in tags] if self.edits.aliases else tags

    def _like(self, old: str, new: str) -> str:
        """`new` with underscores where `old` had them."""
        return underscored(new) if "_" in old and " " not in old and old != new else new

    def _replace_tags(self, tags: list[str]) -> list[str]:
        return [new for tag in tags for new in self._replace.get(same_tag(tag), (tag,))]

    def _apply_patterns(self, tags: list[str]) -> list[str]:
        for pattern in self._patterns:
            tags = [new for tag in tags for new in split_tags(pattern(tag))]
        return tags

    def _remove_tags(self, tags: list[str]) -> list[str]:
        return [tag for tag in tags if same_tag(tag) not in self._remove
                and not any(black.match(same_tag(tag)) for black in self._black)]

    def _apply_implications(self, tags: list[str]) -> list[str]:
        mode, rules = self.edits.implications, self.edits.rules
        if mode == "drop":
            said = {same_tag(whole) for tag in tags for whole in rules.implied(tag)}
            return [tag for tag in tags if same_tag(tag) not in said]
        if mode == "add":
            there = {same_tag(tag) for tag in tags}
            missing = [self._like(tag, whole) for tag in tags for whole in rules.implied(tag)
                       if same_tag(whole) not in there]
            return tags + distinct_tags(missing)
        return tags

    def _add_tags(self, tags: list[str]) -> list[str]:
        if self.edits.add_first:
            return [*self.edits.add, *absorb(tags, self.edits.add)]
        there = {same_tag(tag) for tag in tags}
        return tags + [tag for tag in self.edits.add if same_tag(tag) not in there]

    def _keep_first(self, tags: list[str]) -> list[str]:
        return distinct_tags(tags) if self.edits.deduplicate else tags

    def _cut_to_budget(self, tags: list[str], scores: Mapping[str, float]) -> list[int]:
        """Which tags to cut, but never the trigger and the class, which say whose caption it is."""
        held = {same_tag(tag) for tag in split_tags(self.edits.trigger)}
        loose = [i for i, tag in enumerate(tags) if same_tag(tag) not in held and tag_class(tag) != "class"]
        # Of two equally certain tags the later is cut first: what matters comes first.
        loose.sort(key=lambda i: (scores.get(same_tag(tags[i]), 1.0), -i))
        gone: list[int] = []
        while len(gone) < len(loose) and self._tokens([t for i, t in enumerate(tags) if i not in gone]) \
                > self.edits.token_budget:
            gone.append(loose[len(gone)])
        return gone

    def _tokens(self, tags: list[str]) -> int:
        assert self._count is not None, "a token_budget comes with a token_count"
        count = self._count(self._write(tags))
        return count[0] if isinstance(count, tuple) else count


def edit_dataset(dataset: Dataset, edits: TagEdits, scores: Sequence[Mapping[str, float] | None] | None = None,
                 token_count: TokenCount | None = None) -> tuple[Dataset, CaptionDiff]:
    """The dataset with its captions edited, and what changed.

    Args:
        scores: for each sample, in the dataset's order, the scores of its tags by `captions.tags.same_tag`, as
            `PictureTags.scores` returns them.
        token_count: as `Backbone.token_count`; needed for a token budget.

    Raises:
        UserError: see `Editor`; also for scores of another dataset.
    """
    if scores is not None and len(scores) != len(dataset):
        raise UserError(f"the scores are of {len(scores)} images, but the dataset has {len(dataset)}; tag it again.")
    editor = Editor(edits, token_count)
    edited = [editor.edit(split_tags(sample.caption), own)
              for sample, own in zip(dataset, scores or [None] * len(dataset), strict=True)]
    after = Dataset(tuple(replace(sample, caption=result.caption)
                          for sample, result in zip(dataset, edited, strict=True)), dataset.notes)
    notes = _notes(dataset, edits, edited, editor)
    return after, CaptionDiff.between(dataset, after, [result.cut for result in edited], notes)


def _notes(dataset: Dataset, edits: TagEdits, edited: Sequence[EditedTags], editor: Editor) -> list[str]:
    """Notes on what matched nothing, and on what is still too long."""
    there = {same_tag(tag) for sample in dataset for tag in split_tags(sample.caption)}
    asked = [("remove", tag) for tag in edits.remove] + [("replace", old) for old, _ in edits.replace]
    notes = [f"no caption has {tag!r}, so there was nothing to {what}." for what, tag in asked
             if same_tag(tag) not in there]
    if edits.token_budget:
        cut = sum(bool(result.cut) for result in edited)
        if cut:
            notes.append(f"{cut} captions had more than {edits.token_budget} tokens; the least certain tags were cut.")
        over = sum(editor._tokens(list(result.tags)) > edits.token_budget for result in edited)
        if over:
            notes.append(f"{over} captions have more than {edits.token_budget} tokens in the trigger and class alone.")
    return notes
