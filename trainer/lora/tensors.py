"""Reads and writes a safetensors file tensor by tensor, so that memory holds only one tensor besides the caller's.

`safetensors.safe_open` maps the whole file privately: everything read counts as used memory until the file is closed,
and a file larger than the memory is refused. While it is mapped, Windows refuses to replace or remove it, and a file
that becomes shorter ends the process. Format: github.com/huggingface/safetensors, a length of 8 bytes, a JSON header,
data.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..common.errors import UserError

DTYPES = {
    "I64": torch.int64, "F64": torch.float64, "F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16,
    "F16": torch.float16, "I16": torch.int16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}
"""The types that can be read and written, in the order in which their tensors lie in a file."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_PLACES = {dtype: place for place, dtype in enumerate(_NAMES)}
_LONGEST_HEADER = 100_000_000
_BLOCK = 1 << 20
_LONGEST_NAME = 1000


class TensorFile:
    """An open safetensors file. Raises UserError if the file is missing or is not a complete safetensors file.

    Args:
        what: what the file is, for messages.

    Attributes:
        metadata: the strings in the file's header; anything else there says nothing.
        shapes: key → shape.
    """

    def __init__(self, path: Path, what: str = "LoRA") -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"{what} file {path} does not exist. Check the path.")
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
            raise UserError(f"{path} is {pickled}not a complete safetensors file ({error}). Get the {what} as "
                            ".safetensors, or download it again.") from error

    @cached_property
    def _file(self) -> BinaryIO:
        return open(self.path, "rb")  # noqa: SIM115

    def hold(self) -> None:
        """Open the file now rather than when it is first read, so that it can be read even if it is deleted."""
        self._file.tell()

    def read(self, key: str) -> Tensor:
        """The tensor, in its own memory. Raises UserError if its type is not one of DTYPES or it cannot be read."""
        tensor = torch.empty(self.shapes[key], dtype=self.torch_type(key))
        _, start, stop = self._rows[key]
        try:
            self._file.seek(self._start + start)
            count = self._file.readinto(tensor_bytes(tensor))  # type: ignore[attr-defined]
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}.") from error
        if count != stop - start:
            raise UserError(f"{self.path} was truncated while it was read. Try again once it is written completely.")
        return tensor

    def dtype(self, key: str) -> str:
        """The tensor's type as the file names it."""
        return self._rows[key][0]

    def torch_type(self, key: str) -> torch.dtype:
        """The tensor's type. Raises UserError if it is not one of DTYPES."""
        name = self.dtype(key)
        if name not in DTYPES:
            raise UserError(f"{self.path} stores tensor {key} as {name}; types that can be read are "
                            f"{', '.join(DTYPES)}.")
        return DTYPES[name]

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


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor to write: its type and shape in the file, and what returns it when its turn comes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    get: Callable[[], Tensor]


def write_tensors(path: Path, sources: Mapping[str, Source], metadata: Mapping[str, str],
                  stamp: Callable[[str], Mapping[str, str]]) -> None:
    """Write a safetensors file as the library does, and hash the data on the way.

    Args:
        path: a new or temporary file; see `files.atomic_path`.
        sources: by key. Each is asked once, in `file_order`, and only one tensor is in memory at a time.
        stamp: the sha256 of the data, in hexadecimal → metadata to add.

    Raises OSError if the system refuses.
    """
    keys, digest = file_order({key: source.dtype for key, source in sources.items()}), hashlib.sha256()
    unknown = _header_bytes(keys, sources, {**metadata, **stamp("0" * 64)})  # as long as the one with the hash
    with open(path, "wb", buffering=_BLOCK) as file:
        file.write(unknown)
        for key in keys:
            source = sources[key]
            data = tensor_bytes(source.get().detach().to("cpu", source.dtype).contiguous())
            assert len(data) == source.dtype.itemsize * math.prod(source.shape), f"{key} has another shape"
            digest.update(data)
            file.write(data)
        file.seek(0)
        file.write(_header_bytes(keys, sources, {**metadata, **stamp(digest.hexdigest())}))


def file_order(dtypes: Mapping[str, torch.dtype]) -> list[str]:
    """Keys in the order in which the safetensors library writes their tensors: by type, then by name."""
    return sorted(dtypes, key=lambda key: (_PLACES[dtypes[key]], key.encode()))


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU, not copied."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(map(_is_finite, tensors))


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.dtype.itemsize == 1:  # torch knows no extremes of 8-bit floats
        tensor = tensor.half()
    # the extremes are NaN if any value is; isfinite of all of them takes eight times as long
    return all(math.isfinite(value.item()) for value in tensor.aminmax())


def _header_bytes(keys: Iterable[str], sources: Mapping[str, Source], metadata: Mapping[str, str]) -> bytes:
    rows: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for key in keys:
        source = sources[key]
        end = place + source.dtype.itemsize * math.prod(source.shape)
        rows[key] = {"dtype": _NAMES[source.dtype], "shape": list(source.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
