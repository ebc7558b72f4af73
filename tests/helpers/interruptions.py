"""Kills a piece of work, or lets the system refuse it, at any one of the calls by which it changes files.

The work runs in a forked process. Python announces most of these calls by audit events (open, rename, remove, mkdir,
rmdir, link, truncate); writing, flushing and safetensors' own writer are wrapped. A work is whatever `Work` describes.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import json
import os
import random
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from PIL import Image
from safetensors import safe_open

from lora_bootstrap.trainer.common.errors import UserError

KILL, HALF = "kill before", "kill half-way"
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
_OPEN_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NAMING = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.symlink": 2,
           "os.truncate": 1}
"""Audit event: how many of its arguments are paths."""
_FSYNC = os.fsync  # before any test replaces it


@dataclass(frozen=True)
class Fault:
    """What happens at a call.

    Attributes:
        at: number of the call, from 0.
        how: KILL, HALF, or "" to answer with `error`.
        lasting: whether all later calls get the same answer.
    """

    at: int
    how: str = ""
    error: int = 0
    lasting: bool = False

    def __str__(self) -> str:
        answer = self.how or f"{errno.errorcode[self.error]}{', for ever' if self.lasting else ''}"
        return f"call {self.at}: {answer}"


@dataclass(frozen=True)
class Outcome:
    """How a work ended in its own process: done, refused (a UserError), failed (any other error), or killed."""

    how: str
    text: str = ""
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A work that changes files below a folder.

    Attributes:
        prepare: makes what lies there before.
        do: the work, given the folder.
        own: patterns of files that belong to the user, and must stay as they are whatever happens.
        spare: patterns of files that may be there once more after a fault: nothing refers to them, nothing is lost.
    """

    name: str
    prepare: Callable[[Path], object]
    do: Callable[[Path], object]
    own: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()


