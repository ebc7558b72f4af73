"""An audit for people and for scripts: a table with bars, JSON, and a contact sheet with the problems marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..captions.coverage import PURPOSES, AxisCoverage, Bar
from ..common.errors import UserError
from ..common.files import atomic_path, write_json, write_text
from ..common.leftovers import remove_leftovers
from .audit import DatasetAudit, PictureAudit
from .checks import CODES, SEVERITIES, Finding

COLOURS = {"fault": (196, 52, 43), "warning": (222, 142, 22), "note": (92, 124, 196), "": (74, 150, 96)}
"""Colour of an image's frame on the contact sheet, by its worst finding."""
SHEET_PICTURES = 400
"""Maximum number of images on the sheet; if there are more, the worst are shown."""
_LISTED = 12
"""If more images than this have exactly the same finding, they are counted, not listed."""
_BAR = 20
_MARGIN, _LABEL = 8, 30


def table(audit: DatasetAudit, gap: str = "  ") -> str:
    """What is wrong, what was left out, the coverage as bars, and the advice, as plain text; `gap` is what is between
    two columns."""
    lines = [_summary(audit), ""]
    lines += [line for severity in SEVERITIES for line in _findings(audit, severity, gap)]
    if audit.left_out:
        lines += [f"Left out when the folder was read ({len(audit.left_out)})",
                  *(f"  {line}" for line in audit.left_out), ""]
    lines += [f"note: {note}" for note in audit.notes]
    lines += [line for axis in audit.coverage.axes for line in _bars(axis, gap)]
    if audit.advice:
        lines += ["Advice", *(f"  {line}" for line in audit.advice)]
    return "\n".join(lines).rstrip() + "\n"


def _summary(audit: DatasetAudit) -> str:
    counted = ", ".join(f"{count} {CODES[code]}" for code, count in audit.counts.items())
    clean = len(audit.with_severity(""))
    return f"{_searched(audit)}; {clean} without a finding." + (f"\n{counted}." if counted else "")


def _searched(audit: DatasetAudit) -> str:
    count, config = len(audit.pictures), audit.config
    if config.copies_only:
        return f"{count} images, searched for copies only"
    return f"{count} images for {PURPOSES[config.purpose].title} on {config.family} at {config.side} pixels"


def _findings(audit: DatasetAudit, severity: str, gap: str) -> Iterator[str]:
    rows = [(picture, finding) for picture in audit.pictures for finding in picture.findings
            if finding.severity == severity]
    if not rows:
        return
    yield f"{severity.capitalize()}s ({len(rows)})"
    wide = min(40, max(len(picture.name) for picture, _ in rows))
    for text, names in _alike(rows, gap).items():
        if len(names) > _LISTED:
            yield f"  {len(names)} images, {names[0]} the first: {text}"
        else:
            yield from (f"  {name:{wide}}{gap}{text}" for name in names)
    yield ""


def _alike(rows: Sequence[tuple[PictureAudit, Finding]], gap: str) -> dict[str, list[str]]:
    """Names by the text of their finding, so that the same text for many images is printed once."""
    found: dict[str, list[str]] = {}
    for picture, finding in rows:
        found.setdefault(f"{finding.code:14}{gap}{finding.text}", []).append(picture.name)
    return found


def _bars(axis: AxisCoverage, gap: str) -> Iterator[str]:
    shown = [bar for bar in axis.bars if bar.pictures or bar.least]
    if not shown:
        return
    yield f"{axis.title}" + (f" (not named for {axis.unsaid})" if axis.unsaid else "")
    for bar in shown:
        bounds = _format_bounds(bar)
        yield f"  {bar.name:16}{text_bar(bar)} {bar.share:4.0%}{gap}{bar.pictures:4}" + (gap + bounds if bounds else "")
    yield ""


def text_bar(bar: Bar) -> str:
    """20 cells: the share in blocks, and the limits of the wanted range as lines beyond the blocks."""
    cells = ["█" if place < round(_BAR * bar.share) else "·" for place in range(_BAR)]
    for limit in (bar.least, bar.most):
        place = min(_BAR - 1, round(_BAR * limit))
        if 0 < limit < 1 and cells[place] == "·":
            cells[place] = "|"
    return "".join(cells)


def _format_bounds(bar: Bar) -> str:
    if bar.least == 0 and bar.most == 1:
        return ""
    return f"wanted {bar.least:.0%} to {bar.most:.0%}" + ("" if bar.fits else "  ←")


