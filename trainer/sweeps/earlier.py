"""Marks on images that an earlier version drew: they go over to the cells that turn out to be the same images."""

from __future__ import annotations

from PIL import ImageChops

from ..common.errors import UserError
from ..common.revisions import save_change
from ..pictures.images import open_image
from .cells import EARLIER, Cell, Sweep
from .marks import Marks

MARKS = "marks.json"


def take_over_marks(sweep: Sweep) -> None:
    """Mark the cells whose images an earlier version drew under another key, and a person marked there."""
    path = sweep.folder / MARKS
    if not path.is_file() or not (sweep.folder / EARLIER).is_file():
        return
    try:
        earlier, marks = Sweep.load(sweep.folder, EARLIER), Marks.load(path)
    except UserError:  # both stay as they are for whoever mends them
        return
    marked = {marks.best, *marks.hidden, *marks.ratings}
    now = {_place(sweep, cell): cell for cell in sweep.everything}
    pairs = ((cell, now.get(_place(earlier, cell))) for cell in earlier.everything if cell.key in marked)
    new_keys = {old.key: new.key for old, new in pairs
                if new and new.key not in marked and _same_image(sweep, old, new)}
    if new_keys:
        save_change(path, Marks, lambda saved: saved.changed(
            new_keys.get(saved.best or "", saved.best), (new_keys.get(key, key) for key in saved.hidden),
            {new_keys.get(key, key): own for key, own in saved.ratings.items()}))


def _place(sweep: Sweep, cell: Cell) -> tuple[str, ...]:
    """Where a cell is, by the labels of its axes."""
    return tuple(f"{axis.name} {'' if at is None else axis.choices[at].label}"
                 for axis, at in zip(sweep.axes, cell.at, strict=True))


def _same_image(sweep: Sweep, old: Cell, new: Cell) -> bool:
    try:
        before, now = (open_image(sweep.picture(cell)) for cell in (old, new))
    except UserError:
        return False
    return before.size == now.size and ImageChops.difference(before, now).getbbox() is None
