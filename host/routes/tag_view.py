"""What the tag editor shows of a dataset, and what it changes. No host is needed here; the shapes are in tags.py.

A node whose dataset can be edited puts it here when it runs, so the editor shows the dataset of the node's last run.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from ...trainer.captions.tags import split_tags
from ...trainer.common.errors import UserError
from ...trainer.datasets.dataset import Dataset, Sample
from ...trainer.tagging.hand_edits import HandEdits, load_edits

REMEMBERED = 50
"""Datasets that can be edited while the server runs; for older ones the node must be run again."""
THUMB_SIDE, THUMB_QUALITY, THUMBS = 256, 85, 1024


class Conflict(Exception):
    """Somebody else has saved since the editor was loaded."""


def edits_name(name: str, node_id: str | None) -> str:
    """The name of a node's edits: its widget's text, or else a name made from the node's id."""
    return name.strip() or f"node-{re.sub(r'[^0-9A-Za-z]+', '-', node_id or 'none')}"


@dataclass(frozen=True)
class Edited:
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
    def of(cls, dataset: Dataset, path: Path) -> Edited:
        # Two workflows may have a node of the same number, and their datasets must not be confused.
        folder = os.path.commonpath([sample.path.parent.absolute() for sample in dataset]) if len(dataset) else ""
        return cls(f"{path.stem}~{hashlib.sha256(folder.encode()).hexdigest()[:8]}", Path(folder).name, dataset, path)

    @cached_property
    def pictures(self) -> dict[str, Sample]:
        """Each image once, by its content. Raises UserError for one that is gone."""
        return {sample.content_hash: sample for sample in reversed(self.dataset.samples)}

    def view(self) -> dict[str, Any]:
        """The answer of the dataset route."""
        saved = load_edits(self.path)
        edited, _ = saved.apply_to(self.dataset)
        captions = {sample.content_hash: sample.caption for sample in edited}
        rows = [self._row(picture, self.pictures[picture], caption) for picture, caption in captions.items()]
        return {"id": self.id, "name": self.name, "editable": True, "pictures": rows, "revision": saved.revision}

    def _row(self, picture: str, sample: Sample, caption: str) -> dict[str, Any]:
        width, height = sample.size
        return {"id": picture, "name": sample.path.name, "caption": caption, "tags": split_tags(caption),
                "thumb": f"/lora_bootstrap/thumb?{urlencode({'id': self.id, 'picture': picture})}", "width": width,
                "height": height}


class Editors:
    """The datasets that can be edited. Nodes write, the routes read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._edited: dict[str, Edited] = {}

    def show(self, dataset: Dataset, path: Path) -> Edited:
        """Put a dataset into the editor."""
        edited = Edited.of(dataset, path)
        with self._lock:
            self._edited.pop(edited.id, None)
            self._edited = dict([*self._edited.items(), (edited.id, edited)][-REMEMBERED:])
        return edited

    def find(self, id: str) -> Edited:
        """The dataset of that id. Raises UserError if there is none."""
        with self._lock:
            edited = self._edited.get(id)
        if edited is None:
            raise UserError(f"there is no dataset {id!r} to edit; run the workflow, so that its node has one.")
        return edited

    def change(self, id: str, revision: int, captions: Mapping[str, str]) -> HandEdits:
        """Save captions by image, and return everything that is saved now.

        Raises UserError for an unknown dataset or image, Conflict if `revision` is not the latest.
        """
        edited = self.find(id)
        if unknown := next((picture for picture in captions if picture not in edited.pictures), None):
            raise UserError(f"dataset {edited.name!r} has no image {unknown!r}; load it again.")
        before = {picture: edited.pictures[picture].caption for picture in captions}
        with self._lock:
            saved = load_edits(edited.path)
            if saved.revision != revision:
                raise Conflict
            changed = saved.changed({picture: _one_line(text) for picture, text in captions.items()}, before)
            changed.save(edited.path)
        return changed

    def thumb(self, id: str, picture: str) -> bytes:
        """The image as a small JPEG. Raises UserError if it does not exist or cannot be read."""
        sample = self.find(id).pictures.get(picture)
        if sample is None:
            raise UserError(f"there is no image {picture!r} in dataset {id!r}; load it again.")
        return _thumb(sample, picture)


@lru_cache(maxsize=THUMBS)
def _thumb(sample: Sample, picture: str) -> bytes:
    """Cached by content, so that a file that has changed is not shown as it was."""
    image = sample.load()
    image.thumbnail((THUMB_SIDE, THUMB_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMB_QUALITY)
    return buffer.getvalue()


def _one_line(caption: str) -> str:
    return " ".join(caption.split())


EDITORS = Editors()
