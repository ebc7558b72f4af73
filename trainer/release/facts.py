"""All that the texts of a release are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..captions.kinds import KINDS, name_lora
from .bases import civitai_base
from .history import History
from .measured import BY_AUTHOR, Measured
from .previews import Preview
from .settings import ReleaseSettings
from .source import Source


@dataclass(frozen=True)
class Subject:
    """What is released, and what is known of it.

    Attributes:
        name: of the folder, and of the file without its ending.
    """

    name: str
    settings: ReleaseSettings
    source: Source
    measured: Measured

    @property
    def file(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def title(self) -> str:
        return self.settings.title or self.name

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def trigger(self) -> str:
        return self.settings.trigger or self.source.trigger

    @property
    def negative(self) -> str:
        return self.settings.negative or str(self.measured.settings.get("negative") or "")

    @property
    def tags(self) -> list[str]:
        own = [self.kind] if self.kind in KINDS else []
        return list(dict.fromkeys((*self.settings.tags, *own)))

    @property
    def what(self) -> str:
        """`A character LoRA for Stable Diffusion 1.5.`"""
        lora = name_lora(self.kind) if self.kind in KINDS else "a LoRA"
        base = self.source.family.title if self.source.family else "a base model that its file does not name"
        return f"{lora[0].upper()}{lora[1:]} for {base}."

    @property
    def civitai_base(self) -> str:
        return self.settings.civitai_base or civitai_base(self.source.family)

    @property
    def strength_line(self) -> str:
        """The strength to use, and how it was found."""
        found = self.measured
        if found.strength is None:
            return "Not measured."
        if found.found_by == BY_AUTHOR:
            return f"{found.strength:g}, stated by the author."
        return f"{found.strength:g}, by {found.found_by}."

    @property
    def usage_hint(self) -> str:
        """modelspec's usage_hint: how to use it, in a line."""
        trigger = f"Write {self.trigger} in the prompt." if self.trigger else ""
        at = self.measured.strength
        return " ".join(filter(None, (trigger, "" if at is None else f"Use it at strength {at:g}.")))


@dataclass(frozen=True)
class Facts(Subject):
    """Attributes:
        metadata: of the released file.
        hashes: of the released file, by the names that sites use.
        size: of the released file, in bytes.
        warnings: what is open about consent and rights.
    """

    previews: tuple[Preview, ...]
    metadata: Mapping[str, str]
    hashes: Mapping[str, str]
    size: int
    history: History
    warnings: tuple[str, ...]
