"""The host's IMAGE tensors ([B, H, W, C] float32 in 0..1) as Pillow images and back, and images drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from ...trainer.common.errors import UserError
from ...trainer.datasets.dataset import Sample
from ...trainer.pictures import images
from ...trainer.pictures.images import to_image, to_tensor
from ...trainer.pictures.sheet import contact_sheet
from ...trainer.pictures.text import Pen
from ..paths import output_path

CAPTION_HEIGHT = 34
CELL = 176
_CHANNELS = (1, 3, 4)


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Each image of an IMAGE batch, as RGB; a fourth channel is blended onto white.

    Raises UserError for what is not a batch of images with 1, 3 or 4 channels.
    """
    _check_images(images)
    return [_picture(image) for image in images]


def _check_images(images: Tensor) -> None:
    shape = " x ".join(map(str, images.shape))
    if images.ndim != 4:
        raise UserError(f"the input is {shape}, which is not a batch of images (number x height x width x channels). "
                        "Link images; of a film, link its frames as a batch.")
    if images.shape[-1] not in _CHANNELS:
        raise UserError(f"the images have {images.shape[-1]} channels ({shape}); an image has 1 (grey), 3 (colours) or "
                        "4 (colours and transparency). Link images, or convert them first.")
    if not all(images.shape[1:3]):
        raise UserError(f"the images have no pixels ({shape}). Link images with a width and a height.")


def _picture(image: Tensor) -> Image.Image:
    pixels = image.detach().float().cpu().movedim(-1, 0)
    if len(pixels) == 4:
        pixels = pixels[:3] * pixels[3] + (1 - pixels[3])
    return to_image(pixels.expand(3, -1, -1))


def as_saved(images: Tensor) -> list[Image.Image]:
    """Each image of an IMAGE batch, exactly as the host's Save Image writes it: truncated to 8 bits, not rounded."""
    return [Image.fromarray((image.detach().cpu().float() * 255).clamp(0, 255).to(torch.uint8).numpy())
            for image in images]


def made_images(batches: Sequence[Tensor], convert: Callable[[Tensor], list[Image.Image]]) -> list[Image.Image]:
    """Every image of a list of IMAGE batches. Raises UserError if there is none."""
    found = [picture for batch in batches for picture in convert(batch)]
    if not found:
        raise UserError("the sampler made no image; use a latent that holds at least one.")
    return found


def first_of_batch(images: Tensor | None, name: str) -> list[str]:
    """A line if an input takes one image and has a batch."""
    count = 0 if images is None else len(images)
    return [f"{name} is a batch of {count} images; only the first is used."] if count > 1 else []


def shown_images(paths: Sequence[Path]) -> dict[str, list[dict[str, str]]]:
    """What a node's `ui` holds to show images of the output folder in the node."""
    return {"images": [{"filename": path.name, "subfolder": output_path(path.parent), "type": "output"}
                       for path in paths]}


def to_masks(masks: Tensor) -> list[Image.Image]:
    """Each mask of a MASK batch ([B, H, W] or [H, W] in 0..1), in mode L."""
    return [to_image(mask.detach().float().cpu()[None].expand(3, -1, -1)).convert("L")
            for mask in masks.reshape(-1, *masks.shape[-2:])]


def to_batch(picture: Image.Image) -> Tensor:
    """An image as an IMAGE batch of one, [1, H, W, 3]."""
    return to_tensor(picture).movedim(0, -1)[None].contiguous()


def to_batches(pictures: Iterable[Image.Image]) -> Tensor:
    """Images of one size as an IMAGE batch."""
    return torch.cat([to_batch(picture) for picture in pictures])


def short_pixel_hash(picture: Image.Image) -> str:
    """Twelve hexadecimal digits that two images share only if their pixels are the same."""
    return images.pixel_hash(picture)[:12]


def samples_sheet(samples: Sequence[Sample], columns: int = 4) -> Tensor:
    """The images with the first words of their captions, as an IMAGE."""
    cells = [with_caption(sample.load(shown_at=CELL), sample.caption, CELL) for sample in samples]
    return to_batch(contact_sheet(cells, min(columns, max(1, len(cells))), cell=CELL))


def with_caption(picture: Image.Image, caption: str, side: int) -> Image.Image:
    """A square of `side` pixels: the image, and below it the first words of the caption."""
    cell = Image.new("RGB", (side, side), "white")
    fitted = ImageOps.contain(picture.convert("RGB"), (side, side - CAPTION_HEIGHT), Image.Resampling.LANCZOS)
    cell.paste(fitted, ((side - fitted.width) // 2, 0))
    pen = Pen(11)
    lines = pen.wrap(caption or "(no caption)", side - 4, most=2)
    pen.write(ImageDraw.Draw(cell), lines, (2, side - CAPTION_HEIGHT + 4), "black")
    return cell
