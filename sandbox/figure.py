"""The chibi figure: the head is about half of its height, so that eyes and signatures survive 64 pixels."""
from __future__ import annotations

from .drawing import BLUSH, INNER_EAR, PAINT, SHOES, SKIN, SOCKS, Canvas, Points, ellipse, mix, ribbon

WHITE, BLACK = (255, 255, 255), (26, 22, 30)
MOUTH = (150, 40, 50)


def paint_figure(canvas: Canvas) -> None:
    """Paint the scene's character, back to front."""
    parts = {"from side": _side, "from behind": _behind}.get(canvas.scene.angle, _facing)
    for paint in parts:
        paint(canvas)


def _hair(canvas):
    return PAINT[canvas.scene.character.hair_color]


def _signature(canvas, kind: str):
    """The signature's colour if the character has one of this `kind`."""
    signature = canvas.scene.character.signature
    return PAINT[signature.color_name] if signature and signature.kind == kind else None


def _mirrored(points: Points) -> Points:
    return [(1 - x, y) for x, y in points]


def _both(canvas: Canvas, points: Points, color, line: bool = True) -> None:
    for side in (points, _mirrored(points)):
        canvas.shape(side, color, line)


# ---- body

def _shadow(canvas: Canvas) -> None:
    background, above = canvas.scene.background, canvas.scene.angle == "from above"
    tone = {"night sky": (16, 16, 44), "grass": (84, 140, 60), "sunset": (104, 50, 84)}.get(background, (176, 186, 204))
    reach = (.56, .10) if above else (.24, .03)
    canvas.shape(ellipse(.5, .965 if not above else .93, *reach), tone, line=False)


def _legs(canvas: Canvas) -> None:
    for x in ((.43, .57) if canvas.scene.angle != "from side" else (.47, .54)):
        canvas.shape([(x - .045, .80), (x + .045, .80), (x + .04, .93), (x - .04, .93)], SOCKS)
        toe = -.02 if canvas.scene.angle == "from side" else 0
        canvas.shape(ellipse(x + toe, .945, .058, .035), SHOES)


def _dress(canvas: Canvas) -> None:
    color = PAINT[canvas.scene.character.outfit]
    shade = mix(color, BLACK, .22)
    if canvas.scene.angle == "from side":
        canvas.shape([(.43, .56), (.57, .56), (.62, .70), (.70, .86), (.34, .86), (.40, .70)], color)
        canvas.shape([(.345, .83), (.69, .83), (.70, .865), (.34, .865)], shade, line=False)
        canvas.shape(ribbon([(.50, .60), (.47, .68), (.42, .755)], [.038, .042, .042]), color)
        canvas.shape(ellipse(.41, .775, .035, .033), SKIN)
        return
    _both(canvas, ribbon([(.40, .60), (.33, .68), (.285, .74)], [.04, .045, .05]), color)
    _both(canvas, ellipse(.27, .765, .036, .034), SKIN)
    canvas.shape([(.40, .56), (.60, .56), (.62, .68), (.73, .86), (.27, .86), (.38, .68)], color)
    canvas.shape([(.285, .83), (.715, .83), (.73, .865), (.27, .865)], shade, line=False)
    if canvas.scene.angle == "from behind":
        _both(canvas, [(.5, .72), (.42, .675), (.42, .765)], shade)
    else:
        canvas.shape([(.42, .565), (.58, .565), (.5, .63)], WHITE if color[0] < 240 or color[1] < 240 else shade)


def _tail(canvas: Canvas) -> None:
    tail, hair = canvas.scene.character.tail, _hair(canvas)
    if tail == "no tail":
        return
    tip = _signature(canvas, "two-coloured tail")
    if tail == "fox tail":
        path, widths = [(.56, .80), (.70, .82), (.81, .74), (.845, .60), (.80, .49)], [.02, .06, .085, .075, .004]
        canvas.shape(ribbon(path, widths), hair)
        if tip:
            canvas.shape(ribbon([(.834, .66), (.842, .59), (.80, .49)], [.078, .073, .004]), tip)
        return
    path = [(.58, .80), (.72, .87), (.83, .80), (.80, .67), (.84, .575)]
    canvas.shape(ribbon(path, [.024, .028, .030, .030, .032]), hair)
    end = ellipse(.838, .585, .048, .078)
    canvas.shape(end, tip or hair, line=bool(tip))
    if not tip:
        canvas.shape(ribbon(path, [.020, .022, .022, .022, .022]), hair, line=False)


# ---- hair and ears

def _back_hair(canvas: Canvas) -> None:
    hair, style = mix(_hair(canvas), BLACK, .12), canvas.scene.character.hair_style
    if style == "long hair":
        canvas.shape([(.27, .33), (.23, .55), (.20, .80), (.30, .85), (.5, .87), (.70, .85), (.80, .80), (.77, .55),
                      (.73, .33)], hair)
    if style == "twintails":
        _twintails(canvas)
    canvas.shape(ellipse(.5, .36, .255, .235), hair)


