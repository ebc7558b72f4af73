"""Requests that no browser sends: any names, numbers, bodies and encodings on every route of the pack, some of them
valid. The same seed makes the same requests."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from .drawn_sweep import draw_sweep, write_run
from .written_project import name_of, write_project

ANSWERS = frozenset((200, 400, 403, 404, 409, 413, 415))
"""Statuses that a route may answer."""
SECRET = b"CANARY-SECRET"
"""What is in the files that no route may read."""


def _png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


NAMES = ("..", "../..", "../../canary", "../canary/secret.png", "/etc/passwd", "/", "//", "\\..\\..",
         "..\\..\\canary", "C:\\x", "C:", "./zqx", "zqx/", "zqx\0", "\0", "%2e%2e", "%252e%252e%252f",
         "..%2f..%2fcanary", "....//....//", "~", "~root", "-rf", "%s%n", "CON", "nul", "aux.txt", "a" * 255,
         "a" * 256, "a" * 5000, "é" * 127, "é" * 128, "e\u0301", "😀" * 64, "a\nb", "a\rb", "\u202e", "\ufeff",
         "\ud800", "\udfff\ud800", "zqx.", "zqx ", ".zqx", ".", "", "s1\x7f", "|", "*", "?",
         "<img src=x onerror=alert(1)>", "'\"`;--", "{}", "[]", "null", "0" * 16, "r1-999", "r99-0", "r1-..",
         "grid.png", "grid-1.png", "grid-9999.webp", "../grid.png", "linked", "x~00000000")
NUMBERS = ("1", "2", "0", "-1", "9", "99", "999", "9999", "1e3", "٣", "²", "1.0", " 1", "0x1", "", "1" * 400, "NaN")
VALUES = (None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 1.5, float("nan"), float("inf"), -0.0, "", [], {}, [[]],
          {"a": 1}, [None], "x" * 10_000, [1] * 1000)
TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "",
         "application/json; charset=utf-16", "application/json; charset=latin-1",
         "application/json; charset=nonsense", "application/json; charset=idna",
         "application/json; charset=rot13", "application/json; charset=hex", "application/json;;", "json", "\xff")
CHECKED = ("LoadDataset", "TrainLora", "TrainSettings", "LoraStack", "PromptLoras", "StrengthGrid", "RefineStrengths",
           "Project", "EditTags", "SaveDataset", "MergeLoras", "TimeSplit", "nothing")
CHECKED_VALUES = ("name", "folder", "text", "strict", "entries", "strengths", "seeds", "files", "prompts", "steps",
                  "rank", "trigger", "tags", "patterns", "edits", "targets", "checkpoints")
PLANNED = ("TrainLora", "TrainSettings", "StrengthGrid", "CheckpointSweep", "SamplingByModel", "PrepareDataset",
           "AuditDataset", "EditTags", "nothing")
PLANNED_VALUES = {"kind": "style", "steps": 0, "rank": 0, "alpha": 0.0, "learning_rate": 0.0, "batch_size": 0,
                  "resolution": 0, "epochs": 0, "trigger": "", "name": "x", "width": 0, "height": 0, "cfg": -1.0,
                  "sampler_name": "by the model", "scheduler": "by the model", "strengths": "by the model",
                  "family": "sd15"}
SETTINGS = {"optimizer": "adamw", "accumulation_steps": 2, "memory": "auto", "network": "lora"}
LOADERS = ("LoraBootstrap_LoadSandbox", "CheckpointLoaderSimple", "UNETLoader")
ORIGINS = ("null", "http://evil.example", "https://evil.example:8188", "http://[", "file://", "")
BODIES = ("", "{", "nul", '"', "[1", "\ufeff{}", '{"a":1,"a":2}', "[" * 100_000, '{"a":' * 60_000, "1" * 5000, "1e999",
          "NaN", "{}{}", "null", "[]", '"x"', "\0")

SENT = (_png(), _png(), _png()[:40], b"", b"a, b", b"GIF89a", b"\0" * 1000, b"x" * (2 * 2**20))
"""Files that are sent: images, captions, and what is neither or too large."""


@dataclass(frozen=True)
class Request:
    """One request. `path` begins with /lora_bootstrap and ends with the encoded query."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Known:
    """Names of what there is, so that some requests are valid, and the latest revisions, which answers tell."""

    project: str
    candidates: tuple[str, ...]
    sweep: str
    cell: str
    run: str
    dataset: str
    picture: str
    lora: str
    revisions: dict[str, int] = field(default_factory=dict)

    def learn(self, request: Request, answer: Any) -> None:
        """Take the latest revision from an answer."""
        if isinstance(answer, dict) and isinstance(answer.get("revision"), int):
            self.revisions[request.path] = answer["revision"]


