"""How a model is sampled where nobody says: the steps, cfg, size, sampler and scheduler of its family's row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ...trainer.models.families import Family
from ..backbone.facts import known_family

BY_MODEL = "by the model"
"""What a widget holds where the model decides."""
HOSTS_RATIO = 8
"""Pixels per latent pixel, along a side, that the host's Empty Latent Image counts with."""
SIZE, SAMPLER = ("width", "height"), ("steps", "cfg", "sampler", "scheduler")


@dataclass(frozen=True)
class Figures:
    """What a sampler is set to, with an empty latent of `width` x `height`, as Empty Latent Image makes it."""

    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str

    @property
    def open(self) -> tuple[str, ...]:
        """The names of those that are left to the model: no size, no steps, a cfg below 0."""
        left = {"width": not self.width, "height": not self.height, "steps": not self.steps, "cfg": self.cfg < 0,
                "sampler": self.sampler == BY_MODEL, "scheduler": self.scheduler == BY_MODEL}
        return tuple(name for name in (*SIZE, *SAMPLER) if left[name])

    def settle(self, own: Figures) -> Figures:
        """These, with the model's own where they are open."""
        return replace(self, **own.only(self.open))

    @property
    def text(self) -> str:
        return (f"{self.width} x {self.height}, {self.steps} steps, cfg {self.cfg:g}, {self.sampler}, "
                f"{self.scheduler}")

    def only(self, names: Iterable[str]) -> dict[str, Any]:
        """Some of them, by name."""
        return {name: getattr(self, name) for name in names}


UNKNOWN = Figures(1024, 1024, 20, 6.0, "euler", "normal")
"""Those of a model that has no row."""


def figures_of(model: Any, vae: Any) -> Figures:
    """The figures of a MODEL's family; UNKNOWN if it has no row.

    The size is the one whose image has the family's resolution: the host's empty latent has an eighth of it, whatever
    the VAE makes of that.
    """
    family = known_family(model.model)
    return UNKNOWN if family is None else of_family(family, latent_side(family, model, vae))


def of_family(family: Family, side: int) -> Figures:
    return Figures(side, side, family.sample_steps, family.cfg, family.sampler, family.scheduler)


def latent_side(family: Family, model: Any, vae: Any) -> int:
    """Width of the empty latent that becomes an image of the family's resolution. A host that knows the ratio of the
    model's latents brings the empty one to it by itself."""
    ratio = getattr(model.get_model_object("latent_format"), "spacial_downscale_ratio", HOSTS_RATIO)
    return family.resolution * ratio // int(vae.spacial_compression_encode())