def _twintails(canvas: Canvas) -> None:
    strand = ribbon([(.27, .26), (.15, .29), (.11, .42), (.14, .56), (.09, .66)], [.03, .06, .075, .06, .004])
    _both(canvas, strand, _hair(canvas))


def _ties(canvas: Canvas) -> None:
    if canvas.scene.character.hair_style == "twintails":
        _both(canvas, ellipse(.262, .262, .038, .038), (250, 250, 255))


def _ears(canvas: Canvas) -> None:
    kind, hair = canvas.scene.character.ears, _hair(canvas)
    inner = canvas.scene.angle != "from behind"
    outer, inside = _EAR_SHAPES[kind]
    _both(canvas, outer, SKIN if kind == "human ears" else hair)
    if inner and inside:
        _both(canvas, inside, INNER_EAR if kind != "fox ears" else WHITE, line=False)


_EAR_SHAPES = {
    "human ears": (ellipse(.262, .43, .035, .05), None),
    "fox ears": ([(.28, .30), (.22, .16), (.235, .035), (.33, .09), (.44, .18)],
                 [(.29, .21), (.255, .15), (.258, .085), (.32, .125), (.37, .17)]),
    "cat ears": ([(.30, .26), (.295, .11), (.43, .175)], [(.325, .21), (.32, .145), (.385, .18)]),
    "bunny ears": (ribbon([(.40, .22), (.375, .10), (.37, .005)], [.05, .06, .028]),
                   ribbon([(.395, .17), (.378, .10), (.372, .04)], [.02, .028, .012])),
}


def _bangs(canvas: Canvas) -> None:
    hair = _hair(canvas)
    # From above, more of the crown is visible; from below, less.
    low = {"from above": .055, "from below": -.045}.get(canvas.scene.angle, 0)
    rim = .30 + low
    canvas.shape([*ellipse(.5, .345, .245, .215, 180, 360), (.745, .43), (.70, .44 + low), (.685, rim + .02),
                  (.62, rim + .035), (.59, rim - .035), (.51, rim + .03), (.45, rim - .035), (.39, rim + .03),
                  (.315, rim + .02), (.30, .44 + low), (.255, .43)], hair)
    shine = mix(hair, WHITE, .45)
    if canvas.scene.angle == "from above":
        canvas.shape(ellipse(.5, .215, .06, .03), shine, line=False)
        canvas.stroke([(.5, .215), (.5, .32)], mix(canvas.ink(hair), BLACK, .45), .018)
    else:
        canvas.stroke(ellipse(.5, .36, .17, .16, 205, 250), canvas.ink(shine), .022)


def _side_locks(canvas: Canvas) -> None:
    if canvas.scene.character.hair_style == "long hair":
        _both(canvas, ribbon([(.275, .38), (.262, .52), (.28, .68)], [.03, .036, .006]), _hair(canvas))


# ---- face

def _head(canvas: Canvas) -> None:
    canvas.shape(ellipse(.5, .395, .215, .19), SKIN)


def _face(canvas: Canvas) -> None:
    eyes = PAINT[canvas.scene.character.eyes]
    y = .425 + {"from above": .035, "from below": -.035}.get(canvas.scene.angle, 0)
    odd = _signature(canvas, "odd eyes") or eyes
    _cheeks(canvas, (.36, .64), y + .085)
    for x, color in ((.405, eyes), (.595, odd)):
        _eye(canvas, x, y, color)
    _mouth(canvas, .5, y + .105)


def _eye(canvas: Canvas, x: float, y: float, color) -> None:
    canvas.pen.polygon(canvas.place(ellipse(x, y, .056, .078)), fill=BLACK)
    # The iris keeps its full colour in every style, because it decides the tag of the eyes.
    canvas.pen.polygon(canvas.place(ellipse(x, y + .008, .047, .064)), fill=color)
    canvas.pen.polygon(canvas.place(ellipse(x, y - .012, .017, .024)), fill=mix(color, BLACK, .8))
    canvas.pen.polygon(canvas.place(ellipse(x - .022, y - .034, .016, .018)), fill=WHITE)


def _cheeks(canvas: Canvas, places: tuple[float, ...], y: float) -> None:
    mark = _signature(canvas, "mark")
    for x in places:
        if mark:
            canvas.shape([(x - .048, y - .035), (x + .048, y - .035), (x, y + .065)], mark)
        elif canvas.scene.expression == "smile":
            canvas.shape(ellipse(x, y + .01, .032, .018), BLUSH, line=False)


def _mouth(canvas: Canvas, x: float, y: float, wide: float = 1.0) -> None:
    expression = canvas.scene.expression
    if expression == "smile":
        canvas.stroke(ellipse(x, y - .022, .062 * wide, .045, 15, 165), MOUTH, .020)
    elif expression == "open mouth":
        canvas.pen.polygon(canvas.place(ellipse(x, y + .005, .046 * wide, .048)), fill=MOUTH)
        canvas.pen.polygon(canvas.place(ellipse(x, y + .028, .028 * wide, .018)), fill=(255, 130, 140))
    else:
        canvas.stroke([(x - .032 * wide, y + .004), (x + .032 * wide, y + .004)], MOUTH, .018)


