"""A LoRA as factors that can be trained and applied: read from any file, written atomically in a key style.

safetensors only. The other metadata of our own files is in `training/metadata.py`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..common.errors import UserError, unknown_name
from .hashes import check_weights, write_hashed
from .layers import KINDS, Entry, LayerDelta, LoraFile, read_header
from .metadata import ALPHA_TABLE
from .names import CLIP_G, KEY_STYLES, MAGNITUDE, MAGNITUDE_KEY, ending_of, file_name, is_flat, key_layer
from .tensors import Source, all_finite


@dataclass(frozen=True, eq=False)
class Factors:
    """One module's LoRA: its weight changes by up @ down * alpha / rank.

    Attributes:
        down: [rank, in], for a convolution [rank, in, kh, kw].
        up: [out, rank], for a convolution [out, rank, 1, 1].
        magnitude: of a DoRA, [1, in], for a convolution [1, in, 1, 1]: what each column of the changed weight is
            scaled to; see `training/tuners/dora.py`.
    """

    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def roles(self) -> dict[str, Tensor]:
        """Its tensors by role, as `names.ENDINGS` calls them."""
        roles = {"down": self.down, "up": self.up}
        return roles if self.magnitude is None else roles | {MAGNITUDE: self.magnitude}

    def rescaled(self, alpha: float) -> Factors:
        """The same change of the weights with another alpha."""
        if alpha == self.alpha:
            return self
        return Factors(self.down, self.up.float() * (self.alpha / alpha), alpha, self.magnitude)

    def padded(self, rank: int) -> Factors:
        """The same change of the weights with a larger rank: zeros are added, and alpha grows with the rank."""
        if rank == self.rank:
            return self
        down = self.down.new_zeros(rank, *self.down.shape[1:])
        up = self.up.new_zeros(len(self.up), rank, *self.up.shape[2:])
        down[:self.rank], up[:, :self.rank] = self.down, self.up
        return Factors(down, up, self.alpha * rank / self.rank, self.magnitude)


@dataclass(frozen=True, eq=False)
class KindWeights:
    """One module's LoHa or LoKr, as a training has it and a file keeps it.

    Attributes:
        kind: a key of `layers.KINDS`.
        roles: its tensors by role, without alpha.
    """

    kind: str
    roles: Mapping[str, Tensor]
    alpha: float

    def rescaled(self, alpha: float) -> KindWeights:
        """The same change of the weights with another alpha."""
        row = KINDS[self.kind]
        if alpha == self.alpha or row.rank({role: tensor.shape for role, tensor in self.roles.items()}) is None:
            return KindWeights(self.kind, self.roles, alpha)
        role = next(role for role in row.scaled if role in self.roles)
        scaled = self.roles[role].float() * (self.alpha / alpha)
        return KindWeights(self.kind, {**self.roles, role: scaled}, alpha)


ModuleWeights = Factors | KindWeights


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """A LoRA.

    Attributes:
        modules: by dotted name: `unet.`, `text_encoder.` or `text_encoder_2.` with diffusers' module path, or
            `diffusion_model.` with the path in the model's original layout.
        metadata: the file's own description, strings only.
        ignored: keys of the file that do not belong to a LoRA and were not read.
        names: names of modules to use in a file instead of those of its key style.
        beside: other tensors to write, by their keys.
        others: modules of other kinds to write, by the same names.
    """

    modules: Mapping[str, Factors]
    metadata: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    others: Mapping[str, KindWeights] = field(default_factory=dict)

    @classmethod
    def of_run(cls, weights: Mapping[str, ModuleWeights], metadata: Mapping[str, str]) -> LoraWeights:
        """What a training made, of whatever kind."""
        return cls({key: value for key, value in weights.items() if isinstance(value, Factors)}, metadata,
                   others={key: value for key, value in weights.items() if isinstance(value, KindWeights)})


_ATTENTION = re.compile(r"\.(to_[qkv]|to_out\.0)$")


def save_lora(
    path: str | os.PathLike[str], lora: LoraWeights, *, key_style: str = "kohya", dtype: torch.dtype = torch.float32
) -> None:
    """Write a LoRA atomically, one tensor in memory at a time. Alphas are float32 whatever `dtype` is.

    float32 reproduces the output of the training exactly; float16 halves the file size. Raises UserError if a weight is
    not a number (or too large for `dtype`), or for an unknown key style.
    """
    if key_style not in KEY_STYLES:
        raise unknown_name("key style", key_style, KEY_STYLES)
    style, parts = KEY_STYLES[key_style], model_parts(lora)
    prepared = _with_safe_alphas if style.alpha else _with_scale_one
    sources = {key: _source(tensor, key, dtype, path) for key, tensor in lora.beside.items()}
    for key, factors in prepared(lora.modules).items():
        name = lora.names.get(key) or file_name(key, key_style, parts)
        row = KEY_STYLES["kohya"] if is_flat(name) else style
        sources[f"{name}.{row.down}"] = _source(factors.down, key, dtype, path)
        sources[f"{name}.{row.up}"] = _source(factors.up, key, dtype, path)
        if style.alpha:
            sources[f"{name}.alpha"] = _alpha_source(factors.alpha, key, path)
        if factors.magnitude is not None:
            sources[f"{name}.{MAGNITUDE_KEY}"] = _source(factors.magnitude, key, dtype, path)
    for key, value in lora.others.items():  # no program reads them without alpha, whatever the style
        name = lora.names.get(key) or file_name(key, key_style, parts)
        sources |= {f"{name}{ending_of(value.kind, role)}": _source(tensor, key, dtype, path)
                    for role, tensor in value.roles.items()}
        sources[f"{name}.alpha"] = _alpha_source(value.alpha, key, path)
    # an alpha table copied from another file would be applied on top of the alphas written here
    write_hashed(path, sources, {name: text for name, text in lora.metadata.items() if name != ALPHA_TABLE})


def _alpha_source(alpha: float, key: str, path: str | os.PathLike[str]) -> Source:
    return _source(torch.tensor(float(alpha)), key, torch.float32, path)


def _source(tensor: Tensor, key: str, dtype: torch.dtype, path: str | os.PathLike[str]) -> Source:
    """The tensor in the file's type, made and checked when its turn to be written comes."""
    kept = dtype if tensor.is_floating_point() else tensor.dtype

    def get() -> Tensor:
        written = tensor.detach().to("cpu", kept)
        if not all_finite([written]):
            raise UserError(f"LoRA module {key} has weights that are not {dtype} numbers, so {path} was not written: "
                            "the training diverged (lower the learning rate), or dtype must be float32.")
        return written

    return Source(kept, tuple(tensor.shape), get)


