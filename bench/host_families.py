"""Model families by host version: same text as in sampling, coverage, trains, loads, parity, distilled bases.

The figures are those of tests/comfyui/inside/test_families.py, run by each host's own Python.

    python -m lora_bootstrap.bench.host_families
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from ..tests.helpers.hosts import MISSING, Host, find_hosts
from .report import write_result

NOTES = """
Tiny networks of the host's own classes with random weights, in the host's own Python, float32 on the CPU, batches of
three images whose captions differ in length; one is empty. *same text*: distance of the prediction in training to that
of the host's own encode node and guider, relative to its size (wanted: at most 1e-3). *coverage*: linear layers in the
blocks with a LoRA, all of the attention among them. *trains*: loss of the first and the last of 20 steps on one batch.
*loads*: modules that the host's own loader took, none left over. *parity*: greatest difference of the loaded model's
output to the training-time output, relative to its greatest value (wanted: at most 1e-3). *distilled*: the distilled
base that is warned about by the name of its file. *-*: the host does not have the family.
"""
WHAT = ("same text", "coverage", "trains", "loads", "parity")
INSIDE = Path(__file__).parents[1] / "tests" / "comfyui" / "inside"


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    hosts = sorted(find_hosts(), key=lambda host: [int(part) for part in re.findall(r"\d+", host.version)])
    if not hosts:
        sys.exit(MISSING)
    measured = {host.version: measure(host) for host in hosts}
    names = list(dict.fromkeys(name for families in measured.values() for name in families))
    rows = [{"family": name, **{f"{version} {what}": families.get(name, {}).get(what, "-")
                                for version, families in measured.items() for what in WHAT},
             "distilled": next(families[name]["distilled"] for families in measured.values() if name in families)}
            for name in names]
    print(write_result("host_families", "Model families inside ComfyUI", rows, NOTES).read_text())


def measure(host: Host) -> dict[str, dict[str, Any]]:
    """What the tests recorded, by family. Exits with their output if one failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [host.python, "-m", "pytest", "-c", INSIDE / "pytest.ini", "-p", "no:cacheprovider",
             f"--junitxml={report}", INSIDE / "test_families.py"],
            env={**os.environ, "COMFYUI_PATH": str(host.path)}, cwd=host.path, capture_output=True, text=True,
            check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        cases = ElementTree.parse(report).iter("testcase")
        return dict(row for row in map(_row, cases) if row)


def _row(case: ElementTree.Element) -> tuple[str, dict[str, Any]] | None:
    name = re.search(r"\[(.+)\]", case.get("name"))
    if not name:
        return None
    found = {entry.get("name"): entry.get("value") for entry in case.iter("property")}
    if "parity" not in found:
        return None
    first, last = (float(found[key]) for key in ("first_loss", "last_loss"))
    return name[1], {"same text": f"{float(found['same_text']):.1e}", "coverage": found["coverage"],
                     "trains": f"{first:.3g} → {last:.3g}", "loads": f"{found['modules']} modules",
                     "parity": f"{float(found['parity']):.1e}", "distilled": found["distilled"]}


if __name__ == "__main__":
    main()
