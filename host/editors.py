"""The datasets whose captions can be edited by hand. A node whose dataset can be edited puts it here when it runs, so
the editor shows the dataset of the node's last run.

The changes are saved under a name that is saved with the node, in its widget `edits`. Where a user gives none, the
front end gives a random one (web/tags/names.js), because a node's number is another in another workflow, in a subgraph
and after a paste. A run without a front end and without a name has no changes of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..trainer.common.errors import UserError
from ..trainer.common.revisions import save_change
from ..trainer.datasets.dataset import Dataset, Sample
from ..trainer.tagging.hand_edits import HandEdits
from . import paths

REMEMBERED = 50
"""Datasets that can be edited while the server runs; for older ones the node must be run again."""


AUTOMATIC = re.compile(r"tags-[0-9a-f]{10}(?:-from-(?P<older>node-[0-9A-Za-z-]+))?")
"""The names that the front end gives. `older` is the node's number under which an older version kept its changes."""


@dataclass(frozen=True)
class UsedEdits:
    """The changes by hand that a run uses, where they are saved (None: nowhere), and what to say about them."""

    edits: HandEdits
    path: Path | None
    note: str = ""


def edits_fingerprint(name: str, node_id: str | None) -> str:
    """A hash that is the same for the same changes under a name, whether they were taken over yet or not."""
    path = edits_path(name)
    saved = path if path and path.is_file() else _older_path(name, node_id)
    return HandEdits.load(saved).fingerprint if saved else ""


def edits_path(name: str) -> Path | None:
    """The file of the changes of that name; None for no name. Raises UserError for one that is not valid."""
    return paths.edits_file(name) if name.strip() else None


def use_edits(name: str, node_id: str | None, ruled: Dataset) -> UsedEdits:
    """The changes by hand for a dataset whose captions are as the node's rules make them.

    Changes that an older version kept under the node's number are taken over once, by the node that was shown them.
    Without a name they are used where images and captions are still the same, and stay where they are.
    """
    path, older = edits_path(name), _older_path(name, node_id)
    if older and path is None:
        return _use_older(older, ruled)
    if older and path and not path.is_file():
        return _take_over(older, path, ruled)
    return UsedEdits(HandEdits.load(path) if path else HandEdits(), path)


def _use_older(older: Path, ruled: Dataset) -> UsedEdits:
    edits, name = HandEdits.load(older).of(ruled, unchanged=True), older.stem
    note = (f"Used {len(edits.edits)} changes by hand that an older version kept as {name!r}. Enter {name!r} in edits "
            "to keep them.")
    return UsedEdits(edits, None, note if edits.edits else "")


def _take_over(older: Path, path: Path, ruled: Dataset) -> UsedEdits:
    saved, name = HandEdits.load(older), path.stem
    edits = saved.of(ruled)
    if not edits.edits:
        return UsedEdits(HandEdits(), path, _tell_taken(saved, older.stem, ruled))
    edits.save(path)
    save_change(older, HandEdits, lambda now: now.next_revision(
        taken={**now.taken, **dict.fromkeys(edits.edits, name)}))
    return UsedEdits(edits, path, f"Took over {len(edits.edits)} changes by hand that an older version kept as "
                                  f"{older.stem!r}; they are now saved as {name!r}.")


def _tell_taken(saved: HandEdits, number: str, ruled: Dataset) -> str:
    takers = sorted({saved.taken[picture] for picture in {sample.content_hash for sample in ruled} & {*saved.taken}})
    return takers and (f"Another node took over the changes by hand that an older version kept as {number!r}. Enter "
                       f"{takers[0]!r} in edits to share them.") or ""


def _older_path(name: str, node_id: str | None) -> Path | None:
    """Where an older version kept the changes of the node of that name, or without a name of that number."""
    match = AUTOMATIC.fullmatch(name.strip())
    number = re.sub(r"[^0-9A-Za-z]+", "-", node_id or "none")
    older = match["older"] if match else None if name.strip() else f"node-{number}"
    path = paths.edits_file(older) if older else None
    return path if path and path.is_file() else None


@dataclass(frozen=True)
class EditableDataset:
    """One dataset in the editor.

    Attributes:
        id: the id that the routes use.
        name: the name of the images' folder, for people.
        dataset: with its captions as the node's rules make them.
        path: where the changes by hand are saved; None if there is no name for them, so that it is only shown.
    """

    id: str
    name: str
    dataset: Dataset
    path: Path | None

    @classmethod
    def of(cls, dataset: Dataset, path: Path | None) -> EditableDataset:
        folder = os.path.commonpath([sample.path.parent.absolute() for sample in dataset]) if len(dataset) else ""
        # One name may be used for the images of two folders. Without a name, only the captions tell two nodes apart.
        own = folder if path else "\n".join((folder, *(sample.caption for sample in dataset)))
        stem = path.stem if path else ""
        return cls(f"{stem}~{hashlib.sha256(own.encode()).hexdigest()[:8]}", Path(folder).name, dataset, path)

    @cached_property
    def pictures(self) -> dict[str, Sample]:
        """Each image once, by its content. Raises UserError for one that is gone."""
        return {sample.content_hash: sample for sample in reversed(self.dataset.samples)}


class Editors:
    """The datasets that can be edited. Nodes add them, the routes read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edited: dict[str, EditableDataset] = {}

    def show(self, dataset: Dataset, path: Path | None) -> EditableDataset:
        """Put a dataset into the editor."""
        edited = EditableDataset.of(dataset, path)
        with self._lock:
            self._edited.pop(edited.id, None)
            self._edited = dict([*self._edited.items(), (edited.id, edited)][-REMEMBERED:])
        return edited

    def find(self, id: str) -> EditableDataset:
        """The dataset of that id. Raises UserError if there is none."""
        with self._lock:
            edited = self._edited.get(id)
        if edited is None:
            raise UserError(f"there is no dataset {id!r} to edit; run the workflow, so that its node has one.")
        return edited

    def copy(self, source: str, target: str) -> int:
        """Copy the changes of one name to a new one, for a copy of the node; returns how many there are.

        Raises UserError for a target that is not an automatic name, and for a file that cannot be read or written.
        """
        if not AUTOMATIC.fullmatch(target):
            raise UserError(f"{target!r} is not a name for a copy of a node; it must be like tags-0123456789.")
        old, new = paths.edits_file(source), paths.edits_file(target)
        if old.is_file() and not new.is_file():
            HandEdits.load(old).save(new)
        with self._lock:
            shown = list(self._edited.values())
        for edited in [edited for edited in shown if edited.path == old]:
            self.show(edited.dataset, new)
        return len(HandEdits.load(new).edits)

    def change(self, id: str, revision: int, captions: Mapping[str, str]) -> HandEdits:
        """Save captions by image, and return everything that is saved now.

        Raises UserError for an unknown dataset or image, and for a dataset without a name for its changes;
        StaleRevision if `revision` is not the latest.
        """
        edited = self.find(id)
        if edited.path is None:
            raise UserError(f"dataset {edited.name!r} has no name for changes by hand; enter one in edits of Edit "
                            "Tags, and run again.")
        if unknown := next((picture for picture in captions if picture not in edited.pictures), None):
            raise UserError(f"dataset {edited.name!r} has no image {unknown!r}; reload the editor.")
        before = {picture: edited.pictures[picture].caption for picture in captions}
        lines = {picture: _one_line(text) for picture, text in captions.items()}
        return save_change(edited.path, HandEdits, lambda saved: saved.changed(lines, before), revision)


def _one_line(caption: str) -> str:
    return " ".join(caption.split())
