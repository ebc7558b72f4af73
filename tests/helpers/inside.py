"""Tests of tests/comfyui/inside, run by the host's own Python within the host's own modules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .hosts import Host

INSIDE = Path(__file__).parents[1] / "comfyui" / "inside"
CONTRACT = Path(__file__).parent / "backbone_contract.py"
"""Tests that test_contract.py there takes over."""
MODELS = tuple(INSIDE / f"test_{name}.py" for name in (
    "checkpointing", "families", "lora_names", "memory", "proofs", "rows", "steps", "text_encoders"))
"""What goes through the families. It takes as long as all the others, so that each half has a process of its own."""
OTHERS = tuple(sorted(set(INSIDE.glob("test_*.py")) - set(MODELS)))
SECONDS = 1500
"""After which it counts as a hang."""


def count_tests(files: Iterable[Path]) -> int:
    """How many test functions there are in them, without importing them: that takes a host."""
    files = [*files, CONTRACT] if INSIDE / "test_contract.py" in files else files
    return sum(line.startswith("def test_") for path in files for line in path.read_text("utf-8").splitlines())


def has_pytest(host: Host) -> bool:
    return subprocess.run([host.python, "-c", "import pytest"], capture_output=True, check=False).returncode == 0


def run_inside(host: Host, files: Iterable[Path]) -> subprocess.CompletedProcess[str]:
    """Let a host's Python run files with tests."""
    threads = os.environ.get("OMP_NUM_THREADS", "2")
    return subprocess.run(
        [host.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", "-p", "no:cacheprovider", *files],
        env={**os.environ, "COMFYUI_PATH": str(host.path), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        cwd=host.path, capture_output=True, text=True, timeout=SECONDS, check=False)
