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


@pytest.fixture
def open_tab(profile, server, tmp_path):
    """A maker of tabs. At the end none may have logged an error."""
    tabs: list[Tab] = []

    def make() -> Tab:
        tabs.append(Tab(profile.new_page(), server.url, tmp_path))
        return tabs[-1].open()

    yield make
    for number, tab in enumerate(tabs):
        tab.picture(f"end-{number}")
        tab.page.close()
    assert [error for tab in tabs for error in tab.errors] == []
