"""One ComfyUI server over HTTP: queue a workflow, ask how far it is, read files of its output folder, and send it one.

What a server answers is untrusted: sizes are bounded, JSON is read by its types, and no name of its own becomes a path.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from ..common.errors import UserError
from ..common.files import parse_json
from ..common.schema import convert

MOST_ANSWER, MOST_FILE = 64 * 2**20, 64 * 2**20
WAITING, DONE = "waiting", "done"
TIMEOUT = 20.0
"""Seconds after which an answer is given up."""
PATIENCE = 60.0
"""Seconds without any answer after which a server counts as gone: a long step can keep it from answering."""
UPLOAD_PATIENCE = 1800.0
"""Seconds that a server may take to read a file that it is sent."""
MOST_SECONDS = 600.0
"""Seconds in which an answer must be complete: a server that sends a byte now and then never runs into TIMEOUT."""
LONGEST = 600
"""Characters of what a server says that are shown."""


class HostFailed(Exception):
    """The server is gone, or cannot run this workflow. Its text says which, in one line."""

    def __init__(self, text: str) -> None:
        super().__init__(plain_line(text))


def plain_line(text: str) -> str:
    """A server's words as one line that is safe to show: without what would steer a terminal, and not endless."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[:20 * LONGEST]).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def check_address(address: str) -> str:
    """The address without a / at its end. Raises UserError if it is not one of http or https."""
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be one
        known = False
    if not known:
        raise UserError(f"{address!r} is not the address of a ComfyUI; give one such as http://192.168.1.5:8188.")
    return address.rstrip("/")


