"""Checks of a sweep's images beside likeness and prompt: repeated backgrounds, and artefacts."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ..measures.artefacts import find_faults
from ..measures.background import Background, copies_background, read_background
from ..models.probe import pixels_hash
from ..pictures.images import to_image


class TrainingBackgrounds:
    """The backgrounds of the training images, with which a sweep's are compared."""

    def __init__(self, training: Tensor | None) -> None:
        self.training = training
        self._usual: dict[str, bool] = {}

    @cached_property
    def _known(self) -> list[Background]:
        return [] if self.training is None else [read_background(to_image(picture)) for picture in self.training]

    def share_copied(self, pixels: Tensor, without: Tensor | None) -> float | None:
        """Share of images [B, 3, H, W] that repeat one of them, where the same image without the LoRA does not; None
        if there is no training image."""
        if self.training is None:
            return None
        copied = [self._is_copy(picture) for picture in pixels]
        if without is not None:
            copied = [each and not self._is_usual(picture) for each, picture in zip(copied, without, strict=True)]
        return sum(copied) / len(copied)

    def _is_copy(self, picture: Tensor) -> bool:
        return copies_background(read_background(to_image(picture)), self._known)

    def _is_usual(self, picture: Tensor) -> bool:
        """Whether an image without the LoRA is a copy. The same one is beside every checkpoint and strength."""
        key = pixels_hash(picture)
        if key not in self._usual:
            self._usual[key] = self._is_copy(picture)
        return self._usual[key]


def measure_artefacts(pixels: Tensor, without: Tensor | None) -> tuple[float | None, tuple[str, ...]]:
    """(share of images with an artefact that they lack without the LoRA, how many images have which); (None, ()) if
    there are no images without the LoRA."""
    if without is None:
        return None, ()
    faults = find_faults(pixels, without)
    found = [any(each) for each in zip(*faults.values(), strict=True)]
    return sum(found) / len(found), tuple(
        f"{name} in {sum(each)} of {len(each)}" for name, each in faults.items() if any(each))
