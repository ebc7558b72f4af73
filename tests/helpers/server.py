"""A real ComfyUI server with this pack linked in, and a client that drives it as the front end does."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

PACK = Path(__file__).parents[2]
PACK_FOLDER = "lora-bootstrap"
TINY_NODES = PACK / "tests" / "comfyui" / "tiny_nodes"
"""Custom nodes of the tests' own; they do nothing before they are used."""
START_SECONDS = 300
PATIENCE = 240
"""Seconds after which waiting for a prompt counts as a hang."""

ENDS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


class Refused(Exception):
    """The server turned a prompt or a request down before anything ran."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body
        super().__init__(f"{status}: {body}")

    @property
    def text(self) -> str:
        """All that it says, as one text."""
        return json.dumps(self.body, ensure_ascii=False)


@dataclass(frozen=True)
class Message:
    """What came over the WebSocket: a JSON message, or a binary one as type "preview" or "progress_text"."""

    type: str
    data: Any
    at: float


@dataclass(frozen=True)
class Result:
    """How a prompt ended.

    Attributes:
        status: "success", "error", or "interrupted".
        outputs: node id → what the node showed in the front end.
        executed: ids of the nodes that ran, in order; what was cached is not among them.
        error: the exception's text, and `node` the id of the node that raised it.
    """

    prompt_id: str
    status: str
    outputs: dict[str, Any]
    executed: tuple[str, ...]
    error: str = ""
    node: str = ""

    def images(self, node: str) -> list[dict[str, str]]:
        """What /view needs for each image that a node showed."""
        return self.outputs.get(node, {}).get("images", [])


def _die_with_parent() -> None:
    """Run in the new process: on Linux it is killed when the tests are, however they end."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A ComfyUI process over a base directory that outlives it. Use as a context manager."""

    host: Path
    python: Path
    base: Path
    pack: Path = PACK
    arguments: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen | None = field(default=None, repr=False)
    starts: int = 0
    startup_log: str = field(default="", repr=False)

    def __enter__(self) -> Server:
        for name in ("custom_nodes", "input", "output", "models"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for name, folder in ((PACK_FOLDER, self.pack), (TINY_NODES.name, TINY_NODES)):
            link = self.base / "custom_nodes" / name
            if not link.is_symlink():
                link.symlink_to(folder, target_is_directory=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.base / f"server-{self.starts}.log"

    @property
    def log(self) -> str:
        """What the server wrote since it was started last."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError with the end of its log if it does not."""
        self.starts += 1
        self.port = free_port()
        # One thread: several spin while they wait for each other, which on a busy machine costs tenfold.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("PYTHONPATH", None)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(self.python), "main.py", "--cpu", "--disable-auto-launch", "--base-directory", str(self.base),
                 "--database-url", f"sqlite:///{self.base / 'comfyui.db'}", "--port", str(self.port), *self.arguments],
                cwd=self.host, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True, preexec_fn=_die_with_parent)
        try:
            until(self._answers, START_SECONDS, "the server's first answer")
        except BaseException as error:
            self.kill()
            raise RuntimeError(f"{self.host} did not start:\n{self.log[-4000:]}") from error
        self.startup_log = self.log

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with code {self.process.returncode}")
        with contextlib.suppress(OSError, Refused):
            self.get("/system_stats")
            return True
        return False

    def kill(self) -> None:
        """SIGKILL to it and all its children: what a crash or a power cut leaves is what is on disk."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def rest(self) -> None:
        """End what is running or queued, and forget what has run."""
        self.post("/queue", {"clear": True})
        self.post("/interrupt")
        until(lambda: not self.get("/prompt")["exec_info"]["queue_remaining"], PATIENCE, "an empty queue")
        self.post("/history", {"clear": True})

    # -- requests ------------------------------------------------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        """The JSON that GET answers. Raises Refused for an error status."""
        return json.loads(self.fetch(path + ("?" + urllib.parse.urlencode(query) if query else "")))

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON that POST answers, None for an empty answer. Raises Refused for an error status."""
        answer = self.fetch(path, json.dumps(body or {}).encode())
        return json.loads(answer) if answer.strip() else None

    def view(self, filename: str, subfolder: str = "", type: str = "output", **_: Any) -> bytes:
        """A picture's file by what a node or a progress message said of it."""
        return self.fetch("/view?" + urllib.parse.urlencode(
            {"filename": filename, "subfolder": subfolder, "type": type}))

    def fetch(self, path: str, body: bytes | None = None) -> bytes:
        """What GET, or POST of a body, answers. Raises Refused for an error status."""
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                raise Refused(error.code, json.loads(text)) from None
            except ValueError:
                raise Refused(error.code, text) from None

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(self)
        try:
            yield client
        finally:
            client.close()


