"""Captions changed by hand: kept in a file of their own, by the pictures' content, and laid over what rules make of the
captions. The caption files stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar

from ..captions.tags import distinct_tags, join_tags, same_tag, split_tags
from ..common.revisions import Revisioned
from ..datasets.dataset import Dataset


@dataclass(frozen=True)
class HandEdit:
    """One picture's caption as it was when somebody changed it, and what it was changed to."""

    before: str
    after: str

    def apply_to(self, caption: str) -> str:
        """The caption with the change. Where it has become another since (the rules have changed), the tags that were
        taken out and put in by hand are, and the rest is as the rules say."""
        if caption == self.before:
            return self.after
        old, new = split_tags(self.before), distinct_tags(split_tags(self.after))
        gone = _keys(old) - _keys(new)
        tags = [tag for tag in split_tags(caption) if same_tag(tag) not in gone]
        for place, tag in enumerate(new):
            if same_tag(tag) not in _keys(old) | _keys(tags):
                tags.insert(_place(new[:place], new[place + 1:], tags), tag)
        return join_tags(tags)


def _keys(tags: list[str]) -> set[str]:
    return {same_tag(tag) for tag in tags}


def _place(before: list[str], after: list[str], tags: list[str]) -> int:
    """Where among the tags: behind the nearest of those it stood behind, or before one it stood before, or last."""
    places = {same_tag(tag): place for place, tag in enumerate(tags)}
    behind = (places[same_tag(tag)] + 1 for tag in reversed(before) if same_tag(tag) in places)
    ahead = (places[same_tag(tag)] for tag in after if same_tag(tag) in places)
    return next(chain(behind, ahead), len(tags))


@dataclass(frozen=True)
class HandEdits(Revisioned):
    """All changes of one editor.

    Attributes:
        edits: by `Sample.content_hash`.
    """

    UNREADABLE: ClassVar[str] = ("{path} holds no edited captions as they were saved there. Delete it to do without "
                                 "them.")

    edits: Mapping[str, HandEdit] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for the same changes, whatever the revision; "" for none."""
        rows = sorted((picture, edit.before, edit.after) for picture, edit in self.edits.items())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest() if rows else ""

    def apply_to(self, dataset: Dataset) -> tuple[Dataset, int]:
        """(the dataset with the changes, how many captions differ by them). Raises UserError for a picture that is
        gone."""
        if not self.edits:
            return dataset, 0
        samples = []
        for sample in dataset:
            edit = self.edits.get(sample.content_hash)
            samples.append(replace(sample, caption=edit.apply_to(sample.caption)) if edit else sample)
        changed = sum(new.caption != old.caption for new, old in zip(samples, dataset, strict=True))
        return Dataset(tuple(samples), dataset.notes), changed

    def changed(self, captions: Mapping[str, str], before: Mapping[str, str]) -> HandEdits:
        """The next revision, with these captions.

        Args:
            captions: picture → its new caption. One that is as the rules make it is no change any more.
            before: picture → what the rules make of its caption.
        """
        edits = dict(self.edits)
        for picture, caption in captions.items():
            edits.pop(picture, None)
            if caption != before[picture]:
                edits[picture] = HandEdit(before[picture], caption)
        return self.next_revision(edits=edits)

    def to_dict(self) -> dict[str, Any]:
        return {"revision": self.revision, "edits": {
            picture: {"before": edit.before, "after": edit.after} for picture, edit in self.edits.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HandEdits:
        return cls(int(values["revision"]), {
            str(picture): HandEdit(str(edit["before"]), str(edit["after"]))
            for picture, edit in values["edits"].items()})
