"""Servers that the tests of one worker share: a start costs as much as several tests."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from .front_ends import FrontEnd, front_ends, own
from .hosts import Host
from .server import Server


class MakeFolder(Protocol):
    def __call__(self, name: str) -> Path: ...


class Servers:
    """One running server for each front end of each host, started when it is first asked for, with what earlier files
    left in it.

    Use as a context manager: at its end all are killed.
    """

    def __init__(self, make_folder: MakeFolder) -> None:
        self._make_folder, self._stack = make_folder, ExitStack()
        self._running: dict[tuple[Host, FrontEnd], Server] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shared(self, host: Host, front_end: FrontEnd | None = None) -> Server:
        """The host's server, at rest; without a front end any that runs. If the last test left it dead, it is started
        again."""
        key = host, front_end or self._any(host)
        if key not in self._running:
            self._running[key] = self._start(*key)
        server = self._running[key]
        if server.process is None or server.process.poll() is not None:
            server.restart()
        server.rest()
        return server

    def untouched(self, host: Host) -> Server:
        """A server whose folders hold nothing yet: the shared one if this is its first use, else another."""
        front_end = self._any(host)
        return self._start(host, front_end) if (host, front_end) in self._running else self.shared(host, front_end)

    def _any(self, host: Host) -> FrontEnd:
        """The front end of a server that runs, or else the one that most tests in a browser open."""
        running = [front_end for at, front_end in self._running if at == host]
        return [*running, *(each for each in reversed(front_ends(host)) if each.root), own(host)][0]

    def _start(self, host: Host, front_end: FrontEnd) -> Server:
        return self._stack.enter_context(Server(
            host.path, host.python, self._make_folder(host.name),
            arguments=() if front_end == own(host) else front_end.arguments))
