"""A conflict report as tables, heat maps and plain values; `conflict_picture` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .conflict import BlockConflict, ConflictReport, PairConflict
from .overlap import Overlap


@dataclass(frozen=True)
class HeatMap:
    """Figures in rows and columns; None where nothing was measured. Each column has its own (low, high)."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    ranges: tuple[tuple[float, float], ...]


MEASURES = {
    # heading → (figure of a block at the stack's strengths, its range in a heat map)
    "kappa": (lambda row: row.overlap.kappa, (0.0, 1.0)),
    "by chance": (lambda row: row.overlap.chance, (0.0, 1.0)),
    "excess": (lambda row: row.overlap.excess, (0.0, 1.0)),
    "cosine": (lambda row: row.overlap.cosine, (-1.0, 1.0)),
    "{second} over {first}": (lambda row: row.used.second_over_first, (0.0, 1.0)),
    "{first} over {second}": (lambda row: row.used.first_over_second, (0.0, 1.0)),
    "share": (lambda row: row.share, (0.0, 1.0)),
}
"""The measures of a block: the columns of the table and of the heat map."""


def headers(pair: PairConflict) -> tuple[str, ...]:
    return ("block", "layers", *(_heading(name, pair) for name in MEASURES))


def table_rows(pair: PairConflict) -> list[list[str]]:
    """One row for each block and one for all, figures with two decimals."""
    shared = sum(layer.shared for layer in pair.layers)
    rows = [*pair.blocks, BlockConflict("all layers", shared, pair.total, pair.used, sum(b.share for b in pair.blocks))]
    return [[row.name, str(row.layers), *(figure_text(figure(row)) for figure, _ in MEASURES.values())] for row in rows]


def figure_text(value: float) -> str:
    """The figure with two decimals, without a minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def heat_map(pair: PairConflict) -> HeatMap:
    """Blocks x measures."""
    values = tuple(tuple(figure(row) for figure, _ in MEASURES.values()) for row in pair.blocks)
    return HeatMap(" and ".join(pair.names), tuple(row.name for row in pair.blocks),
                   tuple(_heading(name, pair) for name in MEASURES), values, tuple(s for _, s in MEASURES.values()))


def _heading(name: str, pair: PairConflict) -> str:
    return name.format(first=pair.names[0], second=pair.names[1])


def _pair_dict(pair: PairConflict) -> dict[str, Any]:
    return {
        "places": list(pair.places), "names": list(pair.names), "strengths": list(pair.strengths),
        "total": _overlap_dict(pair.total, pair.used), "advice": vars(pair.advice),
        "parts": {part: _overlap_dict(value, value.at(*pair.strengths)) for part, value in pair.parts.items()},
        "blocks": [{"name": row.name, "layers": row.layers, "share": row.share,
                    **_overlap_dict(row.overlap, row.used)} for row in pair.blocks],
        "layers": [{"name": layer.name, "block": layer.block, "shape": list(layer.shape),
                    "directions": list(layer.directions), **_overlap_dict(layer.overlap, layer.used)}
                   for layer in pair.layers if layer.shared],
        "only": [list(names) for names in pair.only],
    }


def _overlap_dict(plain: Overlap, used: Overlap) -> dict[str, Any]:
    names = ("kappa", "chance", "excess", "cosine", "cosine_chance", "cosine_excess", "least_override", "balance")
    return {**vars(plain), **{name: getattr(plain, name) for name in names},
            "second_over_first": used.second_over_first, "first_over_second": used.first_over_second}


def kappa_map(report: ConflictReport) -> HeatMap:
    """The total kappa of all LoRAs against all."""
    names = tuple(file.name for file in report.files)
    values: list[list[float | None]] = [[None] * len(names) for _ in names]
    for pair in report.pairs:
        first, second = pair.places
        values[first][second] = values[second][first] = pair.total.kappa
    return HeatMap("interference (kappa)", names, names, tuple(map(tuple, values)), ((0.0, 1.0),) * len(names))


def report_dict(report: ConflictReport) -> dict[str, Any]:
    """The report as plain values for JSON."""
    return {
        "version": 1, "verdict": report.verdict, "tolerance": report.tolerance,
        "files": [vars(file) for file in report.files],
        "recommended": list(report.recommended), "lines": list(report.lines), "rules": list(report.rules),
        "notes": list(report.notes), "pairs": [_pair_dict(pair) for pair in report.pairs],
    }
