"""What the host's text encoder returns for one caption, as named tensors [1, ...] that can be cached, and back again.

Most of it is tensors with a batch dimension. Some encoders add what has none (Anima's token ids, [n]), numbers, or
lists of tensors. The host's sampler hands all of it to the model, and so does training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...trainer.common.errors import UserError

_REST = "/rest"
"""Name of the tensor [1, n] that holds the rest's structure as JSON. No name of the host's has a slash."""


def pack(made: Mapping[str, Any]) -> dict[str, Tensor]:
    """The host's dict for one caption as tensors [1, ...] by name. None counts as absent, as it does for the host.

    Tensors with a batch dimension of 1 keep their names; the structure of all else is stored beside its tensors.
    Raises UserError for a value that is neither a tensor, a plain value, nor a list, tuple or dict of them.
    """
    tensors = {name: value for name, value in made.items() if _is_row(value)}
    rest = {name: _described(value, name, tensors) for name, value in made.items()
            if value is not None and not _is_row(value)}
    if rest:
        tensors[_REST] = torch.tensor(list(json.dumps(rest).encode()), dtype=torch.uint8)[None]
    return tensors


def unpack(row: Mapping[str, Tensor]) -> dict[str, Any]:
    """The host's dict again, from the tensors that `pack` made of it."""
    if _REST not in row:
        return dict(row)
    rest = json.loads(bytes(row[_REST][0].tolist()))
    return {**{name: value for name, value in row.items() if "/" not in name},
            **{name: _restored(value, row) for name, value in rest.items()}}


def _is_row(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1 and len(value) == 1


def _described(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON; its tensors are added to `tensors` under paths that the JSON names."""
    if isinstance(value, Tensor):
        tensors[path] = value[None]
        return {"tensor": path}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_described(item, f"{path}/{row}", tensors) for row, item in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(item, f"{path}/{key}", tensors) for key, item in value.items()}}
    if type(value) in (bool, int, float, str, type(None)):
        return {"value": value}
    raise UserError(f"the CLIP's {path.replace('/', ' ')!r} is of type {type(value).__name__}, which training cannot "
                    "give to the model as sampling does. Link CLIP directly from its loader.")


def _restored(described: Mapping[str, Any], row: Mapping[str, Tensor]) -> Any:
    ((kind, value),) = described.items()
    return _KINDS[kind](value, row)


def _all(values: Iterable[Any], row: Mapping[str, Tensor]) -> list[Any]:
    return [_restored(value, row) for value in values]


_KINDS = {
    "tensor": lambda value, row: row[value][0],
    "list": _all,
    "tuple": lambda value, row: tuple(_all(value, row)),
    "dict": lambda value, row: dict(zip(value, _all(value.values(), row), strict=True)),
    "value": lambda value, row: value,
}
