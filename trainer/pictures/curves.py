"""Curves: makes the losses of a run readable and draws them (with Pillow for a node, as SVG for a page). Also draws the
strengths of LoRAs over a sampler's steps.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

MOST_POINTS = 2000
WIDTH, HEIGHT, SCALE = 768, 432, 2
AREA = (64, 44, WIDTH - 20, HEIGHT - 40)
"""Left, top, right and bottom of the curves in an image of WIDTH x HEIGHT pixels, which is drawn SCALE times as large.
"""
SVG_WIDTH, SVG_HEIGHT = 520, 150
SVG_AREA = (34, 12, SVG_WIDTH - 8, SVG_HEIGHT - 22)
INK, GRID, FAINT, STRONG, VALIDATION = "#333333", "#e4e4e4", "#b9cdea", "#1f5fbf", "#d9731a"
Point = tuple[float, float]


# -- what is drawn -----------------------------------------------------------------------------------------------------


class Smoother:
    """A running mean of the loss over a twentieth of the run (10 to 200 steps), without the usual slow start."""

    def __init__(self, steps: int) -> None:
        self.decay = 1 - 1 / max(10, min(200, steps / 20))
        self.total = self.weight = 0.0

    def add(self, loss: float) -> float:
        self.total = self.decay * self.total + (1 - self.decay) * loss
        self.weight = self.decay * self.weight + (1 - self.decay)
        return self.total / self.weight

    def smooth(self, losses: Iterable[Point]) -> list[Point]:
        """(step, running mean) of these (step, loss) points, which follow those added before."""
        return [(step, self.add(loss)) for step, loss in losses]


def thinned(points: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most `most` of the points, evenly spaced, including the first and the last."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (most - 1))] for index in range(most)]


def averaged(points: Sequence[Point], count: int = 60) -> list[Point]:
    """The points averaged into at most `count` even groups."""
    size = max(1, -(-len(points) // count))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group)) for group in groups]


@dataclass(frozen=True)
class Axes:
    """Maps data to pixels.

    Attributes:
        area: left, top, right and bottom of the curves, in pixels.
        steps: the step at the right end; 0 is at the left.
        low, high: values at the bottom and the top; values beyond are drawn there.
        scale: factor by which it is drawn larger.
    """

    area: tuple[float, float, float, float]
    steps: float
    low: float
    high: float
    scale: int = 1

    def place(self, step: float, value: float) -> Point:
        left, top, right, bottom = self.area
        share = (min(max(value, self.low), self.high) - self.low) / max(self.high - self.low, 1e-12)
        x = left + (right - left) * step / max(self.steps, 1)
        return x * self.scale, (bottom - (bottom - top) * share) * self.scale


# -- pictures ----------------------------------------------------------------------------------------------------------


def loss_curve(points: Sequence[Point], label: str) -> str:
    """An SVG of the loss over the steps, averaged, with its range; "" for fewer than two points."""
    curve = averaged(points)
    if len(curve) < 2:
        return ""
    low, high = min(value for _, value in curve), max(value for _, value in curve)
    last = points[-1][0]
    left, _, right, bottom = SVG_AREA
    axes = Axes(SVG_AREA, last, low, high)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.place(*point) for point in curve))
    texts = ((2, 16, f"{high:.3g}"), (2, bottom + 2, f"{low:.3g}"), (left, SVG_HEIGHT - 5, "0"),
             (right - 7 * len(str(last)), SVG_HEIGHT - 5, str(last)))
    labels = "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in texts)
    return (f'<figure class="curve"><svg viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" role="img" '
            f'aria-label="{html.escape(label)}"><path class="axis" d="M{left},8V{bottom}H{right}"/>'
            f'<polyline points="{line}"/>{labels}</svg><figcaption>{html.escape(label)}</figcaption></figure>')


def loss_plot(title: str, steps: int, losses: Sequence[Point], validation: Sequence[Point] = ()) -> Image.Image:
    """A plot with every step faint, the running mean strong, and validation as points; 768 x 432 pixels.

    `losses` and `validation` are (step, loss); without them only the axes are drawn.
    """
    axes = Axes(AREA, steps, *_range([loss for _, loss in losses], [loss for _, loss in validation]), SCALE)
    sheet, draw = _sheet(axes, title)
    mean = Smoother(steps).smooth(losses)
    for points, colour, width in ((losses, FAINT, 1), (mean, STRONG, 3), (validation, VALIDATION, 2)):
        line = [axes.place(*point) for point in thinned(points, 800)]
        if len(line) > 1:
            draw.line(line, colour, width * SCALE, joint="curve")
    for point in validation:
        x, y = axes.place(*point)
        draw.ellipse((x - 4 * SCALE, y - 4 * SCALE, x + 4 * SCALE, y + 4 * SCALE), VALIDATION)
    entries = [("loss, running mean", STRONG), ("loss, each step", FAINT), ("validation", VALIDATION)]
    _draw_legend(draw, entries if validation else entries[:2])
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def stairs_plot(title: str, curves: Mapping[str, Sequence[Point]]) -> Image.Image:
    """A plot of values that hold until the next one, over 0 to 100 % of the steps; 768 x 432 pixels.

    Args:
        curves: name → points (share of the steps in 0..1, value), the first at 0; at most four curves.
    """
    values = [value for points in curves.values() for _, value in points]
    axes = Axes(AREA, 100, min(0.0, *values), max(1.0, *values) * 1.05, SCALE)
    sheet, draw = _sheet(axes, title)
    colours = dict(zip(curves, (STRONG, VALIDATION, INK, FAINT), strict=False))
    for name, points in curves.items():
        ends = [share for share, _ in points[1:]] + [1.0]
        line = [axes.place(100 * x, value) for (start, value), end in zip(points, ends, strict=True)
                for x in (start, end)]
        draw.line(line, colours[name], 3 * SCALE, joint="curve")
    _draw_legend(draw, list(colours.items()))
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _range(losses: Sequence[float], validation: Sequence[float]) -> tuple[float, float]:
    """A range for all but the most extreme fiftieth of the steps, which would flatten everything else."""
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


def _sheet(axes: Axes, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(sheet)
    _draw_axes(draw, axes, title)
    return sheet, draw


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
    draw.text((AREA[0] * SCALE, 14 * SCALE), title, INK, heading)


def _draw_legend(draw: ImageDraw.ImageDraw, entries: Sequence[tuple[str, str]]) -> None:
    font, right = ImageFont.load_default(12 * SCALE), float(AREA[2] * SCALE)
    for label, colour in reversed(entries):
        right -= draw.textlength(label, font)
        draw.text((right, 16 * SCALE), label, INK, font)
        right -= 20 * SCALE
        draw.line((right, 24 * SCALE, right + 14 * SCALE, 24 * SCALE), colour, 4 * SCALE)
        right -= 14 * SCALE
