"""Conflict reports as images: heat maps of blocks by measures and of LoRAs by LoRAs, with the advice below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw

from ..common.files import atomic_path, write_json
from ..common.leftovers import remove_leftovers
from ..pictures.sheet import MARGIN, table_picture
from ..pictures.text import INK, Pen
from .conflict import FINE, MERGE, STRENGTHS, ConflictReport, PairConflict
from .conflict_table import HeatMap, figure_text, headers, heat_map, kappa_map, report_dict, table_rows
from .stack import join_names

COLD, CALM, HOT = (59, 111, 182), (247, 248, 250), (192, 57, 43)
"""Colours of -1, 0 and 1."""
_EMPTY = "#e6e8ed"
_GROUNDS = {FINE: "palegreen", STRENGTHS: "khaki", MERGE: "lightsalmon"}


def heat_picture(heat: HeatMap, font_size: int = 16) -> Image.Image:
    """A heat map with its figures. White is 0, red the high end of a column's range, blue below 0, grey not
    measured."""
    pen, heading, pad = Pen(font_size), Pen(round(font_size * 1.5)), round(font_size * 0.6)
    labels = [pen.wrap(text, 9 * font_size, 3) for text in heat.columns]
    left = MARGIN + ceil(max(map(pen.width, heat.rows), default=0)) + pad
    pitch = ceil(max((pen.width(line) for lines in labels for line in lines), default=0)) + pad
    pitch, height = max(pitch, 4 * font_size), pen.line + pad
    width = left + pitch * len(heat.columns) + MARGIN
    title = heading.wrap(heat.title, width - 2 * MARGIN)
    head = MARGIN + len(title) * heading.line
    top = head + max(map(len, labels), default=0) * pen.line + pad
    image = Image.new("RGB", (width, top + height * len(heat.rows) + MARGIN), "white")
    draw = ImageDraw.Draw(image)
    heading.write(draw, title, (MARGIN, MARGIN))
    for column, lines in enumerate(labels):
        pen.write(draw, lines, (left + column * pitch, top - pad // 2 - len(lines) * pen.line), INK, pitch, "centre")
    for row, (name, values) in enumerate(zip(heat.rows, heat.values, strict=True)):
        y = top + row * height
        pen.write(draw, [name], (MARGIN, y + pad // 2))
        for column, (value, span) in enumerate(zip(values, heat.ranges, strict=True)):
            x = left + column * pitch
            ground = None if value is None else choose_colour(value, span)
            draw.rectangle([x, y, x + pitch - 2, y + height - 2], ground or _EMPTY)
            if value is not None and ground is not None:
                ink = INK if sum(ground) > 380 else "white"
                pen.write(draw, [figure_text(value)], (x, y + pad // 2), ink, pitch - 2, "centre")
    return image


def choose_colour(value: float, span: tuple[float, float]) -> tuple[int, int, int]:
    """From COLD through CALM at 0 to HOT. Values beyond the range get the colour of its nearest end."""
    low, high = span
    share = min(1.0, value / high if value >= 0 else value / min(low, -1.0) if low < 0 else 0.0)
    end = HOT if value >= 0 else COLD
    red, green, blue = (round(calm + share * (far - calm)) for calm, far in zip(CALM, end, strict=True))
    return red, green, blue


def conflict_picture(report: ConflictReport, font_size: int = 16) -> Image.Image:
    """The whole report: a heat map of each pair's blocks, for more than two LoRAs one of all against all, and the
    advice."""
    parts = [heat_picture(kappa_map(report), font_size)] if len(report.files) > 2 else []
    parts += [heat_picture(heat_map(pair), font_size) for pair in report.pairs]
    grounds = [_GROUNDS[pair.advice.verdict] for pair in report.pairs for _ in pair.advice.lines]
    width = max(40 * font_size, *(part.width for part in parts))
    return _stack_images([*parts, _lines(report.lines, grounds, width, font_size)])


def pair_table(pair: PairConflict, font_size: int = 16) -> Image.Image:
    """The table of blocks of one pair."""
    return table_picture(headers(pair), table_rows(pair), {}, " and ".join(pair.names), font_size=font_size)


def write_conflict(report: ConflictReport, folder: Path) -> dict[str, Path]:
    """Write `<names>.json` and `<names>.png` into a folder, replacing an earlier report on the same names."""
    remove_leftovers(folder)
    names = join_names([file.name for file in report.files])
    paths = {"json": folder / f"{names}.json", "png": folder / f"{names}.png"}
    write_json(paths["json"], report_dict(report))
    with atomic_path(paths["png"]) as temp:
        conflict_picture(report).save(temp, format="PNG", compress_level=1)
    return paths


def _lines(lines: Sequence[str], grounds: Sequence[str], width: int, font_size: int) -> Image.Image:
    """The lines, one below the other, the first ones on the given background colours."""
    pen, pad = Pen(font_size), round(font_size * 0.6)
    texts = [pen.wrap(line, width - 2 * MARGIN - 2 * pad) for line in lines]
    image = Image.new("RGB", (width, sum(len(text) * pen.line + pad for text in texts) + 2 * MARGIN), "white")
    draw, y = ImageDraw.Draw(image), MARGIN
    for text, ground in zip_longest(texts, grounds):
        height = len(text) * pen.line + pad
        if ground:
            draw.rectangle([MARGIN, y, width - MARGIN, y + height - 2], ground)
        pen.write(draw, text, (MARGIN + pad, y + pad // 2))
        y += height
    return image


def _stack_images(parts: list[Image.Image]) -> Image.Image:
    image = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    y = 0
    for part in parts:
        image.paste(part, (0, y))
        y += part.height
    return image
