"""What the tests say of themselves: what was not run is counted, and what was tried twice is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

CONFTEST = """
import pytest
from lora_bootstrap.tests.helpers.needs import mark_needs, register
from lora_bootstrap.tests.helpers.retries import *

def pytest_configure(config):
    register(config)

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    mark_needs(items)

@pytest.fixture(scope="module")
def servers():
    STARTED.append(1)
    return STARTED

STARTED = []

@pytest.fixture
def chromium():
    raise AssertionError("never asked for where there is none")
"""


@pytest.fixture
def summary(tmp_path):
    """What pytest prints of tests, by lines, the last first."""

    def lines(tests: str, *options: str, folder: str = "") -> list[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "conftest.py").write_text(CONFTEST, "utf-8")
        (tmp_path / folder / "test_some.py").write_text("import pytest\n" + tests, "utf-8")
        told = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", *options, tmp_path],
            env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))},
            cwd=tmp_path, capture_output=True, text=True, timeout=120)
        return told.stdout.splitlines()[::-1]

    return lines


def test_what_lacks_a_host_or_a_browser_is_skipped_and_counted(summary):
    told = summary("""
def test_one(): pass
def test_two(): pass
def test_page(chromium): pass
@pytest.mark.stands_for(54)
def test_inside(): pass
""", folder="comfyui")
    assert told[0].split(" in ")[0].endswith("4 skipped")
    assert told[1] == ("not run: 56 tests in ComfyUI: no ComfyUI found: set COMFYUI_PATH, or run `comfy install`; "
                       "1 tests in a browser: no Chromium found: install chromium or google-chrome")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_what_is_left_out_is_counted(summary, workers):
    told = summary("""
@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number): pass
def test_fast(): pass
""", "-m", "not slow", *workers)
    assert "not run: 3 tests that are slow: left out" in told[:2] and "1 passed" in told[0]


def test_a_test_on_a_server_that_fails_is_tried_again_on_a_new_one_and_that_is_told(summary):
    told = summary("""
def test_flaky(servers): assert len(servers) == 2, "too early"
def test_next(servers): assert len(servers) == 2
def test_broken(servers): assert False
def test_unit(): assert False
""")
    assert told[0].split(" in ")[0].lstrip("= ") == "2 failed, 2 passed, 2 retried"
    assert [line.split("::")[1] for line in told if line.startswith("tried twice")] == [
        "test_broken: failed again", "test_flaky: then passed"]
    assert any("too early" in line for line in told), "what went wrong at first is there to be mended"
