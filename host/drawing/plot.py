"""Curves as images: the losses of a run, and the strengths of LoRAs over the steps of a sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from ..routes.run_view import Smoother, thinned

WIDTH, HEIGHT, SCALE = 768, 432, 2
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 40
INK, GRID, FAINT, STRONG, VALIDATION = "#333333", "#e4e4e4", "#b9cdea", "#1f5fbf", "#d9731a"
Point = tuple[float, float]


@dataclass(frozen=True)
class Axes:
    """Maps data to pixels of the enlarged image."""

    steps: float
    low: float
    high: float

    def place(self, step: float, value: float) -> Point:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / max(self.steps, 1)
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return x * SCALE, (HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share) * SCALE


def loss_plot(title: str, steps: int, losses: Sequence[Point], validation: Sequence[Point] = ()) -> Image.Image:
    """Every step in a faint line, the running mean in a strong one, validation as points; 768 x 432 pixels.

    `losses` and `validation` are (step, loss); without any, only the axes are drawn.
    """
    smoother = Smoother(steps)
    smoothed = [(step, smoother.add(loss)) for step, loss in losses]
    axes = Axes(steps, *_range([loss for _, loss in losses], [loss for _, loss in validation]))
    sheet = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(sheet)
    _draw_axes(draw, axes, title)
    for points, colour, width in ((losses, FAINT, 1), (smoothed, STRONG, 3), (validation, VALIDATION, 2)):
        line = [axes.place(*point) for point in thinned(points, 800)]
        if len(line) > 1:
            draw.line(line, colour, width * SCALE, joint="curve")
    for point in validation:
        x, y = axes.place(*point)
        draw.ellipse((x - 4 * SCALE, y - 4 * SCALE, x + 4 * SCALE, y + 4 * SCALE), VALIDATION)
    entries = [("loss, running mean", STRONG), ("each step", FAINT), ("validation", VALIDATION)]
    _draw_legend(draw, entries if validation else entries[:2])
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def stairs_plot(title: str, curves: Mapping[str, Sequence[Point]]) -> Image.Image:
    """Values that hold until the next one, over 0 to 100 % of the steps; 768 x 432 pixels.

    Args:
        curves: by name, (share of the steps in 0..1, value), the first at 0; at most four.
    """
    values = [value for points in curves.values() for _, value in points]
    axes = Axes(100, min(0.0, *values), max(1.0, *values) * 1.05)
    sheet = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(sheet)
    _draw_axes(draw, axes, title)
    colours = dict(zip(curves, (STRONG, VALIDATION, INK, FAINT), strict=False))
    for name, points in curves.items():
        ends = [share for share, _ in points[1:]] + [1.0]
        line = [axes.place(100 * x, value) for (start, value), end in zip(points, ends, strict=True)
                for x in (start, end)]
        draw.line(line, colours[name], 3 * SCALE, joint="curve")
    _draw_legend(draw, list(colours.items()))
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _range(losses: Sequence[float], validation: Sequence[float]) -> tuple[float, float]:
    """A range for all but the wildest fiftieth of the steps, which would flatten everything else."""
    values = [*validation, *sorted(losses)[: math.ceil(len(losses) * 0.98)]] or [0.0, 1.0]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-6)
    return max(0.0, low - margin) if low >= 0 else low - margin, high + margin


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, at most `most` and at least one."""
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10, 20):
        apart = factor * power
        found = [apart * k for k in range(math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9) + 1)]
        if len(found) <= most:
            break
    return found


def _draw_axes(draw: ImageDraw.ImageDraw, axes: Axes, title: str) -> None:
    font, heading = ImageFont.load_default(12 * SCALE), ImageFont.load_default(15 * SCALE)
    for value in ticks(axes.low, axes.high, 6):
        start, end = axes.place(0, value), axes.place(axes.steps, value)
        draw.line((start, end), GRID, SCALE)
        draw.text((start[0] - 8 * SCALE, start[1]), f"{value:.3g}", INK, font, anchor="rm")
    for step in ticks(0, max(axes.steps, 1), 8):
        x, y = axes.place(step, axes.low)
        draw.line((x, y, x, y + 5 * SCALE), INK, SCALE)
        draw.text((x, y + 9 * SCALE), f"{step:g}", INK, font, anchor="ma")
    draw.line((axes.place(0, axes.high), axes.place(0, axes.low), axes.place(axes.steps, axes.low)), INK, SCALE)
    draw.text((LEFT * SCALE, 14 * SCALE), title, INK, heading)


def _draw_legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[str, str]]) -> None:
    font, right = ImageFont.load_default(12 * SCALE), (WIDTH - RIGHT) * SCALE
    for label, colour in reversed(entries):
        right -= draw.textlength(label, font)
        draw.text((right, 16 * SCALE), label, INK, font)
        right -= 20 * SCALE
        draw.line((right, 24 * SCALE, right + 14 * SCALE, 24 * SCALE), colour, 4 * SCALE)
        right -= 14 * SCALE
