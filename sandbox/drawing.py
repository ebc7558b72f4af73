"""The painter of the drawn world: a `Scene` becomes an image (Pillow, supersampled).

Shapes live in a unit square that shows the full body from the front.  A point goes through the angle's
perspective, then through the framing's crop, then to pixels; so every angle has every framing.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw

from .world import Scene

Color = tuple[int, int, int]
Points = list[tuple[float, float]]

SKIN: Color = (255, 222, 198)
BLUSH: Color = (255, 150, 140)
SOCKS: Color = (250, 250, 255)
SHOES: Color = (110, 62, 52)
INNER_EAR: Color = (255, 190, 190)
PAINT: dict[str, Color] = {
    "black hair": (44, 40, 52), "blonde hair": (255, 206, 44), "red hair": (212, 36, 40),
    "pink hair": (255, 112, 188), "purple hair": (136, 62, 206), "blue hair": (44, 92, 232),
    "green hair": (34, 160, 84),
    "blue eyes": (24, 110, 255), "green eyes": (20, 185, 70), "red eyes": (232, 24, 36),
    "purple eyes": (168, 50, 235), "yellow eyes": (255, 196, 0),
    "red dress": (222, 40, 56), "blue dress": (52, 92, 220), "green dress": (44, 160, 80),
    "yellow dress": (255, 214, 50), "white dress": (246, 246, 250), "black dress": (48, 46, 56),
    "cyan": (0, 214, 226), "orange": (255, 124, 0), "magenta": (236, 0, 150), "lime": (160, 236, 20),
}


@dataclass(frozen=True)
class Look:
    """How a style inks: `fade` mixes fills with white, `line` multiplies a fill for its outline (None: black)."""
    fade: float
    line: float | None
    width: float


LOOKS = {
    "flat color": Look(0.0, 0.55, 0.011),
    "lineart": Look(0.45, None, 0.026),
    "pastel": Look(0.50, 0.86, 0.011),
    "dark": Look(0.0, 0.45, 0.011),
    "pixel art": Look(0.0, None, 0.018),
}

#: angle -> knots (y, y seen, width seen): the head grows from above, the feet grow from below
PERSPECTIVE = {
    "from above": ((-0.10, -0.02, 1.16), (0.14, 0.20, 1.16), (0.58, 0.66, 1.04), (1.0, 0.92, 0.50)),
    "from below": ((-0.10, -0.08, 0.80), (0.14, 0.08, 0.82), (0.58, 0.44, 0.92), (1.0, 0.99, 1.42)),
}
#: framing -> (centre x, top y, side) of the crop; the angles with another head have their own
CROPS = {
    ("full body", None): (0.5, 0.0, 1.0),
    ("upper body", None): (0.5, 0.06, 0.74),
    ("close-up", None): (0.5, 0.065, 0.53),
    ("upper body", "from above"): (0.5, 0.10, 0.70),
    ("close-up", "from above"): (0.5, 0.125, 0.58),
    ("upper body", "from below"): (0.5, 0.0, 0.70),
    ("close-up", "from below"): (0.5, 0.02, 0.46),
}


def mix(a: Color, b: Color, share: float) -> Color:
    """`a` with a `share` (0..1) of `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> Points:
    """Points around an ellipse, degrees clockwise from the right."""
    steps = 28
    angles = (math.radians(start + (stop - start) * k / steps) for k in range(steps + 1))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def ribbon(points: Points, widths: list[float]) -> Points:
    """The outline of a smooth stroke through `points` (Catmull-Rom) with a half-width at each."""
    centre = _smooth([(*p, w) for p, w in zip(points, widths, strict=True)])
    left, right = [], []
    for k, (x, y, w) in enumerate(centre):
        (x0, y0, _), (x1, y1, _) = centre[max(k - 1, 0)], centre[min(k + 1, len(centre) - 1)]
        length = math.hypot(x1 - x0, y1 - y0) or 1
        dx, dy = (x1 - x0) / length * w, (y1 - y0) / length * w
        left.append((x - dy, y + dx))
        right.append((x + dy, y - dx))
    return left + right[::-1]


def _smooth(knots: list[tuple[float, ...]], steps: int = 8) -> list[tuple[float, ...]]:
    padded = [knots[0], *knots, knots[-1]]
    out = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for k in range(steps):
            t = k / steps
            out.append(tuple(_catmull_rom(t, *values) for values in zip(a, b, c, d, strict=True)))
    return [*out, knots[-1]]


def _catmull_rom(t: float, p: float, q: float, r: float, s: float) -> float:
    return 0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t ** 2 + (3 * q - p - 3 * r + s) * t ** 3)


class Canvas:
    """Takes shapes in the unit square and inks them in the scene's style, perspective and crop."""

    def __init__(self, scene: Scene, size: int, jitter: tuple[float, float, float]):
        self.scene, self.size, self.look = scene, size, LOOKS[scene.style]
        self.image = Image.new("RGB", (size, size))
        self.pen = ImageDraw.Draw(self.image)
        key = (scene.framing, scene.angle)
        x, y, side = CROPS.get(key, CROPS[(scene.framing, None)])
        shift_x, shift_y, zoom = jitter
        # A jitter moves and zooms around the middle of the crop, by shares of its side.
        middle = y + side / 2
        side *= zoom
        self.crop = (x - side / 2 + shift_x * side, middle - side / 2 + shift_y * side, side)
        self.knots = PERSPECTIVE.get(scene.angle)

    def ink(self, color: Color) -> Color:
        return mix(color, (255, 255, 255), self.look.fade)

    def _seen(self, x: float, y: float) -> tuple[float, float]:
        if not self.knots:
            return x, y
        pairs = list(pairwise(self.knots))
        (y0, v0, w0), (y1, v1, w1) = next((p for p in pairs if y <= p[1][0]), pairs[-1])
        t = (y - y0) / (y1 - y0)
        return 0.5 + (x - 0.5) * (w0 + (w1 - w0) * t), v0 + (v1 - v0) * t

    def place(self, points: Points) -> Points:
        left, top, side = self.crop
        scale = self.size / side
        seen = (self._seen(x, y) for x, y in points)
        return [((x - left) * scale, (y - top) * scale) for x, y in seen]

    def shape(self, points: Points, color: Color, line: bool = True) -> None:
        """Fill a polygon, and outline it unless `line` is false."""
        placed = self.place(points)
        self.pen.polygon(placed, fill=self.ink(color))
        if line:
            self._outline([*placed, placed[0]], color, self.look.width)

    def stroke(self, points: Points, color: Color, width: float) -> None:
        """A line of `width` (in the unit square) that keeps its colour in every style."""
        pixels = max(1, round(width / self.crop[2] * self.size))
        self.pen.line(self.place(points), fill=color, width=pixels, joint="curve")

    def _outline(self, placed: Points, color: Color, width: float) -> None:
        line = (24, 20, 28) if self.look.line is None else mix((0, 0, 0), self.ink(color), self.look.line)
        # Outlines keep their thickness when the crop zooms in, as a drawn line does.
        self.pen.line(placed, fill=line, width=max(1, round(width * self.size)), joint="curve")


def draw(scene: Scene, size: int = 64, jitter: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Image.Image:
    """Paint `scene` as a square RGB image of `size` pixels.

    `jitter` is (shift x, shift y, zoom): shares of the image's side, and the size of the crop's side.
    """
    from .backdrop import paint_backdrop
    from .figure import paint_figure
    work = max(size * 2, 256)
    canvas = Canvas(scene, work, jitter)
    paint_backdrop(canvas)
    paint_figure(canvas)
    return _finish(canvas.image, scene.style, size)


def _finish(image: Image.Image, style: str, size: int) -> Image.Image:
    if style == "pixel art":
        # 32 cells to a side and few shades: the mosaic is the style at any size.
        small = image.resize((32, 32), Image.Resampling.BOX).point(lambda v: min(255, (v + 16) // 32 * 32))
        return small.resize((size, size), Image.Resampling.NEAREST)
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    if style == "dark":
        image = image.point(lambda v: round(v * 0.52))
    return image
