"""LoRA files side by side, layer by layer: any usual kind of adapter as two factors, never a whole file in memory.

Kinds and their key names: LoRA (arXiv:2106.09685) with LoCon's middle (Tucker), LoHa (FedPara, arXiv:2108.06098), LoKr
(arXiv:2212.10650), and full differences, as kohya sd-scripts, LyCORIS and peft write them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..common.errors import UserError
from .file import ROLES, diffusers_alphas
from .names import LayerName, diffusers_names, layer_name, layers_per_block, lora_key, match_key, row_counts
from .tensors import TensorFile

KERNEL_3 = (".conv1", ".conv2", ".downsamplers.0.conv", ".upsamplers.0.conv", "conv_in", "conv_out")
"""How diffusers' 3 x 3 convolutions end: LoHa and LoKr files do not tell."""
_TINY = 1e-14
"""Directions with a smaller share of a matrix' squared norm than this are rounding."""


@dataclass(frozen=True, eq=False)
class Change:
    """What a LoRA adds to one layer's weight at strength 1: up @ down.

    Attributes:
        up: [out, rank].
        down: [rank, in], for a convolution [rank, in * kh * kw].
        kernel: (kh, kw), or () for a linear layer.
        orthogonal: up's columns are orthogonal, and down's rows orthonormal: a singular value decomposition.
        exact: whether it was kept in a small number of factors, as the file has it; else it is of full rank.
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

    def rows(self, start: int, stop: int) -> Change:
        """The same for some of the layer's outputs."""
        return Change(self.up[start:stop], self.down, self.kernel, exact=self.exact)

    def dense(self) -> Tensor:
        """[out, in * kh * kw]."""
        return self.up @ self.down


# -- kinds -------------------------------------------------------------------------------------------------------------

Roles = Mapping[str, Tensor]
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Kind:
    """A kind of adapter.

    Attributes:
        endings: how its keys end: the tensor's role.
        needed: sets of roles; one must be there.
        shape: shapes by role → (out, in * kh * kw). Raises ValueError or IndexError if they do not fit.
        rank: shapes by role → what alpha is divided by; None: alpha has no meaning.
        change: tensors by role → up and down without alpha.
        scaled: roles; the first that is there, multiplied, multiplies the change.
    """

    endings: Mapping[str, str]
    needed: tuple[frozenset[str], ...]
    shape: Callable[[Shapes], tuple[int, int]]
    rank: Callable[[Shapes], int | None]
    change: Callable[[Roles], Change]
    scaled: tuple[str, ...]


def _lora_shape(shapes: Shapes) -> tuple[int, int]:
    up, down, mid = shapes["up"], shapes["down"], shapes.get("mid")
    if math.prod(up[2:]) != 1 or up[1] != (mid or down)[0] or (mid and mid[1] != down[0]):
        raise ValueError
    return up[0], math.prod(down[1:]) * math.prod((mid or ())[2:])


def _lora_change(roles: Roles) -> Change:
    up, down = roles["up"].flatten(1), roles["down"]
    if "mid" in roles:
        down = torch.einsum("pqhw,qi->pihw", roles["mid"], down.flatten(1))
    return Change(up, down.flatten(1), _kernel(down))


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
    """(left [out, r], right [r, in * kh * kw], kernel); with a core the factors are given the other way round."""
    if core not in roles:
        return roles[a], roles[b].flatten(1), _kernel(roles[b])
    right = torch.einsum("pqhw,qi->pihw", roles[core], roles[b])
    return roles[a].T, right.flatten(1), _kernel(right)


def _loha_change(roles: Roles) -> Change:
    (left1, right1, kernel), (left2, right2, _) = (
        _factored(roles, f"w{number}_a", f"w{number}_b", f"t{number}") for number in (1, 2))
    if left1.shape[1] * left2.shape[1] < min(len(left1), right1.shape[1]):
        # the entrywise product of two factored matrices has the factors' products, row by row, as its factors
        up = (left1[:, :, None] * left2[:, None, :]).flatten(1)
        return Change(up, (right1[:, None, :] * right2[None, :, :]).flatten(0, 1), kernel)
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
    # with both sides whole LyCORIS does not scale
    return next((shapes[role][0] for role in ("w2_b", "w1_b") if role in shapes), None)


def _lokr_change(roles: Roles) -> Change:
    sides, kernel = [], ()
    for number in (1, 2):
        if f"w{number}" in roles:
            whole, kernel = roles[f"w{number}"], _kernel(roles[f"w{number}"])
            sides.append(decomposed(whole.flatten(1)))
        else:
            left, right, kernel = _factored(roles, f"w{number}_a", f"w{number}_b", f"t{number}")
            sides.append(thin(Change(left, right)))
    # the singular vectors of a Kronecker product are the products of the singular vectors
    first, second = sides
    up = torch.kron(first.up.contiguous(), second.up.contiguous())
    down = torch.kron(first.down.contiguous(), second.down.contiguous())
    return Change(up, down, kernel, orthogonal=True, exact=len(down) < min(len(up), down.shape[1]))


