"""Captions changed by hand: saved in a file of their own by the images' content, and applied on top of the rules that
edit the captions. The caption files are left unchanged.
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
    """One image's caption before and after somebody changed it."""

    before: str
    after: str

    def apply_to(self, caption: str) -> str:
        """The caption with the change. If the caption is no longer the same (the rules have changed), the tags removed
        and added by hand are removed and added, and the rest is as the rules say."""
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
    """Where to put a tag: behind the nearest tag it stood behind, or before one it stood before, or last."""
    places = {same_tag(tag): place for place, tag in enumerate(tags)}
    behind = (places[same_tag(tag)] + 1 for tag in reversed(before) if same_tag(tag) in places)
    ahead = (places[same_tag(tag)] for tag in after if same_tag(tag) in places)
    return next(chain(behind, ahead), len(tags))


@dataclass(frozen=True)
class HandEdits(Revisioned):
    """All changes of one editor.

    Attributes:
        edits: by `Sample.content_hash`.
        taken: for changes that an older version kept under a node's number: image → the name that took them over.
    """

    UNREADABLE: ClassVar[str] = ("{path} is damaged: it does not hold edited captions. Delete it to continue without "
                                 "them.")

    edits: Mapping[str, HandEdit] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A hash that is the same for the same changes, whatever the revision; "" for none."""
        rows = sorted((picture, edit.before, edit.after) for picture, edit in self.edits.items())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest() if rows else ""

    def apply_to(self, dataset: Dataset) -> tuple[Dataset, int]:
        """(the dataset with the changes, the number of captions they change). Raises UserError for an image that is
        gone."""
        if not self.edits:
            return dataset, 0
        samples = []
        for sample in dataset:
            edit = self.edits.get(sample.content_hash)
            samples.append(replace(sample, caption=edit.apply_to(sample.caption)) if edit else sample)
        changed = sum(new.caption != old.caption for new, old in zip(samples, dataset, strict=True))
        return Dataset(tuple(samples), dataset.notes), changed

    def of(self, dataset: Dataset, *, unchanged: bool = False) -> HandEdits:
        """The changes of images in the dataset, without those that were taken over.

        Args:
            unchanged: only changes of captions that are still as they were then.
        """
        captions = {sample.content_hash: sample.caption for sample in reversed(dataset.samples)} if self.edits else {}
        return replace(self, taken={}, edits={
            picture: edit for picture, edit in self.edits.items() if picture in captions and picture not in self.taken
            and not (unchanged and captions[picture] != edit.before)})

    def changed(self, captions: Mapping[str, str], before: Mapping[str, str]) -> HandEdits:
        """The next revision, with these captions.

        Args:
            captions: image → its new caption. A caption that is as the rules make it is no longer a change.
            before: image → its caption as the rules make it.
        """
        edits = dict(self.edits)
        for picture, caption in captions.items():
            edits.pop(picture, None)
            if caption != before[picture]:
                edits[picture] = HandEdit(before[picture], caption)
        return self.next_revision(edits=edits)

    def to_dict(self) -> dict[str, Any]:
        edits = {picture: {"before": edit.before, "after": edit.after} for picture, edit in self.edits.items()}
        return {"revision": self.revision, "edits": edits} | ({"taken": dict(self.taken)} if self.taken else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HandEdits:
        return super().from_dict({"taken": {}, **values})
