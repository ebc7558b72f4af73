"""Draws icon.png and banner.png, which the registry shows, from the sandbox's own pictures: python docs/make_icon.py"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).parent
SANDBOX = DOCS.parent / "sandbox"
GROUND, INK, ACCENT = "#1b1e26", "#f4f1ea", "#e5484d"
GRID_AT, CELL, PITCH = (181, 71), 171, 177.4
"""Corner of the first cell of docs/demo_grid.png, size and distance of its cells, in pixels."""


def growth(side: int) -> Image.Image:
    """One image, then 4, then 16: each quarter holds the next round, cut from the demo's own pictures."""
    image = Image.new("RGB", (side, side), GROUND)
    half, gap = side // 2, side // 50
    original = Image.open(SANDBOX / "pictures" / "akane.png").convert("RGB")
    views = [view for column in range(1, 5) for view in cells(column)]
    for corner, parts, pictures in (((0, 0), 1, [original]), ((half, 0), 2, crops(original)), ((0, half), 2, cells(2)),
                                    ((half, half), 4, views)):
        size = (half - gap * 2) // parts
        for row in range(parts):
            for column in range(parts):
                picture = pictures[(row * parts + column) % len(pictures)]
                at = (corner[0] + gap + column * size, corner[1] + gap + row * size)
                image.paste(picture.resize((size - gap // 2,) * 2, Image.Resampling.LANCZOS), at)
    return image


def crops(image: Image.Image) -> list[Image.Image]:
    """Face, upper body, lower body and the whole, as a share of the image."""
    side = image.width
    boxes = ((.22, .0, .82, .6), (.1, .0, .9, .8), (.2, .35, .85, 1.), (0., 0., 1., 1.))
    return [image.crop(tuple(round(part * side) for part in box)) for box in boxes]


def cells(column: int) -> list[Image.Image]:
    """Four views of the demo's grid, at the strength of one column."""
    grid = Image.open(DOCS / "demo_grid.png").convert("RGB")
    left = round(GRID_AT[0] + column * PITCH)
    tops = [round(GRID_AT[1] + row * PITCH) for row in (0, 1, 3, 4)]
    return [grid.crop((left, top, left + CELL, top + CELL)) for top in tops]


def banner(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), GROUND)
    picture = growth(height - 60)
    image.paste(picture, (width - picture.width - 30, 30))
    draw = ImageDraw.Draw(image)
    draw.text((50, height * .26), "LoRA Bootstrap", INK, ImageFont.load_default(76))
    draw.rectangle((54, height * .49, 174, height * .49 + 6), ACCENT)
    for row, line in enumerate(("From one image of a character", "to a tested, shareable LoRA,", "in ComfyUI.")):
        draw.text((52, height * .56 + row * 44), line, INK, ImageFont.load_default(34))
    return image


if __name__ == "__main__":
    growth(400).save(DOCS / "icon.png", optimize=True)
    banner(1260, 540).save(DOCS / "banner.png", optimize=True)
