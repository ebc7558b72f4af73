"""Reads a safetensors file tensor by tensor, so that memory holds only the requested tensor.

`safetensors.safe_open` maps the whole file privately: everything read counts as used memory until the file is closed,
and a file larger than the memory is refused. Format: github.com/huggingface/safetensors, a length of 8 bytes, a JSON
header, data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..common.errors import UserError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
_LONGEST_HEADER = 100_000_000
_BLOCK = 1 << 20
_LONGEST_NAME = 1000


class TensorFile:
    """An open safetensors file. Raises UserError if the file is missing or is not a complete safetensors file.

    Attributes:
        metadata: the strings in the file's header; anything else there says nothing.
        shapes: key → shape.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"LoRA file {path} does not exist. Check the path.")
        try:
            with open(path, "rb") as file:
                header, self._start = _header(file, path.stat().st_size)
            metadata = header.pop("__metadata__", None) or {}
            self.metadata = {name: text for name, text in metadata.items() if _is_text(name) and _is_text(text)}
            self.shapes = {_name(key): _shape(row["shape"]) for key, row in header.items()}
            self._rows = {key: (row["dtype"], *_place(row, path.stat().st_size - self._start))
                          for key, row in header.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            pickled = "a pickle, which can run code and is never opened, and " if _is_pickle(path) else ""
            raise UserError(f"{path} is {pickled}not a complete safetensors file ({error}). Get the LoRA as "
                            ".safetensors, or download it again.") from error

    @cached_property
    def _file(self) -> BinaryIO:
        return open(self.path, "rb")  # noqa: SIM115

    def read(self, key: str) -> Tensor:
        """The tensor, in its own memory. Raises UserError if its type is not one of DTYPES or it cannot be read."""
        name, start, stop = self._rows[key]
        if name not in DTYPES:
            raise UserError(f"{self.path} stores tensor {key} as {name}; types that can be read are "
                            f"{', '.join(DTYPES)}.")
        try:
            self._file.seek(self._start + start)
            data = bytearray(self._file.read(stop - start))
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}.") from error
        if len(data) != stop - start:
            raise UserError(f"{self.path} was truncated while it was read. Try again once it is written completely.")
        if not data:
            return torch.empty(self.shapes[key], dtype=DTYPES[name])
        return torch.frombuffer(data, dtype=DTYPES[name]).reshape(self.shapes[key])

    def dtype(self, key: str) -> str:
        """The tensor's type as the file names it."""
        return self._rows[key][0]

    def read_blocks(self, key: str) -> Iterator[bytes]:
        """The tensor's bytes, at most _BLOCK at a time. Raises UserError if the file has become shorter."""
        _, start, stop = self._rows[key]
        for place in range(start, stop, _BLOCK):
            wanted = min(_BLOCK, stop - place)
            self._file.seek(self._start + place)
            block = self._file.read(wanted)
            if len(block) != wanted:
                raise UserError(f"{self.path} was truncated while it was read. Try again once it is written "
                                "completely.")
            yield block

    def close(self) -> None:
        if "_file" in self.__dict__:
            self._file.close()
            del self.__dict__["_file"]


def _is_pickle(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x04")
    except OSError:
        return False


def _header(file: BinaryIO, size: int) -> tuple[dict, int]:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
        raise ValueError(f"its header claims {length} bytes, but the file has {size}")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header, 8 + length


def _is_text(value: object) -> bool:
    """Whether it is a text that can be written: JSON can hold halves of characters."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def _name(key: str) -> str:
    if len(key) > _LONGEST_NAME or not key.isprintable():
        raise ValueError(f"a tensor's name, {ascii(key[:40])}, is not a name")
    return key


def _shape(sizes: object) -> tuple[int, ...]:
    # neither 4.0 nor true is a size, though both compare and multiply like one
    if not isinstance(sizes, list) or any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError("a tensor's shape is not a list of whole numbers")
    return tuple(sizes)


def _place(row: Mapping, size: int) -> tuple[int, int]:
    """(start, stop) of a tensor's bytes in the data."""
    start, stop = row["data_offsets"]
    if type(start) is not int or type(stop) is not int or not 0 <= start <= stop <= size:
        raise ValueError(f"its data ends at byte {size}, but a tensor lies at {start!r} to {stop!r}")
    known = DTYPES.get(row["dtype"])
    if known and math.prod(row["shape"]) * known.itemsize != stop - start:
        raise ValueError(f"a tensor of shape {row['shape']} has {stop - start} bytes")
    return start, stop
