"""Facts about model families, one table row each. A new family is a new row.

Preset figures are the defaults of kohya sd-scripts, OneTrainer and ai-toolkit as of 2026, brought to one convention
(alpha = rank / 2 or alpha = rank, with the rate for that ratio); the sandbox's were measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
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


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """A distilled form of a family's base: LoRAs are used on it, but trained on the base.

    Attributes:
        names: pattern of the file names (and of titles in their metadata) that it goes by.
        settings: settings that only its network is built with, if there are such.
        base: what to train on instead.
        remedy: another way to train, a sentence; "" if there is none.
        strengths: what to try on it for a LoRA of the base.
        steps, cfg: how it draws.
        common: whether people have it as often as the base, so that a file with any other name may be it.
    """

    title: str
    names: str
    base: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    strengths: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2)
    steps: int = 8
    cfg: float = 1.0
    common: bool = False


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
        shift: shift of the times in training; None for the model's own, which it samples with. Ignored if a density of
            times is chosen by hand.
        guidance: the guidance given to a guidance-distilled model while it is trained; None if it has no such input.
        drawing_guidance: the guidance that it draws with.
        cfg, sample_steps, sampler, scheduler: defaults for generating images; the last two by the host's names.
        wording: how its captions and prompts are worded, one of WORDINGS.
        excluded: adapters never go into modules whose dotted path contains one of these names.
        trains_text: whether training its text encoder is usual. Language models are kept as they are.
        quality: words of quality that its prompts begin with.
        caption_order: the order of words in its captions, by the model's authors; "" for any.
        architecture: `modelspec.architecture` without the `/lora` ending.
        presets: starting settings by kind (style, character, concept).
        distilled: forms of it that LoRAs are used on but not trained on.
        base_names: pattern of the file names that the base goes by, where they could be taken for a distilled form's.
        among: the family that it is one of, if only the file's name, by `base_names`, tells it from others.
        renewed: choices of layers by which this row trains otherwise than earlier versions did, so that runs of theirs
            are neither continued nor reused.
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
    shift: float | None = None
    guidance: float | None = None
    drawing_guidance: float | None = None
    cfg: float = 5.0
    sample_steps: int = 24
    sampler: str = "euler"
    scheduler: str = "normal"
    wording: str = "tags"
    excluded: tuple[str, ...] = ()
    trains_text: bool = True
    quality: tuple[str, ...] = ()
    caption_order: str = ""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    distilled: tuple[Distilled, ...] = ()
    base_names: str = ""
    among: str = ""
    renewed: tuple[str, ...] = ()


LUMINA_BLOCKS = ("layers", "context_refiner", "noise_refiner")
FLUX_BLOCKS = ("double_blocks", "single_blocks")
EVERY_CHOICE = ("attention", "attention+mlp", "all")
NOOB_QUALITY = ("masterpiece", "best quality", "newest", "absurdres", "highres")
FEW_STEPS = r"turbo|lightning|hyper(?![-_ ]?(real|photo|detail))|lcm|dmd"
FEW_STEP_SDXL = Distilled(
    title="a few-step SDXL (Turbo, Lightning, Hyper, LCM, DMD2)", base="the model that it was made from",
    names=rf"(xl|pony|illustrious|noob).*({FEW_STEPS})|({FEW_STEPS}).*xl")
FEW_STEP_SD15 = Distilled(
    title="a few-step Stable Diffusion 1.5 (LCM, Hyper, Lightning)", base="the model that it was made from",
    names=FEW_STEPS)
FEW_STEP = Distilled(title="a few-step model", base="the model that it was made from",
                     names=rf"{FEW_STEPS}|distill|schnell|(^|[^\d])[48][-_ ]?steps?([^a-z]|$)")
"""For a model without a row."""


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
            host=HostModel("BaseModel", {"context_dim": 768}), distilled=(FEW_STEP_SD15,),
            presets=_presets(
                Preset(rank=16, alpha=8, learning_rate=2e-4, steps=800, batch_size=2),
                Preset(rank=32, alpha=16, learning_rate=2e-4, steps=1600, batch_size=2),
            ),
        ),
        Family(
            name="sdxl", title="Stable Diffusion XL", objective="eps", latent_channels=4, bucket_step=64,
            resolution=1024, architecture="stable-diffusion-xl-v1-base", weighting="min_snr", cfg=5.0,
            host=HostModel("SDXL"), distilled=(FEW_STEP_SDXL,),
            presets=_presets(
                Preset(rank=16, alpha=8, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=16, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            # eps and v alike: the host reads which it is, and zero terminal SNR, from the file. Sampling and words as
            # on https://huggingface.co/Laxhar/noobai-XL-1.1 and .../OnomaAIResearch/Illustrious-xl-early-release-v0
            name="illustrious", title="Illustrious, NoobAI (SDXL)", objective="eps", latent_channels=4, bucket_step=64,
            resolution=1024, architecture="stable-diffusion-xl-v1-base", weighting="min_snr", cfg=5.5, sample_steps=28,
            among="sdxl", base_names=r"illustrious|noob|(^|[^a-z])(wai|il|ilxl)(v?\d|[^a-z]|$)",
            distilled=(FEW_STEP_SDXL,), sampler="euler", quality=NOOB_QUALITY, caption_order="noobai",
            presets=_presets(
                Preset(rank=16, alpha=8, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=16, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="sd3", title="Stable Diffusion 3.5", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="stable-diffusion-3.5", timestep_density="logit_normal", cfg=4.5,
            blocks=("joint_blocks",), host=HostModel("SD3"),
            distilled=(Distilled(title="Stable Diffusion 3.5 Turbo", names=r"turbo|flash", base="Stable Diffusion 3.5",
                                 steps=4),),
            wording="sentences", scheduler="simple",
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="flux", title="Flux.1", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="flux-1-dev", timestep_density="logit_normal", cfg=1.0, guidance=1.0,
            drawing_guidance=3.5, blocks=FLUX_BLOCKS, host=HostModel("Flux"), renewed=("attention",),
            wording="sentences", scheduler="simple", base_names=r"open-?flux|flex|de[-_ ]?distill|dev",
            distilled=(Distilled(title="Flux.1 schnell", names="schnell", settings={"guidance_embed": False},
                                 base="Flux.1 dev", steps=4),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=16, alpha=16, learning_rate=2e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="chroma", title="Chroma", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="chroma", timestep_density="logit_normal", cfg=4.0,
            blocks=FLUX_BLOCKS, host=HostModel("Chroma"), renewed=("attention",),
            wording="sentences", scheduler="simple",
            distilled=(Distilled(title="Chroma Flash", names=r"flash|turbo|hyper", base="Chroma HD or Base"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            # shift, rank and rate: musubi-tuner docs/zimage.md; Turbo: the same page, and ostris' training adapter
            # (https://huggingface.co/ostris/zimage_turbo_training_adapter)
            name="z_image", title="Z-Image", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="z-image", timestep_density="logit_normal", shift=2.0, cfg=4.0,
            sample_steps=28, blocks=LUMINA_BLOCKS, host=HostModel("Lumina2", {"z_image_modulation": True}),
            wording="sentences", scheduler="simple", trains_text=False, renewed=EVERY_CHOICE,
            base_names=(r"de[-_ ]?turbo|de[-_ ]?distill|"
                        r"^(?!.*(turbo|zit)).*(base|z[-_ ]?image[-_ ]?(bf16|fp8|fp16|int8|nvfp4|q\d))"),
            distilled=(Distilled(
                title="Z-Image Turbo", names="turbo|zit", base="Z-Image (base) or Z-Image De-Turbo", common=True,
                remedy="To train on Turbo itself, load ostris' zimage_turbo_training_adapter on the MODEL first"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            name="lumina2", title="Lumina 2", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="lumina-2", timestep_density="logit_normal", cfg=4.0,
            blocks=LUMINA_BLOCKS, host=HostModel("Lumina2"),
            wording="sentences", scheduler="simple", trains_text=False,
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        *(Family(
            # shift: musubi-tuner docs/qwen_image.md. Edit 2511 has a network of its own; Edit and 2509 have the base's
            name=name, title=title, objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="qwen-image", timestep_density="logit_normal", shift=2.2, cfg=4.0,
            blocks=("transformer_blocks",), host=HostModel("QwenImage", settings), trains_text=False,
            wording="sentences", scheduler="simple", renewed=EVERY_CHOICE,
            distilled=(Distilled(title="a few-step Qwen-Image (Lightning)", base=title,
                                 names=r"lightning|turbo|distill|[48]-?steps"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ) for name, title, settings in (
            ("qwen_image_edit", "Qwen-Image-Edit 2511", {"default_ref_method": "index_timestep_zero"}),
            ("qwen_image", "Qwen-Image", {}))),
        Family(
            # layers, rank, rate, shift at 1024 px: musubi-tuner docs/krea2.md (the authors' own default: all linears,
            # 32/32). Strengths on Turbo: https://github.com/SceneWorks/SceneWorks/pull/904. RAW draws with 52 steps
            # at 3.5 (https://github.com/SceneWorks/SceneWorks/pull/1215)
            name="krea2", title="Krea 2", objective="flow", latent_channels=16, bucket_step=64, resolution=1024,
            architecture="krea-2", timestep_density="logit_normal", shift=2.5, cfg=3.5, sample_steps=52,
            blocks=("blocks", "layerwise_blocks", "refiner_blocks"), host=HostModel("Krea2"), trains_text=False,
            wording="sentences", scheduler="simple", renewed=EVERY_CHOICE,
            base_names=r"^(?!.*turbo).*(^|[^a-z])(raw|base)([^a-z]|$)",
            distilled=(Distilled(title="Krea 2 Turbo", names="turbo", base="Krea 2 RAW", common=True,
                                 strengths=(1.0, 1.25, 1.5, 1.75, 2.0)),),
            presets=_presets(
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=1000, batch_size=1, layers="all"),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1, layers="all"),
            ),
        ),
        Family(
            # density without shift, rank from 8, 1e-4 at alpha 1 (so about 2e-5 at alpha = rank), no modulation layers:
            # sd-scripts docs/anima_train_network.md. No LLM adapter: its authors'
            # https://github.com/gazingstars123/Anima-Standalone-Trainer/issues/28. Words, order, sampling: the card
            # https://huggingface.co/circlestone-labs/Anima
            name="anima", title="Anima", objective="flow", latent_channels=16, bucket_step=64, resolution=1024,
            architecture="anima", timestep_density="logit_normal", shift=1.0, cfg=4.5, sample_steps=30,
            blocks=("blocks",), excluded=("llm_adapter",), host=HostModel("Anima"), trains_text=False,
            sampler="er_sde", scheduler="simple", quality=("masterpiece", "best quality"), caption_order="anima",
            renewed=EVERY_CHOICE,
            distilled=(Distilled(title="a few-step Anima (Turbo)", names="turbo|lightning|distill", base="Anima"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=2e-5, steps=1500, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=2e-5, steps=2000, batch_size=1),
            ),
        ),
        Family(
            # rank, rate and the model's own shift: musubi-tuner docs/flux_2.md; guidance 1 in training, as for Flux.1
            # (sd-scripts docs/flux_train_network.md); drawn at 4 (https://github.com/black-forest-labs/flux2)
            name="flux2", title="Flux.2 dev", objective="flow", latent_channels=128, bucket_step=64, resolution=1024,
            architecture="flux-2-dev", timestep_density="logit_normal", guidance=1.0, drawing_guidance=4.0, cfg=1.0,
            sample_steps=28, blocks=FLUX_BLOCKS, host=HostModel("Flux2", {"guidance_embed": True}), trains_text=False,
            wording="sentences", scheduler="simple", renewed=EVERY_CHOICE,
            distilled=(Distilled(title="Flux.2 dev Turbo", names="turbo", base="Flux.2 dev"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
        Family(
            # 4B and 9B. Ranks, rates, steps: the Klein workshop (https://github.com/stephen37/workshops); that one
            # trains on base: the same, and https://happyin.space/image-generation/flux-klein-style-lora-system/
            name="flux2_klein", title="Flux.2 Klein", objective="flow", latent_channels=128, bucket_step=64,
            resolution=1024, architecture="flux-2-klein", timestep_density="logit_normal", cfg=4.0, sample_steps=50,
            blocks=FLUX_BLOCKS, host=HostModel("Flux2"), trains_text=False,
            wording="sentences", scheduler="simple", renewed=EVERY_CHOICE, base_names=r"^(?!.*distill).*base",
            distilled=(Distilled(title="Flux.2 Klein of 4 steps", names="klein", base="Flux.2 Klein base", steps=4,
                                 common=True),),
            presets=_presets(
                # 30 steps an image (happyin.space, 56 trainings)
                Preset(rank=16, alpha=16, learning_rate=3e-4, steps=800, batch_size=1, images=27),
                Preset(rank=32, alpha=32, learning_rate=2e-4, steps=1200, batch_size=1, images=40),
            ),
        ),
        Family(
            # stills. Wan 2.2 14B is two experts for high and low noise: each trains as a model of its own
            name="wan", title="Wan 2.1, 2.2 (stills)", objective="flow", latent_channels=16, bucket_step=64,
            resolution=1024, architecture="wan-2.1", timestep_density="logit_normal", cfg=3.5, sample_steps=20,
            blocks=("blocks",), host=HostModel("WAN21", {"model_type": "t2v"}), trains_text=False,
            wording="sentences", scheduler="simple", renewed=EVERY_CHOICE,
            distilled=(Distilled(title="a few-step Wan (Lightning, CausVid)", base="Wan",
                                 names=r"lightning|lightx2v|causvid|distill|turbo"),),
            presets=_presets(
                Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1),
                Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1),
            ),
        ),
    )
}

GENERIC_PRESETS = _presets(
    Preset(rank=16, alpha=16, learning_rate=1e-4, steps=1000, batch_size=1, layers="all"),
    Preset(rank=32, alpha=32, learning_rate=1e-4, steps=2000, batch_size=1, layers="all"),
)
"""Presets for a model that has no row here: what most tools start with, in all linear layers of its blocks."""


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


def named_row(family: Family, file: str) -> Family:
    """The family, or one among it that the base's file name tells, with what is known of the loaded model."""
    for row in FAMILIES.values():
        if row.among == family.name and re.search(row.base_names, Path(file).stem.lower()):
            return replace(row, objective=family.objective, latent_channels=family.latent_channels,
                           bucket_step=family.bucket_step)
    return family


