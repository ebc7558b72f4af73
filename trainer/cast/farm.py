"""Shares the cells of a sweep among several ComfyUI servers, by a workflow in API format, and gathers them in one sweep
folder.

The workflow is sent in parts, each with some of the sweep's prompts, seeds or strengths. A cell's key is a hash of all
that decides its image, so cells of several servers lie side by side as if one had drawn them. A server that dies or
fails gives its part to the others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from ..common.errors import UserError
from ..common.events import Event, Events, Interrupted, Progress, Warned
from ..common.files import atomic_path, atomic_write, read_json, write_json
from ..pictures.images import open_image
from ..pictures.small_copies import save_small
from ..sweeps.axis_text import lines, parse_numbers
from ..sweeps.cells import MANIFEST, PROMPT, SEED, STRENGTH, Axis, Cell, Sweep, cell_key
from ..sweeps.prompt_sets import FROM_CAPTIONS
from .comfy_host import DONE, ComfyHost, HostFailed

SWEEPERS = ("LoraBootstrap_CheckpointSweep", "LoraBootstrap_StrengthGrid")
"""Nodes whose cells can be shared."""
POLL = 1.0
"""Seconds between two questions how far a part is."""


def _split_numbers(text: str) -> list[str]:
    """Each number so that it is read as the same again: it decides the keys of cells."""
    return [repr(value) if value % 1 else f"{value:.0f}" for value in parse_numbers(text, "values")]


SPLITS: tuple[tuple[str, str, Callable[[str], Sequence[str]]], ...] = (
    ("prompts", PROMPT, lines), ("seeds", SEED, _split_numbers), ("strengths", STRENGTH, _split_numbers))
"""(input of the node, its axis, how its text is split): the first that has a value for each server is split. Images
without the LoRA are drawn for each prompt and seed, so that strengths come last."""


@dataclass(frozen=True)
class Part:
    """One part of a workflow. `values` are those of the axis that is split."""

    number: int
    graph: Mapping[str, Any]
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """A hash of the workflow's part, under which its plan is kept."""
        return hashlib.sha256(json.dumps(self.graph, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FarmFinished(Event):
    sweep: Sweep


def read_workflow(path: Path) -> dict[str, Any]:
    """The nodes of a workflow in API format. Raises UserError if it is not one that holds exactly one sweep."""
    graph = read_json(path)
    if not isinstance(graph, dict) or not graph or not all(
            isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
            for node in graph.values()):
        raise UserError(f"{path} is not a workflow in API format. Export it with Workflow > Export (API).")
    find_sweeper(graph)
    return graph


def find_sweeper(graph: Mapping[str, Any]) -> str:
    """The id of the node that draws the sweep. Raises UserError if there is not exactly one."""
    found = [name for name, node in graph.items() if node["class_type"] in SWEEPERS]
    if len(found) != 1:
        raise UserError(f"the workflow has {len(found)} nodes that draw a sweep; give one with exactly one Checkpoint "
                        "Sweep or Strength Grid.")
    return found[0]


def split_workflow(graph: Mapping[str, Any], name: str, hosts: int) -> tuple[str, list[Part]]:
    """(the axis that is split, the parts of a workflow), at least one for each host where the sweep has enough values.

    Raises UserError if prompts, seeds and strengths have one value each, or are linked from other nodes.
    """
    sweeper = find_sweeper(graph)
    found: list[tuple[str, str, Sequence[str]]] = []
    inputs = graph[sweeper]["inputs"]
    for entry, axis, split in SPLITS:
        text = inputs.get(entry)
        if axis == PROMPT and inputs.get("prompt_set") == FROM_CAPTIONS:  # they would be in each part
            continue
        try:
            values = split(text) if isinstance(text, str) and text.strip() else ()
        except UserError:  # "by the model"
            continue
        found.append((entry, axis, values))
    enough = next((row for row in found if len(row[2]) >= hosts), None)
    entry, axis, values = enough or max(found, key=lambda row: len(row[2]), default=("", "", ()))
    if len(values) < 2:
        raise UserError("nothing can be shared: the sweep needs several prompts, seeds or strengths that are written "
                        "in its own widgets.")
    return axis, [_make_part(graph, sweeper, name, number, entry, (value,)) for number, value in enumerate(values)]


def _make_part(graph: Mapping[str, Any], sweeper: str, name: str, number: int, entry: str,
               values: tuple[str, ...]) -> Part:
    own = deepcopy(dict(graph))
    own[sweeper]["inputs"] |= {"name": name, entry: "\n".join(values)}
    return Part(number, own, values)


def run_farm(parts: Sequence[Part], axis: str, hosts: Sequence[ComfyHost], folder: Path,
             should_stop: Callable[[], bool] = lambda: False, poll: float = POLL) -> Events:
    """Draw all parts on the hosts, yielding events; the last is FarmFinished, or Interrupted.

    A host that fails is left out from then on. What was gathered stays, and is not fetched again. If stopped, the hosts
    end the parts that they have; the same command gathers them later.

    Raises UserError if every host has failed, or if hosts draw with different LoRAs or bases.
    """
    yield from _Farm(parts, axis, folder, poll).run(hosts, should_stop)


class _Farm:
    def __init__(self, parts: Sequence[Part], axis: str, folder: Path, poll: float) -> None:
        self.parts, self.axis, self.folder, self.poll = parts, axis, folder, poll
        self.plans = {part.number: plan for part in parts if (plan := self._kept_plan(part))}
        self.waiting: Queue[Part] = Queue()
        for part in parts:
            if part.number not in self.plans:
                self.waiting.put(part)
        self.told: Queue[Event | Exception] = Queue()
        self.lock, self.ended = threading.Lock(), threading.Event()

    @property
    def done(self) -> bool:
        return len(self.plans) == len(self.parts)

    def run(self, hosts: Sequence[ComfyHost], should_stop: Callable[[], bool]) -> Events:
        threads = [threading.Thread(target=self._serve, args=(host,), daemon=True) for host in hosts]
        for thread in threads:
            thread.start()
        failed: list[str] = []
        try:
            yield Progress("parts", len(self.plans), len(self.parts))
            while any(thread.is_alive() for thread in threads) or not self.told.empty():
                if should_stop():
                    yield Interrupted("farm")
                    return
                for event in self._events():
                    failed += [event.message] if isinstance(event, Warned) else []
                    yield event
        finally:
            self.ended.set()
        if not self.done:
            left = len(self.parts) - len(self.plans)
            raise UserError(f"no server is left to draw {left} of {len(self.parts)} parts. {' '.join(failed)} What "
                            f"was drawn is in {self.folder}; the same command goes on.")
        yield FarmFinished(self._merged())

    def _events(self) -> Iterator[Event]:
        try:
            event = self.told.get(timeout=0.2)
        except Empty:
            return
        if isinstance(event, Exception):
            raise event
        yield event

    # -- in a thread for each host ---------------------------------------------------------------------------------

    def _serve(self, host: ComfyHost) -> None:
        while not self.ended.is_set() and not self.done:
            try:
                part = self.waiting.get(timeout=0.1)  # another host may still give its part back
            except Empty:
                continue
            try:
                if not self._draw(host, part):
                    return
            except HostFailed as error:
                self.waiting.put(part)
                self.told.put(Warned(f"{host.address} is left out: {error}"))
                return
            except Exception as error:  # a full disk here, or hosts that differ: no other host could mend it
                self.told.put(error)
                self.ended.set()
                return
            self.told.put(Progress("parts", len(self.plans), len(self.parts)))

    def _draw(self, host: ComfyHost, part: Part) -> bool:
        """Let a host draw a part, and gather it; False if the farm ended before."""
        prompt = host.queue(part.graph)
        while host.state(prompt) != DONE:
            if self.ended.wait(self.poll):
                return False
        sweep = self._read_plan(host)
        with self.lock:
            _merge([*self.plans.values(), sweep], self.axis)  # before anything is fetched
        self._gather(host, sweep)
        with self.lock:
            atomic_write(self._plan_file(part), json.dumps(_manifest_values(sweep)).encode())
            self.plans[part.number] = sweep
            self._merged().write()
        return True

    def _read_plan(self, host: ComfyHost) -> Sweep:
        data = host.file(self._remote, MANIFEST)
        if data is None:
            raise HostFailed("it ran the workflow, but its output folder has no such sweep.")
        return self._load(data)

    def _load(self, data: bytes) -> Sweep:
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / MANIFEST).write_bytes(data)
            try:
                return replace(Sweep.load(Path(temporary)), folder=self.folder)
            except UserError as error:
                raise HostFailed(f"its sweep cannot be read: {error}") from error

    def _gather(self, host: ComfyHost, sweep: Sweep) -> None:
        for cell in sweep.missing():
            data = host.file(f"{self._remote}/cells", f"{cell.key}.png")
            if data is None:
                sweep.fail(cell, f"{host.address} could not draw it.")
            else:
                _save_cell(sweep, cell, data, host)

    @property
    def _remote(self) -> str:
        return f"sweeps/{self.folder.name}"

    # -- plans -----------------------------------------------------------------------------------------------------

    def _plan_file(self, part: Part) -> Path:
        return self.folder / "farm" / f"{part.key}.json"

    def _kept_plan(self, part: Part) -> Sweep | None:
        """The plan of a part that an earlier command gathered, if all its cells are there."""
        path = self._plan_file(part)
        if not path.is_file():
            return None
        try:
            sweep = self._load(path.read_bytes())
        except (HostFailed, OSError):
            return None
        return None if sweep.missing() else sweep

    def _merged(self) -> Sweep:
        return _merge([plan for _, plan in sorted(self.plans.items())], self.axis)


def _manifest_values(sweep: Sweep) -> dict[str, Any]:
    """What `Sweep.load` reads."""
    return {"version": 1, "title": sweep.title, "without": sweep.without, "shared": dict(sweep.shared),
            "alone": sweep.alone,
            "axes": [{"name": axis.name, "choices": [vars(choice) for choice in axis.choices]} for axis in sweep.axes]}


def _save_cell(sweep: Sweep, cell: Cell, data: bytes, host: ComfyHost) -> None:
    """Write a cell's image as the host drew it, if it is an image."""
    path = sweep.picture(cell)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
            image = open_image(temporary)
    except UserError as error:
        raise HostFailed(f"the image of a cell cannot be read: {error}") from error
    save_small(path, image)
    write_json(sweep.record(cell), cell.facts)


def _merge(plans: Sequence[Sweep], split: str) -> Sweep:
    """One sweep of all parts, whose axis `split` has the choices of each. Raises UserError if anything else differs."""
    first = plans[0]
    for other in plans[1:]:
        if difference := _difference(first, other, split):
            raise UserError(f"the servers do not draw the same sweep: {difference}. Copy the LoRA and base files to "
                            "all of them, and use one version of this pack.")
    axes = []
    for place, axis in enumerate(first.axes):
        choices = {cell_key(choice.facts): choice for plan in plans
                   for choice in plan.axes[place].choices}
        axes.append(Axis(axis.name, tuple(choices.values())) if axis.name == split else axis)
    return replace(first, axes=tuple(axes))


def _difference(first: Sweep, other: Sweep, split: str) -> str:
    """What differs between two plans, beside the axis that is split; "" if nothing does."""
    if [axis.name for axis in first.axes] != [axis.name for axis in other.axes]:
        return "their axes differ"
    for name in sorted({*first.shared, *other.shared} - {split}):
        if first.shared.get(name) != other.shared.get(name):
            return f"{name} is {first.shared.get(name)!r} and {other.shared.get(name)!r}"
    for mine, theirs in zip(first.axes, other.axes, strict=True):
        keys = [[cell_key(choice.facts) for choice in axis.choices] for axis in (mine, theirs)]
        if mine.name != split and keys[0] != keys[1]:
            return f"the axis {mine.name} differs"
    return ""
