"""Reads a LoRA file layer by layer: any usual kind of adapter becomes two factors, and never is a whole file in memory.

Kinds: LoRA (arXiv:2106.09685) with LoCon's middle (Tucker), LoHa (FedPara, arXiv:2108.06098), LoKr (arXiv:2212.10650),
and full differences, as kohya sd-scripts, LyCORIS and peft write them. Their key names are in `names.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.errors import UserError
from .layouts import diffusers_names, is_diffusers, is_original, layers_per_block
from .metadata import read_alpha_table
from .names import (
    ALPHA,
    ANY,
    BESIDE,
    BIAS,
    EMBEDDING,
    FULL,
    LOHA,
    LOKR,
    LORA,
    MAGNITUDE,
    NEED_THE_MODEL,
    NORM,
    RESHAPE,
    SET,
    UNREAD_NAMES,
    VECTORS,
    LayerName,
    any_layer_name,
    known_names,
    layer_name,
    split_key,
)
from .tensors import TensorFile, all_finite

KERNEL_3 = (".conv1", ".conv2", ".downsamplers.0.conv", ".upsamplers.0.conv", "conv_in", "conv_out")
"""Endings of diffusers' 3 x 3 convolutions, because LoHa and LoKr files do not give the kernel size."""
OWN_TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Types that torch can calculate with, so that weights can stay in them."""
_TINY = 1e-14
"""Directions with a smaller share of a matrix's squared norm than this are rounding errors."""


@dataclass(frozen=True, eq=False)
class LayerDelta:
    """What a LoRA adds to one layer's weight at strength 1: up @ down.

    Attributes:
        up: [out, rank].
        down: [rank, in], for a convolution [rank, in * kh * kw].
        kernel: (kh, kw), or () for a linear layer.
        orthogonal: whether up's columns are orthogonal and down's rows orthonormal, as in a singular value
            decomposition.
        exact: whether it stayed in a small number of factors, as in the file; otherwise it has full rank.
    """

    up: Tensor
    down: Tensor
    kernel: tuple[int, ...] = ()
    orthogonal: bool = False
    exact: bool = True

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.up), self.down.shape[1]

    def rows(self, start: int, stop: int) -> LayerDelta:
        """The part that belongs to some of the layer's outputs."""
        return LayerDelta(self.up[start:stop], self.down, self.kernel, exact=self.exact)

    def dense(self) -> Tensor:
        """The product, [out, in * kh * kw]."""
        return self.up @ self.down


# -- kinds -------------------------------------------------------------------------------------------------------------

Roles = Mapping[str, Tensor]
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class AdapterKind:
    """A kind of adapter. Its tensors' roles are those of `names.ENDINGS`.

    Attributes:
        needed: sets of roles, one of which must be complete.
        shape: shapes by role → (out, in * kh * kw). Raises ValueError or IndexError if they do not fit.
        rank: shapes by role → what alpha is divided by; None if alpha has no meaning.
        delta: tensors by role → up and down without alpha.
        scaled: roles. Scaling the first one present scales the change.
        factors: tensors by role → (down, up) in the shapes of a LoRA file, exact to the bit, without alpha; None where
            only `delta` gives factors.
    """

    needed: tuple[frozenset[str], ...]
    shape: Callable[[Shapes], tuple[int, int]]
    rank: Callable[[Shapes], int | None]
    delta: Callable[[Roles], LayerDelta]
    scaled: tuple[str, ...]
    factors: Callable[[Roles], tuple[Tensor, Tensor] | None] = lambda roles: None


def _lora_shape(shapes: Shapes) -> tuple[int, int]:
    up, down, mid = shapes["up"], shapes["down"], shapes.get("mid")
    if math.prod(up[2:]) != 1 or up[1] != (mid or down)[0] or (mid and mid[1] != down[0]):
        raise ValueError
    return up[0], math.prod(down[1:]) * math.prod((mid or ())[2:])


def _lora_delta(roles: Roles) -> LayerDelta:
    up, down = roles["up"].flatten(1), roles["down"]
    if "mid" in roles:
        down = torch.einsum("pqhw,qi->pihw", roles["mid"], down.flatten(1))
    return LayerDelta(up, down.flatten(1), _kernel(down))


def _lora_factors(roles: Roles) -> tuple[Tensor, Tensor] | None:
    if "mid" in roles:
        return None
    down = roles["down"]
    return down, roles["up"].reshape(*roles["up"].shape[:2], *(1 for _ in down.shape[2:]))


