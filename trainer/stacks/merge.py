"""Merges several LoRA files into one that any tool can load: by plain sum, soft null space, TIES, or at even energies.

What is merged is always the change of the weights, up @ down. Merging ups and downs separately would add products of
one file's up with another's down. Sums and null spaces stay exact as factors, and their ranks add up; compressing to a
rank reports its error. Besides the result, one layer of each file is in memory at a time.

Soft null space after NP-LoRA, arXiv:2511.11051; the two-sided form and its table of roles are this project's own. TIES:
arXiv:2306.01708.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.errors import UserError
from ..common.files import file_hash
from ..lora.file import Factors, LoraWeights, delta_factors, model_parts, save_lora
from ..lora.hashes import tensor_hash
from ..lora.layers import EMBEDDINGS, LayerDelta, energy, thin
from ..lora.layouts import OTHER, ROLES, architecture, block_of
from ..lora.names import DENOISER
from ..lora.nearest import nearest
from ..lora.spellings import OwnName, choose_names
from .layer_stack import LayerStack, VectorRow, one_thread, open_stack
from .merge_settings import DTYPE_NAMES, WEIGHTS, MergeSettings
from .overlap import MANY_DIRECTIONS, Reading, measure_overlap, read_change
from .stack import StackEntry, file_role, leads

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
EVERYWHERE = ("style_first",)
"""Presets that yield fully even where there is little conflict: NP-LoRA as published."""
FULL_CONFLICT = 0.5
"""The kappa from which a layer yields fully."""
MOST_RESTORED = 1.15
FORMAT = 2
"""Since 2, biases and norms are merged and names are the files' own, so earlier merges are not reused."""
_FAINT = "identity_first weakens the style on everything the character responds to; if the style fades, use balanced."
_SAME = ("ss_base_model_version", "ss_v2", "modelspec.architecture", "modelspec.resolution",
         "modelspec.prediction_type", "lora_bootstrap.family", "lora_bootstrap.base_hash")
"""Metadata that a merged file keeps if its parents agree on it."""
_TRIGGER = "modelspec.trigger_phrase"


@dataclass(frozen=True)
class MergedLayer:
    """Attributes:
        key: its key in the merged LoRA.
        error: share of the layer's norm lost by compressing: |result - whole| / |whole|.
    """

    key: str
    rank: int
    error: float


@dataclass(frozen=True, eq=False)
class Merged:
    """A merge that is not yet on disk.

    Attributes:
        parents: the files; `strengths` those at which they were merged, including the method's gains.
        kept: for null_space: the share of each parent's squared norm that is left in the layers that both have.
        error: like a layer's error, over all layers.
        own: the parents' name of each layer.
    """

    lora: LoraWeights
    settings: MergeSettings
    parents: tuple[Path, ...]
    strengths: tuple[float, ...]
    layers: tuple[MergedLayer, ...]
    error: float
    kept: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    own: Mapping[str, OwnName] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(layer.rank for layer in self.layers)

    @property
    def lines(self) -> tuple[str, ...]:
        """A report of what was done."""
        names = ", ".join(f"{path.stem} at {strength:.2f}"
                          for path, strength in zip(self.parents, self.strengths, strict=True))
        lines = [f"{METHODS[self.settings.method].title} of {names}: {len(self.layers)} layers of rank {self.rank} or "
                 "less."]
        if self.kept:
            lines.append("Squared norm left in layers that both change: " + ", ".join(
                f"{path.stem} {100 * share:.0f} %" for path, share in zip(self.parents, self.kept, strict=True)) + ".")
        if self.settings.rank is not None:
            lines.append(f"Compressed to rank {self.settings.rank}: the error is {100 * self.error:.2g} % of the norm.")
        return (*lines, *self.notes)


# -- layers ------------------------------------------------------------------------------------------------------------

Layer = Sequence[tuple[float, LayerDelta]]
"""(strength, change) of each file that has the layer."""


