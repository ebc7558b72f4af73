"""The exact state of a training run in one safetensors file, without pickle and replaced in one step.

A digest in the file covers all of it, so a damaged state is never resumed; states of older versions have none. The
trained weights and the optimizer's state are tensors; every other value is JSON in the file's metadata. The
learning rate schedule and the order of images are functions of the step, so only the step is saved.

A training takes a snapshot between two steps, and a thread writes it. The snapshot takes as much memory as the state's
file, until it is written: with AdamW three times the LoRA in float32.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..common.errors import UserError
from ..common.files import atomic_path
from ..common.tensor_cache import digest_tensors
from ..lora.tensors import TensorFile

FORMAT = 1
_MARK = "$kind"
"""Key of a JSON object that stands for a value that JSON itself cannot hold."""
_BROKEN = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


_MOMENTS = {"exp_avg", "exp_avg_sq"}
"""Tensors of an optimizer's state that have their parameter's shape."""


class DamagedState(UserError):
    """A training state that cannot be resumed, whatever the reason."""


@dataclass(frozen=True, eq=False)
class TrainState:
    """What `load_state` found.

    Attributes:
        step: optimizer steps done.
        tensors: by the names given to `take_snapshot`.
        optimizer_state: as `optimizer.state_dict()` returned it, for `restore_optimizer`.
        extra: the values given to `take_snapshot`.
    """

    step: int
    tensors: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Any]
    extra: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A state that is ready to be written, and shares no memory with the training.

    Attributes:
        text: whatever is not a tensor, as JSON.
        stored: tensors on the CPU, by their names in the file.
    """

    text: str
    stored: Mapping[str, Tensor]


def take_snapshot(step: int, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer,
                  extra: Mapping[str, Any] | None = None) -> Snapshot:
    """Copy the state as it is now to the CPU.

    In the file, tensors are named `tensor.<name>`, the optimizer's `optimizer.<parameter number>.<key>`. `extra` may
    hold None, bool, int, float, str, lists, tuples, dicts with text or whole-number keys, and tensors.

    Raises TypeError for a value that cannot be saved.
    """
    stored = {f"tensor.{name}": tensor for name, tensor in tensors.items()}
    state = optimizer.state_dict()
    facts = {
        "format": FORMAT,
        "step": step,
        "optimizer": {
            "state": _encode(state["state"], "optimizer", stored),
            **{key: _encode(value, key, stored) for key, value in state.items() if key != "state"},
        },
        "extra": _encode(dict(extra or {}), "extra", stored),
    }
    # safetensors refuses tensors that share memory, as some optimizers' tables do
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in stored.items()}
    return Snapshot(json.dumps(facts), copies)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot; the older state stays valid until it is complete. Raises UserError as `atomic_path` does."""
    text, stored = snapshot.text, dict(snapshot.stored)
    with atomic_path(path) as temp:
        save_file(stored, temp, metadata={"training_state": text, "digest": _digest(text, stored)})


class StateWriter:
    """Writes a run's snapshots in a thread, one at a time, while the training goes on.

    A process that ends waits for the thread, and whoever frees the run's folder calls `wait` first.

    Attributes:
        refused: number of the last saves in a row that failed.
    """

    def __init__(self, path: Path, minutes: float = 0.0) -> None:
        """`minutes`: the least time from one save to the next that `is_due`."""
        self._path, self._seconds = path, 60 * minutes
        self._began = monotonic()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.refused = 0

    def is_due(self) -> bool:
        """Whether the last save, or the training, began long enough ago."""
        return monotonic() - self._began >= self._seconds

    def save(self, take: Callable[[], Snapshot]) -> None:
        """Take a snapshot and begin to write it, once the one before is written. Raises the error of that one."""
        self.wait()
        if error := self.take_error():
            raise error
        self._began = monotonic()
        # a host's threads are daemons, which a process that ends kills, and theirs would be daemons too
        thread = threading.Thread(target=self._write, args=(take(),), name="training state", daemon=False)
        thread.start()
        self._thread = thread

    def _write(self, snapshot: Snapshot) -> None:
        try:
            write_snapshot(self._path, snapshot)
            self.refused = 0
        except Exception as error:  # whatever it is, the training reports it
            self._error = error
            self.refused += 1

    def take_error(self) -> Exception | None:
        """The error of a save that failed, which is then forgotten: a UserError if the system refused it."""
        error, self._error = self._error, None
        return error

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def saved_step(path: Path) -> int | None:
    """The step of a state, by its header alone; None if there is no state or it cannot be read. It is read again only
    if the file's size or modification time has changed."""
    with suppress(OSError):
        status = os.stat(path)
        return _saved_step(path, status.st_mtime_ns, status.st_size)
    return None


@lru_cache(maxsize=64)
def _saved_step(path: Path, mtime_ns: int, size: int) -> int | None:
    with suppress(UserError, *_BROKEN):
        step = json.loads(TensorFile(path).metadata["training_state"])["step"]
        return step if type(step) is int and step >= 0 else None
    return None


