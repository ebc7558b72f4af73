"""The images of a run whose loss is unlike the others', as the run route answers them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from ....trainer.training.watched.image_losses import FILE
from ....trainer.training.watched.outliers import word_outliers

MOST = 12
"""Lines in an answer."""
_GROWTH = 1.05
"""Factor by which the file of a run in training must grow before it is read again: a few steps change nothing."""
_HELD = 32
_read: OrderedDict[Path, tuple[int, list[str]]] = OrderedDict()


def list_outliers(run: Path, in_training: bool) -> list[str]:
    """A line for each of the worst outliers of the run in a folder; [] for runs of earlier versions. Those of a run in
    training may be a few steps old."""
    try:
        size = (run / FILE).stat().st_size
    except OSError:
        return []
    known = _read.get(run)
    if known is None or not known[0] <= size <= known[0] * (_GROWTH if in_training else 1):
        known = _read[run] = size, word_outliers(run)[:MOST]
    _read.move_to_end(run)
    while len(_read) > _HELD:
        _read.popitem(last=False)
    return list(known[1])