def _kernel(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[2:])


def _loha_shape(shapes: Shapes) -> tuple[int, int]:
    sides = [_side(shapes, f"w{number}_a", f"w{number}_b", f"t{number}") for number in (1, 2)]
    if sides[0] != sides[1]:
        raise ValueError
    return sides[0]


def _side(shapes: Shapes, a: str, b: str, core: str) -> tuple[int, int]:
    first, second, middle = shapes[a], shapes[b], shapes.get(core)
    if middle:
        if tuple(middle[:2]) != (first[0], second[0]):
            raise ValueError
        return first[1], second[1] * math.prod(middle[2:])
    if first[1] != second[0]:
        raise ValueError
    return first[0], math.prod(second[1:])


def _factored(roles: Roles, a: str, b: str, core: str) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """(left [out, r], right [r, in * kh * kw], kernel); with a core, the factors are stored the other way round."""
    if core not in roles:
        return roles[a], roles[b].flatten(1), _kernel(roles[b])
    right = torch.einsum("pqhw,qi->pihw", roles[core], roles[b])
    return roles[a].T, right.flatten(1), _kernel(right)


def _loha_delta(roles: Roles) -> LayerDelta:
    (left1, right1, kernel), (left2, right2, _) = (
        _factored(roles, f"w{number}_a", f"w{number}_b", f"t{number}") for number in (1, 2))
    if left1.shape[1] * left2.shape[1] < min(len(left1), right1.shape[1]):
        # the entrywise product of two factored matrices has the factors' products, row by row, as its factors
        up = (left1[:, :, None] * left2[:, None, :]).flatten(1)
        return LayerDelta(up, (right1[:, None, :] * right2[None, :, :]).flatten(0, 1), kernel)
    return decomposed((left1 @ right1).mul_(left2 @ right2), kernel)


def _lokr_parts(shapes: Shapes) -> tuple[tuple[int, int], tuple[int, int]]:
    parts = []
    for number in (1, 2):
        whole = shapes.get(f"w{number}")
        parts.append((whole[0], math.prod(whole[1:])) if whole else
                     _side(shapes, f"w{number}_a", f"w{number}_b", f"t{number}"))
    return parts[0], parts[1]


def _lokr_shape(shapes: Shapes) -> tuple[int, int]:
    (rows1, columns1), (rows2, columns2) = _lokr_parts(shapes)
    return rows1 * rows2, columns1 * columns2


def _lokr_rank(shapes: Shapes) -> int | None:
    # if both sides are whole matrices, LyCORIS does not scale
    return next((shapes[role][0] for role in ("w2_b", "w1_b") if role in shapes), None)


def _lokr_delta(roles: Roles) -> LayerDelta:
    sides: list[LayerDelta] = []
    kernel: tuple[int, ...] = ()
    for number in (1, 2):
        if f"w{number}" in roles:
            whole, kernel = roles[f"w{number}"], _kernel(roles[f"w{number}"])
            sides.append(decomposed(whole.flatten(1)))
        else:
            left, right, kernel = _factored(roles, f"w{number}_a", f"w{number}_b", f"t{number}")
            sides.append(thin(LayerDelta(left, right)))
    # the singular vectors of a Kronecker product are the products of the singular vectors
    first, second = sides
    up = torch.kron(first.up.contiguous(), second.up.contiguous())
    down = torch.kron(first.down.contiguous(), second.down.contiguous())
    return LayerDelta(up, down, kernel, orthogonal=True, exact=len(down) < min(len(up), down.shape[1]))


def _full_shape(shapes: Shapes) -> tuple[int, int]:
    return shapes["diff"][0], math.prod(shapes["diff"][1:])


def _full_factors(roles: Roles) -> tuple[Tensor, Tensor]:
    """The matrix, paired with an identity matrix on its smaller side."""
    diff = roles["diff"]
    outputs, inputs = len(diff), diff[0].numel()
    ones = diff.new_ones
    if outputs <= inputs:
        return diff, ones(outputs).diag().reshape(outputs, outputs, *(1 for _ in diff.shape[2:]))
    down = ones(inputs).diag().reshape(inputs, *diff.shape[1:])
    return down, diff.reshape(outputs, inputs, *(1 for _ in diff.shape[2:]))


