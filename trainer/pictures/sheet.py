"""Sheets: rows and columns of images with fitting labels, and tables drawn as images."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from math import ceil
from typing import Any

from PIL import Image, ImageColor, ImageDraw

from ..common.errors import UserError, unknown_name
from .text import INK, Pen, clean

MARGIN = 10
RANGES = {"cell": (16, 2048), "font_size": (8, 96), "gap": (0, 200)}
"""Smallest and largest values of a SheetStyle's fields, in pixels."""
FORMATS = {"png": {"compress_level": 1, "compress_type": zlib.Z_RLE}, "webp": {"quality": 92, "method": 4}}
"""How each format is saved. Run lengths take 0.4 of the time of zlib's level 4, and make images of about the same size:
PNG's filters leave hardly anything else to find in them."""
LONGEST_SIDE = {"png": 65_535, "webp": 16_383}
"""The longest side in pixels. WebP's is a limit of the format."""
MOST_PIXELS = 100_000_000
TALLEST_TABLE = 16_000
SHORT = 4
"""Column labels of up to this many lines are centred; longer ones are left-aligned."""
_NUMBER = re.compile(r"[-+−±]?\d[\d\s.,:±%/×x+-]*|[-–—]?")
_SOFT, _LINE, _STRIPE = "#5b6577", "#d5d9e0", "#f4f5f8"


@dataclass(frozen=True, kw_only=True)
class SheetStyle:
    """How a sheet looks. Raises UserError for a value out of range.

    Attributes:
        cell: pixels of an image's longer side.
        font_size: pixels of the labels; the title is half as large again.
        gap: pixels between the images and around the sheet.
        wrap: break labels into lines; otherwise each has one line.
        format: one of FORMATS.
    """

    cell: int = 256
    font_size: int = 18
    gap: int = MARGIN
    wrap: bool = True
    format: str = "png"

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UserError(f"a sheet's {name} is {value!r}; it must be a whole number from {least} to {most}.")
        if self.format not in FORMATS:
            raise unknown_name("format of a sheet", self.format, FORMATS)


@dataclass(frozen=True)
class Page:
    """One sheet's content.

    Attributes:
        caption: the values of the axes that are neither rows nor columns, and the number of the part if the page is
            divided.
        cells: row by row.
        row_labels, column_labels: one for each row or column, or none at all.
        row_axis, column_axis: names of the axes that they belong to.
        fixed: number of leading columns that every part of a divided page repeats.
    """

    caption: str
    cells: tuple[tuple[Any, ...], ...]
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    row_axis: str = ""
    column_axis: str = ""
    fixed: int = 0


# -- one sheet ---------------------------------------------------------------------------------------------------------


