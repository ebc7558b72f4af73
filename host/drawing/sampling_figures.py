"""How a model is sampled where nobody says: the steps, cfg, size, sampler and scheduler of its family's row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...trainer.models.families import Distilled, Family, named_row, recognise_form
from ..backbone.facts import known_family, said_of

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


@dataclass(frozen=True)
class DrawnModel:
    """What is known of a linked MODEL that decides how it is drawn with.

    Attributes:
        family: its family's row; None if it has none.
        side: width of the empty latent whose image has the family's resolution.
        said: its file's name and title; "" if not known.
        settings: what its network was built with.
        file: what it was loaded from; "" if not known.
    """

    family: Family | None
    side: int = 0
    said: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""

    @classmethod
    def of(cls, model: Any, vae: Any, file: str = "") -> DrawnModel:
        """`file`: what it was loaded from, if that is known."""
        network = getattr(model, "model", None)
        family = known_family(network) if hasattr(network, "model_config") else None
        if family is None or network is None:
            return cls(None)
        return cls(family, latent_side(family, model, vae), said_of(file), network.model_config.unet_config,
                   file)

    def form(self, file: str = "") -> Distilled | None:
        """The distilled form of the family that it is, or that another file is one of; None for its base, and where
        nothing tells."""
        if self.family is None:
            return None
        form = recognise_form(self.family, said_of(file)) if file else recognise_form(self.family, self.said,
                                                                                     self.settings)
        return form if isinstance(form, Distilled) else None

    def figures(self, file: str = "") -> Figures:
        """How it is drawn with, or another file of its family."""
        if self.family is None:
            return UNKNOWN
        row, form = named_row(self.family, file or self.said), self.form(file)
        steps, cfg = (form.steps, form.cfg) if form else (row.sample_steps, row.cfg)
        return Figures(self.side, self.side, steps, cfg, row.sampler, row.scheduler)

    def strengths(self, files: Iterable[str]) -> tuple[float, ...]:
        """The strengths to try a LoRA at on its distilled forms, of those that it and other files are."""
        forms = filter(None, (self.form(), *map(self.form, files)))
        return tuple(dict.fromkeys(strength for form in forms for strength in form.strengths))

    def advice(self, files: Sequence[str], strengths: Iterable[float]) -> list[str]:
        """Lines about the distilled forms that a LoRA of this model is for, as far as a sweep leaves them out."""
        if self.family is None:
            return []
        drawn = [form for form in (self.form(), *map(self.form, files)) if form]
        usual = [form for form in self.family.distilled if form.common]
        lines = [f"A LoRA of {form.base} is for {form.title} too: write its file into bases, and draw it at strengths "
                 f"from {form.strengths[0]:g} to {form.strengths[-1]:g}." for form in usual if not drawn]
        highest = max(strengths, default=0.0)
        return lines + [f"On {form.title}, try strengths up to {form.strengths[-1]:g}."
                        for form in usual if form in drawn and highest < form.strengths[-1]]


def latent_side(family: Family, model: Any, vae: Any) -> int:
    """Width of the empty latent that becomes an image of the family's resolution.

    The host's empty latent has an eighth of that, whatever the VAE makes of it; a host that knows the ratio of the
    model's latents brings the empty one to it by itself.
    """
    ratio = getattr(model.get_model_object("latent_format"), "spacial_downscale_ratio", HOSTS_RATIO)
    return family.resolution * ratio // int(vae.spacial_compression_encode())


def describe_sampling(values: Mapping[str, Any], model: DrawnModel) -> str:
    """How a node will draw, in one line, before the model is loaded: `20 steps · cfg 7 · 1024 x 1024 · euler · normal`.

    Args:
        values: the widgets' values; those that come over a link are absent.
        model: what is known of the linked one.
    """
    figures = Figures(*(values.get(widget, left) for widget, left in LEFT.items()))
    if model.family is not None:
        figures = figures.settle(model.figures())
    words = {"steps": f"{figures.steps} steps", "cfg": f"cfg {figures.cfg:g}",
             "size": f"{figures.width} x {figures.height}", "sampler": figures.sampler, "scheduler": figures.scheduler}
    linked = {_part(name) for name, widget in zip(_NAMES, LEFT, strict=True) if widget not in values}
    left = {_part(name) for name in figures.open} - linked
    said = [text for name, text in words.items() if name not in linked | left]
    said += [f"{', '.join(name for name in words if name in some)} {why}"
             for some, why in ((linked, "over a link"), (left, BY_MODEL)) if some]
    return " · ".join(said)


LEFT = {"width": 0, "height": 0, "steps": 0, "cfg": -1.0, "sampler_name": BY_MODEL, "scheduler": BY_MODEL}
"""The widgets of `Figures`, in its order, and the values that leave them to the model."""
_NAMES = (*SIZE, *SAMPLER)


def _part(name: str) -> str:
    """Width and height are one part of the line."""
    return "size" if name in SIZE else name
