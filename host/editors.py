"""The datasets whose captions can be edited by hand. A node whose dataset can be edited puts it here when it runs, so
the editor shows the dataset of the node's last run. No host is needed here.
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
"""Datasets that can be edited while the server runs; for older ones the node must be run again."""


def edits_name(name: str, node_id: str | None) -> str:
    """The name of a node's edits: its widget's text, or else a name made from the node's id."""
    return name.strip() or f"node-{re.sub(r'[^0-9A-Za-z]+', '-', node_id or 'none')}"


@dataclass(frozen=True)
class EditableDataset:
    """One dataset in the editor.

    Attributes:
        id: the id that the routes use.
        name: the name of the images' folder, for people.
        dataset: with its captions as the node's rules make them.
        path: where the changes by hand are saved.
    """

    id: str
    name: str
    dataset: Dataset
    path: Path

    @classmethod
    def of(cls, dataset: Dataset, path: Path) -> EditableDataset:
        # Two workflows may have a node of the same number, and their datasets must not be confused.
        folder = os.path.commonpath([sample.path.parent.absolute() for sample in dataset]) if len(dataset) else ""
        return cls(f"{path.stem}~{hashlib.sha256(folder.encode()).hexdigest()[:8]}", Path(folder).name, dataset, path)

    @cached_property
    def pictures(self) -> dict[str, Sample]:
        """Each image once, by its content. Raises UserError for one that is gone."""
        return {sample.content_hash: sample for sample in reversed(self.dataset.samples)}


class Editors:
    """The datasets that can be edited. Nodes add them, the routes read them."""

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
        """The dataset of that id. Raises UserError if there is none."""
        with self._lock:
            edited = self._edited.get(id)
        if edited is None:
            raise UserError(f"there is no dataset {id!r} to edit; run the workflow, so that its node has one.")
        return edited

    def change(self, id: str, revision: int, captions: Mapping[str, str]) -> HandEdits:
        """Save captions by image, and return everything that is saved now.

        Raises UserError for an unknown dataset or image, StaleRevision if `revision` is not the latest.
        """
        edited = self.find(id)
        if unknown := next((picture for picture in captions if picture not in edited.pictures), None):
            raise UserError(f"dataset {edited.name!r} has no image {unknown!r}; reload the editor.")
        before = {picture: edited.pictures[picture].caption for picture in captions}
        lines = {picture: _one_line(text) for picture, text in captions.items()}
        return save_change(edited.path, HandEdits, lambda saved: saved.changed(lines, before), revision)


def _one_line(caption: str) -> str:
    return " ".join(caption.split())
