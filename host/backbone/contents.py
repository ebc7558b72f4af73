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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from .facts import sampled_hash

METHODS = (types.BuiltinFunctionType, types.MethodWrapperType)
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
    "cond_hint", "timestep_range", "extra_concat", "model_sampling_current", "control_input",  # comfy/controlnet.py
    "_step", "_model"))  # comfy/context_windows.py
"""Attributes of the host's own objects that say how far sampling has come."""
DEEPEST, MOST = 60, 200_000
"""Limits of the search through an object: levels, and values."""


@dataclass(frozen=True)
class Content:
    """Attributes:
        digest: 64 hexadecimal digits.
        sampled: whether it holds weights; only samples of these are read.
        opaque: types of what could not be looked into.
    """

    digest: str
    sampled: bool = False
    opaque: tuple[str, ...] = ()


def content_of(value: Any, patchers: Iterable[Any] = ()) -> Content:
    """The content of a value of any socket.

    Args:
        patchers: ModelPatchers whose weights count already, so that what refers to parts of them does not depend on the
            patches that are loaded into them.
    """
    patchers = tuple(patchers)
    reader = _Reader(frozenset(), patchers)
    reader.add(value)
    if reader.written:
        reader = _Reader(frozenset(reader.written), patchers)
        reader.add(value)
    return Content(reader.hasher.hexdigest(), reader.sampled or bool(reader.written), tuple(sorted(reader.opaque)))


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

    def __init__(self, ignored: frozenset[int], patchers: Iterable[Any] = ()) -> None:
        self.hasher = hashlib.sha256()
        self.written, self._ignored = set[int](), ignored
        self.sampled, self.opaque = False, set[str]()
        self._open: list[int] = []
        self._count = 0
        self._own: dict[int, str] = {}
        for patcher in patchers:
            self._owns(patcher)

    def _owns(self, patcher: Any) -> None:
        """Note the parts and weights of a model that counts already, but not what the host put in their places."""
        places = {"": patcher.model, **getattr(patcher, "object_patches_backup", {})}
        for place, part in places.items():
            if isinstance(part, nn.Module):
                named = {**dict(part.named_modules(prefix=place)),
                         **part.state_dict(prefix=f"{place}." if place else "", keep_vars=True)}
                self._own |= {id(item): name for name, item in named.items() if place or not any(
                    other and f"{name}.".startswith(f"{other}.") for other in places)}

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
        owner = getattr(value, "__self__", None)
        if isinstance(value, METHODS) and not isinstance(owner, (types.ModuleType, type, type(None))):
            self.add(owner)

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
        digests = []
        for item in value:
            part = _Reader(self._ignored)
            part._open, part._own, part._count = self._open, self._own, self._count
            part.add(item)
            self.opaque |= part.opaque
            self.written |= part.written
            self.sampled |= part.sampled
            self._count = part._count
            digests.append(part.hasher.hexdigest())
        for digest in sorted(digests):
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
        if id(value) in self._own:
            self._mark(f"part of a model {self._own[id(value)]}")
            return
        self.sampled = True
        weights = {name: tensor.detach() if isinstance(tensor, Tensor) else tensor
                   for name, tensor in value.state_dict(keep_vars=True).items() if id(tensor) not in self._own}
        self._mark(f"module {_name(type(value))} {sampled_hash([_Whole(_Weights(weights))], [])}")
        self._attributes({name: item for name, item in vars(value).items() if isinstance(item, PLAIN)}, PLACES)

    def _patcher(self, value: Any) -> None:
        self.sampled = True
        self._mark(f"patcher {sampled_hash([value], [])}")
        self._owns(value)
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
        if _holds_more(type(value)):
            self._unknown(value)
            return
        slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
        found = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
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


def _holds_more(kind: type) -> bool:
    """Whether its objects hold more than attributes and slots, because it is, or is made from, a class in C."""
    plain = (object, types.SimpleNamespace)
    base = next(base for base in kind.__mro__ if base in plain or not base.__flags__ & _MADE_BY_CODE
                or isinstance(base.__dict__.get("__new__"), types.BuiltinFunctionType))  # as copyreg
    has_slots = any("__slots__" in base.__dict__ for base in kind.__mro__)
    return base not in plain or not (kind.__dictoffset__ or has_slots)


_MADE_BY_CODE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE."""


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    private = f"_{kind.__name__.lstrip('_')}"
    return tuple(private + name if name.startswith("__") and not name.endswith("__") else name
                 for name in names if name not in ("__dict__", "__weakref__"))


@dataclass(frozen=True)
class _Weights:
    """Weights by name, in the form of a module."""

    weights: Mapping[str, Tensor]

    def state_dict(self) -> Mapping[str, Tensor]:
        return self.weights


@dataclass(frozen=True)
class _Whole:
    """Weights that are not in a ModelPatcher, in the form that `sampled_hash` reads."""

    model: _Weights
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
    (_comes_from("numpy", "generic"), _Reader._array),
    (_comes_from("PIL", "Image"), _Reader._image),
    (_has("cond_stage_model", "patcher", "layer_idx"), _Reader._clip),
    (_has("first_stage_model", "patcher"), _Reader._vae), (_has("model_options", "patches", "model"), _Reader._patcher))
"""The first that fits reads a value; `_Reader._object` the rest."""


# -- a base ------------------------------------------------------------------------------------------------------------


def fingerprint(model: Any, clip: Any, vae: Any) -> str:
    """A hash of sampled weights of all three parts, of patches on them, and of settings that change results."""
    sampling = model.get_model_object("model_sampling")
    settings = [clip.layer_idx, clip.tokenizer_options, sorted(model.object_patches)]
    set_beside = [content.digest for content in [_set_beside(model, clip, vae)] if content is not None]
    return sampled_hash(_patchers(model, clip, vae),
                        [type(sampling).__mro__[1:3], sampling.sigmas, *settings, *set_beside])


def unreadable_parts(model: Any, clip: Any, vae: Any) -> tuple[str, ...]:
    """Types of what is set on a model but cannot be looked into, so that the fingerprint does not tell it."""
    content = _set_beside(model, clip, vae)
    return content.opaque if content is not None else ()


def _set_beside(model: Any, clip: Any, vae: Any) -> Content | None:
    """Attention patches, samplers, wrappers, hooks and the like; None for models as their files have them, whose
    fingerprint is that of earlier versions."""
    of_model, of_clip, *of_vae = (patcher_options(patcher) for patcher in _patchers(model, clip, vae))
    if of_clip.get("object_patches") == {"manual_cast_dtype": torch.float32}:  # every CLIP of the host has it
        del of_clip["object_patches"]
    options = [of_model, of_clip, *of_vae, clip_options(clip)]
    return content_of(options, _patchers(model, clip, vae)) if any(options) else None


def _patchers(model: Any, clip: Any, vae: Any) -> list[Any]:
    patcher = getattr(vae, "patcher", None)
    return [model, clip.patcher, *([patcher] if patcher else [])]