def add(layer: Layer) -> LayerDelta:
    """The exact sum of the changes at their strengths, with their factors side by side."""
    ups = [change.up for _, change in layer]
    up = ups[0].new_empty(len(ups[0]), sum(change.rank for _, change in layer))
    for (strength, change), part in zip(layer, up.split([change.rank for _, change in layer], 1), strict=True):
        torch.mul(change.up, strength, out=part)
    kernel = next((change.kernel for _, change in layer if change.kernel), ())
    exact = all(change.exact for _, change in layer)
    return LayerDelta(up, torch.cat([change.down for _, change in layer]), kernel, len(layer) == 1 and
                  layer[0][1].orthogonal, exact)


def give_way(change: LayerDelta, other: Reading, share: float) -> LayerDelta:
    """The change, less `share` of its response to the other's directions. Its rank stays the same.

    With share = m/(1+m) it is the X that minimizes |X - change|² + m |X Q|², where Q are the directions.
    """
    if not share:
        return change
    return replace(change, down=change.down - share * other.project(change.down), orthogonal=False)


def elect(layer: Layer, density: float) -> Tensor:
    """TIES on a layer, [out, in], float32: trim, elect the sign of the sum, then average the values that agree with it.

    Each value minimizes the sum of squared distances to the trimmed values of its sign. The result is that of
    `peft.utils.merge_utils.ties`, which stacks all files and their masks: eight files of a 5120 x 1280 layer need 0.9
    GiB there, and 0.3 GiB here.
    """
    values = [_trim(strength * change.up.float() @ change.down.float(), density) for strength, change in layer]
    sign = sum(values, torch.zeros_like(values[0])).sign_()
    total, count = torch.zeros_like(sign), torch.zeros_like(sign)
    for value in values:
        agrees = (value * sign) > 0
        total += value.mul_(agrees)
        count += agrees
    return total.div_(count.clamp_min_(1))


def _trim(values: Tensor, density: float) -> Tensor:
    count = max(1, round(density * values.numel()))
    if count == values.numel():
        return values
    sizes = values.abs()
    least = sizes.flatten().kthvalue(values.numel() - count + 1).values
    return values.mul_(sizes >= least)


def compress(change: LayerDelta, rank: int) -> LayerDelta:
    """The nearest change of at most this rank (Eckart & Young), by the largest singular values.

    It takes QR of both factors and the singular values of the small core. For many factors, where QR is slow, it takes
    their Gram matrices in float64, which are as exact for all directions above 1e-5 of the largest.
    """
    if change.rank <= rank:
        return change
    if change.orthogonal:
        kept = change.up.square().sum(0).argsort(descending=True)[:rank]
        return replace(change, up=change.up[:, kept], down=change.down[kept])
    if change.rank < MANY_DIRECTIONS:
        change = thin(change)
        return replace(change, up=change.up[:, :rank], down=change.down[:rank])
    reading = read_change(change, most=rank)
    return replace(change, up=change.up @ (change.down @ change.down.T @ reading.turn),
                   down=reading.turn.T @ change.down, orthogonal=True)


# -- methods -----------------------------------------------------------------------------------------------------------


class _Plan:
    """What a method does to each layer, and what it reports at the end."""

    def __init__(self, stack: LayerStack, entries: Sequence[StackEntry], settings: MergeSettings) -> None:
        self.stack, self.entries, self.settings = stack, entries, settings
        self.gains = (1.0,) * len(entries)
        self.notes = [*stack.notes, *(note for file in stack.files for note in (
            file.strange_note, file.unread_note(EMBEDDINGS)) if note)]

    @property
    def kept(self) -> tuple[float, ...] | None:
        return None

    def layer(self, name: str, changes: Sequence[LayerDelta | None]) -> Layer:
        return [(gain * entry.strength_of(name), change)
                for gain, entry, change in zip(self.gains, self.entries, changes, strict=True) if change]

    def sum_vectors(self, row: VectorRow) -> Tensor:
        """A bias' or norm's differences, summed at the strengths: there are no directions in which one could yield."""
        rows = zip(self.gains, self.entries, self.stack.files, row.vectors, strict=True)
        return torch.stack([gain * entry.strength_of(row.name) * file.read_vector(vector)
                            for gain, entry, file, vector in rows if vector]).sum(0)

    def merge(self, name: str, changes: Sequence[LayerDelta | None]) -> tuple[LayerDelta, float]:
        """(the merged layer, the squared norm it would have uncompressed). If nothing is compressed, the norm does not
        matter, and is 0 or 1: whether the layer changes anything."""
        return self.compress_to_rank(add(self.layer(name, changes)))

    def compress_to_rank(self, change: LayerDelta) -> tuple[LayerDelta, float]:
        if self.settings.rank is None:
            return change, float(change.up.any() and change.down.any())
        return compress(change, self.settings.rank), energy(change)


