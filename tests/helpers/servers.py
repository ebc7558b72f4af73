"""Servers that the tests of one worker share: a start costs as much as several tests."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from .hosts import Host
from .server import Server


class MakeFolder(Protocol):
    def __call__(self, name: str) -> Path: ...


class Servers:
    """One running server for each host, started when it is first asked for, with what earlier files left in it.

    Use as a context manager: at its end all are killed.
    """

    def __init__(self, make_folder: MakeFolder) -> None:
        self._make_folder, self._stack = make_folder, ExitStack()
        self._running: dict[Host, Server] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shared(self, host: Host) -> Server:
        """The host's server, at rest. If the last test left it dead, it is started again."""
        if host not in self._running:
            self._running[host] = self._start(host)
        server = self._running[host]
        if server.process is None or server.process.poll() is not None:
            server.restart()
        server.rest()
        return server

    def untouched(self, host: Host) -> Server:
        """A server whose folders hold nothing yet: the shared one if this is its first use, else another."""
        return self._start(host) if host in self._running else self.shared(host)

    def _start(self, host: Host) -> Server:
        return self._stack.enter_context(Server(host.path, host.python, self._make_folder(host.name)))
