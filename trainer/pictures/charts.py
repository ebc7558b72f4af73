"""Small inline pictures for the report: SVG loss curves and images as data URIs. No scripts, no files beside it."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, PAD = 520, 150, 34


def read_losses(run: Path) -> list[tuple[int, float]]:
    """(step, loss) of a run's metrics.jsonl; [] if there is none. A line cut short by a kill is skipped."""
    points = []
    path = run / "metrics.jsonl"
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "step" in row and "loss" in row and "base_loss" not in row:
            points.append((int(row["step"]), float(row["loss"])))
    return points


def smoothed(points: Sequence[tuple[int, float]], count: int = 60) -> list[tuple[float, float]]:
    """The points averaged into at most `count` even groups."""
    size = max(1, -(-len(points) // count))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group)) for group in groups]


def loss_curve(points: Sequence[tuple[int, float]], label: str) -> str:
    """An SVG of the loss over the steps, averaged, with its range; "" for fewer than two points."""
    curve = smoothed(points)
    if len(curve) < 2:
        return ""
    low, high = min(v for _, v in curve), max(v for _, v in curve)
    last = points[-1][0]

    def place(step: float, value: float) -> str:
        x = PAD + (WIDTH - PAD - 8) * step / last
        y = HEIGHT - 22 - (HEIGHT - 34) * (value - low) / max(high - low, 1e-12)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(step, value) for step, value in curve)
    texts = ((2, 16, f"{high:.3g}"), (2, HEIGHT - 20, f"{low:.3g}"), (PAD, HEIGHT - 5, "0"),
             (WIDTH - 8 - 7 * len(str(last)), HEIGHT - 5, str(last)))
    labels = "".join(f'<text x="{x}" y="{y}">{text}</text>' for x, y, text in texts)
    return (f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
            f'<path class="axis" d="M{PAD},8V{HEIGHT - 22}H{WIDTH - 8}"/><polyline points="{line}"/>{labels}</svg>'
            f"<figcaption>{html.escape(label)}</figcaption></figure>")