def _full_shape(shapes: Shapes) -> tuple[int, int]:
    return shapes["diff"][0], math.prod(shapes["diff"][1:])


KINDS = {
    "LoRA": Kind({**ROLES, ".lora_mid.weight": "mid"}, (frozenset({"up", "down"}),), _lora_shape,
                 lambda shapes: shapes["down"][0] if "mid" not in shapes else shapes["mid"][0], _lora_change,
                 ("up",)),
    "LoHa": Kind({f".hada_{role}": role for role in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
                 (frozenset({"w1_a", "w1_b", "w2_a", "w2_b"}),), _loha_shape, lambda shapes: shapes["w1_b"][0],
                 _loha_change, ("w1_a",)),
    "LoKr": Kind({f".lokr_{role}": role for role in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")},
                 tuple(map(frozenset, ({"w1", "w2"}, {"w1", "w2_a", "w2_b"}, {"w1_a", "w1_b", "w2"},
                                       {"w1_a", "w1_b", "w2_a", "w2_b"}))), _lokr_shape, _lokr_rank, _lokr_change,
                 ("w1", "w1_a")),
    "full": Kind({".diff": "diff"}, (frozenset({"diff"}),), _full_shape, lambda shapes: None,
                 lambda roles: decomposed(roles["diff"].flatten(1), _kernel(roles["diff"])), ("diff",)),
}
MAGNITUDES = (".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight",
              ".lora_magnitude_vector.default.weight")
"""DoRA's (arXiv:2402.09353)."""
REFUSED = {".oft_blocks": "OFT", ".oft_diag": "OFT", ".oft_r.weight": "OFT", ".a1.weight": "GLoRA",
           ".b1.weight": "GLoRA", ".on_input": "(IA)³"}
"""What needs the model's own weights to say what it changes."""


def decomposed(matrix: Tensor, kernel: tuple[int, ...] = ()) -> Change:
    """A whole matrix as its singular value decomposition, by the eigenvectors of its smaller side's products."""
    wide = matrix.shape[0] <= matrix.shape[1]
    values, vectors = torch.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    values, vectors = values.flip(0), vectors.flip(1)
    values = values[values > _TINY * values.sum().clamp_min(torch.finfo(matrix.dtype).tiny)]
    vectors, sizes = vectors[:, : len(values)], values.sqrt()
    if wide:
        return Change(vectors * sizes, (matrix.T @ vectors / sizes).T, kernel, orthogonal=True, exact=False)
    return Change(matrix @ vectors, vectors.T.contiguous(), kernel, orthogonal=True, exact=False)


def thin(change: Change) -> Change:
    """The same change as a singular value decomposition, by QR of both factors and that of the small core."""
    left, core_left = torch.linalg.qr(change.up)
    right, core_right = torch.linalg.qr(change.down.T)
    u, sizes, v = torch.linalg.svd(core_left @ core_right.T)
    return Change(left @ u[:, : len(sizes)] * sizes, v[: len(sizes)] @ right.T, change.kernel, orthogonal=True)


# -- one file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One layer of one file, known by the file's header.

    Attributes:
        module: as the file names it.
        keys: the file's key by role.
        shape: (out, in * kh * kw).
        rank: what alpha is divided by; None if it is not.
        alpha: its key, "" if the file has none.
        magnitude: whether DoRA's is there.
    """

    name: LayerName
    module: str
    kind: str
    keys: Mapping[str, str]
    shape: tuple[int, int]
    rank: int | None
    alpha: str = ""
    magnitude: bool = False


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA file whose header has been read.

    Attributes:
        tensors: the open file.
        entries: its layers.
        ignored: keys that are no layer's change: biases, norms, networks that are not known.
    """

    tensors: TensorFile
    entries: tuple[Entry, ...]
    ignored: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.tensors.path

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.tensors.metadata

    @property
    def kinds(self) -> dict[str, int]:
        """How many layers are of each kind."""
        found = [entry.kind for entry in self.entries]
        return {kind: found.count(kind) for kind in KINDS if kind in found}

    @property
    def dora(self) -> int:
        """How many layers have a magnitude beside their change of direction."""
        return sum(entry.magnitude for entry in self.entries)

    @property
    def original(self) -> bool:
        return any(entry.name.original for entry in self.entries)

    @cached_property
    def _alphas(self) -> Callable[[str], float | None]:
        return diffusers_alphas(self.metadata)

    def change(self, entry: Entry, dtype: torch.dtype = torch.float64) -> Change:
        """What the file adds to a layer at strength 1. A DoRA's magnitude is left out.

        Raises UserError if the weights are not numbers.
        """
        roles = {role: self.tensors.read(key).to(dtype) for role, key in entry.keys.items()}
        alpha = float(self.tensors.read(entry.alpha)) if entry.alpha else self._alphas(entry.name.key) or entry.rank
        scale = 1.0 if entry.rank is None else alpha / entry.rank
        # the sum of what is not a number is none either, and is had in a third of the time
        if not all(map(math.isfinite, (scale, *(float(tensor.sum()) for tensor in roles.values())))):
            raise UserError(f"{self.path} is damaged: module {entry.module} holds weights that are not numbers (NaN "
                            "or infinity), as a diverged training leaves them. Use an earlier checkpoint.")
        change = KINDS[entry.kind].change(roles)
        return Change(change.up * scale, change.down, change.kernel, change.orthogonal, change.exact)


def read_header(path: Path) -> LoraFile:
    """A LoRA file by its header alone, whatever its size.

    Raises UserError if it is no safetensors file, holds no LoRA, or one that cannot be told without the model (OFT), if
    shapes do not fit each other, or a layer is there twice.
    """
    path = Path(path)
    tensors = TensorFile(path)
    keys = sorted(tensors.shapes)
    found: dict[str, dict[str, dict[str, str]]] = {}
    ignored = []
    for key in keys:
        if kind := next((kind for ending, kind in REFUSED.items() if key.endswith(ending)), None):
            raise UserError(f"{path} is {kind} (key {key}), which only the model's own weights can turn into a change: "
                            f"LoRA files that can be read here are {', '.join(KINDS)}.")
        row = key_role(key)
        if row is None or layer_name(row[0]) is None:
            ignored.append(key)
        else:
            found.setdefault(row[0], {}).setdefault(row[1], {})[row[2]] = key
    # OneTrainer and others put an alpha or a magnitude beside nothing where a layer was left out
    entries = [_entry(tensors, module, kinds) for module, kinds in found.items() if kinds.keys() - {""}]
    if not entries:
        raise UserError(f"{path} holds no LoRA: none of its {len(keys)} tensors is named like one. "
                        "Choose a LoRA file, not a checkpoint, VAE or embedding.")
    return LoraFile(tensors, tuple(entries), tuple(ignored))


def key_role(key: str) -> tuple[str, str, str] | None:
    """(module, kind, role) of a key; kind "" for what any kind can have. None for keys of no adapter."""
    for ending in MAGNITUDES:
        if key.endswith(ending):
            return key.removesuffix(ending), "", "magnitude"
    if key.endswith(".alpha"):
        return key.removesuffix(".alpha"), "", "alpha"
    for kind, row in KINDS.items():
        for ending, role in row.endings.items():
            if key.endswith(ending):
                return key.removesuffix(ending), kind, role
    return None


def _entry(tensors: TensorFile, module: str, kinds: Mapping[str, Mapping[str, str]]) -> Entry:
    path, own = tensors.path, kinds.get("", {})
    (kind, keys), *more = ((kind, keys) for kind, keys in kinds.items() if kind)
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
        if "alpha" in own and math.prod(tensors.shapes[own["alpha"]]) != 1:
            raise ValueError
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged: module {module} has shapes "
                        f"{' and '.join(str(list(shape)) for shape in shapes.values())}, which do not fit each other. "
                        "Download it again.") from error
    return Entry(layer_name(module), module, kind, keys, shape, rank, own.get("alpha", ""), "magnitude" in own)


# -- several files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """Where a layer is in a file: an entry, or some of its rows."""

    entry: Entry
    rows: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.entry.shape if self.rows is None else (self.rows[1] - self.rows[0], self.entry.shape[1])


@dataclass(frozen=True, eq=False)
class LayerStack:
    """Several LoRA files with their layers matched.

    Attributes:
        names: of all layers, diffusers' path with the part in front, in the files' order.
        same_names: whether the files' own names of the layers can stand beside each other in one file.
    """

    files: tuple[LoraFile, ...]
    names: tuple[str, ...]
    same_names: bool
    _parts: Mapping[str, tuple[_Part | None, ...]]

    def shape(self, name: str) -> tuple[int, int]:
        return next(part.shape for part in self._parts[name] if part)

    def has(self, name: str) -> tuple[bool, ...]:
        """Which files have the layer."""
        return tuple(part is not None for part in self._parts[name])

    def key(self, name: str) -> str:
        """The layer's key in `LoraWeights.modules` for a file with all these layers."""
        own = next(part.entry.name.key for part in self._parts[name] if part)
        return own if self.same_names else lora_key(name)

    def changes(self, name: str, dtype: torch.dtype = torch.float64) -> tuple[Change | None, ...]:
        """What each file adds to a layer at strength 1, None for those without it. Raises UserError for NaN."""
        return tuple(part and self._change(file, part, name, dtype)
                     for file, part in zip(self.files, self._parts[name], strict=True))

    def _change(self, file: LoraFile, part: _Part, name: str, dtype: torch.dtype) -> Change:
        change = file.change(part.entry, dtype)
        if part.rows:
            change = change.rows(*part.rows)
        if not change.kernel and name.endswith(KERNEL_3) and change.shape[1] % 9 == 0:
            change = Change(change.up, change.down, (3, 3), change.orthogonal, change.exact)
        return change

    def energies(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """Per layer each file's squared norm; 0 for those without it."""
        for name in self.names:
            yield name, tuple(energy(change) if change else 0.0 for change in self.changes(name))


def energy(change: Change) -> float:
    """The squared Frobenius norm of up @ down, without the product: tr((up^T up)(down down^T))."""
    if change.orthogonal:
        return float(change.up.square().sum())
    return max(0.0, float(((change.up.T @ change.up) * (change.down @ change.down.T)).sum()))


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread while the block lasts: many small products only wait for each other on several.

    700 layers of rank 128 took 12 s of one core's time so, and 90 s of two busy cores'.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def open_stack(paths: Sequence[Path]) -> Iterator[LayerStack]:
    """The files side by side while the block lasts; only their headers are read until a layer is asked for.

    Raises UserError as `read_header` does, for the same file twice, for files that have no layer in common, or whose
    layers have other shapes: they are for different models.
    """
    paths = [Path(path) for path in paths]
    for index, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:index]]:
            raise UserError(f"{path} is there twice; give each LoRA once, with the sum of the strengths.")
    files = tuple(map(read_header, paths))
    stack = _matched(files)
    with ExitStack() as closing:
        for file in files:
            closing.callback(file.tensors.close)
        yield stack


