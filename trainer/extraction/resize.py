"""Makes a LoRA file smaller, layer by layer: its singular values say which directions matter.

A LoRA's factors are decomposed by QR, so that the whole matrix is never made. LoHa and LoKr are made whole where they
change all of it, one layer at a time. The result is a plain LoRA with alpha = rank, so strength 1 means the same.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.errors import UserError
from ..common.events import Events, Progress
from ..common.names import checked_name
from ..lora.file import Factors, LoraWeights, delta_factors
from ..lora.hashes import check_weights, tensor_hash
from ..lora.layers import EMBEDDINGS, Entry, LayerDelta, LoraFile, read_header, thin
from ..lora.metadata import ALPHA_TABLE, read_table
from ..lora.names import ENDINGS, FULL, MAGNITUDE
from ..lora.nearest import nearest
from .extract import DTYPES, squared_norm, tensor_style
from .ranks import Spectrum, all_sizes, choose_rank, choose_ranks, looks_at_all
from .report import LayerRow, Report, name_some
from .saved import HEADER, LINEAGE, METADATA, Written, network_metadata, save_new
from .settings import CUMULATIVE, RankSettings

_OF_THE_WHOLE = ("lora_bootstrap.merge_report", ALPHA_TABLE)
"""Metadata that says something of the weights before."""
_MAGNITUDES = tuple(row.text for row in ENDINGS if row.role == MAGNITUDE)


@dataclass(eq=False)
class _Work:
    """A resizing under way."""

    file: LoraFile
    settings: RankSettings
    modules: dict[str, Factors] = field(default_factory=dict)
    rows: list[LayerRow] = field(default_factory=list)
    dropped: float = 0.0

    def decompose(self, entry: Entry) -> tuple[LayerDelta, Spectrum]:
        """(the change by falling singular values, what is known of them)."""
        if entry.kind == FULL and self.settings.rule != CUMULATIVE:
            return self._nearest(entry)
        change = _by_size(self.file.delta(entry))
        sizes = change.up.norm(dim=0)
        energy, total = all_sizes(sizes)
        most = self.settings.most(change.kernel, entry.shape)
        return change, Spectrum(sizes[:most], energy, sum(entry.shape), total)

    def _nearest(self, entry: Entry) -> tuple[LayerDelta, Spectrum]:
        """A whole difference's largest directions: all of them would take a full decomposition."""
        weight = self.file.read(entry, None)["diff"].float()
        matrix, kernel = weight.flatten(1), tuple(weight.shape[2:])
        found = nearest(matrix, self.settings.most(kernel, entry.shape))
        change = LayerDelta(found.up.double(), found.down.double(), kernel, orthogonal=True)
        return change, Spectrum(change.up.norm(dim=0), squared_norm(matrix), sum(entry.shape))

    def spectra(self) -> Iterator[Spectrum]:
        for entry in self.file.entries:
            yield self.decompose(entry)[1]

    def add(self, entry: Entry, rank: int | None) -> None:
        """Keep a layer's first directions.

        Args:
            rank: None is that of the rule; a layer at 0 is dropped.
        """
        change, spectrum = self.decompose(entry)
        if not spectrum.energy:
            return
        rank = choose_rank(spectrum, self.settings) if rank is None else rank
        if not rank:
            self.dropped += spectrum.energy
            return
        kept = LayerDelta(change.up[:, :rank], change.down[:rank], change.kernel)
        self.modules[entry.name.key] = delta_factors(kept, DTYPES[self.settings.dtype])
        self.rows.append(LayerRow(entry.name.key, rank, math.sqrt(spectrum.lost(rank) / spectrum.energy),
                                  spectrum.energy))


def _by_size(change: LayerDelta) -> LayerDelta:
    """The change as a singular value decomposition, by falling singular values."""
    if not change.orthogonal:
        return thin(change)
    order = change.up.square().sum(0).argsort(descending=True)
    return LayerDelta(change.up[:, order], change.down[order], change.kernel, orthogonal=True)


