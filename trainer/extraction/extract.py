"""Extracts a LoRA from the difference of two models, layer by layer: only one layer's weights are in memory at a time.

The factors of a difference are its largest singular vectors (Eckart & Young). They are kohya sd-scripts' for the same
ranks, clamp and least difference, but found without a full decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..common.errors import UserError
from ..common.events import Events, Progress
from ..common.names import checked_name
from ..lora.file import Factors, LoraWeights, delta_factors
from ..lora.layers import LayerDelta
from ..lora.names import ORIGINAL, file_name, fitting_style, key_layer
from ..lora.nearest import nearest
from ..lora.tensors import all_finite
from .ranks import Spectrum, choose_rank, choose_ranks, looks_at_all
from .report import LayerRow, Report, name_some
from .saved import HEADER, METADATA, Written, network_metadata, save_new
from .settings import ExtractSettings
from .sides import Weights, is_denoiser, split_key

_EMBEDDINGS = ("embedding.weight", "embeddings.weight", "embed_tokens.weight", "shared.weight")
"""Endings of a text encoder's tables of rows, which are no layers that a LoRA is for."""
_MOST_VECTOR = 1 << 20
"""Numbers in a parameter of another name than weight and bias, such as a norm's scale, that is kept as it is."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(eq=False)
class _Skipped:
    """Layers that an extraction leaves out, by reason."""

    unchanged: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def notes(self, settings: ExtractSettings) -> tuple[str, ...]:
        rows = ((self.unchanged, "Layers that are equal in both models"),
                (self.small, f"Skipped, because no weight differs by more than {settings.min_difference:g}"),
                (self.reshaped, "Skipped, because the two models have different shapes"),
                (self.absent, "In one of the models only"),
                (self.strange, "Left out, because a LoRA does not change them"),
                (self.cut, "Left out to keep to the file size"))
        return tuple(filter(None, (name_some(names, what) for names, what in rows)))


@dataclass(eq=False)
class _Work:
    """An extraction under way."""

    tuned: Weights
    base: Weights | None
    settings: ExtractSettings
    device: torch.device
    skipped: _Skipped = field(default_factory=_Skipped)
    modules: dict[str, Factors] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    rows: list[LayerRow] = field(default_factory=list)
    dropped: float = 0.0

    def keys(self) -> tuple[list[str], list[str]]:
        """(keys of layers, keys of biases and norms) that both models have."""
        ours = {key for key in self.tuned.shapes if self.settings.text_encoder or is_denoiser(key)}
        theirs = ours if self.base is None else {
            key for key in self.base.shapes if self.settings.text_encoder or is_denoiser(key)}
        self.skipped.absent += sorted(ours ^ theirs)
        layers, vectors = [], []
        for key in sorted(ours & theirs):
            shape = self.tuned.shapes[key]
            if self.base is not None and shape != self.base.shapes[key]:
                self.skipped.reshaped.append(key)
            elif _is_layer(key, shape):
                layers.append(key)
            elif _is_vector(key, shape, self.tuned.shapes):
                vectors.append(key)
            else:
                self.skipped.strange.append(key)
        if not layers:
            raise UserError(f"{self.tuned.title} and {self.base.title if self.base else 'its base'} have no layer in "
                            "common: they are of different families or layouts. Choose the base that the model was "
                            "fine-tuned from.")
        return layers, vectors if self.settings.vectors else []

    def difference(self, key: str) -> Tensor:
        """A weight's difference on the device, float32."""
        weight = self.tuned.read(key).to(self.device)
        if self.base is not None:
            weight.sub_(self.base.read(key).to(self.device))
        if not all_finite([weight]):
            raise UserError(f"layer {key} has weights that are not numbers (NaN or infinity) in {self.tuned.title} or "
                            "its base: the file is damaged, or the training diverged. Use an earlier checkpoint.")
        return weight

    def changed(self, key: str) -> Tensor | None:
        """A layer's difference; None, and counted as skipped, if it is too small."""
        weight = self.difference(key)
        if self._is_large(weight):
            return weight
        (self.skipped.small if weight.any() else self.skipped.unchanged).append(key)
        return None

    def _is_large(self, weight: Tensor) -> bool:
        return bool(weight.numel()) and float(weight.abs().max()) > self.settings.min_difference

    def decompose(self, key: str, matrix: Tensor) -> tuple[LayerDelta, Spectrum]:
        kernel = self.tuned.shapes[key][2:]
        found = nearest(matrix, self.settings.most(kernel, _sides(matrix)), exact=self.settings.exact)
        sizes = found.up.norm(dim=0).double().cpu()
        return found, Spectrum(sizes, squared_norm(matrix), sum(matrix.shape))

    def spectra(self, layers: list[str]) -> Iterator[tuple[str, Spectrum | None]]:
        """The singular values of all layers, one after the other; None for those that are skipped."""
        for key in layers:
            weight = self.changed(key)
            yield key, None if weight is None else self.decompose(key, weight.flatten(1))[1]

    def add_layer(self, key: str, weight: Tensor, rank: int | None) -> None:
        """Keep a layer's factors, and what they lose, as they are written.

        Args:
            rank: None is that of the rule.
        """
        matrix, kernel = weight.flatten(1), tuple(weight.shape[2:])
        found, spectrum = self.decompose(key, matrix)
        rank = choose_rank(spectrum, self.settings) if rank is None else rank
        up, down = clamp_factors(found.up[:, :rank].float(), found.down[:rank].float(), self.settings.clamp_quantile)
        factors = delta_factors(LayerDelta(up.cpu(), down.cpu(), kernel), DTYPES[self.settings.dtype])
        # in place: nobody needs the difference any more
        left = matrix.addmm_(*(part.flatten(1).to(self.device).float() for part in (factors.up, factors.down)),
                             alpha=-1)
        lost = math.sqrt(squared_norm(left) / spectrum.energy)
        module = split_key(key)[0]
        self.modules[module] = factors
        self.rows.append(LayerRow(module, factors.rank, lost, spectrum.energy))

    def add_vector(self, key: str) -> None:
        weight = self.difference(key)
        if self._is_large(weight):
            self.vectors[key] = weight.cpu()