KINDS = {
    LORA: AdapterKind((frozenset({"up", "down"}),), _lora_shape,
               lambda shapes: shapes["down"][0] if "mid" not in shapes else shapes["mid"][0], _lora_delta, ("up",),
               _lora_factors),
    LOHA: AdapterKind((frozenset({"w1_a", "w1_b", "w2_a", "w2_b"}),), _loha_shape, lambda shapes: shapes["w1_b"][0],
               _loha_delta, ("w1_a",)),
    LOKR: AdapterKind(tuple(map(frozenset, ({"w1", "w2"}, {"w1", "w2_a", "w2_b"}, {"w1_a", "w1_b", "w2"},
                                     {"w1_a", "w1_b", "w2_a", "w2_b"}))), _lokr_shape, _lokr_rank, _lokr_delta,
               ("w1", "w1_a")),
    FULL: AdapterKind((frozenset({"diff"}),), _full_shape, lambda shapes: None,
               lambda roles: decomposed(roles["diff"].flatten(1), _kernel(roles["diff"])), ("diff",), _full_factors),
}
"""To add a kind, add a row here, and rows for its tensors to `names.ENDINGS`."""


def decomposed(matrix: Tensor, kernel: tuple[int, ...] = ()) -> LayerDelta:
    """The singular value decomposition of a whole matrix [out, in], from the eigenvectors of
    its smaller side's Gram matrix."""
    wide = matrix.shape[0] <= matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    values, vectors = values.flip(0), vectors.flip(1)
    values = values[values > _TINY * values.sum().clamp_min(torch.finfo(matrix.dtype).tiny)]
    vectors, sizes = vectors[:, : len(values)], values.sqrt()
    if wide:
        return LayerDelta(vectors * sizes, (matrix.T @ vectors / sizes).T, kernel, orthogonal=True, exact=False)
    return LayerDelta(matrix @ vectors, vectors.T.contiguous(), kernel, orthogonal=True, exact=False)


def thin(delta: LayerDelta) -> LayerDelta:
    """The same delta as a singular value decomposition, by QR of both factors and a decomposition of the small core."""
    left, core_left = torch.linalg.qr(delta.up)
    right, core_right = torch.linalg.qr(delta.down.T)
    u, sizes, v = torch.linalg.svd(core_left @ core_right.T)
    return LayerDelta(left @ u[:, : len(sizes)] * sizes, v[: len(sizes)] @ right.T, delta.kernel, orthogonal=True)


def energy(delta: LayerDelta) -> float:
    """The squared Frobenius norm of up @ down, without the product: tr((up^T up)(down down^T))."""
    if delta.orthogonal:
        return float(delta.up.square().sum())
    return max(0.0, float(((delta.up.T @ delta.up) * (delta.down @ delta.down.T)).sum()))


