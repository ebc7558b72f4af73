"""Give every template and its API twin the widgets that were appended to nodes since it was made, at their defaults.

Record object_info first (tests/nodes/record_object_info.py); then, from the repository's folder, without a host:
python tests/web/extend_templates.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS.parent))

from tests.helpers.templates import NAMES, WORKFLOWS, api, extend, ui, write  # noqa: E402

if __name__ == "__main__":
    versions = {tuple(map(int, path.stem.removeprefix("object_info_").split("."))): path
                for path in (TESTS / "nodes").glob("object_info_*.json")}
    newest = json.loads(versions[max(versions)].read_text("utf-8"))
    for name in NAMES:
        graph, twin = ui(name), api(name)
        if added := extend(graph, twin, newest):
            write(WORKFLOWS / f"{name}.json", graph)
            write(WORKFLOWS / "api" / f"{name}.json", twin)
            print(name, added, "values added")
