"""The exact state of a training run in one safetensors file, without pickle and replaced in one step.

The trained weights and the optimizer's state are tensors; every other value is JSON in the file's metadata. The
learning rate schedule and the order of images are functions of the step, so only the step is saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..common.errors import UserError
from ..common.files import atomic_path

FORMAT = 1
_MARK = "$kind"
"""Key of a JSON object that stands for a value that JSON itself cannot hold."""


@dataclass(frozen=True, eq=False)
class TrainState:
    """What `load_state` found.

    Attributes:
        step: optimizer steps done.
        tensors: by the names given to `save_state`.
        optimizer_state: as `optimizer.state_dict()` returned it, for `restore_optimizer`.
        extra: the values given to `save_state`.
    """

    step: int
    tensors: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Any]
    extra: Mapping[str, Any]


def save_state(
    path: str | os.PathLike[str], step: int, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the state, bit for bit, replacing an older one.

    In the file, tensors are named `tensor.<name>`, the optimizer's `optimizer.<parameter number>.<key>`. `extra` may
    hold None, bool, int, float, str, lists, tuples, dicts with text or whole-number keys, and tensors.

    Raises UserError if the disk is full, TypeError for a value that cannot be saved.
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
    stored = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in stored.items()}
    with atomic_path(path) as temp:
        save_file(stored, temp, metadata={"training_state": json.dumps(facts)})


def load_state(path: str | os.PathLike[str]) -> TrainState:
    """Read a state; tensors are on the CPU. Raises UserError if the file is missing or damaged."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            # copies: on some systems the file cannot be replaced while a tensor maps it
            stored = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            facts = json.loads((file.metadata() or {})["training_state"])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, not {FORMAT}")
        return TrainState(
            facts["step"],
            {name.removeprefix("tensor."): tensor for name, tensor in stored.items() if name.startswith("tensor.")},
            {key: _decode(value, stored) for key, value in facts["optimizer"].items()},
            _decode(facts["extra"], stored),
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the training state {path} cannot be read ({type(error).__name__}: {error}). Delete it, and "
                        "the run starts again at step 0; LoRA files saved before are not deleted.") from error


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimizer the state of the one that was saved. Raises UserError if it has other parameters."""
    theirs, ours = ([len(group["params"]) for group in groups] for groups in
                    (state["param_groups"], optimizer.param_groups))
    if theirs != ours:
        raise UserError(f"the training state belongs to an optimizer with {theirs} parameters by group, but this run "
                        f"has {ours}. Delete the state, and the run starts again at step 0.")
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