# -- the file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One layer of one file, as described in the file's header.

    Attributes:
        module: the layer's name in the file.
        keys: role → the file's key.
        shape: (out, in * kh * kw).
        rank: what alpha is divided by; None if it is not divided.
        alpha: the key of alpha; "" if the file has none.
        magnitude: the key of a DoRA's magnitude; "" if it has none.
    """

    name: LayerName
    module: str
    kind: str
    keys: Mapping[str, str]
    shape: tuple[int, int]
    rank: int | None
    alpha: str = ""
    magnitude: str = ""


@dataclass(frozen=True)
class Vector:
    """One difference of a bias or of a norm's weight, which the host adds at the LoRA's strength.

    Attributes:
        name: the layer that it belongs to.
        key: the file's key.
        role: BIAS or NORM.
    """

    name: LayerName
    key: str
    role: str


_ADAPTER = re.compile(r"lora|lycoris|loha|hada_|lokr|\boft|boft|dora", re.IGNORECASE)
EMBEDDINGS, LONE, UNKNOWN = "bundled embeddings", "lone magnitudes", "unknown keys"


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA file whose header has been read.

    Attributes:
        tensors: the open file.
        entries: its layers.
        vectors: its differences of biases and norms.
        beside: what else it holds, by kind: keys that no entry and no vector reads.
    """

    tensors: TensorFile
    entries: tuple[Entry, ...]
    vectors: tuple[Vector, ...] = ()
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.tensors.path

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.tensors.metadata

    @property
    def kinds(self) -> dict[str, int]:
        """The number of layers of each kind."""
        found = [entry.kind for entry in self.entries]
        return {kind: found.count(kind) for kind in KINDS if kind in found}

    @property
    def dora(self) -> int:
        """The number of layers with a magnitude besides their change of direction."""
        return sum(bool(entry.magnitude) for entry in self.entries)

    @property
    def names(self) -> tuple[LayerName, ...]:
        """The names of all layers that it changes, or whose biases or norms."""
        return tuple(item.name for item in self.entries) + tuple(item.name for item in self.vectors)

    @property
    def original(self) -> bool:
        return any(is_original(entry.name) for entry in self.entries)

    @property
    def diffusers(self) -> bool:
        return any(is_diffusers(entry.name) for entry in self.entries)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that belong to no layer."""
        vectors = (vector.key for vector in self.vectors)
        return tuple(sorted((*vectors, *(key for keys in self.beside.values() for key in keys))))

    @property
    def ignored_kinds(self) -> dict[str, int]:
        """The number of tensors of each kind that belong to no layer."""
        vectors = {role: sum(vector.role == role for vector in self.vectors) for role in VECTORS}
        return {kind: count for kind, count in (
            vectors | {kind: len(keys) for kind, keys in self.beside.items()}).items() if count}

    def unread_note(self, *carried: str) -> str:
        """A note on what was not read: all kinds in `beside` but those carried; "" if there are none."""
        left = {kind: keys for kind, keys in self.beside.items() if kind not in carried}
        if not left:
            return ""
        kinds = ", ".join(f"{kind} ({len(keys)})" for kind, keys in left.items())
        return (f"{self.path.name} holds tensors that were not read: {kinds}, such as "
                f"{min(key for keys in left.values() for key in keys)}.")

    @property
    def strange_note(self) -> str:
        """A note on layers of networks that are not known; "" if there are none."""
        strange = [entry.module for entry in self.entries if layer_name(entry.module) is None]
        return (f"{self.path.name} has layers of a network that is not known here ({len(strange)}, such as "
                f"{strange[0]}). They count at the model's strength and keep their names.") if strange else ""

    @property
    def replaced(self) -> tuple[str, ...]:
        """Keys by which the host puts a weight in place of the model's, or changes its shape."""
        layers = {entry.module for entry in self.entries}
        shapes = (key for key in self.beside.get(RESHAPE, ()) if key.removesuffix(".reshape_weight") in layers)
        control = (key for key in self.beside.get(UNKNOWN, ()) if _is_control(self.tensors.shapes) and
                   key.endswith("_norm.scale"))
        return (*self.beside.get(SET, ()), *shapes, *control)

    @cached_property
    def layers_per_block(self) -> int:
        return layers_per_block(entry.name.path for entry in self.entries)

    @cached_property
    def _table(self) -> Callable[[str, int], float | None]:
        return read_alpha_table(self.metadata)

    def alpha(self, entry: Entry) -> float | None:
        """A layer's alpha: its change is multiplied by alpha / rank. None where alpha has no meaning."""
        if entry.rank is None:
            return None
        if entry.alpha:
            return float(self.tensors.read(entry.alpha))
        told = self._told_alpha(entry)
        return float(entry.rank if told is None else told)

    def _told_alpha(self, entry: Entry) -> float | None:
        """A layer's alpha in the metadata, which names parts as the file does or as diffusers does."""
        if entry.rank is None:
            return None
        found = (self._table(name, entry.rank) for name in (entry.module, entry.name.key))
        return next((alpha for alpha in found if alpha is not None), None)

    @property
    def scale_note(self) -> str:
        """A note on layers whose alpha is in the metadata alone, which ComfyUI does not read; "" if there are none."""
        scales = [told / entry.rank for entry in self.entries if entry.rank and not entry.alpha
                  and (told := self._told_alpha(entry)) is not None and not math.isclose(told, entry.rank)]
        if not scales:
            return ""
        sizes = f"{min(scales):.3g}" + (f" to {max(scales):.3g}" if not math.isclose(min(scales), max(scales)) else "")
        return (f"{self.path.name} has alphas in its metadata alone ({len(scales)} of {len(self.entries)} layers). "
                f"They scale its layers by {sizes}, which is how it counts here. ComfyUI (0.33 at least) does not read "
                "them, so Load LoRA and Apply LoRA Stack scale by 1.")

    def read(self, entry: Entry, dtype: torch.dtype | None = torch.float64) -> dict[str, Tensor]:
        """A layer's tensors by role, without alpha. Raises UserError if they or alpha are not numbers.

        Args:
            dtype: None is each tensor's own if it is one of OWN_TYPES, otherwise float32.
        """
        if not math.isfinite(self.alpha(entry) or 0.0):
            raise self._not_numbers(entry.module)
        return {role: self._numbers(key, dtype, entry.module) for role, key in entry.keys.items()}

    def _numbers(self, key: str, dtype: torch.dtype | None, name: str) -> Tensor:
        stored = self.tensors.read(key)
        tensor = stored.to(dtype or (stored.dtype if stored.dtype in OWN_TYPES else torch.float32))
        # the smaller of the two: it is sooner checked, and a type that is too small makes values infinite
        if not all_finite([min(stored, tensor, key=lambda made: made.dtype.itemsize)]):
            raise self._not_numbers(name)
        return tensor

    def facts(self) -> dict[str, Any]:
        """What `info` shows about the whole file, for JSON; `not_read` lists keys. Raises UserError as `read` does."""
        sizes = [tensor.numel() for entry in self.entries for tensor in self.read(entry, None).values()]
        alphas = [self.alpha(entry) for entry in self.entries]
        return {
            "modules": len(self.entries), "kinds": self.kinds, **({"dora": self.dora} if self.dora else {}),
            "ranks": sorted({entry.rank for entry in self.entries if entry.rank is not None}),
            "alphas": sorted({alpha for alpha in alphas if alpha is not None}),
            "parameters": sum(sizes),
            **({"not_read": self.ignored, "not_read_kinds": self.ignored_kinds} if self.ignored else {}),
            **({"scale": self.scale_note} if self.scale_note else {}),
        }

    def read_vector(self, vector: Vector) -> Tensor:
        """A difference of a bias or norm at strength 1, in float64. Raises UserError if it is not of numbers."""
        return self._numbers(vector.key, torch.float64, vector.key)

    def read_magnitude(self, entry: Entry) -> Tensor:
        """A DoRA's magnitude, in float32. Raises UserError if it is not of numbers."""
        return self._numbers(entry.magnitude, torch.float32, entry.module)

    def _not_numbers(self, name: str) -> UserError:
        return UserError(f"{self.path} is damaged: module {name} has weights that are not numbers (NaN or infinity), "
                         "as after a diverged training. Use an earlier checkpoint.")

    def delta(self, entry: Entry, dtype: torch.dtype = torch.float64) -> LayerDelta:
        """What the file adds to a layer at strength 1. A DoRA's magnitude is left out.

        A LoRA keeps its two factors, with a Tucker core multiplied into the second. LoHa is exact as the products of
        its factors' columns if these are fewer than the layer's sides, LoKr as the singular vectors of both its sides.
        Everything else, including full differences, becomes a singular value decomposition of the whole matrix (`exact`
        is False).

        Raises UserError if the weights are not numbers.
        """
        roles, alpha = self.read(entry, dtype), self.alpha(entry)
        scale = 1.0 if alpha is None or entry.rank is None else alpha / entry.rank
        delta = KINDS[entry.kind].delta(roles)
        kernel = delta.kernel or self._kernel(entry, delta.shape[1])
        up = delta.up if scale == 1 else delta.up * scale
        return LayerDelta(up, delta.down, kernel, delta.orthogonal, delta.exact)

    def _kernel(self, entry: Entry, columns: int) -> tuple[int, ...]:
        name = diffusers_names(entry.name, self.layers_per_block, split=False)[0]
        return (3, 3) if name.endswith(KERNEL_3) and columns % 9 == 0 else ()