def _matched(files: tuple[LoraFile, ...]) -> LayerStack:
    layers = layers_per_block(entry.name.path for file in files for entry in file.entries)
    split = len({file.original for file in files}) > 1
    words = {entry.name.word for file in files for entry in file.entries if entry.name.part == "denoiser"}
    shown: dict[str, str] = {}
    parts: dict[str, list[_Part | None]] = {}
    for index, file in enumerate(files):
        for entry in file.entries:
            for name, part in _named(entry, layers, split):
                row = parts.setdefault(match_key(name), [None] * len(files))
                shown.setdefault(match_key(name), name)
                if row[index]:
                    raise UserError(f"{file.path} has layer {name} twice, as {row[index].entry.module} and as "
                                    f"{entry.module}. Take one of them out, or get the file again.")
                row[index] = part
    _check_shapes(files, shown, parts)
    names = {shown[key]: tuple(row) for key, row in parts.items()}
    return LayerStack(files, tuple(names), not split and len(words) < 2, names)


def _named(entry: Entry, layers: int, split: bool) -> Iterator[tuple[str, _Part]]:
    names = diffusers_names(entry.name, layers, split=split)
    if len(names) == 1:
        yield names[0], _Part(entry)
        return
    counts = row_counts(len(names), *entry.shape)
    for index, name in enumerate(names):
        yield name, _Part(entry, (sum(counts[:index]), sum(counts[: index + 1])))


def _check_shapes(files: Sequence[LoraFile], shown: Mapping[str, str],
                  parts: Mapping[str, Sequence[_Part | None]]) -> None:
    first = files[0]
    for index, file in enumerate(files[1:], 1):
        both = [key for key, row in parts.items() if row[0] and row[index]]
        if not both:
            names = [next(shown[key] for key, row in parts.items() if row[at]) for at in (0, index)]
            raise UserError(f"{first.path} and {file.path} have no layer in common (they have such as {names[0]} and "
                            f"{names[1]}): they are for different models. Take LoRAs of one family.")
    for key, row in parts.items():
        here = [(file, part) for file, part in zip(files, row, strict=True) if part]
        for file, part in here[1:]:
            if part.shape != here[0][1].shape:
                raise UserError(f"layer {shown[key]} is {_size(here[0][1])} in {here[0][0].path} and {_size(part)} in "
                                f"{file.path}: they are for different models. Take LoRAs of one family.")


def _size(part: _Part) -> str:
    return f"{part.shape[1]} to {part.shape[0]}"
