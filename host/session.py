"""What this process remembers while the host runs. All of it is here, so that a test can begin with a fresh session."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .editors import Editors
from .losses import CandidateLosses, CellLosses, FileLosses
from .run_logs import RunLogs
from .trainings import TrainingTable

REMEMBERED = 2000
"""Nodes whose last run is remembered, and browser tabs whose panels are."""


def _remember(entries: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Set an entry, and drop the oldest of too many."""
    entries[key] = value
    while len(entries) > REMEMBERED:
        entries.popitem(last=False)


class LastRuns:
    """What nodes last showed, for a browser tab that was loaded again meanwhile. The thread of the workflow writes, the
    thread that answers requests reads."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()

    def note(self, tab: str, workflow: str, node: str, kind: str, values: Mapping[str, Any], **shown: Any) -> None:
        """Add to what a node showed. What it showed with other values is forgotten.

        Args:
            tab: the one that queued, because all who open a template have workflows of the same id; "" if not known.
            workflow: the id of the workflow that was queued, because nodes of other workflows have the same numbers.
            kind: the class of the node.
            values: its inputs that are not linked.
        """
        before = self._nodes.pop((tab, workflow, node), {})
        same = before.get("kind") == kind and before.get("values") == values
        told = {"node": node, "kind": kind, "values": dict(values)}
        _remember(self._nodes, (tab, workflow, node), {**(before if same else {}), **told, **shown})

    def of(self, tab: str, workflow: str) -> list[dict[str, Any]]:
        return [shown for (by, of, _), shown in list(self._nodes.items()) if by in ("", tab) and of == workflow]


class PlannedCandidates:
    """The candidates that are still to be drawn in this Run, by the folder of their round. Several nodes may draw for
    one round, each with its own generator."""

    def __init__(self) -> None:
        self._run: Any = None
        self._open: dict[Path, set[str]] = {}

    def add(self, run: Any, folder: Path, names: Iterable[str]) -> None:
        """Plan candidates. Those of an earlier Run are forgotten, because it may have been cancelled.

        Args:
            run: an id of the host's Run.
        """
        if run != self._run:
            self._run, self._open = run, {}
        self._open.setdefault(folder, set()).update(names)

    def is_open(self, run: Any, folder: Path, name: str) -> bool:
        """Whether a node of this Run draws that candidate. Nothing is known where the host does not say which Run it
        is."""
        return run is not None and run == self._run and name in self._open.get(folder, ())

    def count_open(self, folder: Path, drawn: str) -> int | None:
        """How many are left now that one is drawn; None if nothing was planned for that folder. Another server may draw
        into the same folder."""
        if folder not in self._open:
            return None
        files = set(os.listdir(folder)) if folder.is_dir() else set()
        there = {name for name in self._open[folder] if {f"{name}.png", f"{name}.json"} <= files}
        self._open[folder] -= {drawn, *there}
        return len(self._open[folder])


class Screens:
    """The nodes in which the host shows a text, by whom it is shown to: a tab, or a workflow in whichever tab. What was
    sent stays on the screen until another text is sent, whatever values the node gets."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, owner: str, node: str, text: str) -> None:
        self._nodes.pop((owner, node), None)
        if text:
            _remember(self._nodes, (owner, node), None)

    def show(self, owner: str, node: str) -> bool:
        return (owner, node) in self._nodes


class Tabs:
    """The browser tabs in which the pack's panels are loaded, by the host's id of each."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def add(self, tab: str) -> None:
        _remember(self._known, tab, None)

    def __contains__(self, tab: object) -> bool:
        return tab in self._known


@dataclass
class Session:
    """Attributes:
        trainings: the trainings in progress, and how the latest ones ended.
        editors: datasets whose captions can be edited.
        cells, candidates, stack_files: files that nodes wrote, and must write again if they are gone.
        planned: candidates that are still to be drawn in this Run.
        projects: names of the projects that were written, for the same reason.
        run_logs: the losses of runs, as far as they were read.
        last_runs: what nodes last showed.
        screens: nodes in which the host shows a text.
        tabs: browser tabs that have the pack's panels.
        told_at: when each kind of event was last sent to all open tabs, in seconds of `time.monotonic`.
    """

    trainings: TrainingTable = field(default_factory=TrainingTable)
    editors: Editors = field(default_factory=Editors)
    cells: CellLosses = field(default_factory=CellLosses)
    candidates: CandidateLosses = field(default_factory=CandidateLosses)
    planned: PlannedCandidates = field(default_factory=PlannedCandidates)
    stack_files: FileLosses = field(default_factory=FileLosses)
    projects: set[str] = field(default_factory=set)
    run_logs: RunLogs = field(default_factory=RunLogs)
    last_runs: LastRuns = field(default_factory=LastRuns)
    screens: Screens = field(default_factory=Screens)
    tabs: Tabs = field(default_factory=Tabs)
    told_at: dict[tuple[str, str | int], float] = field(default_factory=dict)


_session = Session()


def current_session() -> Session:
    return _session


def begin_session() -> Session:
    """Begin with a fresh session, as after a restart of the host."""
    global _session
    _session = Session()
    return _session