def resize_lora(source: Path, folder: Path, name: str, settings: RankSettings) -> Events:
    """Write a smaller LoRA of a file into the folder. The last event is `Written`.

    A DoRA keeps its magnitudes: each output's size stays as it is, and its direction is what is approximated.

    Args:
        name: of the file; -2 is added if a different file has it.

    Raises UserError as `read_header` does, for a file that was damaged, and for one that puts weights in place of the
    model's.
    """
    checked_name(name)
    file = read_header(Path(source))
    try:
        check_weights(source)
        _check(file)
        work = _Work(file, settings)
        total = len(file.entries) * (1 + looks_at_all(settings))
        ranks: list[int] | list[None] = [None] * len(file.entries)
        if looks_at_all(settings):
            spectra = []
            for spectrum in work.spectra():
                spectra.append(spectrum)
                yield Progress("resizing layers", len(spectra), total)
            ranks = choose_ranks(spectra, settings, itemsize=DTYPES[settings.dtype].itemsize, spare=_spare(work))
        for done, (entry, rank) in enumerate(zip(file.entries, ranks, strict=True), 1 + total - len(file.entries)):
            work.add(entry, rank)
            yield Progress("resizing layers", done, total)
        if not work.modules:
            raise UserError(f"{source} changes nothing: all its weights are zero. Choose another LoRA.")
        lora, style = _as_lora(work)
        path = save_new(folder, name, lora, key_style=style, dtype=DTYPES[settings.dtype])
        yield Written(path, _report(work, path))
    finally:
        file.tensors.close()


def _check(file: LoraFile) -> None:
    if file.replaced:
        raise UserError(f"{file.path} puts weights or shapes in place of the model's ({len(file.replaced)}, such as "
                        f"{file.replaced[0]}), which have no rank. Use it as it is.")
    names = [entry.name.key for entry in file.entries]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise UserError(f"{file.path} has layer {twice} twice. Remove one of them, or download the file again.")


def _carried(file: LoraFile, modules: Container[str]) -> dict[str, Tensor]:
    """What a smaller file has as the larger one: biases, norms, embeddings, and the magnitudes of layers that stay."""
    keys = [vector.key for vector in file.vectors] + list(file.beside.get(EMBEDDINGS, ()))
    keys += [f"{entry.module}{ending}" for entry in file.entries if entry.magnitude and entry.name.key in modules
             for ending in _MAGNITUDES if f"{entry.module}{ending}" in file.tensors.shapes]
    return {key: file.tensors.read(key) for key in keys}


def _spare(work: _Work) -> int:
    names = sum(HEADER + 3 * len(entry.module) for entry in work.file.entries)
    metadata = sum(len(key) + 2 * len(text.encode()) for key, text in work.file.metadata.items())
    carried = _carried(work.file, {entry.name.key for entry in work.file.entries})
    beside = sum(tensor.numel() * tensor.element_size() + HEADER + len(key) for key, tensor in carried.items())
    return METADATA + metadata + names + beside


def _as_lora(work: _Work) -> tuple[LoraWeights, str]:
    """(the LoRA, the key style of its tensors); its layers keep the names that they have in the file."""
    file, ranks = work.file, {row.key: row.rank for row in work.rows}
    before = dict(read_table(file.metadata, LINEAGE))
    lineage: dict[str, Any] = {"resize": {**asdict(work.settings), "file": file.path.name,
                                          "tensors": tensor_hash(file.path), **({"lineage": before} if before else {})}}
    metadata = {**{key: text for key, text in file.metadata.items() if key not in _OF_THE_WHOLE},
                **network_metadata(ranks, work.modules, lineage)}
    names = {entry.name.key: entry.module for entry in file.entries if entry.name.key in work.modules}
    peft = all(".lora_A" in entry.keys.get("down", "") for entry in file.entries) and not file.dora
    style = tensor_style("peft" if peft else "kohya", ranks.values())
    return LoraWeights(work.modules, metadata, names=names, beside=_carried(file, work.modules)), style


def _report(work: _Work, path: Path) -> Report:
    file, kept = work.file, work.modules
    dropped = [entry.name.key for entry in file.entries if entry.name.key not in kept]
    before = file.path.stat().st_size
    notes = [f"{file.path.name} has {before / 1e6:.3g} MB.",
             name_some(dropped, "Left out, because they change too little"), file.unread_note(EMBEDDINGS)]
    if file.dora:
        notes.append(f"It is a DoRA in {file.dora} layers. Their magnitudes are kept as they are, and the errors are "
                     "those of the changes of direction.")
    if len({row.rank for row in work.rows}) > 1 and any(".lora_A" in entry.keys.get("down", "")
                                                       for entry in file.entries):
        notes.append("Its ranks differ, so its tensors have the names lora_up and lora_down with an alpha each. "
                     "ComfyUI reads these; diffusers may not.")
    return Report("Resized", "what the file changes", tuple(work.rows), path.stat().st_size, work.dropped,
                  tuple(filter(None, notes)))
