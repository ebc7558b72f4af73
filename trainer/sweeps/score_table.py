"""The scoring matrix for people and scripts: scores.json, scores.csv, scores.png, and a report in words."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from PIL import Image

from ..common.files import write_json, write_text
from ..models.sampler import save_picture
from ..pictures.sheet import table_picture
from .cells import Sweep
from .score import GOOD, ScoreRow, Scores

FIGURES = (("likeness", "likeness"), ("prompt", "prompt accuracy"), ("diversity", "diversity"), ("copies", "copies"),
           ("burn", "burn"), ("validation", "validation"), ("backgrounds", "copied backgrounds"),
           ("artefacts", "artefacts"), ("by_eye", "good by eye"), ("score", "score"))
"""(field of a ScoreRow, heading)."""
HEADERS = ("", *(heading for _, heading in FIGURES), "gates failed", "verdict", "advice")
NOT_MEASURED = "-"
RECOMMENDED = "palegreen"
COLUMNS = ("base", "checkpoint", "strength", "label", "cells", "step", "epoch", "lora", "at",
           *(name for name, _ in FIGURES), "faults", "gates", "verdict", "advice")
"""Columns of scores.csv: the fields of a ScoreRow."""


def write_scores(sweep: Sweep, scores: Scores) -> dict[str, Path]:
    """Write scores.json, scores.csv and scores.png into the sweep's folder; returns their paths by ending."""
    paths = {ending: sweep.folder / f"scores.{ending}" for ending in ("json", "csv", "png")}
    scored = [key for key, state in sweep.states().items() if state == "done"]
    write_json(paths["json"], {**scores.to_dict(), "cells": scored})
    write_text(paths["csv"], as_csv(scores))
    save_picture(paths["png"], as_picture(scores, f"{sweep.title}: scores"))
    return paths


def as_csv(scores: Scores) -> str:
    """The scores as CSV, with a column `recommended`. Figures that were not measured are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "recommended"])
    for index, row in enumerate(scores.rows):
        values = [getattr(row, name) for name in COLUMNS]
        writer.writerow([*("; ".join(value) if isinstance(value, tuple) else value for value in values),
                         int(index == scores.recommended)])
    return text.getvalue()


def as_picture(scores: Scores, title: str) -> Image.Image:
    marks = {} if scores.recommended is None else {scores.recommended: RECOMMENDED}
    note = " ".join((scores.why, *scores.notes))
    return table_picture(HEADERS, [cells_of(row) for row in scores.rows], marks, title, note)


def cells_of(row: ScoreRow) -> list[str]:
    return [row.label, *(_figure(getattr(row, name)) for name, _ in FIGURES), ", ".join(row.gates), row.verdict,
            row.advice]


def report(scores: Scores) -> str:
    """What to take, each checkpoint's verdict, and what was not measured."""
    lines = [scores.why]
    told: dict[Any, ScoreRow] = {}
    for row in scores.rows:
        told.setdefault((row.base, row.checkpoint), row)
    for row in told.values():
        if row.verdict and row.verdict != GOOD:
            lines.append(f"{row.label.partition(', strength')[0]}: {row.verdict}. {row.advice}")
    lines += [f"{row.label}: {', '.join(row.faults)}." for row in scores.rows if row.faults]
    lines += scores.notes
    return "\n".join((*lines, f"Measured by {scores.eye}." if scores.eye else ""))


def _figure(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f}"