class _Even(_Plan):
    """Each file at the same total squared norm, the geometric mean of all, before the strengths."""

    def __init__(self, stack: LayerStack, entries: Sequence[StackEntry], settings: MergeSettings) -> None:
        super().__init__(stack, entries, settings)
        sizes = [0.0] * len(entries)
        for _, row in stack.energies():
            sizes = [size + value for size, value in zip(sizes, row, strict=True)]
        for entry, size in zip(entries, sizes, strict=True):
            if not size:
                raise UserError(f"{entry.path} changes nothing, so its energy cannot be evened. Remove it.")
        mean = math.exp(sum(map(math.log, sizes)) / len(sizes))
        self.gains = tuple(math.sqrt(mean / size) for size in sizes)


class _Ties(_Plan):
    def merge(self, name: str, changes: Sequence[LayerDelta | None]) -> tuple[LayerDelta, float]:
        layer = self.layer(name, changes)
        if len(layer) == 1:  # nothing to vote on
            return self.compress_to_rank(add(layer))
        matrix = elect(layer, self.settings.density)
        kernel = next((change.kernel for _, change in layer if change.kernel), ())
        assert self.settings.rank is not None, "MergeSettings asks for a rank where NEEDS_RANK does"
        found = nearest(matrix, self.settings.rank)
        return (replace(found, up=found.up.double(), down=found.down.double(), kernel=kernel),
                float(matrix.double().square().sum()))


class _NullSpace(_Plan):
    """Character and style each yield where the other dominates. If no file is marked as the character, the first is."""

    def __init__(self, stack: LayerStack, entries: Sequence[StackEntry], settings: MergeSettings) -> None:
        super().__init__(stack, entries, settings)
        if len(entries) != 2:
            raise UserError(f"null_space merges a character with a style, but the stack has {len(entries)} LoRAs. Use "
                            "two, or merge the others by sum first.")
        roles = [entry.role or file_role(file.metadata) for entry, file in zip(entries, stack.files, strict=True)]
        self.hero = 1 if leads(roles[1]) and not leads(roles[0]) else 0
        known = architecture(stack.names, [file.metadata for file in stack.files])
        self.roles = {**ROLES.get(known, {}), **settings.roles}
        self.strange = set(settings.roles) - {block_of(name) for name in stack.names}
        self.before, self.after = [0.0, 0.0], [0.0, 0.0]
        if settings.preset == "identity_first":
            self.notes.append(_FAINT)
        if not self.roles and len({tuple(row) for row in WEIGHTS[settings.preset].values()}) > 1:
            self.notes.append("The roles of this model's blocks are not known, so all of them yield alike.")
        if self.strange:
            self.notes.append(f"The roles name {', '.join(sorted(self.strange))}, but no layer is in such a block.")

    @property
    def kept(self) -> tuple[float, ...]:
        return tuple(after / before if before else 1.0
                     for before, after in zip(self.before, self.after, strict=True))

    def merge(self, name: str, changes: Sequence[LayerDelta | None]) -> tuple[LayerDelta, float]:
        both = [change for change in changes if change is not None]
        if len(both) < len(changes) or not name.startswith(f"{DENOISER}."):
            return super().merge(name, changes)
        readings = [read_change(change) for change in both]
        shares = self._shares(name, readings)
        moved = [give_way(change, other, share) for change, other, share in zip(
            both, reversed(readings), shares, strict=True)]
        for side, (reading, change) in enumerate(zip(readings, moved, strict=True)):
            size = energy(change)
            if self.settings.restore_norm and size:
                gain = min(MOST_RESTORED, math.sqrt(reading.energy / size))
                moved[side], size = replace(change, up=change.up * gain), size * gain * gain
            self.before[side] += reading.energy
            self.after[side] += size
        return super().merge(name, moved)

    def _shares(self, name: str, readings: Sequence[Reading]) -> tuple[float, float]:
        """How much each file yields in the other's directions, as a share, in the files' order."""
        preset, softness = self.settings.preset, self.settings.mu / (1 + self.settings.mu)
        if preset not in EVERYWHERE:
            found = measure_overlap(*readings)
            room = max(FULL_CONFLICT - found.chance, 1e-6)
            softness *= min(1.0, max(0.0, (found.kappa - found.chance) / room))
        character, style = WEIGHTS[preset][self.roles.get(block_of(name), OTHER)]
        shares = (softness * character, softness * style)
        return shares if self.hero == 0 else shares[::-1]


