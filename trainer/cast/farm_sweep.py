"""The cells of a sweep, shared among several ComfyUI servers by a workflow in API format, and gathered in one sweep
folder.

The workflow is sent in parts, each with some of the sweep's prompts, seeds or strengths. A cell's key is a hash of all
that decides its image, so cells of several servers lie side by side as if one had drawn them.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.events import Event
from ..common.files import atomic_path, atomic_write, write_json
from ..pictures.images import open_image
from ..pictures.small_copies import save_small
from ..sweeps.axis_text import lines, parse_numbers
from ..sweeps.cells import MANIFEST, PROMPT, SEED, STRENGTH, Axis, Cell, Sweep, cell_key
from ..sweeps.prompt_sets import FROM_CAPTIONS
from .comfy_host import ComfyHost, HostFailed, plain_line
from .farm import Wait

SWEEPERS = ("LoraBootstrap_CheckpointSweep", "LoraBootstrap_StrengthGrid")
"""Nodes whose cells can be shared."""


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


def list_sweepers(graph: Mapping[str, Any]) -> list[str]:
    """The ids of the nodes that draw a sweep."""
    return [name for name, node in graph.items() if node["class_type"] in SWEEPERS]


def find_sweeper(graph: Mapping[str, Any]) -> str:
    """The id of the node that draws the sweep. Raises UserError if there is not exactly one."""
    found = list_sweepers(graph)
    if len(found) != 1:
        raise UserError(f"the workflow has {len(found)} nodes that draw a sweep; give one with exactly one Checkpoint "
                        "Sweep or Strength Grid, or one with Save Candidates.")
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


class SweepWork:
    """The parts of a sweep, as `run_farm` shares them."""

    def __init__(self, parts: Sequence[Part], axis: str, folder: Path) -> None:
        self.parts, self.axis, self.folder = parts, axis, folder
        self._plans = {part.number: plan for part in parts if (plan := self._kept_plan(part))}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return len(self.parts)

    def list_done(self) -> set[int]:
        return set(self._plans)

    def begin(self, host: ComfyHost, wait: Wait) -> bool:
        return True

    def draw(self, host: ComfyHost, number: int, wait: Wait) -> bool:
        part = self.parts[number]
        if not wait(host, host.queue(part.graph)):
            return False
        sweep = self._read_plan(host)
        with self._lock:
            _merge([*self._plans.values(), sweep], self.axis)  # before anything is fetched
        self._gather(host, sweep)
        with self._lock:
            atomic_write(self._plan_file(part), json.dumps(_manifest_values(sweep)).encode())
            self._plans[part.number] = sweep
            self._merged().write()
        return True

    def finish(self) -> FarmFinished:
        return FarmFinished(self._merged())

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
        return _merge([plan for _, plan in sorted(self._plans.items())], self.axis)


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
            return plain_line(f"{name} is {first.shared.get(name)!r} and {other.shared.get(name)!r}")
    for mine, theirs in zip(first.axes, other.axes, strict=True):
        keys = [[cell_key(choice.facts) for choice in axis.choices] for axis in (mine, theirs)]
        if mine.name != split and keys[0] != keys[1]:
            return f"the axis {mine.name} differs"
    return ""