class Layout:
    """The positions of everything on a page, in pixels. `box`: (width, height) of an image."""

    def __init__(self, page: Page, title: str, style: SheetStyle, box: tuple[int, int]) -> None:
        self.page, self.box, self.gap, self.wrap = page, box, style.gap, style.wrap
        self.em, self.pen, self.heading = style.font_size, Pen(style.font_size), Pen(round(style.font_size * 1.5))
        self.space = max(self.gap, self.em // 2)
        self.rows, self.columns = len(page.cells), max(map(len, page.cells))
        words = max(map(self.pen.longest_word, page.column_labels), default=0)
        self.pitch = max(box[0], ceil(min(words + self.em / 3, 4 * self.em)))
        self._lay_rows()
        self._lay_columns()
        self._lay_head(title)
        self.height = self.top + self.rows * (self.row_height + self.gap)

    def _lay_rows(self) -> None:
        labels, pen = self.page.row_labels, self.pen
        most = max(2, self.box[1] // pen.line) if self.wrap else 1
        limit = max(2 * max(self.box), self.columns * (self.pitch + self.gap) / 2, 8 * self.em)
        self.row_lines = _row_labels(pen, labels, most, self.pitch, limit)
        widths = [pen.width(line) for lines in self.row_lines for line in lines]
        widths.append(pen.width(self.page.row_axis) + 1.4 * self.em if self.page.row_axis else 0)
        self.left = self.gap + (ceil(max(widths)) + self.space if labels else 0)
        longest = max(map(len, self.row_lines), default=0)
        self.row_height = max(self.box[1], longest * pen.line + self.em // 3 if longest else 0)

    def _lay_columns(self) -> None:
        most = max(5, self.box[1] // self.pen.line) if self.wrap else 1
        self.column_lines = [self.pen.wrap(label, self.pitch, most) for label in self.page.column_labels]
        self.header_lines = max(map(len, self.column_lines), default=int(bool(self.page.row_axis)))

    def _lay_head(self, title: str) -> None:
        page, pen = self.page, self.pen
        headings = min(16 * self.em, max(self.heading.natural(title), pen.natural(page.caption)))
        self.width = ceil(max(
            self.left + self.columns * (self.pitch + self.gap), headings + 2 * self.gap if headings else 0,
            self.left + pen.width(page.column_axis) + 2 * self.em if page.column_axis else 0))
        self.title_lines = self.heading.wrap(title, self.width - 2 * self.gap)
        self.caption_lines = pen.wrap(page.caption, self.width - 2 * self.gap, 6)
        self.caption_top = self.gap + len(self.title_lines) * self.heading.line
        self.axis_top = self.caption_top + len(self.caption_lines) * pen.line + (self.space if headings else 0)
        self.header_top = self.axis_top + (pen.line if page.column_axis else 0)
        self.top = self.header_top + (self.header_lines * pen.line + self.em // 3 if self.header_lines else 0)

    def paint(self, picture: Callable[[Any], Image.Image | None]) -> Image.Image:
        """The sheet. `picture` returns a cell's image at its size or smaller, one at a time."""
        sheet = Image.new("RGB", (self.width, self.height), "white")
        draw, pen, page = ImageDraw.Draw(sheet), self.pen, self.page
        self.heading.write(draw, self.title_lines, (self.gap, self.gap))
        pen.write(draw, self.caption_lines, (self.gap, self.caption_top), _SOFT)
        bottom = self.header_top + self.header_lines * pen.line
        if page.row_axis and page.row_labels:
            _axis_name(draw, pen, page.row_axis, (self.gap, bottom - pen.line), down=True)
        if page.column_axis:
            _axis_name(draw, pen, page.column_axis, (self.left, self.axis_top), down=False)
        align = "centre" if max(map(len, self.column_lines), default=0) <= SHORT else "left"
        for column, lines in enumerate(self.column_lines):
            x = self.left + column * (self.pitch + self.gap)
            pen.write(draw, lines, (x, bottom - len(lines) * pen.line), width=self.pitch, align=align)
        for row, cells in enumerate(page.cells):
            y = self.top + row * (self.row_height + self.gap)
            if self.row_lines:
                lines = self.row_lines[row]
                pen.write(draw, lines, (self.gap, y + (self.row_height - len(lines) * pen.line) // 2))
            for column, cell in enumerate(cells):
                if image := picture(cell):
                    x = self.left + column * (self.pitch + self.gap)
                    sheet.paste(image, (x + (self.pitch - image.width) // 2, y + (self.row_height - image.height) // 2))
        return sheet


def _row_labels(pen: Pen, labels: Sequence[str], most: int, start: float, limit: float) -> list[list[str]]:
    """The lines of each label, in the narrowest column from `start` to `limit` wide that shows them whole, if there is
    one."""
    words = max(map(pen.longest_word, labels), default=0)
    width = min(limit, max(map(pen.natural, labels), default=0), max(start, words))
    while width < limit and any(len(list(islice(pen.lines(label, width), most + 1))) > most for label in labels):
        width = min(limit, width * 1.15 + 1)
    return [pen.wrap(label, width, most) for label in labels]


def _axis_name(draw: ImageDraw.ImageDraw, pen: Pen, name: str, at: tuple[float, float], down: bool) -> None:
    pen.write(draw, [name], at, _SOFT)
    half, stroke = pen.size * 0.35, max(1, pen.size // 12)
    x, y = at[0] + pen.width(name) + pen.size * 0.85, at[1] + pen.size * 0.68
    dx, dy = (0, half) if down else (half, 0)
    tip, head = (x + dx, y + dy), half * 0.7
    ends = [(tip[0] - head, tip[1] - head), (tip[0] + head, tip[1] - head) if down else (tip[0] - head, tip[1] + head)]
    for start in ((x - dx, y - dy), *ends):
        draw.line([start, tip], _SOFT, stroke)


def fit_into(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    scale = min(box[0] / picture.width, box[1] / picture.height)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def compose_grid(images: Sequence[Sequence[Image.Image]], row_labels: Sequence[str] = (),
                 column_labels: Sequence[str] = (), title: str = "", cell: int = 160, *, caption: str = "",
                 axes: tuple[str, str] = ("", ""), font_size: int = 13, gap: int = MARGIN,
                 wrap: bool = True) -> Image.Image:
    """A labelled sheet of rows of images, on white. Small images are enlarged to `cell` pixels, larger ones shrunk.

    Row labels stand beside their row, column labels above. Empty label lists take no space.

    Args:
        caption: text below the title.
        axes: names of the axes of the rows and of the columns.

    Raises UserError as SheetStyle does.
    """
    style = SheetStyle(cell=cell, font_size=font_size, gap=gap, wrap=wrap)
    page = Page(caption, tuple(map(tuple, images)), tuple(row_labels), tuple(column_labels), *axes)
    return Layout(page, title, style, (cell, cell)).paint(lambda image: fit_into(image, (cell, cell)))


def contact_sheet(images: Sequence[Image.Image], columns: int = 8, title: str = "", cell: int = 128) -> Image.Image:
    """The images in reading order, without labels."""
    rows = [images[start : start + columns] for start in range(0, len(images), columns)] or [[]]
    return compose_grid(rows, title=title, cell=cell)


# -- tables ------------------------------------------------------------------------------------------------------------


def table_picture(headers: Sequence[str], rows: Sequence[Sequence[str]], marks: Mapping[int, str] | None = None,
                  title: str = "", note: str = "", font_size: int = 18) -> Image.Image:
    """A table as an image: striped, columns as wide as their content, long texts wrapped, numbers right-aligned.

    Args:
        marks: index of a row → name of its background colour.
        note: text below the table; if some rows did not fit, it also says so.

    Raises UserError for an unknown colour, or a font size out of range.
    """
    pen, heading = Pen(SheetStyle(font_size=font_size).font_size), Pen(round(font_size * 1.5))
    pad, columns = round(font_size * 0.6), list(zip(headers, *rows, strict=True))
    aligns = ["right" if _is_numeric(column[1:]) else "left" for column in columns]
    lines = [[pen.wrap(text, 10 * font_size) for text in headers]]
    lines += [[pen.wrap(text, 24 * font_size, 12) for text in row] for row in rows]
    widths = [ceil(max((pen.width(line) for cell in column for line in cell), default=0)) + 2 * pad
              for column in zip(*lines, strict=True)]
    heights = [max([1, *map(len, row)]) * pen.line + pad for row in lines]
    shown = max(1, sum(end <= TALLEST_TABLE for end in accumulate(heights)))
    note = f"{note} {len(lines) - shown} more rows are not shown.".strip() if shown < len(lines) else note
    inner = max(sum(widths), ceil(min(16 * font_size, max(heading.natural(title), pen.natural(note)))))
    title_lines, note_lines = heading.wrap(title, inner), pen.wrap(note, inner, 12)
    top = MARGIN + (len(title_lines) * heading.line + pad if title_lines else 0)
    bottom = top + sum(heights[:shown])
    image = Image.new("RGB", (inner + 2 * MARGIN, bottom + MARGIN + len(note_lines) * pen.line), "white")
    draw = ImageDraw.Draw(image)
    heading.write(draw, title_lines, (MARGIN, MARGIN))
    for row, (y, height) in enumerate(zip(accumulate(heights, initial=top), heights[:shown], strict=False)):
        ground = (marks or {}).get(row - 1, "white" if row % 2 else _STRIPE) if row else _LINE
        ink = _ink_on(ground)
        draw.rectangle([MARGIN, y, MARGIN + sum(widths) - 1, y + height - 1], ground)
        for x, width, cell, align in zip(accumulate(widths, initial=MARGIN), widths, lines[row], aligns, strict=False):
            pen.write(draw, cell, (x + pad, y + (height - len(cell) * pen.line) // 2), ink, width - 2 * pad, align)
    draw.line([(MARGIN, bottom - 1), (MARGIN + sum(widths) - 1, bottom - 1)], _LINE)
    pen.write(draw, note_lines, (MARGIN, bottom + pad // 2), _SOFT)
    return image


def _is_numeric(texts: Sequence[str]) -> bool:
    return any(texts) and all(_NUMBER.fullmatch(clean(text)) for text in texts)


def _ink_on(ground: str) -> str:
    try:
        red, green, blue = ImageColor.getrgb(ground)[:3]
    except ValueError as error:
        raise UserError(f"{ground!r} is not a colour; give a name such as 'lightgreen', or '#rrggbb'.") from error
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "white"
