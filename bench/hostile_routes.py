"""Hostile requests to every route of the pack on a real ComfyUI: what is answered, what is read or changed outside the
pack's folders, and what is left in the log.

    python -m lora_bootstrap.bench.hostile_routes [--requests 100000] [--seed 1]
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..tests.helpers.hostile_requests import HostileRequests, Known, Request, write_canaries, wrong_with
from ..tests.helpers.hosts import MISSING, Host, newest
from ..tests.helpers.server import Server
from .report import write_result

EDIT = {
    "1": {"class_type": "LoraBootstrap_LoadDataset", "inputs": {
        "folder": "girl", "repeats": 1, "recursive": True, "trigger": "", "class_word": ""}},
    "2": {"class_type": "LoraBootstrap_EditTags", "inputs": {"dataset": ["1", 0], "edits": "mine"}},
    "3": {"class_type": "LoraBootstrap_PreviewDataset", "inputs": {"dataset": ["2", 0], "shown": 1, "columns": 1}},
}
NOTES = """
ComfyUI {version}, seed {seed}, {seconds:.0f} s, one connection. *escapes*: answers with the content of a file that only
a link leads to, and files outside the pack's folders that were changed. *tracebacks* and *errors* are lines of the
server's log. The short form, in one process without a host, is tests/host/routes/test_hostile_requests.py.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    hosts = newest()
    if not hosts:
        print(MISSING, file=sys.stderr)
        return 2
    print(measure(hosts[0], given.requests, given.seed))
    return 0


def measure(host: Host, count: int, seed: int) -> Path:
    """Send the requests; returns the table."""
    with tempfile.TemporaryDirectory() as folder, Server(host.path, host.python, Path(folder)) as server:
        known = _prepare(server)
        before, begun = _files_outside(server.base), time.monotonic()
        told, wrong = _send(server, HostileRequests(known, seed), count)
        seconds, after = time.monotonic() - begun, _files_outside(server.base)
        changed = sum(before.get(path) != after.get(path) for path in before | after)
        rows = [{
            "requests": count, "routes": len(HostileRequests(known).routes),
            "answers": ", ".join(f"{status}: {number}" for status, number in sorted(told.items())),
            "500": told[500], "escapes": changed + wrong["a secret file was read"], "other faults": sum(wrong.values()),
            "tracebacks": server.log.count("Traceback"), "errors": server.log.count("[ERROR]"),
            "temporary files": len(list((server.base / "output").rglob("*.tmp")))}]
        for fault, number in wrong.most_common(10):
            print(number, fault, file=sys.stderr)
    return write_result("hostile_routes", "Hostile requests to the routes", rows,
                        NOTES.format(version=host.version, seed=seed, seconds=seconds))


def _prepare(server: Server) -> Known:
    known = write_canaries(server.base)
    girl = server.base / "input" / "girl"
    girl.mkdir()
    Image.new("RGB", (32, 32), "red").save(girl / "a.png")
    (girl / "a.txt").write_text("a", encoding="utf-8")
    with server.client() as client:
        (told,) = client.run(EDIT).outputs["2"]["lora_bootstrap"]
    (picture,) = server.get("/lora_bootstrap/dataset", id=told["dataset"])["pictures"]
    return replace(known, dataset=told["dataset"], picture=picture["id"])


def _send(server: Server, requests: HostileRequests, count: int) -> tuple[Counter[int], Counter[str]]:
    """Statuses, and what was wrong."""
    told: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for number in range(count):
        request = requests.make(number)
        status, content = _ask(connection, request)
        told[status] += 1
        if content[:1] == b"{":
            requests.known.learn(request, json.loads(content))
        if fault := wrong_with(status, content):
            wrong[fault] += 1
            print(fault, request.method, request.path[:200], request.headers, request.body[:200], file=sys.stderr)
    return told, wrong


def _ask(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """The status and the content. A connection that the server has closed, as after a refused body, is opened again."""
    for _ in range(2):
        try:
            connection.request(request.method, request.path, request.body or None, request.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, ConnectionError):
            connection.close()
    raise ConnectionError(f"no answer to {request.method} {request.path[:200]}")


def _files_outside(base: Path) -> dict[Path, tuple[int, int]]:
    """All files but those that the routes or the host may write, with their sizes and times."""
    mine = ("output/", "models/loras/", "user/", "temp/", "custom_nodes/", "server-", "comfyui.db")
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in base.rglob("*")
            if path.is_file() and not path.relative_to(base).as_posix().startswith(mine)}


if __name__ == "__main__":
    sys.exit(main())