def read_header(path: Path, module_names: Iterable[str] = ()) -> LoraFile:
    """Open a LoRA file by its header alone, whatever its size.

    Args:
        module_names: dotted names (`unet.…`) of the model at hand; see `names.layer_name`.

    Raises UserError if it is not a safetensors file, contains no LoRA or one that needs the model (OFT), if shapes do
    not fit each other, or if a layer occurs twice.
    """
    path = Path(path)
    tensors, known = TensorFile(path), known_names(module_names)
    found: dict[str, dict[str, dict[str, str]]] = {}
    vectors: list[Vector] = []
    beside: dict[str, list[str]] = {}
    for key in sorted(tensors.shapes):
        module, kind, role = _key_parts(path, key, tensors.shapes[key])
        if kind == BESIDE and role in VECTORS:
            vectors.append(Vector(any_layer_name(module, known), key, role))
        elif kind == BESIDE:
            beside.setdefault(role, []).append(key)
        else:
            found.setdefault(module, {}).setdefault(kind, {})[role] = key
    for module in [module for module, kinds in found.items() if not _is_layer(module, kinds, known)]:
        for keys in found.pop(module).values():
            for role, key in keys.items():
                if role != ALPHA:  # OneTrainer and others write a lone alpha for a layer that was left out
                    beside.setdefault(LONE if role == MAGNITUDE else UNKNOWN, []).append(key)
    if not found:
        raise _no_lora(path, tensors.shapes, vectors)
    entries = tuple(_entry(tensors, module, kinds, known) for module, kinds in found.items())
    return LoraFile(tensors, entries, tuple(vectors), {kind: tuple(keys) for kind, keys in beside.items()})


