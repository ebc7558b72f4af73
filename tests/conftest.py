"""What needs minutes comes first, so that the many short tests fill the end; what all tests of servers share."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import pytest

from .helpers.needs import NEEDS, mark_needs, register
from .helpers.retries import (  # noqa: F401 (hooks)
    pytest_report_teststatus,
    pytest_runtest_protocol,
    pytest_terminal_summary,
)
from .helpers.servers import Servers


def pytest_configure(config: pytest.Config) -> None:
    register(config)


FIRST = ("test_inside.py", "test_inside_models.py")
"""Each of these takes minutes by itself."""
LONG = ("test_loop.py",)
"""These need nothing, but would keep one worker busy when the others are done."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a test needs; put files with such tests before the others. Each file keeps its order."""
    mark_needs(items)
    long = {item.path for item in items
            if item.path.name in LONG or any(need.mark in item.keywords for need in NEEDS)}
    items.sort(key=lambda item: (item.path.name not in FIRST, item.path not in long))


def pytest_collection_finish() -> None:
    _forget_lasting_objects()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """A file may have imported more."""
    yield
    if nextitem is None or nextitem.path != item.path:
        _forget_lasting_objects()


def _forget_lasting_objects() -> None:
    """Keep modules and collected tests out of each later collection of garbage. Every training asks for one, which else
    takes longer than the training of a tiny model."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_power_cut():
    """Files are not flushed to the disk in this process, which costs more than all else that many tests do; what they
    look at is what a process that is killed leaves, and that does not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """The servers of this worker."""
    with Servers(tmp_path_factory.mktemp) as running:
        yield running
