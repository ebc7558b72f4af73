"""A test in a browser, on a server or on Ray that fails is tried once more, on a new one, and the summary says so.

Such a test waits for other processes on a machine whose load nobody controls. A test of our own code alone is never
tried twice: there a second result is a fault.
"""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.runner import runtestprotocol

RETRIED = "retried"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test; if it may be tried twice and fails, take down all that it shares with others, and run it again."""
    if not {"server", "servers"} & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("ray"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed for report in reports):
        down = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(None), "teardown")
        reports.append(item.ihook.pytest_runtest_makereport(item=item, call=down))
        failures = [report for report in reports if report.failed]
        for report in failures:
            report.outcome = RETRIED
        reports = [*failures, *runtestprotocol(item, log=False, nextitem=nextitem)]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_report_teststatus(report: Any) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    return (RETRIED, "R", ("RETRIED", {"yellow": True})) if report.outcome == RETRIED else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The first failures of what was tried twice, so that somebody can mend it."""
    first = terminalreporter.stats.get(RETRIED, [])
    failed = {report.nodeid for report in terminalreporter.stats.get("failed", [])}
    for report in first:
        terminalreporter.section(f"first attempt at {report.nodeid}, {report.when}", sep="_", yellow=True)
        terminalreporter.write_line(report.longreprtext)
    for name in dict.fromkeys(report.nodeid for report in first):
        terminalreporter.write_line(f"tried twice: {name}: {'failed again' if name in failed else 'then passed'}",
                                    yellow=True)
