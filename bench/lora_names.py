"""Merges of LoRAs in every spelling that ComfyUI reads, by family: whether the host reads the result as it read both.

The tests are those of tests/comfyui/inside/test_lora_names.py, run by the newest host's own Python.

    python -m lora_bootstrap.bench.lora_names
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from ..tests.helpers.hosts import MISSING, Host, newest
from .report import write_result

NOTES = """
Tiny networks of the host's own classes with random weights. For each prefix in the host's map of names, two LoRAs of 12
to 30 layers are merged at 0.8 and -0.5, and what the host's own loader makes of the merged file is compared with the
sum of what it makes of both: no key is left over, and every weight is equal (relative 1e-4, absolute 1e-6).
*spellings*: the prefixes that the host has for this family; in all of them the merge is equal. *pairs*: merges of one
spelling with the next: equal, or refused because their layers cannot be matched or have no names in the host.
"""
INSIDE = Path(__file__).parents[1] / "tests" / "comfyui" / "inside"
ASKED = {"test_a_merge_in_every_spelling_that_the_host_reads_is_read_by_it": "spellings",
         "test_a_merge_of_one_spelling_with_the_next_is_read_by_the_host_or_refused": "pairs"}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    host = next(iter(newest()), None)
    if host is None:
        sys.exit(MISSING)
    rows: dict[str, dict[str, Any]] = {}
    for name, family, value in measure(host):
        rows.setdefault(family, {"family": family})[ASKED[name]] = value
    title = f"Merged LoRAs as ComfyUI {host.version} reads them"
    print(write_result("lora_names", title, list(rows.values()), NOTES).read_text())


def measure(host: Host) -> list[tuple[str, str, str]]:
    """(test, family, what it recorded). Exits with the tests' output if one failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [host.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", "-p", "no:cacheprovider",
             f"--junitxml={report}", INSIDE / "test_lora_names.py"],
            env={**os.environ, "COMFYUI_PATH": str(host.path), "ALL_HOSTS": "1"}, cwd=host.path, capture_output=True,
            text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return [found for case in ElementTree.parse(report).iter("testcase") for found in _recorded(case)]


def _recorded(case: ElementTree.Element) -> list[tuple[str, str, str]]:
    name, _, family = case.get("name", "").removesuffix("]").partition("[")
    return [(name, family, row.get("value", "")) for row in case.iter("property") if name in ASKED]


if __name__ == "__main__":
    main()
