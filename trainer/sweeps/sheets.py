"""The sheets of a sweep: which axes become rows and columns, how many pages, and what replaces a missing cell."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ..common.errors import UserError, unknown_name
from ..common.files import atomic_path, remove_file
from ..pictures.images import image_size
from ..pictures.sheet import FORMATS, LONGEST_SIDE, MOST_PIXELS, Layout, Page, SheetStyle, fit_into
from ..pictures.small_copies import open_small
from ..pictures.text import Pen
from .cells import OF_THE_LORA, PROMPT, SEED, Axis, Cell, Sweep

NO_LORA, NOT_MADE = "no LoRA", "not made yet"
SAVED_AT_ONCE = 3
"""Sheets that are saved side by side."""


_NOTICES = {"missing": ("#f7f8fa", "#6f7889", "#e6e8ed"), "failed": ("#fdeceb", "#8c1d18", "#f3bfba")}
"""Colours of background, text and lines for a cell without an image."""


def choose_axes(sweep: Sweep) -> tuple[str, str]:
    """(rows, columns) that suit a sweep; "" where no axis is left for them.

    Columns are the longer of checkpoint and strength, or seeds if neither varies and nothing is made without the LoRA.
    Rows are the longest of the other axes, prompts if equal.
    """
    def longest(names: Sequence[str], least: int = 1) -> str:
        found = [axis for axis in sweep.axes if axis.name in names and len(axis.choices) >= least]
        return max(found, key=lambda axis: (len(axis.choices), axis.name == PROMPT)).name if found else ""

    columns = longest(OF_THE_LORA, 1 if sweep.without else 2) or longest((SEED,), 2)
    return longest([axis.name for axis in sweep.axes if axis.name != columns]), columns


def plan_pages(sweep: Sweep, rows: str, columns: str) -> list[Page]:
    """One page for each combination of the other axes' values, of whatever size it needs.

    Args:
        rows, columns: names of two axes of the sweep, or "" for one row or column.

    Raises UserError for an axis that the sweep does not have, or for the same axis twice.
    """
    names = [axis.name for axis in sweep.axes]
    for name in filter(None, (rows, columns)):
        if name not in names:
            raise unknown_name("axis", name, names)
    if rows and rows == columns:
        raise UserError(f"rows and columns are both {rows!r}; choose two different axes of {', '.join(names)}.")
    others = [axis for axis in sweep.axes if axis.name not in (rows, columns)]
    down, across = sweep.axis(rows), sweep.axis(columns)
    leads = sweep.without and columns in OF_THE_LORA and rows not in OF_THE_LORA
    pages = []
    for places in product(*(range(len(axis.choices)) for axis in others)):
        here = dict(zip((axis.name for axis in others), places, strict=True))
        caption = " · ".join(f"{axis.name}: {axis.choices[here[axis.name]].label}" for axis in others
                             if len(axis.choices) > 1)
        cells = [[sweep.cell(**here, **row, **column) for column in _places(across)] for row in _places(down)]
        if leads:
            cells = [[row[0] and sweep.reference(row[0]), *row] for row in cells]
        pages.append(Page(caption, tuple(map(tuple, cells)), _labels(down), (NO_LORA,) * leads + _labels(across),
                          rows, columns, int(leads)))
    return pages


def _places(axis: Axis | None) -> list[dict[str, int]]:
    return [{axis.name: place} for place in range(len(axis.choices))] if axis else [{}]


def _labels(axis: Axis | None) -> tuple[str, ...]:
    return tuple(choice.label for choice in axis.choices) if axis else ()


def pages(sweep: Sweep, rows: str, columns: str, style: SheetStyle | None = None) -> list[Page]:
    """The pages of `plan_pages`, divided where a sheet would be too large for its format or exceed MOST_PIXELS.

    A page is halved across its longer side until it fits; "no LoRA" is repeated in each part.
    """
    style = style or SheetStyle()
    box, found = cell_box(sweep, style), []
    for page in plan_pages(sweep, rows, columns):
        parts = _parts(page, sweep.title, style, box)
        for number, part in enumerate(parts, 1):
            note = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
            found.append(replace(part, caption=" · ".join(filter(None, (part.caption, note)))))
    return found


def _parts(page: Page, title: str, style: SheetStyle, box: tuple[int, int]) -> list[Page]:
    layout = Layout(page, title, style, box)
    rows, columns = layout.rows, layout.columns - page.fixed
    side = LONGEST_SIDE[style.format]
    small = max(layout.width, layout.height) <= side and layout.width * layout.height <= MOST_PIXELS
    if small or rows * columns == 1:
        return [page]
    if columns > 1 and (rows == 1 or layout.width > layout.height):
        halves = [_columns(page, 0, columns // 2), _columns(page, columns // 2, columns)]
    else:
        halves = [replace(page, cells=page.cells[part], row_labels=page.row_labels[part])
                  for part in (slice(rows // 2), slice(rows // 2, None))]
    return [part for half in halves for part in _parts(half, title, style, box)]


def _columns(page: Page, start: int, stop: int) -> Page:
    def cut_row(row: tuple) -> tuple:
        return row[: page.fixed] + row[page.fixed + start : page.fixed + stop]

    return replace(page, cells=tuple(map(cut_row, page.cells)), column_labels=cut_row(page.column_labels))


def cell_box(sweep: Sweep, style: SheetStyle) -> tuple[int, int]:
    """(width, height) of a cell: the shape of the first existing image, or else of the shared width and height."""
    size = (sweep.shared.get("width", 1), sweep.shared.get("height", 1))
    states = sweep.states()
    for cell in islice((cell for cell in sweep.everything if states[cell.key] == "done"), 1):
        with suppress(UserError):  # its place on the sheet will show that
            size = image_size(sweep.picture(cell))
    return tuple(max(1, round(side * style.cell / max(size))) for side in size)


def write_sheets(sweep: Sweep, style: SheetStyle | None = None, rows: str = "", columns: str = "",
                 title: str | None = None) -> list[Path]:
    """Write grid.png, grid-2.png, ... into the sweep's folder, with the cells made so far; returns their paths.

    Surplus sheets of an earlier set are removed, in either format. Only one image is open at a time, and sheets that
    are saved side by side have together no more than MOST_PIXELS.

    Args:
        rows, columns: as in `plan_pages`; if both are "", those of `choose_axes`.
        title: None uses the sweep's own.

    Raises UserError as `plan_pages` does, or if the folder cannot be written to.
    """
    style = style or SheetStyle()
    rows, columns = (rows, columns) if rows or columns else choose_axes(sweep)
    box, states, paths = cell_box(sweep, style), sweep.states(), []
    with _SheetSaver(style.format) as saver:
        for number, page in enumerate(pages(sweep, rows, columns, style), 1):
            layout = Layout(page, sweep.title if title is None else title, style, box)
            saver.make_room(layout.width * layout.height)
            paths.append(sweep.folder / f"grid{f'-{number}' if number > 1 else ''}.{style.format}")
            saver.save(layout.paint(lambda cell: _picture(sweep, cell, states, box, style)), paths[-1])
    for path in sweep.folder.iterdir():
        if re.fullmatch(rf"grid(-[1-9]\d*)?\.({'|'.join(FORMATS)})", path.name) and path not in paths:
            remove_file(path)
    return paths


class _SheetSaver:
    """Saves sheets while the next ones are painted, because their compression takes most of the time. A context
    manager: at its end all are saved, or the first error is raised."""

    def __init__(self, file_format: str) -> None:
        self._format, self._threads = file_format, ThreadPoolExecutor(SAVED_AT_ONCE, "sheet")
        self._saving: deque[tuple[int, Future[None]]] = deque()

    def __enter__(self) -> _SheetSaver:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self._threads.shutdown(wait=True)
        if error is None:
            self._wait(len(self._saving))

    def make_room(self, pixels: int) -> None:
        """Wait until a sheet of so many pixels may be painted."""
        while self._saving and (len(self._saving) >= SAVED_AT_ONCE
                                or pixels + sum(size for size, _ in self._saving) > MOST_PIXELS):
            self._wait(1)

    def save(self, sheet: Image.Image, path: Path) -> None:
        self._saving.append((sheet.width * sheet.height, self._threads.submit(self._write, sheet, path)))

    def _wait(self, count: int) -> None:
        for _ in range(count):
            self._saving.popleft()[1].result()

    def _write(self, sheet: Image.Image, path: Path) -> None:
        with atomic_path(path) as temp:
            sheet.save(temp, format=self._format.upper(), **FORMATS[self._format])


def cell_problem(sweep: Sweep, cell: Cell) -> str:
    """Why a cell failed; never empty."""
    try:
        return sweep.problem(cell) or "failed"
    except UserError as error:
        return str(error)


def _picture(sweep: Sweep, cell: Cell | None, states: Mapping[str, str], box: tuple[int, int],
             style: SheetStyle) -> Image.Image | None:
    if cell is None:
        return None
    state = states[cell.key]
    if state == "done":
        try:
            return fit_into(open_small(sweep.picture(cell), max(box)), box)
        except UserError as error:
            return _notice("failed", str(error), box, style.font_size)
    return _notice(state, NOT_MADE if state == "missing" else cell_problem(sweep, cell), box, style.font_size)


def _notice(state: str, text: str, box: tuple[int, int], font_size: int) -> Image.Image:
    """A box in place of an image, with its text as large as fits."""
    ground, ink, lines_ink = _NOTICES[state]
    image = Image.new("RGB", box, ground)
    draw = ImageDraw.Draw(image)
    if state == "missing":
        for x in range(-box[1], box[0], 12):
            draw.line([(x, box[1]), (x + box[1], 0)], lines_ink, 1)
    draw.rectangle([0, 0, box[0] - 1, box[1] - 1], outline=lines_ink)
    pad = max(2, min(box) // 16)
    width, height = box[0] - 2 * pad, box[1] - 2 * pad
    for size in range(min(font_size, max(8, min(box) // 9)), 7, -1):
        pen = Pen(size)
        lines = pen.wrap(text, width, max(1, height // pen.line))
        if not lines[-1].endswith("…") and (size <= 12 or pen.longest_word(text) <= width):
            break
    top = (box[1] - len(lines) * pen.line) // 2
    if state == "missing":  # keep the hatching off the text
        wide = max(map(pen.width, lines))
        draw.rectangle([(box[0] - wide) / 2 - 4, top, (box[0] + wide) / 2 + 4, top + len(lines) * pen.line], ground)
    pen.write(draw, lines, (pad, top), ink, width, "centre")
    return image