def run(work: Callable[[Path], object], folder: Path, fault: Fault | None = None) -> Outcome:
    """Do the work in a process of its own, with that fault."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # makes a pool in place of the parent's, before threads that read images race to do so
        os.close(reads)
        outcome = Outcome("failed")
        try:
            outcome = _attempt(work, folder, fault)
        finally:
            os.write(writes, json.dumps([outcome.how, outcome.text[-2000:], outcome.calls]).encode())
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome("killed")
    how, text, calls = json.loads(said)
    return Outcome(how, text, tuple(calls))


def _attempt(work: Callable[[Path], object], folder: Path, fault: Fault | None) -> Outcome:
    calls = _Calls(folder, fault)
    calls.watch()
    try:
        work(folder)
    except UserError as error:
        return Outcome("refused", str(error), tuple(calls.seen))
    except BaseException:
        return Outcome("failed", traceback.format_exc(), tuple(calls.seen))
    finally:
        calls.over = True
    return Outcome("done", "", tuple(calls.seen))


class _Calls:
    """Counts the calls that change files below a folder, and brings about the fault. It cannot be undone: audit hooks
    stay as long as the process."""

    def __init__(self, root: Path, fault: Fault | None) -> None:
        self.root, self.fault, self.seen, self.over = os.path.realpath(root), fault, [], False
        self.numbers = itertools.count()

    def watch(self) -> None:
        _open, _serialize = io.open, safetensors.torch.serialize_file

        def open_counted(file: Any, mode: str = "r", *options: Any, **named: Any) -> Any:
            counted = set(mode) & set("wxa+") and self.is_below(file)
            if counted and (size := named.get("buffering", 0)) > 1:  # what counts is what reaches the system
                return io.BufferedWriter(_Writer(_open(file, mode, 0), self), size)
            stream = _open(file, mode, *options, **named)
            return _Writer(stream, self) if counted else stream

        def serialize_counted(tensors: Any, path: Any, *options: Any, **named: Any) -> None:
            self.call("write", path, lambda: (_serialize(tensors, path, *options, **named),
                                              os.truncate(path, os.path.getsize(path) // 2)))
            _serialize(tensors, path, *options, **named)

        def fsync(handle: int) -> None:
            self.call("fsync", _path_of(handle))

        builtins.open = io.open = open_counted  # type: ignore[assignment]
        safetensors.torch.serialize_file = serialize_counted
        os.fsync = fsync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.over:
            return
        if event == "open":
            path, _mode, flags = arguments
            if isinstance(path, (str, bytes, os.PathLike)) and (flags or 0) & _OPEN_TO_WRITE:
                self.call("open", path)
        elif event in _NAMING:
            handles = [value for value in arguments[_NAMING[event]:] if isinstance(value, int) and value >= 0]
            within = _path_of(handles[-1]) if handles and "mkdir" not in event else ""
            self.call(event.removeprefix("os."), os.path.join(within, os.fsdecode(arguments[_NAMING[event] - 1])))

    def is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        return os.path.realpath(os.path.dirname(os.fsdecode(path))).startswith(self.root)

    def call(self, kind: str, path: Any, half: Callable[[], object] | None = None) -> None:
        """Before a call: note it, and bring about the fault if it is due."""
        if self.over or not self.is_below(path):
            return
        number = next(self.numbers)
        self.seen.append(f"{kind} {os.path.relpath(os.path.realpath(os.fsdecode(path)), self.root)}")
        fault = self.fault
        if fault is None or number < fault.at or (number > fault.at and not fault.lasting):
            return
        if not fault.how:
            raise OSError(fault.error, os.strerror(fault.error), os.fsdecode(path))
        self.over = True
        if fault.how == HALF and half:
            half()
        os.kill(os.getpid(), signal.SIGKILL)


class _Writer:
    """A file that counts its writes. It has no file number, so that Pillow too writes through it."""

    def __init__(self, stream: Any, calls: _Calls) -> None:
        self._stream, self._calls = stream, calls

    def write(self, data: Any) -> int:
        self._calls.call("write", self._stream.name, lambda: self._half(data))
        return self._stream.write(data)

    def _half(self, data: Any) -> None:
        self._stream.write(data[:len(data) // 2])
        self._stream.flush()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _path_of(handle: int) -> str:
    return os.readlink(f"/proc/self/fd/{handle}")


# -- what is judged ----------------------------------------------------------------------------------------------------


def choose(calls: int, kinds: Mapping[str, int], seed: str) -> list[Fault]:
    """Faults spread at random over that many calls: how many kills, half writes, and errors."""
    rng = random.Random(seed)
    ways = {"kill": lambda at: Fault(at, KILL), "half": lambda at: Fault(at, HALF),
            "error": lambda at: Fault(at, error=rng.choice(ERRORS), lasting=rng.random() < 0.5)}
    return [ways[kind](rng.randrange(calls)) for kind, count in kinds.items() for _ in range(count)]


@dataclass(frozen=True)
class Trial:
    """What a fault did to a work. `wrong` is a line for each thing that must not be."""

    fault: Fault
    call: str
    outcome: str
    wrong: tuple[str, ...]


class Trials:
    """Tries faults on one work, each in a folder of its own."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.work, self.folder = work, folder
        self.before_folder, reference = folder / "before", folder / "reference"
        self.before_folder.mkdir(parents=True)
        work.prepare(self.before_folder)
        self.calls = self._undisturbed(reference)
        self.before, self.after = contents(self.before_folder), contents(reference)
        self._number = itertools.count()

    def _undisturbed(self, place: Path) -> tuple[str, ...]:
        place.mkdir()
        self.work.prepare(place)
        outcome = run(self.work.do, place)
        assert outcome.how == "done", f"{self.work.name}: {outcome.text}"
        return outcome.calls

    def attempt(self, fault: Fault) -> Trial:
        place = self.folder / f"{next(self._number)}"
        place.mkdir()
        self.work.prepare(place)
        outcome = run(self.work.do, place, fault)
        wrong = [*self._judge_interrupted(place, outcome), *self._judge_again(place)]
        return Trial(fault, self.calls[fault.at], outcome.how, tuple(wrong))

    def _judge_interrupted(self, place: Path, outcome: Outcome) -> Iterator[str]:
        if outcome.how == "failed":
            yield f"a raw error: {outcome.text.strip().splitlines()[-1]}"
        if outcome.how == "refused" and len(outcome.text.splitlines()) != 1:
            yield f"an error of several lines: {outcome.text!r}"
        now = contents(place)
        yield from (f"half a file: {name}" for name, content in now.items() if content == BROKEN)
        yield from self._lost(place, now)

    def _lost(self, place: Path, now: Mapping[str, str]) -> Iterator[str]:
        mine = {path.relative_to(self.before_folder).as_posix() for pattern in self.work.own
                for path in self.before_folder.glob(pattern)}
        for name, content in self.before.items():
            allowed = {content} if name in mine else {content, self.after.get(name)}
            if now.get(name) not in allowed:
                yield f"lost: {name}"

    def _judge_again(self, place: Path) -> Iterator[str]:
        again = run(self.work.do, place)
        if again.how != "done":
            yield f"not done when run again: {again.text.strip().splitlines()[-1:]}"
            return
        now = contents(place)
        yield from (f"not as if nothing had happened: {name}" for name, content in self.after.items()
                    if now.get(name) != content)
        yield from (f"left over: {name}" for name in now.keys() - self.after.keys()
                    if not any(fnmatch(name, pattern) for pattern in self.work.spare))


BROKEN = "broken"
_TIME = re.compile(r"\d{8}-\d{6}")


def contents(folder: Path) -> dict[str, str]:
    """What each file below a folder holds, by its path; BROKEN if it is not whole. Times and locks do
    not count."""
    return {_TIME.sub("TIME", path.relative_to(folder).as_posix()): _content(path)
            for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("lock")}


def _content(path: Path) -> str:
    read = _READERS.get(path.suffix, _bytes) if not path.name.startswith(".") else _bytes
    try:
        return read(path)
    except Exception:
        return BROKEN


def _bytes(path: Path) -> str:
    return str(hash(path.read_bytes()))


def _pixels(path: Path) -> str:
    with Image.open(path) as image:
        return str(hash(image.tobytes()))


def _tensors(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(hash(tuple((key, file.get_tensor(key).numpy().tobytes()) for key in sorted(file.keys()))))


def _json(path: Path) -> str:
    json.loads(path.read_bytes())
    return "JSON"  # it may hold times


def _page(path: Path) -> str:
    return "HTML" if path.read_bytes().rstrip().endswith(b"</html>") else BROKEN


def _metrics(path: Path) -> str:
    # A log that is appended to: a last line that is cut off is dropped when the run goes on.
    rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return str(hash(str([(row.get("step"), row.get("loss")) for row in rows])))


_READERS = {".png": _pixels, ".webp": _pixels, ".safetensors": _tensors, ".json": _json, ".html": _page,
            ".jsonl": _metrics}