@dataclass(frozen=True)
class ComfyHost:
    """A server at an address that `check_address` has passed. Every method raises HostFailed."""

    address: str
    patience: float = PATIENCE

    def queue(self, graph: Mapping[str, Any]) -> str:
        """Queue a workflow in API format. Returns its id."""
        answer = self._json("/prompt", {"prompt": graph, "client_id": "lora-bootstrap-farm"})
        return _text(answer, "prompt_id")

    def state(self, prompt: str) -> str:
        """WAITING or DONE. HostFailed is also raised if the workflow failed, or was lost when the server started again
        or somebody cleared its queue."""
        for _ in range(2):  # between two answers it may go from the queue to the history
            entry = self._json(f"/history/{prompt}").get(prompt)
            if isinstance(entry, Mapping):
                return self._ended(entry)
            if self._is_queued(prompt):
                return WAITING
        raise HostFailed("it no longer has the workflow in its queue.")

    def has_input(self, node: str, name: str) -> bool:
        """Whether it has a node of that class with such an input."""
        found = self._json(f"/object_info/{node}").get(node)
        inputs = found.get("input") if isinstance(found, Mapping) else None
        return isinstance(inputs, Mapping) and any(
            name in group for group in inputs.values() if isinstance(group, Mapping))

    def shown(self, prompt: str, name: str) -> list[Any]:
        """What the nodes of a workflow that has run showed under a name, in the order of their ids."""
        entry = self._json(f"/history/{prompt}").get(prompt)
        outputs = entry.get("outputs") if isinstance(entry, Mapping) else None
        rows = sorted(outputs.items()) if isinstance(outputs, Mapping) else []
        return [value for _, row in rows if isinstance(row, Mapping) for value in _list(row.get(name))]

    def file(self, folder: str, name: str) -> bytes | None:
        """A file of its output folder; None if there is none."""
        query = urlencode({"filename": name, "subfolder": folder, "type": "output"})
        return self._read(f"/view?{query}", most=MOST_FILE)

    def send_file(self, path: str, file: Path) -> dict[str, Any]:
        """Post a file, and return what the route answers."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        try:
            with file.open("rb") as sent, urlopen(Request(self.address + path, sent, headers, method="POST"),
                                                  timeout=UPLOAD_PATIENCE) as answer:
                data = _read_body(answer, MOST_ANSWER)
        except HTTPError as error:
            raise HostFailed(f"it refused {path.partition('?')[0]}: {_reason(error)}") from error
        except (URLError, HTTPException, OSError, ValueError) as error:
            raise HostFailed(f"it did not take a file ({getattr(error, 'reason', error)}).") from error
        return self._parsed(data, path)

    def _is_queued(self, prompt: str) -> bool:
        queue = self._json("/queue")
        rows = [*_list(queue.get("queue_running")), *_list(queue.get("queue_pending"))]
        return any(isinstance(row, list) and prompt in row[:2] for row in rows)

    def _ended(self, entry: Mapping[str, Any]) -> str:
        found = entry.get("status")
        status = found if isinstance(found, Mapping) else {}
        if status.get("status_str") == "success":
            return DONE
        told = [values for message in _list(status.get("messages")) if isinstance(message, list) and len(message) == 2
                for values in message[1:] if isinstance(values, Mapping)]
        why = next((str(values["exception_message"]).strip() for values in told if values.get("exception_message")),
                   "it was interrupted")
        raise HostFailed(f"the workflow failed there: {why}")

    def _json(self, path: str, body: Any = None) -> dict[str, Any]:
        return self._parsed(self._read(path, body) or b"", path)

    def _parsed(self, data: bytes, path: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = convert(parse_json(data, f"the answer of {self.address}{path}"), dict,
                                             "the answer")
            return answer
        except UserError as error:
            raise HostFailed(f"it does not answer as a ComfyUI does: {error}") from error

    def _read(self, path: str, body: Any = None, most: int = MOST_ANSWER) -> bytes | None:
        """The answer; None for 404. A server that does not answer is asked again until its patience is over."""
        end = time.monotonic() + self.patience
        request = Request(self.address + path, None if body is None else json.dumps(body).encode(),
                          {"Content-Type": "application/json"})
        while True:
            try:
                with urlopen(request, timeout=TIMEOUT if body is None else max(TIMEOUT, self.patience)) as answer:
                    data = _read_body(answer, most)
            except HTTPError as error:
                if error.code == 404:
                    return None
                raise HostFailed(f"it refused {path.partition('?')[0]}: {_reason(error)}") from error
            except (URLError, HTTPException, OSError, ValueError) as error:
                # a workflow that was sent may have been queued: it is not sent twice
                if body is not None or time.monotonic() >= end:
                    raise HostFailed(f"it does not answer ({getattr(error, 'reason', error)}).") from error
                time.sleep(min(1.0, self.patience / 10))
                continue
            if len(data) > most:
                raise HostFailed(f"its answer to {path.partition('?')[0]} is larger than {most} bytes.")
            return data


def _read_body(answer: HTTPResponse, most: int) -> bytes:
    """The bytes of an answer, at most one more than `most`. Raises OSError if it is not complete, or takes too long."""
    length = answer.length  # which some versions of Python count down as they read; None for an answer in chunks
    wanted = most + 1 if length is None else min(most + 1, length)
    data, end = bytearray(), time.monotonic() + MOST_SECONDS
    while len(data) < wanted and (part := answer.read1(min(2**20, wanted - len(data)))):
        data += part
        if time.monotonic() >= end:
            raise TimeoutError(f"its answer took more than {MOST_SECONDS:g} s")
    if length is not None and len(data) < wanted:
        raise ConnectionError(f"its answer ended {length - len(data)} bytes too early")
    return bytes(data)


def _reason(error: HTTPError) -> str:
    """What a server says of a workflow that it refuses: the errors of its nodes, or its own."""
    try:
        told = convert(parse_json(error.read(MOST_ANSWER), "it"), dict, "it")
        nodes = [f"{node.get('class_type')}: {each.get('message')} {each.get('details')}".strip()
                 for node in told.get("node_errors", {}).values() for each in node.get("errors", ())]
        error_told = told["error"]  # the host's own routes give an object, this pack's a text
        return "; ".join(nodes[:3]) or str(error_told["message"] if isinstance(error_told, dict) else error_told)
    except Exception:  # another program may answer anything
        return f"HTTP {error.code}"


def _text(values: Mapping[str, Any], name: str) -> str:
    found = values.get(name)
    if not isinstance(found, str) or not found:
        raise HostFailed(f"its answer has no {name}.")
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
