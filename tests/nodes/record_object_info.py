"""Record what a running host says of our nodes and of the core nodes in our templates, for the tests without a host.

Start a host with this pack and an empty base directory, then: python tests/nodes/record_object_info.py http://127.0.0.1:8188
"""

import json
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
API_TEMPLATES = HERE.parents[1] / "workflows" / "api"


def answer(address):
    with urllib.request.urlopen(address) as response:
        return json.load(response)


def main(host):
    graphs = [json.loads(path.read_text("utf-8")) for path in API_TEMPLATES.glob("*.json")]
    used = {node["class_type"] for graph in graphs for node in graph.values()}
    info, version = answer(f"{host}/object_info"), answer(f"{host}/system_stats")["system"]["comfyui_version"]
    kept = {name: facts for name, facts in sorted(info.items()) if name.startswith("LoraBootstrap_") or name in used}
    path = HERE / f"object_info_{version}.json"
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path, len(kept))


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
