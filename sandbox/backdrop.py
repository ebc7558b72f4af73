"""The backgrounds of the drawn world: a colour gradient and a few plain things each."""
from __future__ import annotations

from .drawing import Canvas, Color, ellipse, mix

#: background -> colours of the top, the middle and the bottom
GRADIENTS: dict[str, tuple[Color, Color, Color]] = {
    "white background": ((253, 253, 253),) * 3,
    "blue sky": ((92, 184, 255), (142, 210, 255), (190, 232, 255)),
    "grass": ((176, 226, 120), (156, 214, 104), (134, 198, 88)),
    "night sky": ((30, 30, 84), (44, 42, 108), (66, 58, 132)),
    "sunset": ((196, 96, 150), (255, 148, 90), (255, 186, 96)),
}
HORIZONS: dict[str, Color] = {"blue sky": (228, 246, 255), "night sky": (34, 44, 72), "sunset": (150, 80, 110)}
CLOUDS = ((.10, .20, .09), (.20, .22, .07), (.02, .23, .07), (.88, .40, .08), (.97, .39, .10), (.80, .43, .05))
STARS = ((.07, .10), (.20, .22), (.09, .40), (.90, .30), (.83, .08), (.95, .52), (.14, .62), (.33, .06), (.05, .80),
         (.93, .74))
BLADES = ((.06, .20), (.18, .08), (.10, .48), (.90, .16), (.80, .30), (.94, .48), (.07, .76), (.91, .78), (.20, .92),
          (.80, .94))


def paint_backdrop(canvas: Canvas) -> None:
    """Fill the canvas; the backdrop stays where it is when the framing zooms."""
    name, size = canvas.scene.background, canvas.size
    top, middle, bottom = GRADIENTS[name]
    bands = 32
    for k in range(bands):
        t = k / (bands - 1) * 2
        color = mix(top, middle, t) if t < 1 else mix(middle, bottom, t - 1)
        canvas.pen.rectangle([0, k * size / bands, size, (k + 1) * size / bands], fill=canvas.ink(color))
    _THINGS.get(name, lambda canvas: None)(canvas)
    # Seen from below the horizon is low; from above it is out of sight.
    horizon = {"from above": 1.1, "from below": 0.93}.get(canvas.scene.angle, 0.84)
    if name in HORIZONS and horizon < 1:
        canvas.pen.rectangle([0, horizon * size, size, size], fill=canvas.ink(HORIZONS[name]))


def _fill(canvas: Canvas, points, color: Color) -> None:
    canvas.pen.polygon([(x * canvas.size, y * canvas.size) for x, y in points], fill=canvas.ink(color))


def _clouds(canvas: Canvas) -> None:
    for x, y, r in CLOUDS:
        _fill(canvas, ellipse(x, y, r, r * .75), (255, 255, 255))


def _stars(canvas: Canvas) -> None:
    _fill(canvas, ellipse(.88, .16, .085, .085), (255, 246, 190))
    for x, y in STARS:
        r = .026
        _fill(canvas, [(x, y - r), (x + r / 3, y - r / 3), (x + r, y), (x + r / 3, y + r / 3), (x, y + r),
                       (x - r / 3, y + r / 3), (x - r, y), (x - r / 3, y - r / 3)], (255, 250, 200))


def _sun(canvas: Canvas) -> None:
    _fill(canvas, ellipse(.17, .62, .17, .17), (255, 232, 120))


def _blades(canvas: Canvas) -> None:
    for k, (x, y) in enumerate(BLADES):
        _fill(canvas, [(x - .05, y - .06), (x, y), (x, y - .085), (x + .015, y), (x + .06, y - .05), (x + .02, y + .03),
                       (x - .01, y + .03)], (88, 158, 62))
        if k % 3 == 0:
            _fill(canvas, ellipse(x + .05, y + .05, .02, .02), (255, 255, 255))


_THINGS = {"blue sky": _clouds, "night sky": _stars, "sunset": _sun, "grass": _blades}
