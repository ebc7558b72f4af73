"""Figures of images, measured once: each is stored by a hash of the image's pixels, so that the next curation of a
round measures only what is new.

Figures that are marked `per_image` use the store of the `remember_figures` around them, and are measured as usual
outside. The store is one safetensors file. A damaged one is measured anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..common.errors import UserError
from ..common.files import atomic_write
from ..models.probe import mark_of_eye, pixels_hash
from .eyes import Likeness

VERSION = 1
"""Raise this number whenever a figure that is marked `per_image` is computed otherwise."""
Figure = Callable[[Tensor], Tensor]
_STORE: ContextVar[FigureStore | None] = ContextVar("figures", default=None)


class FigureStore:
    """Figure → hash of an image's pixels → the figure of that image.

    Attributes:
        measured: how many figures of images were not found.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._tables, self.measured = path, _read(path), 0
        self._used: dict[str, dict[str, None]] = {}
        self._hashed: dict[int, tuple[Tensor, list[str]]] = {}

    def rows(self, figure: str, pixels: Tensor, measure: Figure) -> Tensor:
        """The figures [B, …] of images [B, 3, H, W]; `measure` is called with those that are not stored."""
        if not len(pixels):
            return measure(pixels)
        found, table = self.look_up(figure, pixels), self._tables.setdefault(figure, {})
        missing = [row for row, name in enumerate(found) if name not in table]
        if missing:
            self.put(figure, pixels, missing, measure(pixels[missing]))
        return torch.stack([table[name] for name in found])

    def look_up(self, figure: str, pixels: Tensor) -> list[str]:
        """The hashes of the images. Their figures are kept when the store is saved."""
        known = self._hashed.get(id(pixels))
        if known is None:  # the tensor is held, so that no other one gets its id
            known = self._hashed[id(pixels)] = (pixels, [pixels_hash(row) for row in pixels])
        self._used.setdefault(figure, {}).update(dict.fromkeys(known[1]))
        return known[1]

    def knows(self, figure: str, name: str) -> bool:
        return name in self._tables.get(figure, {})

    def put(self, figure: str, pixels: Tensor, rows: Sequence[int], values: Tensor) -> None:
        """Store the figures of these rows of `pixels`."""
        names, table = self.look_up(figure, pixels), self._tables.setdefault(figure, {})
        self.measured += len(rows)
        for row, value in zip(rows, values, strict=True):
            table[names[row]] = value.detach().float().cpu().clone()

    def save(self) -> None:
        """Write what was used, if anything is new. Where that is refused, it is measured again next time."""
        if not self.measured:
            return
        lists: dict[tuple[str, ...], int] = {}
        tensors, places = {}, {}
        for figure, used in self._used.items():
            names = tuple(name for name in used if name in self._tables.get(figure, {}))
            if names:
                places[figure] = lists.setdefault(names, len(lists))
                tensors[figure] = torch.stack([self._tables[figure][name] for name in names])
        with suppress(UserError):
            atomic_write(self._path, save(tensors, {"version": str(VERSION), "places": json.dumps(places),
                                                    "images": json.dumps(list(lists))}), flush=False)


class RememberedEye:
    """An eye whose readings are stored."""

    def __init__(self, eye: Likeness, store: FigureStore) -> None:
        self.name = eye.name
        self._eye, self._store = eye, store
        self._mark = mark_of_eye(eye.name, eye.embed)

    def embed(self, pixels: Tensor) -> Tensor:
        return self._store.rows(f"embedding {self._mark}", pixels, self._eye.embed)

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> Tensor | None:
        if not len(pixels) or not tags:
            return self._eye.read_tags(pixels, tags)
        figures = [f"tag {self._mark} {tag}" for tag in tags]
        names = [self._store.look_up(figure, pixels) for figure in figures][0]
        new = [row for row, name in enumerate(names)
               if not all(self._store.knows(figure, name) for figure in figures)]
        if new:
            read = self._eye.read_tags(pixels[new], tags)
            if read is None:
                return None
            for figure, column in zip(figures, read.T, strict=True):
                self._store.put(figure, pixels, new, column)
        return torch.stack([self._store.rows(figure, pixels, _unmeasured) for figure in figures], dim=1)


def _unmeasured(pixels: Tensor) -> Tensor:
    raise AssertionError("every reading is stored by now")


@contextmanager
def remember_figures(path: Path) -> Iterator[FigureStore]:
    """Figures that are measured meanwhile are taken from the store in that file, or added to it."""
    store = FigureStore(path)
    before = _STORE.set(store)
    try:
        yield store
    finally:
        _STORE.reset(before)
    store.save()


def remembered(name: str, pixels: Tensor, figure: Figure) -> Tensor:
    """The figures [B, …] of images [B, 3, H, W], of which each is by itself: stored under that name, if they are."""
    store = _STORE.get()
    return figure(pixels) if store is None else store.rows(name, pixels, figure)


def per_image(figure: Figure) -> Figure:
    """Mark a figure [B, …] of images [B, 3, H, W] as one of each image by itself, which can be stored."""
    @wraps(figure)
    def measured(pixels: Tensor) -> Tensor:
        return remembered(figure.__name__, pixels, figure)
    return measured


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    """The stored figures; {} where there are none that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, SafetensorError):
        if path.is_file():
            with safe_open(path, "pt") as file:
                said = file.metadata() or {}
                places, images = json.loads(said["places"]), json.loads(said["images"])
                if said["version"] == str(VERSION):
                    return {figure: dict(zip(images[place], file.get_tensor(figure).clone(), strict=True))
                            for figure, place in places.items()}
    return {}
