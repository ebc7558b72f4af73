"""Fixtures of the tests in a browser: a server with its front end, one person's browser, tabs in it.

Panels are tried in Vue nodes of the newest host, or with ALL_HOSTS=1 in both renderers of every host.
"""

from __future__ import annotations

import pytest

from ..helpers.browser import SIZE, Tab, browser, settings
from ..helpers.hosts import ALL_HOSTS, find_hosts, newest


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module", params=(find_hosts() if ALL_HOSTS else newest()) or [None],
                ids=lambda host: host.name if host else "no host")
def server(request, servers):
    return servers.shared(request.param)


@pytest.fixture(scope="module", params=[True, False] if ALL_HOSTS else [True],
                ids=lambda vue_nodes: "Vue nodes" if vue_nodes else "classic canvas")
def vue_nodes(request, server):
    server.post("/settings", settings(vue_nodes=request.param))
    return request.param


@pytest.fixture(scope="module")
def profile(chromium, server, vue_nodes):
    """One person's browser: its tabs share a cache and what is kept in it. The front end's animations, which take more
    of the processor than all else, are off."""
    context = chromium.new_context(viewport=SIZE, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture(scope="module")
def left_open(profile):
    """The tab that the last test of the file left: loading the front end anew costs more than most tests do."""
    return []


@pytest.fixture
def open_tab(profile, left_open, server, tmp_path):
    """A maker of tabs, each with an empty graph or with the one this person had last. At the end none may have logged
    an error."""
    tabs: list[Tab] = []

    def make() -> Tab:
        tabs.append(Tab(left_open.pop(), server.url, tmp_path).emptied() if left_open
                    else Tab(profile.new_page(), server.url, tmp_path).open())
        return tabs[-1]

    yield make
    for number, tab in enumerate(tabs):
        tab.picture(f"end-{number}")
    errors = [error for tab in tabs for error in tab.errors]
    for tab in tabs if errors else tabs[1:]:
        tab.page.close()
    assert errors == []
    left_open += [tab.page for tab in tabs[:1]]
