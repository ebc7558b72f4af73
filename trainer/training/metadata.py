"""The metadata of a LoRA file: kohya's `ss_*`, Stability's `modelspec.*` 1.0.0, and our own.

Sources: kohya sd-scripts (train_util, sai_model_spec) and github.com/Stability-AI/ModelSpec, for facts only. All
values are texts, as safetensors requires.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..models.families import Family
from .config import DORA, FULL, LOKR, LORA, AdapterConfig, TrainConfig
from .optimizers import OPTIMIZERS, OptimizerConfig
from .tuners.kinds import TUNERS

BASE_VERSIONS = {"stable-diffusion-v1": "sd_v1", "stable-diffusion-xl-v1-base": "sdxl_base_v1-0"}
"""kohya's ss_base_model_version by modelspec.architecture; for others it is the family's name."""

STABLE_SCALE = "rsLoRA: trained at alpha / sqrt(rank); the file's alphas are alpha * sqrt(rank), for alpha / rank"
LINEAGE, WEIGHTS = "lora_bootstrap.lineage", "lora_bootstrap.weights"
"""Metadata: what a file was made from, and of what its weights are an average."""
RECORDED_CAPTIONS = 8
PREDICTIONS = {"eps": "epsilon", "v": "v"}
"""modelspec.prediction_type by objective; flow models have none."""


def lora_metadata(
    config: TrainConfig,
    family: Family,
    *,
    base_fingerprint: str,
    dataset_fingerprint: str,
    tag_frequency: Mapping[str, int] | None = None,
    image_count: int = 0,
    lineage: Mapping[str, Any] | None = None,
    step: int = 0,
    epoch: int = 0,
    started_at: float | None = None,
    captions: Sequence[str] = (),
    further: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Metadata of a LoRA trained for `step` steps. Values that are not known are left out.

    Args:
        tag_frequency: number of images that have each tag.
        started_at: seconds since 1970, UTC.
        captions: all captions as they were trained; a few of them are recorded, to draw them again.
        further: what others have to say, by key.
    """
    facts = _kohya(config, family, tag_frequency or {}, image_count, step, epoch)
    facts |= {f"modelspec.{key}": value for key, value in _modelspec(config, family).items()}
    if config.method == FULL:
        facts = {key: value for key, value in facts.items() if not key.startswith("ss_network_")}
    facts |= {
        **(further or {}),
        "ss_training_started_at": started_at,
        "ss_training_finished_at": time.time(),
        "lora_bootstrap.base_hash": base_fingerprint,
        "lora_bootstrap.dataset_hash": dataset_fingerprint,
        LINEAGE: _json(lineage or {}),
        "lora_bootstrap.config": _json(config.to_dict()),
        "lora_bootstrap.family": family.name,
        "lora_bootstrap.adapter_scale": STABLE_SCALE if config.adapter.rank_stabilized else "",
        WEIGHTS: _averaged(config.optimizer),
        "lora_bootstrap.captions": _json(_spread(captions, RECORDED_CAPTIONS)) if captions else "",
    }
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def _spread(texts: Sequence[str], most: int) -> list[str]:
    """At most `most` different texts, evenly spread over all."""
    found = list(dict.fromkeys(filter(None, texts)))
    return [found[index * len(found) // most] for index in range(most)] if len(found) > most else found


def _kohya(
    config: TrainConfig, family: Family, tags: Mapping[str, int], image_count: int, step: int, epoch: int
) -> dict[str, Any]:
    adapter, optimizer, data = config.adapter, config.optimizer, config.data
    text_rate = optimizer.text_encoder_learning_rate or optimizer.learning_rate / 2
    return {
        "ss_network_module": "networks.lora" if _is_plain(adapter) else "lycoris.kohya",
        "ss_network_dim": adapter.rank,
        "ss_network_alpha": adapter.alpha,
        "ss_network_args": _json(_network_args(adapter)),
        "ss_output_name": config.name,
        "ss_base_model_version": BASE_VERSIONS.get(family.architecture, family.name),
        "ss_v2": False,
        "ss_learning_rate": optimizer.learning_rate,
        "ss_unet_lr": optimizer.learning_rate,
        "ss_text_encoder_lr": text_rate if adapter.text_encoder else None,
        "ss_optimizer": optimizer.name,
        "ss_lr_scheduler": optimizer.schedule,
        "ss_lr_warmup_steps": optimizer.warmup_steps,
        "ss_max_grad_norm": optimizer.max_grad_norm,
        "ss_scale_weight_norms": optimizer.max_norm or None,
        "ss_noise_offset": config.objective.noise_offset or None,
        "ss_ip_noise_gamma": config.objective.ip_noise_gamma or None,
        "ss_debiased_estimation": config.objective.weighting == "debiased" or None,
        "ss_steps": step,
        "ss_max_train_steps": config.steps,
        "ss_epoch": epoch,
        "ss_num_train_images": image_count,
        "ss_batch_size_per_device": data.batch_size,
        "ss_gradient_accumulation_steps": config.accumulation_steps,
        "ss_resolution": f"({data.resolution}, {data.resolution})",
        "ss_enable_bucket": True,
        "ss_bucket_no_upscale": not data.upscale,
        "ss_shuffle_caption": data.shuffle_captions,
        "ss_keep_tokens": data.keep_tokens,
        "ss_caption_dropout_rate": data.caption_dropout,
        "ss_caption_tag_dropout_rate": data.tag_dropout,
        "ss_mixed_precision": {"fp32": "no"}.get(config.precision, config.precision),
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_seed": config.seed,
        "ss_min_snr_gamma": config.objective.min_snr_gamma
        if (config.objective.weighting or family.weighting) == "min_snr" else None,
        "ss_tag_frequency": _json({config.name: dict(tags)}),
    }


def _is_plain(adapter: AdapterConfig) -> bool:
    """Whether kohya's own LoRA network could train it; otherwise LyCORIS could."""
    return adapter.kind == LORA and not adapter.rank_stabilized


def _network_args(adapter: AdapterConfig) -> dict[str, Any]:
    """The adapter's other settings, as kohya and LyCORIS name them."""
    args: dict[str, Any] = {}
    if adapter.conv_rank:
        args |= {"conv_dim": adapter.conv_rank, "conv_alpha": adapter.alpha_of_convolutions}
    if not _is_plain(adapter):
        args |= {"algo": TUNERS[adapter.kind].algorithm, "rs_lora": adapter.rank_stabilized}
    if adapter.kind == DORA:
        args |= {"dora_wd": True, "wd_on_output": False}
    if adapter.kind == LOKR:
        args["factor"] = adapter.lokr_factor
    return args


def _averaged(optimizer: OptimizerConfig) -> str:
    """What the weights are an average of, in words; "" if they are those of the last step."""
    if optimizer.ema_decay:
        return f"EMA of the steps, decay {optimizer.ema_decay:g}"
    return f"average of {optimizer.name}" if OPTIMIZERS[optimizer.name].averages else ""


def _modelspec(config: TrainConfig, family: Family) -> dict[str, Any]:
    data = config.data
    return {
        "sai_model_spec": "1.0.0",
        "architecture": f"{family.architecture}/lora",
        "implementation": "diffusers",
        "title": config.name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "resolution": f"{data.resolution}x{data.resolution}",
        "trigger_phrase": data.trigger,
        "prediction_type": PREDICTIONS.get(family.objective),
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