@dataclass(frozen=True)
class Method:
    title: str
    plan: type[_Plan]


METHODS = {
    "sum": Method("Plain sum", _Plan),
    "null_space": Method("Soft null space", _NullSpace),
    "ties": Method("TIES", _Ties),
    "even": Method("Sum at even energies", _Even),
}
"""To add a method, add a row here, a _Plan, and its name in merge_settings.py."""


# -- files -------------------------------------------------------------------------------------------------------------


def merge_loras(entries: Sequence[StackEntry], settings: MergeSettings | None = None, *,
                progress: Callable[[int, int], None] | None = None) -> Merged:
    """Merge two or more LoRA files. Files at strength 0 are left out. Nothing is written.

    Args:
        progress: called after each layer with (done, all).

    Raises UserError as `open_stack` does, for fewer than two LoRAs, for a DoRA (its magnitude needs the model), and for
    an adapter of full rank if no rank to compress to is given.
    """
    settings = settings or MergeSettings()
    entries = [entry for entry in entries if entry.strength or entry.clip_strength]
    if len(entries) < 2:
        raise UserError("a merge needs at least two LoRAs with a strength other than 0, and the stack has "
                        f"{len(entries) or 'none'}; add more.")
    with one_thread(), open_stack([entry.path for entry in entries]) as stack:
        for file in stack.files:
            if file.dora:
                raise UserError(f"{file.path} is a DoRA in {file.dora} layers: what it changes depends on the model's "
                                "weights, so it cannot be merged from files alone. Load it beside the other LoRA, or "
                                "extract a LoRA from it.")
            if file.replaced:
                raise UserError(f"{file.path} puts weights or shapes in place of the model's ({len(file.replaced)}, "
                                f"such as {file.replaced[0]}). These have no strength, so it cannot be merged. Load it "
                                "beside the merged LoRA.")
        if stack.uneven:
            raise UserError(f"{stack.uneven} is one layer with query, key and value in some of these LoRAs and three "
                            "in others, and ComfyUI has no names for the three where they differ in size. Use LoRAs of "
                            "one tool.")
        return _merge_layers(entries, stack, settings, progress or (lambda done, count: None))


def _merge_layers(entries: Sequence[StackEntry], stack: LayerStack, settings: MergeSettings,
                  progress: Callable[[int, int], None]) -> Merged:
    plan = METHODS[settings.method].plan(stack, entries, settings)
    modules: dict[str, Factors] = {}
    own: dict[str, OwnName] = {}
    rows, whole, lost = [], 0.0, 0.0
    for done, name in enumerate(stack.names, 1):
        change, size = plan.merge(name, stack.deltas(name))
        if settings.rank is None and not change.exact:
            raise UserError(f"layer {name} of {_full_rank(stack, name)} changes the whole matrix ({change.rank} "
                            "directions), which does not fit into a small LoRA. Give a rank to compress to, such as "
                            "64.")
        if size and change.rank:
            missing = max(0.0, size - energy(change)) if settings.rank is not None else 0.0
            key = stack.key(name)
            modules[key], own[key] = delta_factors(change, DTYPES[settings.dtype]), stack.own_name(name)
            rows.append(MergedLayer(key, change.rank, math.sqrt(missing / size)))
            whole, lost = whole + size, lost + missing
        progress(done, len(stack.names))
    if not modules:
        raise UserError("the merge changes nothing: all weights of these LoRAs are zero.")
    error = math.sqrt(lost / whole)
    strengths = tuple(gain * entry.strength for gain, entry in zip(plan.gains, entries, strict=True))
    beside, notes = _carry_tensors(stack, plan)
    lora = LoraWeights(modules, _metadata(entries, stack, settings, plan, max(row.rank for row in rows), error),
                       beside=beside)
    return Merged(lora, settings, tuple(entry.path for entry in entries), strengths, tuple(rows), error, plan.kept,
                  (*plan.notes, *notes), own)