def write_canaries(base: Path) -> Known:
    """A project, a sweep and a run below a host's base directory, with links among them to files that nobody may see;
    their names. The dataset is still to be added."""
    output, outside = base / "output", base / "canary"
    project = write_project(output, "zqx", candidates=6)
    sweep = draw_sweep(output / "sweeps", write_run(output / "loras", "girl", [50]), name="s1", strengths=(1.0,),
                       prompts=("<img src=x onerror=alert(1)>",), side=16)
    Image.new("RGB", (99, 99)).save(sweep.sheet)
    outside.mkdir()
    (outside / "secret.png").write_bytes(SECRET)
    shutil.copytree(sweep.folder, outside / "sweep")
    manifest = outside / "sweep" / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace("s1, drawn", SECRET.decode()), "utf-8")
    made = project / "round_1" / "candidates"
    (output / "sweeps" / "linked").symlink_to(outside / "sweep")
    (output / "bootstrap" / "linked").symlink_to(outside)
    for link in (sweep.cells_folder / f"{'0' * 16}.png", made / "r1-999.png", project / "crops" / "zz.png"):
        link.symlink_to(outside / "secret.png")
    shutil.copy(made / f"{name_of(0)}.json", made / "r1-999.json")
    return Known("zqx", (name_of(0), name_of(1), "r1-999", "zz"), "s1", sweep.cells[0].key, "girl", "", "",
                 "girl/girl-step000050")


def wrong_with(status: int, content: bytes) -> str:
    """What is wrong with an answer, or ""."""
    if status not in ANSWERS:
        return f"status {status}"
    if SECRET in content:
        return "a secret file was read"
    error = json.loads(content).get("error") if status >= 400 else "none"
    return "" if isinstance(error, str) and error and "\n" not in error else "not an error in one line"


