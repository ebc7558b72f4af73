"""What this process remembers while the host runs. All of it is here, so that a test can begin with a fresh one."""

from __future__ import annotations

from dataclasses import dataclass, field

from .editors import Editors
from .losses import CandidateLosses, CellLosses, FileLosses
from .trainings import TrainingTable


@dataclass
class Session:
    """Attributes:
        trainings: what is being trained, and how the last ones ended.
        editors: datasets whose captions can be edited.
        cells, candidates, stack_files: what nodes wrote, and must write again if it is gone.
        projects: names of the projects that were written, likewise.
        told_at: when every open tab was last told of something, in seconds of `time.monotonic`.
    """

    trainings: TrainingTable = field(default_factory=TrainingTable)
    editors: Editors = field(default_factory=Editors)
    cells: CellLosses = field(default_factory=CellLosses)
    candidates: CandidateLosses = field(default_factory=CandidateLosses)
    stack_files: FileLosses = field(default_factory=FileLosses)
    projects: set[str] = field(default_factory=set)
    told_at: dict[tuple[str, str | int], float] = field(default_factory=dict)


_session = Session()


def current_session() -> Session:
    return _session


def begin_session() -> Session:
    """Forget everything, as a restart of the host does."""
    global _session
    _session = Session()
    return _session