def load_state(path: str | os.PathLike[str]) -> TrainState:
    """Read a state; tensors are on the CPU. Raises UserError if the file cannot be read, DamagedState if it is not
    what was saved."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            # copies: on some systems the file cannot be replaced while a tensor maps it
            stored = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = file.metadata() or {}
        text = metadata["training_state"]
        if metadata.get("digest", digest := _digest(text, stored)) != digest:
            raise ValueError("its content does not match its digest")
        return _state(json.loads(text), stored)
    except OSError as error:
        raise UserError(f"the training state {path} cannot be read: {error.strerror or error}. Try again, or delete it "
                        "to start again at step 0.") from error
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _state(facts: Any, stored: Mapping[str, Tensor]) -> TrainState:
    if facts["format"] != FORMAT:
        raise ValueError(f"its format is {facts['format']}, not {FORMAT}")
    if type(facts["step"]) is not int or facts["step"] < 0:
        raise ValueError(f"its step is {facts['step']!r}")
    return TrainState(
        facts["step"],
        {name.removeprefix("tensor."): tensor for name, tensor in stored.items() if name.startswith("tensor.")},
        {key: _decode(value, stored) for key, value in facts["optimizer"].items()},
        _decode(facts["extra"], stored),
    )


def _digest(text: str, stored: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{digest_tensors(stored)} {text}".encode()).hexdigest()


def _damaged(path: Path, error: BaseException) -> DamagedState:
    reason = " ".join(str(error).split())[:200]
    told = reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}"
    return DamagedState(f"the training state {path} is damaged ({told}), so the run starts again at step 0. LoRA files "
                        "saved before are not deleted.")


def resume(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer,
           scaler: torch.amp.GradScaler, steps: int) -> int:
    """Give trained tensors, optimizer and scaler the values of a saved state; returns its step.

    Args:
        tensors: as given to `take_snapshot`, whose `extra` holds the scaler's state as "scaler".
        steps: the run's last step.

    Raises UserError as `load_state` does, DamagedState also if the state does not fit. The tensors are then unchanged;
    the optimizer and the scaler may not be.
    """
    state = load_state(path)
    try:
        _check_fit(state, tensors, steps)
        restore_optimizer(optimizer, state.optimizer_state)
        if state.extra["scaler"]:
            scaler.load_state_dict(dict(state.extra["scaler"]))
    except _BROKEN as error:
        raise _damaged(Path(path), error) from error
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state.tensors[name])
    return state.step


def _check_fit(state: TrainState, tensors: Mapping[str, Tensor], steps: int) -> None:
    if state.step > steps:
        raise ValueError(f"its step is {state.step}, but the run has {steps}")
    if state.step and not state.optimizer_state["state"] and not state.extra["scaler"]:
        raise ValueError("its optimizer has no state")  # only a scaler may have skipped every step so far
    kinds, wanted = ({name: (tensor.dtype, tensor.shape) for name, tensor in group.items()}
                     for group in (state.tensors, tensors))
    if kinds != wanted:
        name = next(name for name in (*wanted, *kinds) if kinds.get(name) != wanted.get(name))
        raise ValueError(f"tensor {name} is {_shape(kinds.get(name))}, not {_shape(wanted.get(name))}")


def _shape(kind: tuple[torch.dtype, torch.Size] | None) -> str:
    return "missing" if kind is None else f"{list(kind[1])} in {kind[0]}"


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer the state of the one that was saved. Raises UserError if it does not fit this one."""
    groups, ours = state["param_groups"], optimizer.param_groups
    counts, wanted = ([len(group["params"]) for group in rows] for rows in (groups, ours))
    if counts != wanted:
        raise UserError(f"it belongs to an optimizer with {counts} parameters by group, but this run has {wanted}")
    for group, own in zip(groups, ours, strict=True):
        if missing := {"lr", "base_lr"} & own.keys() - group.keys():  # other keys may be a newer library's
            raise UserError(f"its optimizer has no {min(missing)}")
    parameters = [parameter for group in ours for parameter in group["params"]]
    for number, values in state["state"].items():
        for name in _MOMENTS & values.keys():
            if values[name].shape != parameters[number].shape:
                raise UserError(f"{name} of parameter {number} is {list(values[name].shape)}, not "
                                f"{list(parameters[number].shape)}")
    optimizer.load_state_dict(dict(state))


def _encode(value: Any, name: str, stored: dict[str, Tensor]) -> Any:
    """The value as JSON; tensors go to `stored` under their dotted name."""
    if isinstance(value, Tensor):
        stored[name] = value
        return {_MARK: "tensor", "name": name}
    if isinstance(value, Mapping):
        rows = [[key, _encode(item, f"{name}.{key}", stored)] for key, item in value.items()]
        if any(type(key) not in (str, int) for key, _ in rows):
            raise TypeError(f"{name} has keys that are neither texts nor whole numbers")
        return {_MARK: "dict", "items": rows}
    if isinstance(value, (list, tuple)):
        rows = [_encode(item, f"{name}.{row}", stored) for row, item in enumerate(value)]
        return rows if isinstance(value, list) else {_MARK: "tuple", "items": rows}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a training state cannot hold")


def _decode(value: Any, stored: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, stored) for item in value]
    if not isinstance(value, dict):
        return value
    if value[_MARK] == "tensor":
        return stored[value["name"]]
    if value[_MARK] == "tuple":
        return tuple(_decode(item, stored) for item in value["items"])
    return {key: _decode(item, stored) for key, item in value["items"]}