def as_json(audit: DatasetAudit) -> dict[str, Any]:
    """Everything an audit found, as JSON values."""
    return {
        "config": dataclasses.asdict(audit.config), "counts": audit.counts, "advice": list(audit.advice),
        "left_out": list(audit.left_out), "notes": list(audit.notes),
        "duplicates": [[audit.pictures[index].name for index in group] for group in audit.duplicates],
        "coverage": {axis.axis: {"unsaid": axis.unsaid, "bars": [
            {**dataclasses.asdict(bar), "share": round(bar.share, 4), "fits": bar.fits} for bar in axis.bars]}
            for axis in audit.coverage.axes},
        "pictures": [_picture_json(picture) for picture in audit.pictures],
    }


def _picture_json(picture: PictureAudit) -> dict[str, Any]:
    figures = None if picture.figures is None else {
        name: value if value is None else round(value, 4) for name, value in vars(picture.figures).items()}
    return {"name": picture.name, "path": str(picture.sample.path), "size": list(picture.sample.size),
            "severity": picture.severity, "findings": [dataclasses.asdict(f) for f in picture.findings],
            "figures": figures}


def draw_audit_sheet(audit: DatasetAudit, columns: int = 8, cell: int = 144) -> Image.Image:
    """The images, each in a frame of its worst finding's colour with its name and its findings' codes below.

    If there are more than SHEET_PICTURES, the worst are shown, and the sheet says how many are not.
    """
    pictures = _choose_shown(audit)
    rows = max(1, -(-len(pictures) // columns))
    font = ImageFont.load_default(11)
    left_over = len(audit.pictures) - len(pictures)
    top = _MARGIN + (20 if left_over else 0)
    size = (_MARGIN + columns * (cell + _MARGIN), top + rows * (cell + _LABEL + _MARGIN))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    if left_over:
        draw.text((_MARGIN, 4), f"The {len(pictures)} worst; {left_over} more are not shown.", "black", font)
    for number, picture in enumerate(pictures):
        x = _MARGIN + number % columns * (cell + _MARGIN)
        y = top + number // columns * (cell + _LABEL + _MARGIN)
        _draw_picture(sheet, draw, picture, (x, y), cell, font)
    return sheet


def _choose_shown(audit: DatasetAudit) -> Sequence[PictureAudit]:
    if len(audit.pictures) <= SHEET_PICTURES:
        return audit.pictures
    order = {severity: place for place, severity in enumerate((*SEVERITIES, ""))}
    return sorted(audit.pictures, key=lambda picture: order[picture.severity])[:SHEET_PICTURES]


def _draw_picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: PictureAudit, at: tuple[int, int], cell: int,
                  font: Any) -> None:
    x, y = at
    frame = 3
    try:
        fitted = ImageOps.contain(picture.sample.load(shown_at=cell), (cell - 2 * frame, cell - 2 * frame))
        sheet.paste(fitted, (x + (cell - fitted.width) // 2, y + (cell - fitted.height) // 2))
    except UserError:
        draw.line((x, y, x + cell, y + cell), "lightgray", 2)
        draw.line((x, y + cell, x + cell, y), "lightgray", 2)
    colour = COLOURS[picture.severity]
    draw.rectangle((x, y, x + cell - 1, y + cell - 1), outline=colour, width=frame)
    codes = ", ".join(dict.fromkeys(finding.code for finding in picture.findings))
    lines: tuple[tuple[str, str | tuple[int, int, int]], ...] = ((Path(picture.name).name, "black"), (codes, colour))
    for line, (text, fill) in enumerate(lines):
        draw.text((x, y + cell + 2 + 13 * line), _cut_text(text, cell, font), fill, font)


def _cut_text(text: str, width: int, font: Any) -> str:
    """As much of the text as fits into `width` pixels; a file name is one word, so it is cut within the word."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def write_audit(audit: DatasetAudit, folder: Path) -> dict[str, Path]:
    """Write audit.txt, audit.json and contact_sheet.png; returns their paths by kind."""
    remove_leftovers(folder)
    paths = {"table": folder / "audit.txt", "json": folder / "audit.json", "sheet": folder / "contact_sheet.png"}
    write_text(paths["table"], table(audit))
    write_json(paths["json"], as_json(audit))
    with atomic_path(paths["sheet"]) as temp:
        draw_audit_sheet(audit).save(temp, format="PNG")
    return paths