BASE, UNKNOWN = "base", "unknown"


def recognise_form(family: Family, said: str, settings: Mapping[str, Any] | None = None) -> Distilled | str:
    """Which form of the family a base is: a distilled one, BASE, or UNKNOWN where it may be either.

    Args:
        said: the base's file name, and titles from its metadata; "" if nothing is known.
        settings: what its network was built with.
    """
    text = said.lower()
    if family.base_names and not family.among and re.search(family.base_names, text):
        return BASE
    for form in family.distilled:
        built = settings is not None and form.settings and all(settings.get(k) == v for k, v in form.settings.items())
        if built or re.search(form.names, text):
            return form
    return UNKNOWN if any(form.common for form in family.distilled) else BASE


def distilled_warning(family: Family, said: str, settings: Mapping[str, Any] | None = None) -> str:
    """One line for who trains on a distilled base, or on one that may be; else ""."""
    form = recognise_form(family, said, settings)
    if isinstance(form, Distilled):
        return f"the base is {form.title}, which is distilled. {_advice(form)}"
    if form == UNKNOWN:
        form = next(form for form in family.distilled if form.common)
        known = f"the name {said!r} does not tell" if said else "the base's file is not known, so nothing tells"
        return (f"{known} whether the base is {form.base} or {form.title}, which is distilled. If it is the latter: "
                f"{_advice(form)}")
    return ""


def _advice(form: Distilled) -> str:
    least, *_, most = form.strengths
    advice = (f"A LoRA trained on it blurs what it draws in few steps. Train on {form.base}, and use the LoRA on "
              f"{form.title} at strengths from {least:g} to {most:g}.")
    return f"{advice} {form.remedy}." if form.remedy else advice
