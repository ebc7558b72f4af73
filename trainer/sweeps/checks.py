"""Checks of a sweep's images beside likeness and prompt: repeated backgrounds, and artefacts."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ..measures.artefacts import find_faults
from ..measures.background import Background, copies_background, read_background
from ..pictures.images import to_image


class TrainingBackgrounds:
    """The backgrounds of the training images, with which a sweep's are compared."""

    def __init__(self, training: Tensor | None) -> None:
        self.training = training

    @cached_property
    def _known(self) -> list[Background]:
        return [] if self.training is None else _read(self.training)

    def share_copied(self, pixels: Tensor, without: Tensor | None) -> float | None:
        """Share of images [B, 3, H, W] that repeat one of them, where the same image without the LoRA does not; None
        if there is no training image."""
        if self.training is None:
            return None
        copied = [copies_background(own, self._known) for own in _read(pixels)]
        if without is not None and any(copied):
            usual = iter(_read(without[copied]))
            copied = [each and not copies_background(next(usual), self._known) for each in copied]
        return sum(copied) / len(copied)


def measure_artefacts(pixels: Tensor, without: Tensor | None) -> tuple[float | None, tuple[str, ...]]:
    """(share of images with an artefact that they lack without the LoRA, how many images have which); (None, ()) if
    there are no images without the LoRA."""
    if without is None:
        return None, ()
    faults = find_faults(pixels, without)
    found = [any(each) for each in zip(*faults.values(), strict=True)]
    return sum(found) / len(found), tuple(
        f"{name} in {sum(each)} of {len(each)}" for name, each in faults.items() if any(each))


def _read(pixels: Tensor) -> list[Background]:
    return [read_background(to_image(picture)) for picture in pixels]