def extract_lora(tuned: Weights, base: Weights | None, folder: Path, name: str, settings: ExtractSettings, *,
                 device: torch.device | str = "cpu") -> Events:
    """Extract the LoRA that turns `base` into `tuned`, and write it into the folder. The last event is `Written`.

    Nothing is written before all is done. Where ranks depend on all layers, each is decomposed twice.

    Args:
        base: None if `tuned` is a file of whole differences.
        name: of the file; -2 is added if a different file has it.
        device: where differences are decomposed, if it calculates in 64 bits.

    Raises UserError if the models have no layer in common, if none differs, for weights that are not numbers, and for a
    name that a file cannot have.
    """
    checked_name(name)
    work = _Work(tuned, base, settings, _exact_device(device))
    layers, vectors = work.keys()
    ranks: dict[str, int] = {}
    total = len(layers) * (1 + looks_at_all(settings))
    if looks_at_all(settings):
        spectra: dict[str, Spectrum] = {}
        for done, (key, spectrum) in enumerate(work.spectra(layers), 1):
            if spectrum is not None:
                spectra[key] = spectrum
            yield Progress("extracting layers", done, total)
        _check_any(spectra, tuned, settings)
        ranks = _shared_ranks(spectra, vectors, work)
        layers = [key for key in layers if key in spectra]
    for done, key in enumerate(layers, 1 + total - len(layers)):
        if ranks.get(key) != 0 and (weight := work.changed(key)) is not None:
            work.add_layer(key, weight, ranks.get(key))
        yield Progress("extracting layers", done, total)
    _check_any(work.modules, tuned, settings)
    for key in vectors:
        work.add_vector(key)
    lora, style = _as_lora(work)
    path = save_new(folder, name, lora, key_style=style, dtype=DTYPES[settings.dtype])
    yield Written(path, _report(work, lora, path))


def _exact_device(device: torch.device | str) -> torch.device:
    """The device; the CPU for Apple's and others that have no 64-bit floats."""
    wanted = torch.device(device)
    return wanted if wanted.type in ("cpu", "cuda") else torch.device("cpu")


def _shared_ranks(spectra: Mapping[str, Spectrum], vectors: list[str], work: _Work) -> dict[str, int]:
    """Ranks by key, where they depend on all layers."""
    itemsize = DTYPES[work.settings.dtype].itemsize
    names = sum(HEADER + 3 * len(key) for key in spectra)
    beside = sum(math.prod(work.tuned.shapes[key]) * itemsize + HEADER + len(key) for key in vectors)
    chosen = choose_ranks(list(spectra.values()), work.settings, itemsize=itemsize, spare=METADATA + names + beside)
    ranks = dict(zip(spectra, chosen, strict=True))
    work.skipped.cut += [key for key, rank in ranks.items() if not rank]
    work.dropped = sum(spectra[key].energy for key in work.skipped.cut)
    return ranks


