"""The report of a cast: a row a character with its figures, verdict, best strength, cost, and what to look at. It is a
page and a JSON file, and is written after every task, from the records alone."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..common.files import write_json, write_text
from ..common.schema import convert
from .character import Character
from .records import CastRecords, CharacterRecord

VERSION = 1
READY, LOOK, FAILED, UNFINISHED = "ready", "look at it", "failed", "unfinished"
FIGURES = (("likeness", "likeness"), ("prompt", "prompt accuracy"), ("diversity", "diversity"), ("copies", "copies"),
           ("burn", "burn"), ("score", "score"))
"""(figure of a ScoreRow, heading)."""
LEAST_SCORE = 0.5
"""A LoRA that scores less is to be looked at, whatever gates it passes: it is nearer to what the base draws by itself
than to the training images."""
STYLE = """
:root{color-scheme:light dark;--fg:#1d2330;--soft:#667085;--bg:#fbfbfd;--card:#fff;--line:#e4e7ec;--ok:#137a4b;
--no:#a33b2e}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ee;--soft:#98a1b3;--bg:#14161c;--card:#1c1f28;--line:#2d3240;
--ok:#5fd0a0;--no:#f0907f}}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1400px;margin:0 auto;padding:32px 20px 64px}h1{margin:0 0 4px;font-size:28px}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card);margin-top:20px}
th,td{padding:6px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);
font-variant-numeric:tabular-nums}th{font-size:13px;color:var(--soft)}ul{margin:0;padding-left:18px;min-width:260px}
.ready{color:var(--ok)}.failed,.look{color:var(--no)}a{color:inherit}
"""
_CLASSES = {READY: "ready", LOOK: "look", FAILED: "failed", UNFINISHED: "soft"}


@dataclass(frozen=True, kw_only=True)
class CastRow:
    """A character's row. Figures are of the recommended checkpoint and strength, None where they were not measured.

    Attributes:
        verdict: READY if the recommended row scores at least LEAST_SCORE and passes every gate, every cell was drawn,
            and the project reached its last round.
        lora: the recommended checkpoint's file, as its sweep names it.
        hours: of workers, with attempts that failed.
        cost: those hours at the price of an hour; None without a price.
        look: what a person should look at, in sentences.
        report, sweep: pages, relative to the output folder; "" until they are written.
    """

    name: str
    verdict: str
    images: int | None = None
    strength: float | None = None
    lora: str = ""
    figures: Mapping[str, float | None]
    hours: float = 0.0
    cost: float | None = None
    look: tuple[str, ...] = ()
    report: str = ""
    sweep: str = ""


@dataclass(frozen=True)
class CastReport:
    """All rows, in the order in which the characters were given."""

    rows: tuple[CastRow, ...]

    @classmethod
    def of(cls, cast: Sequence[Character], records: Mapping[str, CharacterRecord], price: float | None) -> CastReport:
        return cls(tuple(_row(each, records[each.name], price if each.price is None else each.price)
                         for each in cast))

    @property
    def counts(self) -> dict[str, int]:
        return {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in _CLASSES}

    @property
    def hours(self) -> float:
        return sum(row.hours for row in self.rows)

    @property
    def cost(self) -> float | None:
        known = [row.cost for row in self.rows if row.cost is not None]
        return sum(known) if known else None

    @property
    def summary(self) -> str:
        """All characters in one line."""
        counted = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        cost = "" if self.cost is None else f", cost {self.cost:.2f}"
        return f"{len(self.rows)} characters: {counted}; {self.hours:.2f} hours of workers{cost}"

    def write(self, records: CastRecords) -> Path:
        """Write cast.json and cast.html into the cast's folder; returns the page's path."""
        write_json(records.folder / "cast.json", {
            "version": VERSION, "counts": self.counts, "hours": round(self.hours, 4), "cost": self.cost,
            "characters": [asdict(row) for row in self.rows]})
        page = records.folder / "cast.html"
        write_text(page, self.page(records.folder.name))
        return page

    def page(self, title: str) -> str:
        """The report as a page of its own. Its links lead from `output/casts/<cast>` to the output folder."""
        heads = ("character", "verdict", "images", "best strength", *(head for _, head in FIGURES), "hours", "cost",
                 "look at")
        rows = "".join(_table_row(row) for row in self.rows)
        return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
                f'content="width=device-width"><title>{html.escape(title)} · LoRA Bootstrap</title>'
                f"<style>{STYLE}</style><main><h1>{html.escape(title)}</h1>"
                f'<p class="soft">{html.escape(self.summary)}</p><div class="wide"><table><tr>'
                f"{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table></div></main></html>\n")


def _row(character: Character, record: CharacterRecord, price: float | None) -> CastRow:
    project, score = record.project or {}, record.score or {}
    best = convert(score.get("best") or {}, dict, "best")
    hours = sum(record.seconds.values()) / 3600
    return CastRow(
        name=character.name, verdict=_verdict(record, best), images=project.get("images"), strength=best.get("at"),
        lora=best.get("lora", ""), figures={name: best.get(name) for name, _ in FIGURES}, hours=round(hours, 5),
        cost=None if price is None else round(hours * price, 4), look=tuple(_look(record, project, score, best)),
        report=project.get("report", ""), sweep=score.get("page", ""))


def _verdict(record: CharacterRecord, best: Mapping[str, Any]) -> str:
    if record.problem:
        return FAILED
    if record.project is None or record.score is None:
        return UNFINISHED
    open_questions = (not best, _is_weak(best), best.get("gates"), record.project.get("stopped_because"),
                      _failed_cells(record.score))
    return LOOK if any(open_questions) else READY


def _is_weak(best: Mapping[str, Any]) -> bool:
    score = best.get("score")
    return score is not None and score < LEAST_SCORE


def _look(record: CharacterRecord, project: Mapping[str, Any], score: Mapping[str, Any],
          best: Mapping[str, Any]) -> Iterable[str]:
    if record.problem:
        yield record.problem
    if best.get("gates"):
        yield f"Gates failed: {', '.join(best['gates'])}."
    if _is_weak(best):
        yield f"Its best score is {best['score']:.2f}, below {LEAST_SCORE:g}."
    if project.get("stopped_because"):
        yield project["stopped_because"]
    if failed := _failed_cells(score):
        yield f"{failed} cells of the sweep could not be drawn."
    if record.lost:
        yield f"Workers died in {record.lost} of its tasks, which were begun again."
    if score and score.get("why"):
        yield score["why"]
    yield from project.get("warnings", ())
    yield from score.get("notes", ())


def _failed_cells(score: Mapping[str, Any]) -> int:
    return convert(score.get("cells") or {}, dict, "cells").get("failed", 0)


def _table_row(row: CastRow) -> str:
    name = html.escape(row.name)
    linked = f'<a href="../../{quote(row.report)}">{name}</a>' if row.report else name
    verdict = f'<span class="{_CLASSES[row.verdict]}">{row.verdict}</span>'
    best = _number(row.strength, "g")
    if row.sweep:
        best = f'<a href="../../{quote(row.sweep)}">{best}</a>'
    look = "".join(f"<li>{html.escape(text)}</li>" for text in row.look)
    cells = (linked, verdict, "" if row.images is None else str(row.images), best,
             *(_number(row.figures.get(figure)) for figure, _ in FIGURES), _number(row.hours), _number(row.cost),
             f"<ul>{look}</ul>" if look else "")
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else f"{value:{form}}"