def _carry_tensors(stack: LayerStack, plan: _Plan) -> tuple[dict[str, Tensor], list[str]]:
    """(tensors by key, notes): the biases and norms, summed at the strengths as the host does, and embeddings as they
    are."""
    beside, notes = {row.key: plan.sum_vectors(row) for row in stack.vectors}, []
    if beside:
        plain = "" if plan.settings.method == "sum" else f"{METHODS[plan.settings.method].title} is for layers alone. "
        notes.append(f"{plain}Differences of biases and norms ({len(beside)}) were summed at the strengths.")
    for file in stack.files:
        for key in file.beside.get(EMBEDDINGS, ()):
            tensor = file.tensors.read(key)
            if key in beside and not torch.equal(beside[key], tensor):
                notes.append(f"{key} of {file.path.name} was left out, as another LoRA has an embedding of that name.")
            beside.setdefault(key, tensor)
    return beside, notes


def _full_rank(stack: LayerStack, name: str) -> Path:
    return next(file.path for file, change in zip(stack.files, stack.deltas(name), strict=True)
                if change and not change.exact)


def _metadata(entries: Sequence[StackEntry], stack: LayerStack, settings: MergeSettings, plan: _Plan, rank: int,
              error: float) -> dict[str, str]:
    told = [file.metadata for file in stack.files]
    same = {key: told[0][key] for key in _SAME if len({values.get(key) for values in told}) == 1 and key in told[0]}
    triggers = list(dict.fromkeys(filter(None, (values.get(_TRIGGER, "") for values in told))))
    parents = [{"name": entry.name, "file": entry.path.name, "sha256": file_hash(entry.path),
                "tensors": tensor_hash(entry.path),
                "strength": entry.strength, "clip_strength": entry.strength_of("text_encoder"), "gain": gain,
                "role": entry.role or file_role(values)}
               for entry, values, gain in zip(entries, told, plan.gains, strict=True)]
    lineage: dict[str, Any] = {"merge": {**lineage_settings(settings), "error": error, "parents": parents}}
    return {
        **same, **({_TRIGGER: ", ".join(triggers)} if triggers else {}), "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank), "ss_network_alpha": str(rank), "sai_model_spec": "1.0.0",
        "lora_bootstrap.lineage": json.dumps(lineage, ensure_ascii=False, sort_keys=True),
    }


def lineage_settings(settings: MergeSettings) -> dict[str, Any]:
    """The settings that the method uses, and the version of what is written."""
    of_method = {"preset": "null_space", "mu": "null_space", "restore_norm": "null_space", "roles": "null_space",
                 "density": "ties"}
    return {"format": FORMAT, **{name: value for name, value in asdict(settings).items()
                                 if of_method.get(name, settings.method) == settings.method}}


def save_merged(path: Path, merged: Merged, *, key_style: str | None = None) -> None:
    """Write a merged LoRA atomically.

    Args:
        key_style: one of `names.KEY_STYLES`; None uses names that ComfyUI reads, see `spellings`.

    Raises UserError if `path` is one of the parents, and as `save_lora` does.
    """
    path = Path(path)
    if path.resolve() in [parent.resolve() for parent in merged.parents]:
        raise UserError(f"{path} is one of the merged LoRAs; choose another name.")
    style, names = (key_style, {}) if key_style else choose_names(merged.own, model_parts(merged.lora))
    lora = replace(merged.lora, names=names, metadata={**merged.lora.metadata, "ss_output_name": path.stem,
                                                       "modelspec.title": path.stem})
    save_lora(path, lora, key_style=style, dtype=DTYPES[merged.settings.dtype])
