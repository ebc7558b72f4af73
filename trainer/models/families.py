"""Facts about model families, one table row each. A new family is a new row.

Preset figures are the defaults of kohya sd-scripts, OneTrainer and ai-toolkit as of 2026, brought to one convention
(alpha = rank / 2 or alpha = rank, with the rate for that ratio); the sandbox's were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..common.errors import unknown_name

UNET_BLOCKS = ("down_blocks", "mid_block", "up_blocks", "input_blocks", "middle_block", "output_blocks")
"""Names of the blocks in diffusers and in the original UNet (LDM, sgm)."""

WORDINGS = ("tags", "sentences")
"""How a base's text encoder was taught: by lists of tags, or by sentences."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Starting settings for one kind of LoRA. A rate means nothing without its alpha / rank."""

    rank: int
    alpha: float
    learning_rate: float
    steps: int
    batch_size: int
    conv_rank: int = 0
    layers: str = "attention+mlp"
    schedule: str = "constant"
    text_encoder_learning_rate: float | None = None
    """None: the text encoder is not trained."""
    images: int | None = None
    """Number of images that `steps` is meant for; None: the number of the LoRA's kind; 0: any number."""


@dataclass(frozen=True)
class HostModel:
    """How the host's model of a family is recognized: by its class, and by settings its network was built with."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the trainer must know about a model family.

    Attributes:
        objective: what the network predicts, a key of objectives.OBJECTIVES.
        latent_channels: channels of a latent.
        bucket_step: sides of training images are multiples of this many pixels.
        resolution: side in pixels of the square it was trained on.
        timestep_density, weighting: defaults, keys of the tables in objectives.py.
        blocks: adapters go only into modules whose dotted path contains one of these names.
        host: the host's model class; None for families that the host recognizes by a mark, or not at all.
        guidance: the guidance given to a guidance-distilled model while it is trained; None if it has no such input.
        cfg, sample_steps, sampler, scheduler: defaults for generating images; the last two by the host's names.
        wording: how its captions and prompts are worded, one of WORDINGS.
        excluded: adapters never go into modules whose dotted path contains one of these names.
        architecture: `modelspec.architecture` without the `/lora` ending.
        presets: starting settings by kind (style, character, concept).
    """

    name: str
    title: str
    objective: str
    latent_channels: int
    bucket_step: int
    resolution: int
    architecture: str
    timestep_density: str = "uniform"
    weighting: str = "none"
    blocks: tuple[str, ...] = UNET_BLOCKS
    host: HostModel | None = None
    guidance: float | None = None
    cfg: float = 5.0
    sample_steps: int = 24
    sampler: str = "euler"
    scheduler: str = "normal"
    wording: str = "tags"
    excluded: tuple[str, ...] = ()
    presets: Mapping[str, Preset] = field(default_factory=dict)


LUMINA_BLOCKS = ("layers", "context_refiner", "noise_refiner")


def _presets(style: Preset, character: Preset) -> dict[str, Preset]:
    return {"style": style, "character": character, "concept": character}


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="sandbox", title="Sandbox (drawn world, 64 px)", objective="v", latent_channels=4, bucket_step=8,
            resolution=64, architecture="sandbox", weighting="min_snr", cfg=3.0, sample_steps=16,
            presets=_presets(
                # gentle on purpose: a style LoRA that is fitted closely to its four crops draws no other view
                Preset(rank=8, alpha=8, learning_rate=1e-3, steps=100, batch_size=8, conv_rank=8, layers="all",
                       images=0),
                Preset(rank=8, alpha=8, learning_rate=1.5e-3, steps=350, batch_size=8, conv_rank=8, layers="all",
                       schedule="cosine", text_encoder_learning_rate=1e-3, images=0),
            ),
        ),
        Family(
            name="sd15", title="Stable Diffusion 1.5", objective="eps", latent_channels=4, bucket_step=64,
            resolution=512, architecture="stable-diffusion-v1", weighting="min_snr", cfg=6.0,
            host=HostModel("BaseModel", {"context_dim": 768}),
            presets=_presets(
                Preset(rank=16, alpha=8, learning_rate=2e-4, steps=800, batch_size=2),
                Preset(rank=32, alpha=16, learning_rate=2e-4, steps=1600, batch_size=2),
            ),
        ),
        Family(
            name="sdxl", title="Stable Diffusion XL", objective="eps", latent_channels=4, bucket_step=64,
            resolution=1024, architecture="stable-diffusion-xl-v1-base", weighting="min_snr", cfg=5.0,
            host=HostModel("SDXL"),
            presets=_presets(
                Preset(rank=16, alpha=8, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=16, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="sd3", title="Stable Diffusion 3.5", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="stable-diffusion-3.5", timestep_density="logit_normal", cfg=4.5,
            blocks=("joint_blocks",), host=HostModel("SD3"),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="flux", title="Flux.1", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="flux-1-dev", timestep_density="logit_normal", cfg=1.0, guidance=1.0,
            blocks=("double_blocks", "single_blocks"), host=HostModel("Flux"),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=16, alpha=16, learning_rate=2e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="chroma", title="Chroma", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="chroma", timestep_density="logit_normal", cfg=4.0,
            blocks=("double_blocks", "single_blocks"), host=HostModel("Chroma"),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="z_image", title="Z-Image", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="z-image", timestep_density="logit_normal", cfg=4.0,
            blocks=LUMINA_BLOCKS, host=HostModel("Lumina2", {"z_image_modulation": True}),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="lumina2", title="Lumina 2", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="lumina-2", timestep_density="logit_normal", cfg=4.0,
            blocks=LUMINA_BLOCKS, host=HostModel("Lumina2"),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="qwen_image", title="Qwen-Image", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="qwen-image", timestep_density="logit_normal", cfg=4.0,
            blocks=("transformer_blocks",), host=HostModel("QwenImage"),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
    )
}

GENERIC_PRESETS = _presets(
    Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
    Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
)
"""Presets for a model that has no row here: what most tools start with."""


def get_family(name: str) -> Family:
    """The row of that name. Raises UserError with the nearest valid name."""
    if name not in FAMILIES:
        raise unknown_name("model family", name, FAMILIES)
    return FAMILIES[name]


def host_row(model_class: str, settings: Mapping[str, Any]) -> Family | None:
    """The first row that fits a model of the host by its class name and its network's settings, or None."""
    for family in FAMILIES.values():
        host = family.host
        if host and host.name == model_class and all(settings.get(k) == v for k, v in host.settings.items()):
            return family
    return None
