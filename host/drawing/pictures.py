"""The host's IMAGE tensors ([B, H, W, C] float32 in 0..1) as Pillow pictures and back, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ...trainer.datasets.dataset import Sample
from ...trainer.pictures import images
from ...trainer.pictures.images import to_image, to_tensor
from ...trainer.pictures.sheet import contact_sheet

CAPTION_HEIGHT = 34
CELL = 176


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Each picture of an IMAGE batch, as RGB; a fourth channel is laid on white."""
    return [_picture(image) for image in images]


def _picture(image: Tensor) -> Image.Image:
    pixels = image.detach().float().cpu().movedim(-1, 0)
    if len(pixels) == 4:
        pixels = pixels[:3] * pixels[3] + (1 - pixels[3])
    return to_image(pixels.expand(3, -1, -1))


def as_saved(images: Tensor) -> Image.Image:
    """The first picture of an IMAGE batch, to the bit as the host's Save Image writes it: cut to 8 bit, not rounded."""
    pixels = (images[0].detach().cpu().float() * 255).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.numpy())


def to_masks(masks: Tensor) -> list[Image.Image]:
    """Each mask of a MASK batch ([B, H, W] or [H, W] in 0..1), of mode L."""
    return [to_image(mask.detach().float().cpu()[None].expand(3, -1, -1)).convert("L")
            for mask in masks.reshape(-1, *masks.shape[-2:])]


def to_batch(picture: Image.Image) -> Tensor:
    """A picture as an IMAGE batch of one, [1, H, W, 3]."""
    return to_tensor(picture).movedim(0, -1)[None].contiguous()


def to_batches(pictures: Iterable[Image.Image]) -> Tensor:
    """Pictures of one size as an IMAGE batch."""
    return torch.cat([to_batch(picture) for picture in pictures])


def pixel_hash(picture: Image.Image) -> str:
    """Twelve hexadecimal digits that two pictures share only if their pixels are the same."""
    return images.pixel_hash(picture)[:12]


def samples_sheet(samples: Sequence[Sample], columns: int = 4) -> Tensor:
    """The images with the first words of their captions, as an IMAGE."""
    cells = [with_caption(sample.load(), sample.caption, CELL) for sample in samples]
    return to_batch(contact_sheet(cells, min(columns, max(1, len(cells))), cell=CELL))


def with_caption(picture: Image.Image, caption: str, side: int) -> Image.Image:
    """A square of `side` pixels: the picture, and below it the caption's first words."""
    cell = Image.new("RGB", (side, side), "white")
    fitted = ImageOps.contain(picture.convert("RGB"), (side, side - CAPTION_HEIGHT), Image.Resampling.LANCZOS)
    cell.paste(fitted, ((side - fitted.width) // 2, 0))
    font = ImageFont.load_default(11)
    lines = _wrapped(caption or "(no caption)", font, side - 4)
    ImageDraw.Draw(cell).multiline_text((2, side - CAPTION_HEIGHT + 4), "\n".join(lines), "black", font, spacing=3)
    return cell


def _wrapped(text: str, font: ImageFont.ImageFont, width: float, most: int = 2) -> list[str]:
    """At most `most` lines of whole words that fit; the last ends in … if words are left over."""
    lines, words = [""], text.split()
    for index, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] = _cut(lines[-1], font, width)
            break
        if index == len(words) - 1:
            break
    return [line if font.getlength(line) <= width else _cut(line, font, width) for line in lines]


def _cut(line: str, font: ImageFont.ImageFont, width: float) -> str:
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip(" ,") + "…"