class HostileRequests:
    """Makes requests; each route gets as many as any other."""

    def __init__(self, known: Known, seed: int = 0) -> None:
        self.known, self.draw = known, random.Random(seed)
        self.gets: dict[str, Callable[[], dict[str, Any]]] = {
            "run": lambda: {"name": self.one(known.run), "or": self.absent()},
            "run/others": lambda: {"name": self.one(known.run)},
            "run/differences": lambda: {"first": self.one(known.run), "second": self.one(known.run)},
            "project": lambda: {"name": self.one(known.project), "or": self.absent()},
            "project/report": lambda: {"name": self.one(known.project)},
            "project/archive": lambda: {"name": self.one(known.project), "state": self.number()},
            "candidates": lambda: {"project": self.one(known.project), "round": self.number(), "or": self.absent()},
            "candidate": lambda: {"project": self.one(known.project), "round": self.number(),
                                  "name": self.one(*known.candidates), "size": self.size(), "v": self.name()},
            "sweeps": lambda: {"a": self.name()},
            "sweep": lambda: {"name": self.one(known.sweep), "or": self.absent()},
            "sweep/summary": lambda: {"name": self.one(known.sweep), "or": self.absent()},
            "sweep/cell": lambda: {"name": self.one(known.sweep), "key": self.one(known.cell), "size": self.size()},
            "sweep/sheet": lambda: {"name": self.one(known.sweep), "file": self.one("grid.png"), "size": self.size()},
            "last_runs": lambda: {"workflow": self.name(), "tab": self.name()},
            "dataset": lambda: {"id": self.one(known.dataset)},
            "folders": lambda: {"a": self.name()},
            "folder": lambda: {"name": self.one("girl", "input/girl", "output"), "recursive": self.number()},
            "folder/thumb": lambda: {"name": self.one("girl"), "file": self.one("a.png"), "v": self.name()},
            "thumb": lambda: {"id": self.one(known.dataset), "picture": self.one(known.picture)},
        }
        self.posts: dict[str, Callable[[], dict[str, Any]]] = {
            "stop": lambda: {"run": self.one(known.run, self.value())},
            "resume": lambda: {"run": self.one(known.run, self.value())},
            "stack": lambda: {"entries": self.one(self.entries(), self.value())},
            "candidates/picks": self.picks,
            "project/notes": lambda: {
                "project": self.one(known.project), "revision": self.revision("project/notes"),
                "goal": self.one("a goal", self.value()),
                "rounds": self.one({"1": "a note"}, {self.name(): self.value()}, self.value())},
            "candidates/again": lambda: {
                "project": self.one(known.project), "round": self.draw.choice((1, 1, 1, 2, self.value())),
                "add": self.one([{"candidate": self.one(*known.candidates), "seed": self.one(5, self.value()),
                                  "prompt": self.one("", self.name()), "strength": self.one(None, 0.8, self.value())}],
                                [], self.value()),
                "remove": self.one([], [self.name()], self.value())},
            "sweep/marks": lambda: {
                "name": self.one(known.sweep), "revision": self.revision("sweep/marks"),
                "best": self.one(None, known.cell, self.value()), "hidden": self.one([], [known.cell], self.value())},
            "sweep/promote": lambda: {"name": self.one(known.sweep), "key": self.one(known.cell, self.value()),
                                      "as": self.one("", "chosen", self.value())},
            "panels": lambda: {"tab": self.one("a tab", self.value())},
            "check": lambda: {
                "node": f"LoraBootstrap_{self.draw.choice(CHECKED)}" if self.chance(0.8) else self.value(),
                "values": {name: self.value() for name in CHECKED_VALUES if self.chance(0.5)}},
            "plan": lambda: {
                "node": f"LoraBootstrap_{self.draw.choice(PLANNED)}" if self.chance(0.8) else self.value(),
                "values": self.widgets(PLANNED_VALUES),
                "model": self.draw.choice((None, self.loader(), self.loader(), self.value())),
                "settings": self.draw.choice((None, self.widgets(SETTINGS), self.value()))},
            "dataset/copy": lambda: {"from": self.one("tags-0123456789", self.value()),
                                     "to": self.one("tags-abcdef0123", self.value())},
            "dataset/captions": lambda: {
                "id": self.one(known.dataset), "revision": self.revision("dataset/captions"),
                "changes": self.one([{"picture": self.one(known.picture), "caption": self.text()}], self.value())},
        }

        self.files: dict[str, Callable[[], dict[str, Any]]] = {
            "folder/file": lambda: {"folder": self.one("", "zqy", "girl"), "wanted": self.one("zqy"),
                                    "file": self.one("a.png", "a.txt", "b/c.webp", f"{self.name()}.png")},
            "project/archive": lambda: {"file": self.one("a.zip"), "wanted": self.one("", "zqy")},
        }

    @property
    def routes(self) -> list[tuple[str, str]]:
        """(method, path) of each route."""
        return [(method, f"/lora_bootstrap/{path}") for method, paths in (
            ("GET", self.gets), ("POST", self.posts), ("POST", self.files)) for path in paths]

    def make(self, number: int) -> Request:
        """The request of that number."""
        method, path = self.routes[number % len(self.routes)]
        short = path.removeprefix("/lora_bootstrap/")
        if method == "GET":
            return Request(method, f"{path}?{self.query(self.gets[short]())}")
        if short in self.files:
            path = f"{path}?{self.query(self.files[short]())}"
            return Request(method, path, self.draw.choice(SENT), self.headers("application/octet-stream"))
        return Request(method, path, self.body(self.posts[short]()), self.headers())

    # -- values --------------------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return self.draw.random() < share

    def one(self, *valid: Any) -> Any:
        """One of the values, or, one time in three, any name."""
        return self.name() if self.chance(1 / 3) else self.draw.choice(valid)

    def name(self) -> str:
        if self.chance(0.05):
            ends = (32, 128, 0x2FFF, 0x10FFFF)
            return "".join(chr(self.draw.randrange(self.draw.choice(ends))) for _ in range(self.draw.randrange(30)))
        return self.draw.choice(NAMES) + (self.draw.choice(NAMES) if self.chance(0.2) else "")

    def text(self) -> str:
        return self.draw.choice(("a, b", self.name(), "x" * 100_000))

    def value(self) -> Any:
        return self.draw.choice((*VALUES, self.name(), self.name(), self.name()))

    def number(self) -> str:
        return self.name() if self.chance(0.1) else self.draw.choice(NUMBERS)

    def absent(self) -> str | None:
        return self.draw.choice((None, None, "null", self.name()))

    def size(self) -> str | None:
        return self.draw.choice((None, "thumb", self.name()))

    def revision(self, path: str) -> Any:
        latest = self.known.revisions.get(f"/lora_bootstrap/{path}", 0)
        return self.draw.choice((latest, latest, latest, self.value()))

    def widgets(self, usual: dict[str, Any]) -> dict[str, Any]:
        """The values of a node's widgets, a few of them hostile; some are linked, and absent."""
        share = self.draw.choice((0, 0.1, 0.5))
        return {name: self.value() if self.chance(share) else value for name, value in usual.items()
                if not self.chance(share)}

    def loader(self) -> dict[str, Any]:
        return {"node": self.one(*LOADERS, self.value()), "values": {
            "ckpt_name": self.one("odd.safetensors", self.value()), "more": self.value()}}

    def entries(self) -> str:
        lora = self.known.lora
        lines = (lora, f"<lora:{lora}:0.8>", f"off {lora}", "# x", f"{lora} : {self.name()}",
                 f"{lora} : 1 : 1 : {self.name()}", self.name(), "<lora:" * 50, ":" * 200, f"{lora} : nan",
                 f"{lora} : inf : 1e400")
        return "\n".join(self.draw.choices(lines, k=self.draw.randrange(6)))

    def picks(self) -> dict[str, Any]:
        fields = {"state": ("keep", "reject", "", self.value()), "flip": (True, False, self.value()),
                  "tags": (None, ["a", self.name()], [self.name()] * 3, ["x"] * 201, self.value()),
                  "crop": (None, [0, 0, 32, 32], [0, 0, 2**70, 5], [1, 2, 3], [True, False, 9, 9], self.value()),
                  "note": ("n", "x" * 2001, self.name(), self.value()), self.name(): (self.value(),)}
        changes = [{"candidate": self.one(*self.known.candidates),
                    "pick": {name: self.draw.choice(valid) for name, valid in fields.items() if self.chance(0.4)}}
                   for _ in range(self.draw.randrange(4))]
        return {"project": self.one(self.known.project), "round": self.draw.choice((1, 1, 1, 2, self.value())),
                "revision": self.revision("candidates/picks"), "label": self.draw.choice(("l", self.value())),
                "changes": self.draw.choice((changes, changes, changes, self.value(), [self.value()]))}

    # -- the form ------------------------------------------------------------------------------------------------------

    def query(self, values: dict[str, Any]) -> str:
        given = {name: value for name, value in values.items() if value is not None and not self.chance(0.02)}
        return "&".join(f"{name}={self.encoded(str(value))}" for name, value in given.items() for _ in range(
            2 if self.chance(0.03) else 1))

    def encoded(self, text: str) -> str:
        if self.chance(0.02):
            return "%ff%fe%c0%ae"
        once = quote(text.encode("utf-8", "surrogatepass"), safe="")[:1800]
        return quote(once, safe="") if self.chance(0.1) else once

    def body(self, values: dict[str, Any]) -> bytes:
        if self.chance(0.04):
            return self.draw.choice(BODIES).encode("utf-8", "surrogatepass")
        if self.chance(0.01):
            return self.draw.randbytes(50)
        if self.chance(0.02):
            return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
        text = json.dumps(values)
        return (text[:-1] if self.chance(0.01) else text).encode()

    def headers(self, kind: str = "application/json") -> dict[str, str]:
        headers = {"Content-Type": self.draw.choice(TYPES) if self.chance(0.15) else kind}
        return headers | ({"Origin": self.draw.choice(ORIGINS)} if self.chance(0.05) else {})
