"""A hash of whatever the host's sockets carry, down to the closures of a patched MODEL: equal hashes, equal images.

Tensors and plain values count whole, weights of models by samples (`facts.sampled_hash`), functions by their code and
all that they enclose. What a sampler leaves behind in an object does not count. Where something cannot be looked into,
it is named, so that the caller can ask what made it instead.
"""

from __future__ import annotations

import dis
import enum
import hashlib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from .facts import sampled_hash

PLAIN = (str, bytes, bool, int, float, complex, type(None))
NAMED = (torch.dtype, torch.device, torch.layout, torch.memory_format, PurePath, types.ModuleType,
         types.BuiltinFunctionType, types.MethodWrapperType)
"""Types whose values are known by their text or name."""
OPTIONS = ("model_options", "object_patches", "weight_wrapper_patches", "attachments", "additional_models", "callbacks",
           "wrappers", "injections", "hook_patches", "forced_hooks")
"""What changes the results of a ModelPatcher beside its weights and the patches on them."""
PLACES = frozenset(("device", "load_device", "offload_device", "output_device", "current_device", "patches_uuid"))
"""Attributes that say where something lies, which does not change what it does."""
PROGRESS = frozenset((
    "_current_keyframe", "_current_used_steps", "_current_index", "_current_strength", "_curr_t", "curr_t", "start_t",
    "hook_ref", "_skip_adding",  # comfy/hooks.py
    "cond_hint", "timestep_range", "extra_concat", "model_sampling_current"))  # comfy/controlnet.py
"""Attributes of the host's own objects that say how far sampling has come."""
DEEPEST, MOST = 60, 200_000
"""Limits of the search through an object: levels, and values."""


@dataclass(frozen=True)
class Content:
    """Attributes:
        digest: 64 hexadecimal digits.
        sampled: whether weights are in it, of which only samples are read.
        opaque: types of what could not be looked into.
    """

    digest: str
    sampled: bool = False
    opaque: tuple[str, ...] = ()


def content_of(value: Any) -> Content:
    """The content of a value of any socket."""
    reader = _Reader(frozenset())
    reader.add(value)
    if reader.written:
        reader = _Reader(frozenset(reader.written))
        reader.add(value)
    return Content(reader.hasher.hexdigest(), reader.sampled, tuple(sorted(reader.opaque)))


def patcher_options(patcher: Any) -> dict[str, Any]:
    """What was set on a ModelPatcher beside patches of weights; {} for a model as its file has it."""
    return _without_empty({name: getattr(patcher, name, None) for name in OPTIONS})


def clip_options(clip: Any) -> dict[str, Any]:
    """What was set on a CLIP beside its patcher's; {} for one as its file has it."""
    known = ("cond_stage_model", "tokenizer", "patcher", "layer_idx", "tokenizer_options")
    found = {name: value for name, value in vars(clip).items() if name not in known and value is not False}
    return _without_empty(found)


def _without_empty(value: Any) -> Any:
    """Mappings without the entries that hold nothing."""
    if not isinstance(value, Mapping):
        return value
    kept = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in kept.items()
            if item is not None and not (isinstance(item, (Mapping, list, tuple)) and not len(item))}


