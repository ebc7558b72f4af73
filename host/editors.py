"""The datasets whose captions can be edited by hand. A node that can be edited puts its dataset here when it is run, so
the editor sees what the node was last run with. No host is needed here.
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

REMEMBERED = 50
"""Datasets that can be edited while the server runs; of older ones the node must be run again."""


def edits_name(name: str, node_id: str | None) -> str:
    """What a node's edits are called: as its widget says, else by the node."""
    return name.strip() or f"node-{re.sub(r'[^0-9A-Za-z]+', '-', node_id or 'none')}"


@dataclass(frozen=True)
class EditableDataset:
    """One dataset in the editor.

    Attributes:
        id: what the routes call it.
        name: of the pictures' folder, for people.
        dataset: with its captions as the node's rules make them.
        path: where what is changed by hand is kept.
    """

    id: str
    name: str
    dataset: Dataset
    path: Path

    @classmethod
    def of(cls, dataset: Dataset, path: Path) -> EditableDataset:
        # Two workflows may have a node of the same number; what they show must not be mistaken for one another.
        folder = os.path.commonpath([sample.path.parent.absolute() for sample in dataset]) if len(dataset) else ""
        return cls(f"{path.stem}~{hashlib.sha256(folder.encode()).hexdigest()[:8]}", Path(folder).name, dataset, path)

    @cached_property
    def pictures(self) -> dict[str, Sample]:
        """Each picture once, by its content. Raises UserError for one that is gone."""
        return {sample.content_hash: sample for sample in reversed(self.dataset.samples)}


class Editors:
    """The datasets that can be edited. Nodes write, the routes read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edited: dict[str, EditableDataset] = {}

    def show(self, dataset: Dataset, path: Path) -> EditableDataset:
        """Put a dataset into the editor."""
        edited = EditableDataset.of(dataset, path)
        with self._lock:
            self._edited.pop(edited.id, None)
            self._edited = dict([*self._edited.items(), (edited.id, edited)][-REMEMBERED:])
        return edited

    def find(self, id: str) -> EditableDataset:
        """Raises UserError if it is not there."""
        with self._lock:
            edited = self._edited.get(id)
        if edited is None:
            raise UserError(f"there is no dataset {id!r} to edit; run the graph, so that its node has one.")
        return edited

    def change(self, id: str, revision: int, captions: Mapping[str, str]) -> HandEdits:
        """Save captions by picture; returns what is saved now.

        Raises UserError for a dataset or picture there is none of, StaleRevision if `revision` is not the latest.
        """
        edited = self.find(id)
        if unknown := next((picture for picture in captions if picture not in edited.pictures), None):
            raise UserError(f"dataset {edited.name!r} has no picture {unknown!r}; load it again.")
        before = {picture: edited.pictures[picture].caption for picture in captions}
        lines = {picture: _one_line(text) for picture, text in captions.items()}
        return save_change(edited.path, HandEdits, lambda saved: saved.changed(lines, before), revision)


def _one_line(caption: str) -> str:
    return " ".join(caption.split())
