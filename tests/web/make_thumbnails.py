"""Make the thumbnail of every template from drawings of the sandbox's world. From the repository's folder, without a
host:
python tests/web/make_thumbnails.py [contact_sheet.jpg]

A thumbnail is seen 200 pixels wide, beside all others: each has its number and its words in large letters, a colour for
its number, and a drawing of its own that shows what goes in and what comes out.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

sys.path.insert(0, str(Path(__file__).parents[2]))

from lora_bootstrap.sandbox.world import ATTRIBUTES, HELD_OUT, Scene  # noqa: E402
from tests.helpers.drawings import draw_once  # noqa: E402
from tests.helpers.templates import NAMES, WORKFLOWS  # noqa: E402

SIZE = (600, 400)
STRIP = 92
"""Height of the strip with the words."""
HIGH = SIZE[1] - STRIP
COLOURS = {"1": "#1c7c3a", "2": "#8a3f97", "3": "#b3402e", "4": "#1f5fae", "5": "#7a6a14", "6": "#0d7377",
           "7": "#a2530f", "8": "#4a4f6a"}
PALE, INK = "#f4f1ea", "#20222b"
FACE = Scene(HELD_OUT["akane"], framing="close-up", background="blue sky")


@dataclass(frozen=True)
class Thumbnail:
    """What is written below a drawing, and how that is drawn on an empty page."""

    words: str
    paint: Callable[[Image.Image], None]


def scene(who: str, **shown: str) -> Scene:
    return Scene(HELD_OUT[who], **shown)


def views(who: str, seed: int = 0) -> Iterator[Scene]:
    """The character from all around, in an order of its own."""
    pick = random.Random(f"{who} {seed}")
    while True:
        yield replace(scene(who), **{name: pick.choice(ATTRIBUTES[name])
                                     for name in ("angle", "framing", "expression", "background")})


def put(page: Image.Image, drawn: Scene, place: tuple[int, int], side: int, frame: str = "white") -> None:
    """A drawing with a frame, its corner at `place`."""
    x, y = place
    ImageDraw.Draw(page).rectangle((x - 3, y - 3, x + side + 2, y + side + 2), frame)
    page.paste(draw_once(drawn, side), place)


def tile(page: Image.Image, drawings: Iterator[Scene], box: tuple[int, int, int, int], columns: int, rows: int) -> None:
    """Drawings side by side, as large as the box allows, in its middle."""
    left, top, right, bottom = box
    side = min((right - left) // columns, (bottom - top) // rows)
    x, y = (left + right - side * columns) // 2, (top + bottom - side * rows) // 2
    for (row, column), drawn in zip(itertools.product(range(rows), range(columns)), drawings, strict=False):
        put(page, drawn, (x + column * side + 3, y + row * side + 3), side - 6)


def write(page: Image.Image, place: tuple[int, int], text: str, size: int, colour: str = INK) -> None:
    """Letters of `size` pixels around a place."""
    ImageDraw.Draw(page).text(place, text, colour, ImageFont.load_default(size), "mm", stroke_width=size // 30,
                              stroke_fill=colour)


def point(page: Image.Image, x: int, colour: str, y: int = HIGH // 2, size: int = 26) -> None:
    """An arrow to the right."""
    ImageDraw.Draw(page).polygon([(x, y - size // 2), (x + size, y - size // 2), (x + size, y - size),
                                  (x + 2 * size, y), (x + size, y + size), (x + size, y + size // 2),
                                  (x, y + size // 2)], colour)


# -- what is drawn on each ---------------------------------------------------------------------------------------------


def start(who: str, tint: str) -> Callable[[Image.Image], None]:
    """A pile of images, and what the LoRA draws."""
    def paint(page: Image.Image) -> None:
        page.paste(tint, (0, 0, SIZE[0], HIGH))
        for at, drawn in zip(range(4), views(who, 3), strict=False):
            put(page, drawn, (24 + 44 * at, 24 + 36 * at), 140, COLOURS["1"])
        point(page, 318, COLOURS["1"])
        put(page, scene(who, framing="upper body", background="sunset"), (390, 56), 196, COLOURS["1"])
    return paint


def style(page: Image.Image) -> None:
    """One drawing in five styles, a strip each."""
    for at, name in enumerate(ATTRIBUTES["style"]):
        drawn = draw_once(scene("momo", framing="upper body", background="grass", style=name), 320)
        page.paste(drawn.crop((100, 0, 220, HIGH)), (120 * at, 0))


def portrait(who: str, top: int, **shown: str) -> Callable[[Image.Image], None]:
    """One large face, from `top` downwards."""
    def paint(page: Image.Image) -> None:
        large = draw_once(scene(who, framing="close-up", **shown), SIZE[0])
        page.paste(large.crop((0, top, SIZE[0], top + HIGH)), (0, 0))
    return paint


def grow(who: str, tint: str) -> Callable[[Image.Image], None]:
    """From one image to many."""
    def paint(page: Image.Image) -> None:
        page.paste(tint, (0, 0, SIZE[0], HIGH))
        put(page, scene(who), (14, 84), 140)
        point(page, 166, "white", size=20)
        tile(page, views(who), (206, 60, 356, 250), 2, 2)
        point(page, 360, "white", size=20)
        tile(page, views(who, 1), (400, 8, 596, HIGH - 8), 4, 6)
    return paint


def turn(who: str, tint: str) -> Callable[[Image.Image], None]:
    """One large image among the views that are drawn from it."""
    def paint(page: Image.Image) -> None:
        page.paste(tint, (0, 0, SIZE[0], HIGH))
        put(page, scene(who), (205, 59), 190, COLOURS["4"])
        places = [place for place in itertools.product((18, 118, 394, 494), (8, 108, 208))
                  if place not in ((118, 108), (394, 108))]  # an arrow stands there
        for place, drawn in zip(places, views(who, 4), strict=False):
            put(page, drawn, place, 88)
        for x, arrow in ((162, "<"), (438, ">")):
            write(page, (x, 154), arrow, 60, "white")
    return paint


def tags(page: Image.Image) -> None:
    """A drawing in the frame of its crop, and its tags."""
    put(page, scene("sumire", background="grass"), (20, 14), 280)
    pen = ImageDraw.Draw(page)
    pen.rectangle((80, 40, 236, 270), outline=COLOURS["5"], width=7)
    for at, (text, kept) in enumerate((("purple hair", False), ("bunny ears", False), ("smile", True), ("grass", True),
                                       ("full body", True))):
        y = 34 + 54 * at
        pen.rounded_rectangle((324, y - 21, 586, y + 23), 20, COLOURS["5"] if kept else "#d8d3c4")
        write(page, (455, y), text, 30, "white" if kept else "#777264")
        if not kept:
            pen.line((340, y, 570, y), "#777264", 4)


def strengths(page: Image.Image) -> None:
    """Somebody else becomes her from left to right."""
    other, her = (draw_once(replace(FACE, character=HELD_OUT[who]), 196) for who in ("kuro", "akane"))
    for at in range(5):
        blend = Image.blend(other, her, at / 4).crop((42, 0, 154, 196))
        page.paste(blend, (8 + 118 * at, 14))
        write(page, (64 + 118 * at, 240), ("0", "0.5", "0.7", "0.8", "1")[at], 40)
        ImageDraw.Draw(page).rectangle((12 + 118 * at, 290 - 6 * at, 112 + 118 * at, 300), COLOURS["6"])


def checkpoints(page: Image.Image) -> None:
    """Noise becomes her from step to step."""
    page.paste("#101418", (0, 0, SIZE[0], HIGH))
    her = draw_once(scene("akane", framing="upper body", background="sunset"), 190)
    noise = Image.effect_noise(her.size, 90).convert("RGB")
    for at in range(3):
        grown = Image.blend(noise, her.filter(ImageFilter.GaussianBlur(7 - 3.5 * at)), (0.3, 0.7, 1.0)[at])
        page.paste(grown, (8 + 197 * at, 20))
        write(page, (103 + 197 * at, 256), ("40", "120", "200")[at], 52, "white")


def seeds(page: Image.Image) -> None:
    """Many of one prompt, beside a die."""
    tile(page, views("aoi", 6), (200, 4, 598, HIGH - 4), 4, 3)
    pen = ImageDraw.Draw(page)
    pen.rounded_rectangle((24, 64, 184, 224), 30, COLOURS["6"])
    for x, y in itertools.product((64, 144), (104, 144, 184)):
        pen.ellipse((x - 13, y - 13, x + 13, y + 13), "white")


def score(page: Image.Image) -> None:
    """Bars, and the best of them crowned."""
    pen = ImageDraw.Draw(page)
    for at, high in enumerate((70, 120, 190, 150, 90)):
        best, x = at == 2, 24 + 76 * at
        pen.rectangle((x, HIGH - 12 - high, x + 58, HIGH - 12), COLOURS["6"] if best else "#b9c9c9")
    middle, top = 205, 66
    star = [(middle + r * math.sin(math.pi * n / 5), top - r * math.cos(math.pi * n / 5))
            for n, r in zip(range(10), itertools.cycle((42, 18)), strict=False)]
    pen.polygon(star, "#e2a400")
    put(page, scene("hinata", framing="upper body", background="sunset"), (412, 66), 176, "#e2a400")


def factors(page: Image.Image) -> None:
    """A large matrix, her in coarse pixels, becomes a tall one and a wide one."""
    page.paste("#f2b134", (0, 0, SIZE[0], HIGH))
    her = draw_once(scene("akane", framing="close-up", background="sunset"), 280)
    coarse = her.resize((14, 14), Image.Resampling.BOX)
    page.paste(coarse.resize((280, 280), Image.Resampling.NEAREST), (14, 14))
    point(page, 304, COLOURS["6"], size=26)
    tall, wide = (coarse.crop(box) for box in ((6, 0, 8, 14), (0, 6, 14, 8)))
    page.paste(tall.resize((40, 280), Image.Resampling.NEAREST), (366, 14))
    page.paste(wide.resize((168, 40), Image.Resampling.NEAREST), (420, 14))


def stack(page: Image.Image) -> None:
    """A character and a style make one image."""
    put(page, scene("kuro", framing="upper body"), (12, 70), 160)
    write(page, (196, 150), "+", 60)
    others = (("momo", "sunset"), ("midori", "grass"), ("aoi", "blue sky"), ("hinata", "night sky"))
    tile(page, (scene(who, background=at, style="pastel") for who, at in others), (216, 66, 384, 234), 2, 2)
    write(page, (406, 150), "=", 60)
    put(page, scene("kuro", framing="upper body", background="sunset", style="pastel"), (428, 70), 160)


def conflict(page: Image.Image) -> None:
    """A map of heat over two faces in one."""
    halves = [draw_once(scene(who, framing="close-up", style=look), HIGH) for who, look in (
        ("akane", "flat color"), ("midori", "lineart"))]
    page.paste(halves[0].crop((0, 0, HIGH // 2, HIGH)), (0, 0))
    page.paste(halves[1].crop((HIGH // 2, 0, HIGH, HIGH)), (HIGH // 2, 0))
    pen, pick = ImageDraw.Draw(page), random.Random(4)
    pen.line([(HIGH // 2 + (12 if at % 2 else -12), 44 * at) for at in range(8)], "#ffd23e", 10)
    for row, column in itertools.product(range(6), range(5)):
        heat = min(1, 0.2 + 0.8 * pick.random() * (1 - abs(column - 2) / 4))
        pen.rectangle((326 + 54 * column, 6 + 50 * row, 376 + 54 * column, 52 + 50 * row),
                      (255, round(235 * (1 - heat)), round(200 * (1 - heat) ** 2)))


def count(who: str, columns: int, rows: int, number: str, tint: str) -> Callable[[Image.Image], None]:
    """So many images, and their number."""
    def paint(page: Image.Image) -> None:
        page.paste(tint, (0, 0, SIZE[0], HIGH))
        tile(page, views(who, 2), (210, 4, 596, HIGH - 4), columns, rows)
        write(page, (104, HIGH // 2), number, 110, "white")
    return paint


def file(page: Image.Image) -> None:
    """Many images become a file."""
    tile(page, views("mizuki", 5), (6, 10, 290, HIGH - 10), 5, 5)
    point(page, 306, COLOURS["8"])
    pen = ImageDraw.Draw(page)
    pen.polygon([(386, 24), (520, 24), (578, 82), (578, 286), (386, 286)], COLOURS["8"])
    pen.polygon([(520, 24), (578, 82), (520, 82)], "#aab")
    write(page, (482, 180), "LoRA", 62, "white")


def mend(page: Image.Image) -> None:
    """One image with a hole, and the same whole."""
    page.paste("#c9b8e8", (0, 0, SIZE[0], HIGH))
    for x in (16, 334):
        put(page, scene("mizuki", framing="upper body", background="grass"), (x, 29), 250, COLOURS["8"])
    pen = ImageDraw.Draw(page)
    pen.ellipse((112, 60, 232, 180), PALE, COLOURS["8"], 6)
    write(page, (172, 118), "?", 84, COLOURS["8"])
    point(page, 274, COLOURS["8"])


THUMBNAILS = {
    "1 Start here": Thumbnail("Start here", start("akane", PALE)),
    "1 Start here (your model)": Thumbnail("Start: your model", start("midori", "#a9d8b4")),
    "2 Train a style LoRA": Thumbnail("Style LoRA", style),
    "3 Train a character LoRA": Thumbnail("Character LoRA", portrait("akane", 150, background="blue sky")),
    "3 Train a character LoRA (SDXL)": Thumbnail("Character: SDXL", portrait(
        "mizuki", 150, background="sunset", angle="from side")),
    "3 Train a character LoRA (diffusion model)": Thumbnail("Flux, Krea, Qwen", portrait(
        "hinata", 200, background="night sky", angle="from below", style="pastel")),
    "4 Bootstrap a character": Thumbnail("1 image to LoRA", grow("akane", "#1f5fae")),
    "4 Bootstrap a character (SDXL)": Thumbnail("1 image: SDXL", grow("mizuki", "#c98a1b")),
    "4 Bootstrap a character (diffusion model)": Thumbnail("1 image: Flux …", grow("hinata", "#2c2f3f")),
    "4 Bootstrap with an edit model (FLUX.2 Klein)": Thumbnail("Edit: FLUX.2", turn("midori", "#6d2f6f")),
    "4 Bootstrap with an edit model (Qwen-Image-Edit)": Thumbnail("Edit: Qwen", turn("aoi", "#e0655a")),
    "5 Prepare and tag a dataset": Thumbnail("Prepare and tag", tags),
    "6 Compare - checkpoint sweep": Thumbnail("Checkpoints", checkpoints),
    "6 Compare - score and pick": Thumbnail("Score and pick", score),
    "6 Compare - seed sweep": Thumbnail("Seeds", seeds),
    "6 Compare - strength grid": Thumbnail("Strengths", strengths),
    "6 Fine-tune and extract": Thumbnail("Fine-tune, extract", factors),
    "7 Stack LoRAs": Thumbnail("Stack LoRAs", stack),
    "7 Stack LoRAs - check and mend a conflict": Thumbnail("Mend a conflict", conflict),
    "8 Bootstrap in parts - 1 pick 16": Thumbnail("Part 1: pick 16", count("momo", 4, 4, "16", "#b8577f")),
    "8 Bootstrap in parts - 2 pick 40": Thumbnail("Part 2: pick 40", count("momo", 8, 5, "40", "#5b3a8c")),
    "8 Bootstrap in parts - 3 character LoRA": Thumbnail("Part 3: the LoRA", file),
    "8 Bootstrap in parts - repair one image": Thumbnail("Repair one image", mend),
    "8 Bootstrap in parts - seed sweep": Thumbnail("More candidates", count("kuro", 5, 4, "+16", "#27806b")),
}


def make_thumbnail(name: str) -> Image.Image:
    """The thumbnail of a template: RGB, of SIZE."""
    words, paint = THUMBNAILS[name].words, THUMBNAILS[name].paint
    page = Image.new("RGB", SIZE, PALE)
    paint(page)
    number, colour = name[0], COLOURS[name[0]]
    ImageDraw.Draw(page).rectangle((0, HIGH, *SIZE), colour)
    ImageDraw.Draw(page).rectangle((0, HIGH, 84, SIZE[1]), "white")
    write(page, (42, HIGH + STRIP // 2), number, 76, colour)
    write(page, (100 + (SIZE[0] - 100) // 2, HIGH + STRIP // 2 - 2), words, 58, "white")
    return page


def contact_sheet(names: list[str], width: int = 200) -> Image.Image:
    """All of them as large as Browse Templates shows them."""
    high, columns = width * SIZE[1] // SIZE[0], 5
    sheet = Image.new("RGB", ((width + 8) * columns, (high + 8) * -(-len(names) // columns)), "#181a20")
    for at, name in enumerate(names):
        small = Image.open(WORKFLOWS / f"{name}.jpg").resize((width, high), Image.Resampling.LANCZOS)
        sheet.paste(small, (at % columns * (width + 8) + 4, at // columns * (high + 8) + 4))
    return sheet


if __name__ == "__main__":
    for name in NAMES:
        make_thumbnail(name).save(WORKFLOWS / f"{name}.jpg", quality=86)
    for path in sys.argv[1:]:
        contact_sheet(NAMES).save(path)
