"""What a dataset is audited for, checked when it is built."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..captions.coverage import PURPOSES
from ..common.errors import UserError, unknown_name
from ..models.families import get_family


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What a dataset is audited for.

    Attributes:
        family: the model family to be trained, a key of `FAMILIES`.
        resolution: side in pixels of the square to train at; None: the family's own.
        purpose: a key of `coverage.PURPOSES`.
        trigger: the word that every caption should contain, if any; of regularisation images, none may.
        workers: images to measure at once; 0: one per core, at most 8.
        copies_only: search for copies and for files that cannot be read, and for nothing else, which is faster.

    Raises UserError for an unknown name or a number out of range.
    """

    family: str = "sdxl"
    resolution: int | None = None
    purpose: str = "character"
    trigger: str = ""
    workers: int = 0
    copies_only: bool = False

    def __post_init__(self) -> None:
        family = get_family(self.family)
        if self.purpose not in PURPOSES:
            raise unknown_name("purpose", self.purpose, PURPOSES)
        if self.resolution is not None and self.resolution < 2 * family.bucket_step:
            raise UserError(f"resolution is {self.resolution}; it must be at least {2 * family.bucket_step} pixels.")
        if not 0 <= self.workers <= 64:
            raise UserError(f"workers is {self.workers}; it must be from 0 (one per core) to 64.")

    @property
    def side(self) -> int:
        """The resolution in pixels."""
        return self.resolution or get_family(self.family).resolution

    @property
    def threads(self) -> int:
        return self.workers or min(8, os.cpu_count() or 1)
