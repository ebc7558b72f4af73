"""The tests in inside/, each run by the host's own Python within the host's own modules."""

import os
import subprocess
from pathlib import Path

import pytest

from ..helpers.hosts import ALL_HOSTS, find_hosts, newest

INSIDE = Path(__file__).parent / "inside"
CONTRACT = Path(__file__).parents[1] / "helpers" / "backbone_contract.py"
SECONDS = 1500
"""After which it counts as a hang."""


def count_tests() -> int:
    """How many test functions there are, without importing them: that takes a host."""
    return sum(line.startswith("def test_") for path in (*INSIDE.glob("test_*.py"), CONTRACT)
               for line in path.read_text("utf-8").splitlines())


@pytest.mark.stands_for(count_tests())
@pytest.mark.parametrize("host", (find_hosts() if ALL_HOSTS else newest()) or [None],
                         ids=lambda host: host.name if host else "no host")
def test_the_trainer_works_inside_the_host(host, record_property, capsys):
    if subprocess.run([host.python, "-c", "import pytest"], capture_output=True, check=False).returncode:
        pytest.skip(f"{host.name}'s Python has no pytest to run tests/comfyui/inside with: pip install pytest there")
    threads = os.environ.get("OMP_NUM_THREADS", "2")
    done = subprocess.run(
        [host.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", "-p", "no:cacheprovider", INSIDE],
        env={**os.environ, "COMFYUI_PATH": str(host.path), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        cwd=host.path, capture_output=True, text=True, timeout=SECONDS, check=False,
    )
    lines = done.stdout.strip().splitlines()
    summary = lines[-1] if lines else "no output"
    record_property("summary", summary)
    with capsys.disabled():
        print(f" [{host.name}: {summary}]", end="")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]