def _pin(canvas: Canvas) -> None:
    color = _signature(canvas, "hair-pin")
    if color:
        x, y = (.66, .245) if canvas.scene.angle != "from side" else (.60, .30)
        for points in ([(x - .075, y), (x, y - .028), (x + .075, y), (x, y + .028)],
                       [(x, y - .075), (x + .028, y), (x, y + .075), (x - .028, y)]):
            canvas.shape(points, color)
        canvas.shape(ellipse(x, y, .040, .040), color, line=False)
        canvas.shape(ellipse(x, y, .018, .018), WHITE, line=False)


# ---- from behind

def _hair_behind(canvas: Canvas) -> None:
    hair, style = _hair(canvas), canvas.scene.character.hair_style
    if style == "twintails":
        _twintails(canvas)
    if style == "long hair":
        canvas.shape([(.25, .36), (.235, .60), (.27, .74), (.33, .70), (.40, .77), (.5, .72), (.60, .77), (.67, .70),
                      (.73, .74), (.765, .60), (.75, .36)], hair)
        canvas.shape(ellipse(.5, .36, .245, .22), hair, line=False)
        canvas.stroke(ellipse(.5, .36, .255, .235, 180, 360), mix(canvas.ink(hair), BLACK, .4), .012)
    elif style == "twintails":
        canvas.shape(ellipse(.5, .36, .25, .225), hair)
        canvas.stroke([(.5, .14), (.5, .58)], mix(canvas.ink(hair), SKIN, .6), .016)
    else:
        canvas.shape([*ellipse(.5, .36, .25, .225, 160, 380), (.68, .54), (.62, .52), (.56, .575), (.5, .54),
                      (.44, .575), (.38, .52), (.32, .54)], hair)
    canvas.stroke(ellipse(.5, .40, .18, .17, 205, 335), canvas.ink(mix(hair, WHITE, .30)), .022)


# ---- from the side, looking left

def _hair_behind_side(canvas: Canvas) -> None:
    hair, style = mix(_hair(canvas), BLACK, .12), canvas.scene.character.hair_style
    if style == "long hair":
        canvas.shape([(.52, .25), (.50, .55), (.56, .84), (.68, .88), (.80, .82), (.76, .45), (.70, .25)], hair)
    canvas.shape(ellipse(.515, .36, .235, .225), hair)


def _head_side(canvas: Canvas) -> None:
    canvas.shape([*ellipse(.475, .395, .20, .19, 60, 165), (.275, .455), (.252, .445), (.278, .40), (.285, .27),
                  (.5, .22), (.60, .45)], SKIN)
    _cheeks(canvas, (.455,), .505)
    _eye(canvas, .365, .42, PAINT[canvas.scene.character.eyes])
    _mouth(canvas, .375, .525, wide=.75)


def _bangs_side(canvas: Canvas) -> None:
    hair = _hair(canvas)
    canvas.shape([(.275, .34), *ellipse(.515, .345, .235, .215, 190, 360), (.74, .48), (.66, .57), (.60, .52),
                  (.535, .56), (.50, .44), (.49, .31), (.43, .34), (.38, .29), (.33, .345)], hair)
    canvas.stroke(ellipse(.52, .36, .16, .15, 205, 265), canvas.ink(mix(hair, WHITE, .45)), .022)
    if canvas.scene.character.hair_style == "twintails":
        canvas.shape(ribbon([(.66, .27), (.78, .32), (.82, .44), (.77, .58), (.82, .68)], [.03, .06, .075, .06, .004]),
                     hair)
        canvas.shape(ellipse(.665, .27, .038, .038), (250, 250, 255))


def _ears_side(canvas: Canvas) -> None:
    kind, hair = canvas.scene.character.ears, _hair(canvas)
    outer, inside = _SIDE_EARS[kind]
    canvas.shape(outer, SKIN if kind == "human ears" else hair)
    if inside:
        canvas.shape(inside, INNER_EAR if kind != "fox ears" else WHITE, line=False)


_SIDE_EARS = {
    "human ears": (ellipse(.545, .445, .036, .05), None),
    "fox ears": ([(.43, .22), (.42, .09), (.47, .02), (.56, .08), (.65, .24)],
                 [(.46, .19), (.455, .10), (.475, .065), (.53, .11), (.56, .19)]),
    "cat ears": ([(.46, .20), (.50, .08), (.61, .21)], [(.495, .185), (.51, .125), (.56, .19)]),
    "bunny ears": (ribbon([(.52, .21), (.56, .10), (.61, .005)], [.05, .062, .028]),
                   ribbon([(.525, .17), (.555, .10), (.595, .035)], [.02, .03, .012])),
}

_facing = (_shadow, _back_hair, _tail, _legs, _dress, _head, _side_locks, _face, _bangs, _ties, _ears, _pin)
_behind = (_shadow, _legs, _dress, _tail, _hair_behind, _ties, _ears)
_side = (_shadow, _hair_behind_side, _tail, _legs, _dress, _head_side, _bangs_side, _ears_side, _pin)
