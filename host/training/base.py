"""The base that a training is given: what made its MODEL, CLIP and VAE, as far as the workflow says."""

from __future__ import annotations

from typing import Any

from ..drawing.lora_loaders import describe_loaders
from ..drawing.node_place import NodePlace
from ..drawing.recipe import short_hash


def loras_on_model(model: Any, place: NodePlace) -> list[str]:
    """The LoRAs that a MODEL carries already, as far as the workflow names them; [] for a MODEL without patches."""
    if not getattr(model, "patches", None):
        return []
    return describe_loaders(place.find, place.links["model"]) or ["patches of another node"]


def made_by(parts: tuple[Any, Any, Any], place: NodePlace) -> str:
    """What made a MODEL, CLIP and VAE, if something is set on them that the fingerprint cannot tell; else ""."""
    from ..backbone import contents

    if not contents.unreadable_parts(*parts):
        return ""
    return short_hash([place.key_of(name, value) for name, value in zip(("model", "clip", "vae"), parts, strict=True)])