def model_parts(lora: LoraWeights) -> set[str]:
    """The networks that the LoRA's model certainly has."""
    sdxl = lora.metadata.get("ss_base_model_version", "").startswith("sdxl")
    return {key_layer(key).part for key in (*lora.modules, *lora.others)} | ({CLIP_G} if sdxl else set())


def _with_safe_alphas(modules: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors to write together with alpha: nearly always the modules' own.

    From kohya's keys, diffusers (0.42 at least) gives every attention projection and text encoder module the most
    common alpha of its part. Where that is not the module's own, the difference is multiplied into up instead.
    """
    written = dict(modules)
    for part in {key.partition(".")[0] for key in modules}:
        keys = [key for key in modules if key.startswith(f"{part}.")]
        (common, count), *others = Counter(modules[key].alpha for key in keys).most_common()
        tied = bool(others) and others[0][1] == count
        misread = _ATTENTION if part == "unet" else re.compile("")
        written |= {key: modules[key].rescaled(common) for key in keys if tied or misread.search(key)}
    return written


def _with_scale_one(modules: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors to write without alpha: scale 1, and the same rank throughout each part.

    Without alphas, older diffusers (0.30 for one) take the most common rank as every module's alpha, so smaller ranks
    are padded with zeros.
    """
    ranks: dict[str, int] = {}
    for key, factors in modules.items():
        part = key.partition(".")[0]
        ranks[part] = max(factors.rank, ranks.get(part, 0))
    return {key: factors.rescaled(factors.rank).padded(ranks[key.partition(".")[0]])
            for key, factors in modules.items()}


def load_lora(path: str | os.PathLike[str], module_names: Iterable[str] | None = None) -> LoraWeights:
    """Read a LoRA file of any spelling and kind in `names.py`, as factors in memory of their own.

    A plain LoRA's factors are the file's own, and a full difference is paired with an identity matrix; both are exact
    to the bit, in the file's own type if that is one of `layers.OWN_TYPES`, otherwise in float32. Other kinds (LoHa,
    LoKr, a Tucker core) become float32 factors as described in `LoraFile.delta`: exact except for rounding, and as
    large as the whole matrix where they change all of it. A DoRA keeps its magnitude beside the factors.

    Args:
        module_names: dotted names (`unet.…`) of the model at hand. kohya's names lose the difference between `.` and
            `_`. With these names it is looked up, otherwise it is inferred from known names.

    A module without alpha has alpha = rank. Raises UserError if the file is not a readable safetensors file, contains
    no LoRA, contains a DoRA whose magnitude is not one number a column, has a layer twice, or has weights that are not
    numbers, do not fit each other, or are not those that were saved.
    """
    file = read_header(Path(path), module_names or ())
    check_weights(path)
    try:
        return LoraWeights(_modules(file), file.metadata, file.ignored)
    finally:
        file.tensors.close()


def _modules(file: LoraFile) -> dict[str, Factors]:
    modules: dict[str, Factors] = {}
    for entry in file.entries:
        if entry.name.key in modules:
            raise UserError(f"{file.path} has layer {entry.name.key} twice, once as {entry.module}. Remove one of "
                            "them, or download the file again.")
        factors = _own_factors(file, entry) or delta_factors(file.delta(entry), torch.float32)
        modules[entry.name.key] = replace(factors, magnitude=_magnitude(file, entry)) if entry.magnitude else factors
    return modules


def _magnitude(file: LoraFile, entry: Entry) -> Tensor:
    """[1, in] or [1, in, 1, 1]. Raises UserError for magnitudes of rows, which programs apply in different ways."""
    values = file.read_magnitude(entry)
    if not entry.magnitude.endswith(f".{MAGNITUDE_KEY}") or values.ndim < 2 or len(values) != 1:
        raise UserError(f"{file.path} is a DoRA in {file.dora} layers, and scales the rows of their weights (layer "
                        f"{entry.module}). Only scales of columns can be applied here. Use it in ComfyUI, or train or "
                        "extract a LoRA.")
    return values


def _own_factors(file: LoraFile, entry: Entry) -> Factors | None:
    found = KINDS[entry.kind].factors(file.read(entry, None))
    if found is None:
        return None
    (down, up), alpha = found, file.alpha(entry)
    return Factors(down, up, float(len(down) if alpha is None else alpha))


def delta_factors(delta: LayerDelta, dtype: torch.dtype) -> Factors:
    """The factors in a file's shapes, with alpha = rank. In each direction up and down get equal norms, so both round
    alike."""
    ups, downs = delta.up.norm(dim=0), delta.down.norm(dim=1)
    ratio = (downs / ups).sqrt().where((ups > 0) & (downs > 0), torch.ones((), dtype=ups.dtype))
    up, down = (delta.up * ratio).to(dtype), (delta.down / ratio[:, None]).to(dtype)
    if delta.kernel:
        up, down = up.reshape(*up.shape, *(1 for _ in delta.kernel)), down.unflatten(1, (-1, *delta.kernel))
    return Factors(down.contiguous(), up.contiguous(), float(delta.rank))