class Client:
    """One browser tab: it queues prompts and hears what the server sends."""

    def __init__(self, server: Server) -> None:
        self.server, self.id = server, uuid.uuid4().hex
        self.messages: list[Message] = []
        self._heard = threading.Condition()
        self._socket = websocket.create_connection(
            f"ws://127.0.0.1:{server.port}/ws?clientId={self.id}", timeout=START_SECONDS, skip_utf8_validation=True)
        self._socket.settimeout(None)
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self._socket.close(timeout=1)

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError, websocket.WebSocketException):
            while True:
                code, data = self._socket.recv_data()
                if code == websocket.ABNF.OPCODE_CLOSE:
                    break
                message = _text(data) if code == websocket.ABNF.OPCODE_TEXT else _binary(data)
                with self._heard:
                    self.messages.append(message)
                    self._heard.notify_all()
        with self._heard:
            self.messages.append(Message("closed", {}, time.monotonic()))
            self._heard.notify_all()

    def wait_for(
        self, fits: Callable[[Message], bool], what: str, seconds: float = PATIENCE, since: int = 0
    ) -> Message:
        """The first message from number `since` on that fits.

        Raises TimeoutError, or ConnectionError if the server is gone, with the end of its log.
        """
        deadline = time.monotonic() + seconds
        with self._heard:
            while True:
                for message in self.messages[since:]:
                    if fits(message):
                        return message
                    if message.type == "closed":
                        raise ConnectionError(f"the server was gone before the {what}:\n{self.server.log[-3000:]}")
                since = len(self.messages)
                if not self._heard.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise TimeoutError(f"no {what} within {seconds:g} s:\n{self.server.log[-3000:]}")

    def of_type(self, kind: str) -> list[Any]:
        """The data of all messages of a type so far."""
        return [message.data for message in list(self.messages) if message.type == kind]

    # -- prompts -------------------------------------------------------------------------------------------------

    def queue(self, graph: dict[str, Any]) -> str:
        """Queue a graph in the API's format. Returns the prompt's id. Raises Refused if it does not validate."""
        return self.server.post("/prompt", {"prompt": graph, "client_id": self.id})["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = PATIENCE) -> Result:
        """Wait until a prompt has ended."""
        end = self.wait_for(lambda m: m.type in ENDS and m.data["prompt_id"] == prompt_id, "prompt's end", seconds)
        history: dict[str, Any] = {}

        def written() -> bool:  # the history is written just after the message is sent
            history.update(self.server.get(f"/history/{prompt_id}"))
            return prompt_id in history

        until(written, 10, "the prompt's history")
        executed = [m.data["node"] for m in list(self.messages)
                    if m.type == "executing" and m.data.get("prompt_id") == prompt_id and m.data["node"]]
        return Result(prompt_id, ENDS[end.type], history[prompt_id]["outputs"], tuple(dict.fromkeys(executed)),
                      end.data.get("exception_message", "").strip(), end.data.get("node_id", ""))

    def run(self, graph: dict[str, Any], seconds: float = PATIENCE) -> Result:
        """Queue a graph and wait for its end."""
        return self.wait(self.queue(graph), seconds)

    def interrupt(self) -> None:
        """What the front end's Cancel does."""
        self.server.post("/interrupt")


def until(done: Callable[[], bool], seconds: float, what: str, every: float = 0.1) -> None:
    """Ask until it is so, each time `every` seconds later. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(every)


def _text(data: bytes) -> Message:
    message = json.loads(data)
    return Message(message["type"], message.get("data", {}), time.monotonic())


def _binary(data: bytes) -> Message:
    """The server's binary messages begin with their kind; 1 is an image, 3 a node's progress text."""
    (kind,) = struct.unpack(">I", data[:4])
    if kind == 3:
        (length,) = struct.unpack(">I", data[4:8])
        node, text = data[8:8 + length].decode(), data[8 + length:].decode()
        return Message("progress_text", {"node": node, "text": text}, time.monotonic())
    return Message("preview" if kind == 1 else f"binary {kind}", data[8:], time.monotonic())
