"""What this process remembers while the host runs. All of it is here, so that a test can begin with a fresh session."""

from __future__ import annotations

from dataclasses import dataclass, field

from .editors import Editors
from .losses import CandidateLosses, CellLosses, FileLosses
from .run_logs import RunLogs
from .trainings import TrainingTable


@dataclass
class Session:
    """Attributes:
        trainings: the trainings in progress, and how the latest ones ended.
        editors: datasets whose captions can be edited.
        cells, candidates, stack_files: files that nodes wrote, and must write again if they are gone.
        projects: names of the projects that were written, for the same reason.
        run_logs: the losses of runs, as far as they were read.
        told_at: when each kind of event was last sent to all open tabs, in seconds of `time.monotonic`.
    """

    trainings: TrainingTable = field(default_factory=TrainingTable)
    editors: Editors = field(default_factory=Editors)
    cells: CellLosses = field(default_factory=CellLosses)
    candidates: CandidateLosses = field(default_factory=CandidateLosses)
    stack_files: FileLosses = field(default_factory=FileLosses)
    projects: set[str] = field(default_factory=set)
    run_logs: RunLogs = field(default_factory=RunLogs)
    told_at: dict[tuple[str, str | int], float] = field(default_factory=dict)


_session = Session()


def current_session() -> Session:
    return _session


def begin_session() -> Session:
    """Begin with a fresh session, as after a restart of the host."""
    global _session
    _session = Session()
    return _session