class _Reader:
    """Reads values into one hash.

    Attributes:
        written: ids of variables that enclosed functions assign while they run; these hold what sampling left there.
    """

    def __init__(self, ignored: frozenset[int]) -> None:
        self.hasher = hashlib.sha256()
        self.written, self._ignored = set[int](), ignored
        self.sampled, self.opaque = False, set[str]()
        self._open: list[int] = []
        self._count = 0

    def add(self, value: Any) -> None:
        read = next((read for fits, read in KINDS if fits(value)), _Reader._object)
        if isinstance(value, PLAIN) or read is _Reader._named:
            read(self, value)
            return
        self._count += 1
        if id(value) in self._open:
            self._mark(f"loop {len(self._open) - self._open.index(id(value))}")
        elif len(self._open) > DEEPEST or self._count > MOST:
            self._unknown(value)
        else:
            self._open.append(id(value))
            read(self, value)
            self._open.pop()

    def _mark(self, text: str) -> None:
        self.hasher.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))

    def _unknown(self, value: Any) -> None:
        self.opaque.add(_name(type(value)))
        self._mark(_name(type(value)))

    # -- kinds of values ---------------------------------------------------------------------------------------------

    def _plain(self, value: Any) -> None:
        self._mark(f"{type(value).__name__} {value!r}")

    def _named(self, value: Any) -> None:
        self._mark(f"{type(value).__name__} {_name(value) if hasattr(value, '__name__') else value}")

    def _tensor(self, tensor: Tensor) -> None:
        self._mark(f"tensor {tensor.dtype} {list(tensor.shape)}")
        if tensor.is_meta or tensor.is_sparse:
            self._unknown(tensor)
            return
        try:
            flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        except (RuntimeError, NotImplementedError):  # the host's quantised tensors
            flat = tensor.dequantize().detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        self.hasher.update(flat.numpy().data)

    def _array(self, value: Any) -> None:
        self._mark(f"array {value.dtype} {value.shape}")
        self._unknown(value) if value.dtype.hasobject else self.hasher.update(value.tobytes())

    def _image(self, value: Any) -> None:
        self._mark(f"image {value.mode} {value.size}")
        self.hasher.update(value.tobytes())

    def _mapping(self, value: Mapping[Any, Any]) -> None:
        self._mark(f"mapping {len(value)}")
        if all(isinstance(key, PLAIN) for key in value):
            for key in sorted(value, key=repr):
                self.add(key)
                self.add(value[key])
        else:  # a key that is an object has no order of its own but that of its making
            for key, item in value.items():
                self.add(key)
                self.add(item)

    def _sequence(self, value: Any) -> None:
        self._mark(f"sequence {len(value)}")
        for item in value:
            self.add(item)

    def _set(self, value: Any) -> None:
        self._mark(f"set {len(value)}")
        digests = [content_of(item) for item in value]
        self.opaque.update(kind for content in digests for kind in content.opaque)
        for digest in sorted(content.digest for content in digests):
            self._mark(digest)

    def _method(self, value: types.MethodType) -> None:
        self._function(value.__func__)
        self.add(value.__self__)

    def _partial(self, value: partial[Any]) -> None:
        self._mark("partial")
        for part in (value.func, value.args, value.keywords):
            self.add(part)

    def _function(self, value: Any) -> None:
        if not isinstance(value, types.FunctionType):
            self.add(value)
            return
        self._mark(f"function {_name(value)}")
        self._code(value.__code__)
        self.add(value.__defaults__)
        self.add(value.__kwdefaults__)
        assigned = _assigned_names(value.__code__)
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if name in assigned:
                self.written.add(id(cell))
            if id(cell) in self._ignored:
                continue
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not filled yet
                self._mark("empty")

    def _code(self, code: types.CodeType) -> None:
        self._mark(f"code {code.co_code.hex()} {code.co_names}")
        for constant in code.co_consts:
            self._code(constant) if isinstance(constant, types.CodeType) else self.add(constant)

    def _module(self, value: nn.Module) -> None:
        self.sampled = True
        self._mark(f"module {_name(type(value))} {sampled_hash([_Whole(value)], [])}")
        self._attributes({name: item for name, item in vars(value).items() if isinstance(item, PLAIN)}, PLACES)

    def _patcher(self, value: Any) -> None:
        self.sampled = True
        self._mark(f"patcher {sampled_hash([value], [])}")
        self.add(patcher_options(value))

    def _clip(self, value: Any) -> None:
        self._mark(f"clip {value.layer_idx}")
        for part in (value.patcher, value.tokenizer_options, clip_options(value)):
            self.add(part)

    def _vae(self, value: Any) -> None:
        self._mark(f"vae {_name(type(value))}")
        self.add(value.patcher)
        self._attributes(vars(value), PLACES | {"first_stage_model", "patcher", "size"})

    def _object(self, value: Any) -> None:
        slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
        found = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
        if not found and type(value).__module__ in ("builtins", "_thread", "weakref", "_weakref", "torch._C"):
            self._unknown(value)
            return
        self._mark(f"object {_name(type(value))}")
        of_host = any(kind.__module__.startswith("comfy.") for kind in type(value).__mro__)
        self._attributes(found, PLACES | PROGRESS if of_host else PLACES)

    def _attributes(self, found: Mapping[str, Any], ignored: frozenset[str]) -> None:
        self._mapping({name: item for name, item in found.items() if name not in ignored})


def _assigned_names(code: types.CodeType) -> set[str]:
    """The variables of enclosing functions that a function assigns, or a function within it."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_DEREF", "DELETE_DEREF")}
    for constant in code.co_consts:
        names |= _assigned_names(constant) if isinstance(constant, types.CodeType) else set()
    return names & set(code.co_freevars)


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


@dataclass(frozen=True)
class _Whole:
    """A module that is not in a ModelPatcher, in the form that `sampled_hash` reads."""

    model: nn.Module
    backup: Mapping[str, Any] = field(default_factory=dict)
    patches: Mapping[str, Any] = field(default_factory=dict)


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', getattr(value, '__name__', value))}"


def _is(*kinds: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda value: all(hasattr(value, name) for name in names)


def _comes_from(module: str, name: str) -> Callable[[Any], bool]:
    """Whether a value has a class of that name from that package, which is not imported for it."""
    return lambda value: any(kind.__module__.partition(".")[0] == module and kind.__name__ == name
                             for kind in type(value).__mro__)


KINDS: tuple[tuple[Callable[[Any], bool], Callable[[_Reader, Any], None]], ...] = (
    (_is(enum.Enum), _Reader._named), (_is(*PLAIN), _Reader._plain), (_is(*NAMED, type), _Reader._named),
    (_is(Tensor), _Reader._tensor), (_is(nn.Module), _Reader._module), (_is(Mapping), _Reader._mapping),
    (_is(list, tuple), _Reader._sequence), (_is(set, frozenset), _Reader._set),
    (_is(types.FunctionType), _Reader._function), (_is(types.MethodType), _Reader._method),
    (_is(partial), _Reader._partial), (_comes_from("numpy", "ndarray"), _Reader._array),
    (_comes_from("PIL", "Image"), _Reader._image),
    (_has("cond_stage_model", "patcher", "layer_idx"), _Reader._clip),
    (_has("first_stage_model", "patcher"), _Reader._vae), (_has("model_options", "patches", "model"), _Reader._patcher))
"""The first that fits reads a value; `_Reader._object` the rest."""
