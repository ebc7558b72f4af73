"""The front end's pure functions, tested by Node's own runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"
NODE = shutil.which("node")
OLDEST = (20, 19)
"""The first Node.js that takes a .js file with imports for the module that it is."""


def node_version() -> tuple[int, ...]:
    if NODE is None:
        return ()
    told = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in told.strip().lstrip("v").split(".")[:2])


@pytest.mark.skipif(node_version() < OLDEST, reason="needs Node.js 20.19 or newer (node) for the tests of web/*.js")
@pytest.mark.parametrize("file", sorted(UNIT.glob("*.test.mjs")), ids=lambda file: file.name)
def test_the_pure_functions_of_the_front_end_do_as_their_tests_say(file):
    done = subprocess.run([NODE, "--test", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
