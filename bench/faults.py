"""Faults planted in pictures, for bench.audit and its tests: each takes a picture and a random generator."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Plant = Callable[[Image.Image, random.Random], Image.Image]

TEXTS = ("@mina_draws", "www.pixart.net", "SAMPLE", "© studio kite", "preview 2024", "DO NOT REPOST",
         "patreon.com/ryoko", "Shutterframe", "copyright", "hello world", "twitter/aoi_art", "Stock photo 1183")
TINTS = (0.08, 0.12, 0.16)
_TINT_AXES = ((1, 0.5, 0), (0, 0.5, 1), (0, 1, 0), (1, 0, 1))
"""Warm, cold, green, magenta: what share of the range between the gains each channel gets."""


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Saved as JPEG and read again."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def burnt(image: Image.Image, saturation: float, contrast: float, sharpen: int) -> Image.Image:
    image = ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(saturation)).enhance(contrast)
    return image.filter(ImageFilter.UnsharpMask(2, sharpen, 0))


def exposed(image: Image.Image, factor: float) -> Image.Image:
    return image.point(lambda value: min(255, round(value * factor)))


def tinted(image: Image.Image, rng: random.Random, strength: float) -> Image.Image:
    """Channel gains from 1 - strength to 1 + strength, along one of four hues."""
    axis = np.array(rng.choice(_TINT_AXES))
    values = np.asarray(image, dtype=np.float32) * (1 - strength + 2 * strength * axis)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def bordered(image: Image.Image, rng: random.Random) -> Image.Image:
    """Letterbox, pillarbox, frame, or a black or white strip at the foot, 3 to 15 % deep."""
    kind = rng.choice(("letter", "pillar", "frame", "foot"))
    colour = rng.choice(((0, 0, 0), (255, 255, 255)) if kind == "foot" else
                        ((0, 0, 0), (0, 0, 0), (255, 255, 255), (128, 128, 128), (20, 30, 80)))
    deep = max(2, round(image.width * rng.uniform(0.03, 0.15)))
    left = right = deep if kind == "pillar" else deep // 2 if kind == "frame" else 0
    top = deep if kind == "letter" else deep // 2 if kind == "frame" else 0
    foot = deep if kind in ("letter", "foot") else deep // 2 if kind == "frame" else 0
    if abs(np.asarray(image).mean() - np.mean(colour)) < 40:  # a bar that cannot be seen is no fault
        colour = (0, 0, 0) if np.asarray(image).mean() > 128 else (255, 255, 255)
    sheet = Image.new("RGB", image.size, colour)
    sheet.paste(image.crop((left, top, image.width - right, image.height - foot)), (left, top))
    return sheet


def lettered(image: Image.Image, rng: random.Random, kind: str) -> Image.Image:
    """A line of text: plain or outlined or half transparent in a corner, or large and faint across the middle."""
    side, text = image.width, rng.choice(TEXTS)
    height = rng.uniform(0.10, 0.14) if kind == "large" else rng.uniform(0.045, 0.08)
    size = max(9, round(height * side))
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    while (length := pen.textlength(text, ImageFont.load_default(size))) > 0.95 * side:
        size -= 1
    corners = ((0.03 * side, 0.97 * side - 1.2 * size), (0.97 * side - length, 0.97 * side - 1.2 * size),
               (0.03 * side, 0.02 * side), ((side - length) / 2, 0.97 * side - 1.2 * size))
    place = ((side - length) / 2, side * rng.uniform(0.3, 0.6)) if kind == "large" else rng.choice(corners)
    font = ImageFont.load_default(size)
    if kind == "outlined":
        pen.text(place, text, (255, 255, 255, 255), font, stroke_width=max(1, size // 14), stroke_fill=(0, 0, 0, 255))
    else:
        below = image.convert("L").crop(tuple(map(int, (*place, place[0] + length, place[1] + size))))
        tone = 255 if np.asarray(below).mean() < 150 else 0
        pen.text(place, text, (tone, tone, tone, {"plain": 255, "faint": 128, "large": 110}[kind]), font)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def cropped(image: Image.Image, rng: random.Random, share: float = 0.05) -> Image.Image:
    """That share of both sides cut off: around, on one edge of each axis, or anywhere."""
    kind = rng.choice(("around", "edge", "anywhere"))
    x, y = {"around": (0.5, 0.5), "edge": (rng.randrange(2), rng.randrange(2)),
            "anywhere": (rng.random(), rng.random())}[kind]
    width, height = (1 - share) * image.width, (1 - share) * image.height
    left, top = x * share * image.width, y * share * image.height
    return image.crop(tuple(map(round, (left, top, left + width, top + height))))


def _blur(sigma: float) -> Plant:
    return lambda image, rng: image.filter(ImageFilter.GaussianBlur(sigma))


PLANTS: Mapping[str, Mapping[str, Plant]] = {
    "blur": {f"sigma {sigma:g}": _blur(sigma) for sigma in (1.5, 2, 3)},
    "blocking": {f"JPEG {quality}": lambda image, rng, quality=quality: jpeg(image, quality)
                 for quality in (10, 20, 30, 50)},
    "border": {"bars": bordered, "bars, then JPEG 75": lambda image, rng: jpeg(bordered(image, rng), 75)},
    "burn": {"mild": lambda image, rng: burnt(image, 2.0, 1.5, 150),
             "strong": lambda image, rng: burnt(image, 2.5, 1.8, 200)},
    "lettering": {kind: lambda image, rng, kind=kind: lettered(image, rng, kind)
                  for kind in ("plain", "outlined", "faint", "large")},
    "dark": {"a fifth of the light": lambda image, rng: exposed(image, 0.2)},
    "blown": {"three times the light": lambda image, rng: exposed(image, 3.0)},
}
"""Code of the finding → name of the plant → the plant."""
LEAST_SIDE = {"lettering": 128}
"""A fault that cannot be told in smaller pictures."""
COPIES: Mapping[str, Plant] = {
    "JPEG 50": lambda image, rng: jpeg(image, 50),
    "5 % crop": cropped,
    "5 % crop, then JPEG 50": lambda image, rng: jpeg(cropped(image, rng), 50),
    "half size": lambda image, rng: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "mirrored, 5 % crop, JPEG 50": lambda image, rng: jpeg(cropped(ImageOps.mirror(image), rng), 50),
}
