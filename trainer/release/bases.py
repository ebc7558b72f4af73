"""What sites and web UIs call the families of base models. A family that a site does not know is its word for others.

Sources: the base models that Civitai's API names, and A1111's editor of a LoRA's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..models.families import Family
from ..training.config import DORA, LOHA, LOKR, LORA

CIVITAI: Mapping[str, str] = {
    "sd15": "SD 1.5", "sdxl": "SDXL 1.0", "illustrious": "Illustrious", "sd3": "SD 3.5", "flux": "Flux.1 D",
    "chroma": "Chroma", "z_image": "ZImageBase", "lumina2": "Lumina", "qwen_image": "Qwen", "anima": "Anima",
    "flux2": "Flux.2 D", "wan": "Wan Video"}
CIVITAI_OTHER = "Other"
CIVITAI_TYPES: Mapping[str, str] = {DORA: "DoRA", LOHA: "LoCon", LOKR: "LoCon"}
"""Types of models by kind of adapter; LORA for any other. LoCon stands for all of LyCORIS."""
A1111: Mapping[str, str] = {"sd15": "SD1", "sdxl": "SDXL", "illustrious": "SDXL", "sd3": "SD3"}
A1111_OTHER = "Unknown"
DIFFUSERS = ("sd15", "sdxl", "illustrious", "sd3", "flux", "flux2", "qwen_image", "z_image", "lumina2", "chroma", "wan")
"""Families whose pipelines in diffusers load LoRA files."""
DIFFUSERS_ADAPTERS = (LORA, "locon")
"""Kinds of adapters that these pipelines load as they were trained: diffusers does not know LoHa and LoKr, and its DoRA
norms rows instead of columns."""


def civitai_base(family: Family | None) -> str:
    return CIVITAI.get(family.name, CIVITAI_OTHER) if family else CIVITAI_OTHER


def a1111_base(family: Family | None) -> str:
    return A1111.get(family.name, A1111_OTHER) if family else A1111_OTHER