def _no_lora(path: Path, keys: Collection[str], vectors: Sequence[Vector]) -> UserError:
    if vectors:
        return UserError(f"{path} has no layers, only differences of biases and norms ({len(vectors)}, such as "
                         f"{vectors[0].key}). Load it in ComfyUI, or choose a LoRA that has layers.")
    adapter = next((key for key in sorted(keys) if _ADAPTER.search(key)), None)
    if adapter:
        return UserError(f"{path} is a LoRA of a kind that cannot be read here: none of its {len(keys)} tensors, such "
                         f"as {adapter}, has a name that is known. Kinds that can be read: {', '.join(KINDS)}.")
    return UserError(f"{path} contains no LoRA: none of its {len(keys)} tensors is named like one. Choose a LoRA file, "
                     "not a checkpoint, VAE or embedding.")


def _key_parts(path: Path, key: str, shape: Sequence[int]) -> tuple[str, str, str]:
    """(module, kind, role) of a key in a file. A norm's difference is a vector."""
    if kind := next((kind for pattern, kind in UNREAD_NAMES if pattern.search(key)), None):
        raise UserError(f"{path} is {kind} (key {key}), whose names for layers cannot be read here. Choose a LoRA with "
                        "kohya's, diffusers' or ComfyUI's names, or convert it to these.")
    if key.startswith(EMBEDDING):
        return key, BESIDE, EMBEDDINGS
    found = split_key(key)
    if found is None:
        return key, BESIDE, UNKNOWN
    module, ending = found
    if ending.kind in NEED_THE_MODEL:
        raise UserError(f"{path} is {ending.kind} (key {key}), which cannot be read without the model's own weights. "
                        f"Kinds that can be read here: {', '.join(KINDS)}.")
    if ending.kind == FULL and len(shape) < 2:
        return module, BESIDE, BIAS if module.endswith(".bias") else NORM
    return module, ending.kind, ending.role


def _is_layer(module: str, kinds: Mapping[str, Mapping[str, str]], known: Mapping[str, str]) -> bool:
    """Whether the tensors are a layer: some kind of adapter, and a whole one if its network is not known."""
    whole = any(needed <= kinds[kind].keys() for kind in kinds if kind != ANY for needed in KINDS[kind].needed)
    return bool(kinds.keys() - {ANY}) and (whole or layer_name(module, known) is not None)


def _is_control(keys: Collection[str]) -> bool:
    """Whether they are those of Black Forest Labs' control LoRAs, as the host recognises them."""
    return "img_in.lora_A.weight" in keys and any(key.endswith("key_norm.scale") for key in keys)


def _entry(tensors: TensorFile, module: str, kinds: Mapping[str, Mapping[str, str]],
           known: Mapping[str, str]) -> Entry:
    path, own = tensors.path, kinds.get(ANY, {})
    (kind, keys), *more = ((kind, keys) for kind, keys in kinds.items() if kind != ANY)
    row = KINDS[kind]
    if more or not any(needed <= keys.keys() for needed in row.needed):
        why = f"is both {kind} and {more[0][0]}" if more else (
            f"has no {' and no '.join(sorted(row.needed[-1] - keys.keys()))} weight")
        raise UserError(f"{path} is incomplete or damaged: module {module} {why}. Download it again.")
    shapes = {role: tensors.shapes[key] for role, key in keys.items()}
    try:
        shape, rank = row.shape(shapes), row.rank(shapes)
        if not min(shape) or rank == 0:
            raise ValueError
        if ALPHA in own and math.prod(tensors.shapes[own[ALPHA]]) != 1:
            raise ValueError
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged: module {module} has shapes "
                        f"{' and '.join(str(list(shape)) for shape in shapes.values())}, which do not fit each other. "
                        "Download it again.") from error
    return Entry(any_layer_name(module, known), module, kind, keys, shape, rank, own.get(ALPHA, ""),
                 own.get(MAGNITUDE, ""))