def _check_any(found: Mapping[str, object], tuned: Weights, settings: ExtractSettings) -> None:
    if not found:
        least = f" by more than {settings.min_difference:g}" if settings.min_difference else ""
        raise UserError(f"no layer of {tuned.title} differs from the base{least}, so there is nothing to extract. "
                        "Choose another base or checkpoint, or lower min_difference.")


def clamp_factors(up: Tensor, down: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Both factors with their values between ± a quantile of all of them, as in kohya's extraction; `up` includes the
    singular values. 1 leaves them as they are.

    kohya takes the quantile of values with their signs, but a decomposition may turn the signs of any direction. So
    each value counts with both signs here, which gives the mean of what kohya's could be.
    """
    if share >= 1:
        return up, down
    values = torch.cat([up.flatten(), down.flatten()])
    most = float(quantile(torch.cat([values, -values]), share))
    return up.clamp(-most, most), down.clamp(-most, most)


def quantile(values: Tensor, share: float) -> Tensor:
    """`torch.quantile` of a vector of any length; that refuses more than 16 million values."""
    place = share * (len(values) - 1)
    low, high = (values.kthvalue(int(bound) + 1).values for bound in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place - math.floor(place))


def squared_norm(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2


def _sides(matrix: Tensor) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def _is_layer(key: str, shape: tuple[int, ...]) -> bool:
    table = key.endswith(_EMBEDDINGS) and not is_denoiser(key)
    return key.endswith(".weight") and len(shape) > 1 and bool(math.prod(shape)) and not table


def _is_vector(key: str, shape: tuple[int, ...], keys: Mapping[str, object]) -> bool:
    """Whether the host can be given a parameter's difference as a whole: a bias, a norm, or one that it knows by its
    own name."""
    module, parameter = split_key(key)
    if parameter == "weight" or parameter == "bias" and f"{module}.weight" in keys:
        return len(shape) == 1
    return key.startswith(f"{ORIGINAL}.") and math.prod(shape) <= _MOST_VECTOR


# -- the file ----------------------------------------------------------------------------------------------------------


def _as_lora(work: _Work) -> tuple[LoraWeights, str]:
    """(the LoRA, the key style of its tensors), with names that the host reads."""
    style = fitting_style(work.modules)
    parts = {key_layer(split_key(key)[0]).part for key in work.tuned.shapes}
    names = {module: work.tuned.names.get(module) or file_name(module, style, parts) for module in work.modules}
    named = {**work.tuned.names, **names}
    beside = {_vector_key(key, style, parts, named, work.tuned.shapes): tensor for key, tensor in work.vectors.items()}
    ranks = {row.key: row.rank for row in work.rows}
    lineage = {"extract": {**asdict(work.settings), "tuned": work.tuned.title,
                           "base": work.base.title if work.base else ""}}
    metadata = {**(work.base or work.tuned).facts, **network_metadata(ranks, work.modules, lineage)}
    return LoraWeights(work.modules, metadata, names=names, beside=beside), tensor_style(style, ranks.values())


def tensor_style(style: str, ranks: Iterable[int]) -> str:
    """The key style for tensors whose names are known: peft's has no alphas, so it needs all ranks to be equal."""
    return "comfy" if style == "peft" and len(set(ranks)) > 1 else style


def _vector_key(key: str, style: str, parts: set[str], names: Mapping[str, str], keys: Mapping[str, object]) -> str:
    """The key of a bias' or norm's difference. The host knows norms of text encoders by its own names only."""
    module, parameter = split_key(key)
    if parameter not in ("weight", "bias") or f"{module}.weight" not in keys:
        return f"{key}.diff"
    name = names.get(module) or file_name(module, style if is_denoiser(key) else "comfy", parts)
    return name + (".diff_b" if parameter == "bias" else ".diff")


def _report(work: _Work, lora: LoraWeights, path: Path) -> Report:
    notes = [*work.skipped.notes(work.settings)]
    if lora.beside:
        notes.append(f"Differences of biases and norms are kept whole ({len(lora.beside)}).")
    return Report("Extracted", "the whole difference", tuple(work.rows), path.stat().st_size, work.dropped,
                  tuple(notes))
