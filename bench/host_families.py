"""Model families by host version: trains (a batch overfits), loads (no unmatched key), parity of the loaded LoRA.

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
three pictures with a caption each. *trains*: loss of the first and the last of 40 steps on one batch. *loads*: modules
that the host's own loader took, none left over. *parity*: greatest difference of the loaded model's output to the
training-time output, relative to its greatest value (wanted: at most 1e-3). *refused*: the host's rope kernel has no
backward there; the error names the layer and says to update ComfyUI.
"""
INSIDE = Path(__file__).parents[1] / "tests" / "comfyui" / "inside"


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    hosts = sorted(find_hosts(), key=lambda host: [int(part) for part in re.findall(r"\d+", host.version)])
    if not hosts:
        sys.exit(MISSING)
    measured = {host.version: measure(host) for host in hosts}
    names = list(dict.fromkeys(name for families in measured.values() for name in families))
    rows = [{"family": name, **{f"{version} {what}": families.get(name, {}).get(what, "-")
                                for version, families in measured.items() for what in ("trains", "loads", "parity")}}
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
        return name[1], {"trains": "refused", "loads": "-", "parity": "-"}
    first, last, parity = (float(found[key]) for key in ("first_loss", "last_loss", "parity"))
    return name[1], {"trains": f"{first:.3g} → {last:.3g}", "loads": f"{found['modules']} modules",
                     "parity": f"{parity:.1e}"}


if __name__ == "__main__":
    main()
