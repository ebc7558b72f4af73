"""Fixtures of the tests in a browser: a server with its front end, one person's browser, tabs in it."""

from __future__ import annotations

import pytest

from ..helpers.browser import SIZE, Tab, browser, settings
from ..helpers.front_ends import Screen, front_ends, oldest, own, pinned
from ..helpers.hosts import ALL_HOSTS, find_hosts, newest

VUE, CLASSIC = True, False
USUAL = ((pinned, VUE),)
SCREENS = {
    "test_bootstrap_loop.py": ((pinned, CLASSIC),),
    "test_lora_stack_list.py": ((own, CLASSIC),),
    "test_mistakes.py": ((own, VUE),),
    "test_shown_text.py": ((own, VUE), (own, CLASSIC), (pinned, VUE), (oldest, CLASSIC)),
    "test_sweep_viewer.py": ((own, VUE),),
    "test_train_panel.py": ((pinned, CLASSIC), (own, VUE)),
}
"""Front end of the newest host, and whether in Vue nodes, in which the tests of a file are tried; those of other files
in the usual ones. With ALL_HOSTS=1 all are tried in both renderers of all front ends, but for those of ONCE."""
ONCE = ("test_bootstrap_loop.py",)


def screens(file: str) -> list[Screen]:
    """Those in which the tests of a file are tried on the hosts of this machine."""
    chosen = [Screen(host, front_end(host), vue_nodes) for host in newest()
              for front_end, vue_nodes in SCREENS.get(file, USUAL)]
    if ALL_HOSTS and file not in ONCE:
        chosen += [Screen(host, front_end, vue_nodes) for host in find_hosts() for front_end in front_ends(host)
                   for vue_nodes in (VUE, CLASSIC)]
    return list(dict.fromkeys(chosen))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "screen" in metafunc.fixturenames:
        metafunc.parametrize("screen", screens(metafunc.definition.path.name) or [None], indirect=True, scope="module",
                             ids=lambda screen: screen.name if screen else "no host")


@pytest.fixture(scope="module")
def screen(request) -> Screen:
    """The host, its front end and the renderer of a test."""
    return request.param


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(screen, servers):
    return servers.shared(screen.host, screen.front_end)


@pytest.fixture(scope="module")
def vue_nodes(screen, server):
    server.post("/settings", settings(vue_nodes=screen.vue_nodes))
    return screen.vue_nodes


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
    wrong = any(tab.errors for tab in tabs)
    for tab in tabs if wrong else tabs[1:]:
        tab.page.close()
    for tab in tabs:
        tab.require_no_errors()
    left_open += [tab.page for tab in tabs[:1]]
