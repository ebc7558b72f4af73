"""What tests need that may be missing, and what was therefore not run: it is counted and printed at the end.

A test that needs a ComfyUI is marked `comfyui`, one that needs a browser too `browser`; what makes `make test-fast`
slow is marked `slow` where it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

import pytest

from .browser import find_browser
from .front_ends import MISSING as NO_FRONT_END, Screen, pinned
from .hosts import MISSING, find_hosts

STANDS_FOR = "stands for"
"""The property of a test that runs others, with their number."""


def _missing_host(_: pytest.Item) -> str:
    return "" if find_hosts() else MISSING


def _missing_browser(item: pytest.Item) -> str:
    if find_spec("playwright") is None:
        return "no playwright found: pip install playwright"
    if not find_browser():
        return "no Chromium found: install chromium or google-chrome"
    return _missing_host(item) or _missing_front_end(item)


def _missing_front_end(item: pytest.Item) -> str:
    """A host's own one is known to be there, also where its files are not found."""
    screen = item.callspec.params.get("screen") if hasattr(item, "callspec") else None
    return NO_FRONT_END if isinstance(screen, Screen) and screen.front_end == pinned() and not pinned().root else ""


def _missing_ray(_: pytest.Item) -> str:
    return "" if find_spec("ray") else "Ray is not installed: pip install ray"


@dataclass(frozen=True)
class Need:
    """A kind of tests: its mark, what the summary calls it, which tests are of it, and what of its needs is missing."""

    mark: str
    words: str
    holds: Callable[[pytest.Item], bool]
    missing: Callable[[pytest.Item], str] = lambda item: ""


NEEDS = (
    Need("browser", "in a browser", lambda item: "chromium" in item.fixturenames, _missing_browser),
    Need("comfyui", "in ComfyUI", lambda item: "comfyui" in item.path.parts, _missing_host),
    Need("ray", "on Ray", lambda item: item.get_closest_marker("ray") is not None, _missing_ray),
    Need("slow", "that are slow", lambda item: item.get_closest_marker("slow") is not None),
)
"""The first that holds counts."""


def register(config: pytest.Config) -> None:
    """Make the marks known, and count and tell what is not run."""
    for need in NEEDS:
        config.addinivalue_line("markers", f"{need.mark}: a test that runs {need.words}")
    config.addinivalue_line("markers", "stands_for(count): a test that runs so many others")
    config.pluginmanager.register(NotRun(), "not-run")


def mark_needs(items: Iterable[pytest.Item]) -> None:
    """Mark each test with what it needs, and skip it if that is missing."""
    for item in items:
        need = next((need for need in NEEDS if need.holds(item)), None)
        if need is None:
            continue
        item.add_marker(need.mark)
        if missing := need.missing(item):
            item.add_marker(pytest.mark.skip(reason=missing))
        for mark in item.iter_markers("stands_for"):
            item.user_properties.append((STANDS_FOR, mark.args[0]))


class NotRun:
    """Counts tests of each kind that were skipped or left out. Workers of pytest-xdist send what they left out."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out.update(_count(items))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = dict(self.left_out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        # each worker collects, and leaves out, the same tests
        self.left_out |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter) -> Generator[None, None, None]:
        yield  # the last line is the one that is read
        skipped = Counter()
        for report in terminalreporter.stats.get("skipped", []):
            if isinstance(report, pytest.TestReport):
                skipped[_mark(report.keywords), _reason(report)] += _number(report)
        parts = [f"{count} tests {_words(mark)}: {reason}" for (mark, reason), count in skipped.items() if mark]
        parts += [f"{count} tests {_words(mark)}: left out" for mark, count in self.left_out.items() if mark]
        if parts:
            terminalreporter.write_line("not run: " + "; ".join(parts), yellow=True)


def _count(items: Iterable[pytest.Item]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for item in items:
        counts[_mark(item.keywords)] += _number(item)
    return counts


def _mark(keywords) -> str:
    return next((need.mark for need in NEEDS if need.mark in keywords), "")


def _words(mark: str) -> str:
    return next(need.words for need in NEEDS if need.mark == mark)


def _number(test: pytest.Item | pytest.TestReport) -> int:
    return dict(test.user_properties).get(STANDS_FOR, 1)


def _reason(report: pytest.TestReport) -> str:
    return report.longrepr[2].removeprefix("Skipped: ")
