"""Stand-ins for ComfyUI servers: they answer as ComfyUI does, and draw in no time."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lora_bootstrap.trainer.cast.comfy_host import ComfyHost
from lora_bootstrap.trainer.common.errors import UserError

KEY = "prompt_id"


class StandInHost:
    """A server over HTTP. What it does with a workflow is `draw`.

    Args:
        folder: its output folder.
        dies_after: number of workflows after which it closes every connection.
        fails: why every workflow fails.
        after: nothing is drawn before that host was asked to.
    """

    def __init__(self, folder: Path, *, dies_after: int | None = None, fails: str = "",
                 after: StandInHost | None = None) -> None:
        self.folder, self.dies_after, self.fails, self.after = folder, dies_after, fails, after
        self.asked = threading.Event()
        self.inputs: dict[str, Any] = {"share": ["STRING", {}]}
        self.prompts: list[Any] = []
        self.outputs: dict[str, Any] = {}
        self.views: list[str] = []
        self.received: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.client = ComfyHost(self.address, patience=0.2)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def draw(self, graph: dict[str, Any]) -> Any:
        """Draw what a workflow asks for; returns what its nodes show."""
        raise NotImplementedError

    def receive(self, query: dict[str, str], data: bytes) -> dict[str, Any]:
        """Take a file that is posted."""
        raise NotImplementedError

    def queue(self, graph: dict[str, Any]) -> dict[str, str]:
        shown = self.draw(graph)
        id = f"id-{len(self.prompts)}"
        self.outputs[id] = shown or {}
        return {KEY: id}

    def answer(self, path: str) -> tuple[int, bytes]:
        """(status, bytes) of a GET."""
        parts = urlsplit(path)
        if parts.path.startswith("/history/"):
            id = parts.path.rpartition("/")[2]
            status = {"status_str": "error", "messages": [["execution_error", {"exception_message": self.fails}]]} \
                if self.fails else {"status_str": "success"}
            return 200, json.dumps({id: {"status": status, "outputs": self.outputs.get(id, {})}}).encode()
        if parts.path.startswith("/object_info/"):
            return 200, json.dumps({parts.path.rpartition("/")[2]: {"input": {"optional": self.inputs}}}).encode()
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        file = self.folder / query["subfolder"] / query["filename"]
        self.views.append(query["filename"])
        return (200, file.read_bytes()) if file.is_file() else (404, b"")

    @property
    def _is_dead(self) -> bool:
        return self.dies_after is not None and len(self.prompts) >= self.dies_after

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                parts = urlsplit(self.path)
                if parts.path != "/prompt":
                    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                    try:
                        return self.reply(200, json.dumps(host.receive(query, data)).encode())
                    except UserError as error:
                        return self.reply(400, json.dumps({"error": str(error)}).encode())
                host.asked.set()
                if host.after:
                    host.after.asked.wait(10)
                if host._is_dead:
                    return self.close_connection_now()
                self.reply(200, json.dumps(host.queue(json.loads(data)["prompt"])).encode())

            def do_GET(self) -> None:
                if host._is_dead:
                    return self.close_connection_now()
                self.reply(*host.answer(self.path))

            def close_connection_now(self) -> None:
                self.close_connection = True
                self.connection.close()

            def reply(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        return Handler
