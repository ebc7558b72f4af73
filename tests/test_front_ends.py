"""The front ends that the tests in a browser open: which they are, and what happens where the newest is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from .helpers import front_ends, needs
from .helpers.front_ends import FrontEnd, Screen, own, pinned
from .helpers.hosts import Host

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
BROWSER = next(need for need in needs.NEEDS if need.mark == "browser")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with a front end of its own, on a machine with a Chromium."""
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    (packages / front_ends.FILES).mkdir(parents=True)
    (packages / "comfyui_frontend_package-1.49.6.dist-info").mkdir()
    found = Host(tmp_path, Path("python"), "0.33.0")
    monkeypatch.setattr(needs, "find_hosts", lambda: [found])
    monkeypatch.setattr(needs, "find_browser", lambda: "chromium")
    monkeypatch.setattr(needs, "find_spec", lambda name: name)
    return found


@pytest.fixture
def not_installed(monkeypatch):
    def fail(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(front_ends, "distribution", fail)


def a_test(screen: Screen) -> SimpleNamespace:
    return SimpleNamespace(callspec=SimpleNamespace(params={"screen": screen}))


def test_the_newest_front_end_is_the_one_that_the_constraints_name():
    version = re.search(rf"^{front_ends.PACKAGE}==(\S+)$", CONSTRAINTS.read_text("utf-8"), re.MULTILINE)[1]
    if pinned().root is None:
        pytest.skip(front_ends.MISSING)
    assert pinned().version == version and (pinned().root / "index.html").is_file()


def test_a_hosts_own_front_end_is_the_one_installed_for_it(host):
    assert own(host) == FrontEnd("1.49.6", host.path / ".venv/lib/python3.11/site-packages" / front_ends.FILES)
    assert Screen(host, own(host), False).name == "ComfyUI-0.33.0, front end 1.49.6, classic canvas"


def test_what_needs_the_newest_front_end_is_skipped_where_it_is_not_installed(host, not_installed):
    assert BROWSER.missing(a_test(Screen(host, pinned(), True))) == front_ends.MISSING
    assert BROWSER.missing(a_test(Screen(host, own(host), True))) == ""
