"""ostris/ai-toolkit: the YAML of a job, with the settings of its first `sd_trainer` process and of that one's first
dataset."""

from __future__ import annotations

import math
from typing import Any

from .mapping import (
    Given,
    NotMapped,
    Row,
    Table,
    choose,
    choose_optimizer,
    choose_precision,
    choose_schedule,
    flag,
    number,
    only,
    optional,
    whole,
)

_DEFAULT_STEPS, _TIMES = 1000, 1000


def _resolution(value: Any, given: Given) -> int:
    sides = [whole(side, given) for side in (value if isinstance(value, list) else [value])]
    return max(sides)


def _ema(value: Any, given: Given) -> dict[str, Any]:
    return {"optimizer.ema_decay": number(given.get("train.ema_config.ema_decay", 0.999), given)} if value else {}


def _prompts(value: Any, given: Given) -> list[str]:
    trigger = str(given.get("trigger_word") or "")
    return [str(prompt).replace("[trigger]", trigger) for prompt in value]


def _min_snr(value: Any, given: Given) -> dict[str, Any]:
    return {"objective.weighting": "min_snr", "objective.min_snr_gamma": number(value, given)}


def _snr(value: Any, given: Given) -> dict[str, Any]:
    raise NotMapped("snr_gamma weights by another rule than min_snr_gamma. Set objective.weighting yourself")


def _steps(value: Any, given: Given) -> int:
    return math.ceil(whole(value, given) / max(1, whole(given.get("train.gradient_accumulation_steps", 1), given)))


def _bound(name: str, off: float) -> Any:
    """Their steps are counted from pure noise, from which 0 is off, so the first is our latest time."""
    def converted(value: Any, given: Given) -> dict[str, Any]:
        step = min(number(value, given), _TIMES)
        return {} if abs(step - off) <= 1 else {name: 1 - step / _TIMES}

    return converted


def _preserved(multiplier: str) -> Any:
    return lambda value, given: {"preservation.weight": number(given.get(multiplier, 1.0), given)}


TABLE = Table(
    title="ai-toolkit", base="model.name_or_path", dataset="datasets.folder_path", regularisation=("datasets.is_reg",),
    rows=(
        Row("name", "name", lambda value, given: str(value)),
        Row("trigger_word", "data.trigger", lambda value, given: str(value),
            "it is put first; [trigger] within a caption is not replaced here"),
        Row("network.type", "adapter.kind", choose({"lora": {}, "locon": {}, "lokr": "lokr", "loha": "loha",
                                                    "dora": "dora"}, "kind of adapter"), default="lora"),
        Row("network.linear", "adapter.rank", whole, default=4),
        Row("network.rank", "adapter.rank", whole),
        Row("network.alpha", "adapter.alpha", number, default=1.0),
        Row("network.linear_alpha", "adapter.alpha", number),
        Row("network.lokr_factor", "adapter.lokr_factor", whole),
        Row("network.conv", "adapter.conv_rank", whole),
        Row("network.conv_alpha", "adapter.conv_alpha", number),
        Row("train.steps", "steps", _steps, "with gradient_accumulation_steps, a step there is one batch; here it is "
            "one step of the optimizer", default=_DEFAULT_STEPS),
        Row("train.batch_size", "data.batch_size", whole, default=1),
        Row("train.gradient_accumulation_steps", "accumulation_steps", whole),
        Row("train.gradient_accumulation", "accumulation_steps", whole),
        Row("train.gradient_checkpointing", "gradient_checkpointing", flag),
        Row("train.train_text_encoder", "adapter.text_encoder", flag, default=False),
        Row("train.train_unet", "", only(True, "the denoiser is always trained here")),
        Row("train.lr", "optimizer.learning_rate", number, default=1e-6),
        Row("train.unet_lr", "optimizer.learning_rate", number),
        Row("train.text_encoder_lr", "optimizer.text_encoder_learning_rate", number),
        Row("train.optimizer", "optimizer.name", choose_optimizer, default="adamw"),
        Row("train.optimizer_params.weight_decay", "optimizer.weight_decay", number),
        Row("train.lr_scheduler", "optimizer.schedule", choose_schedule, default="constant"),
        Row("train.max_grad_norm", "optimizer.max_grad_norm", number),
        Row("train.dtype", "precision", choose_precision),
        Row("train.noise_offset", "objective.noise_offset", optional(number)),
        Row("train.min_snr_gamma", "objective.weighting", optional(_min_snr)),
        Row("train.snr_gamma", "objective.weighting", optional(_snr)),
        Row("train.loss_type", "objective.loss", choose({"mse": {}, "mae": "l1", "pseudo_huber": "huber"}, "loss")),
        Row("train.timestep_type", "objective.timestep_density", choose(
            {"sigmoid": "logit_normal", "linear": "uniform"}, "density of times")),
        Row("train.min_denoising_steps", "objective.max_timestep", _bound("objective.max_timestep", 0),
            "0 to 1000 from pure noise there, 1 to 0 here"),
        Row("train.max_denoising_steps", "objective.min_timestep", _bound("objective.min_timestep", _TIMES),
            "0 to 1000 from pure noise there, 1 to 0 here"),
        Row("train.blank_prompt_preservation", "preservation.weight",
            optional(_preserved("train.blank_prompt_preservation_multiplier")),
            "captions without the trigger take turns with the blank prompt here"),
        Row("train.diff_output_preservation", "preservation.weight",
            optional(_preserved("train.diff_output_preservation_multiplier")),
            "captions have the class in place of the trigger there; here they have nothing there, and take turns with "
            "the blank prompt, unless preservation.prompt is set"),
        Row("train.ema_config.use_ema", "optimizer.ema_decay", _ema),
        Row("datasets.resolution", "data.resolution", _resolution,
            "every image is trained at each of several resolutions there, and at the largest here", default=512),
        Row("datasets.caption_dropout_rate", "data.caption_dropout", number, default=0.0),
        Row("datasets.token_dropout_rate", "data.tag_dropout", number, default=0.0),
        Row("datasets.shuffle_tokens", "data.shuffle_captions", flag, default=False),
        Row("datasets.keep_tokens", "data.keep_tokens", whole, "the trigger counts as the first of them here",
            default=0),
        Row("datasets.caption_ext", "", lambda value, given: only("txt", "captions are read from .txt files here. "
            "Rename them")(str(value).lstrip("."), given)),
        Row("datasets.flip_x", "data.flip", flag),
        Row("datasets.buckets", "", only(True, "images are always put into buckets here")),
        Row("save.save_every", "save_every", whole),
        Row("sample.sample_every", "preview_every", whole),
        Row("sample.prompts", "preview_prompts", _prompts),
    ),
    left={
        "network.dropout": "LoRAs have no dropout here", "network.network_kwargs.": "the import does not know it",
        "network.lokr_full_rank": "LoKr's larger matrix has adapter.rank here",
        "network.": "the import does not know this kind of network",
        "train.content_or_style": "no half of the times is favoured here",
        "train.noise_scheduler": "the noise levels are those of the base model",
        "train.train_refiner": "only the base model is trained",
        "train.prompt_dropout_prob": "use data.caption_dropout",
        "train.lr_scheduler_params.": "a schedule has no arguments here", "train.ema_config.": "see ema_decay",
        "train.optimizer_params.": "an optimizer has its usual arguments here",
        "train.linear_timesteps": "all times weigh alike, or by objective.weighting",
        "train.": "the import does not know it", "datasets.num_repeats": "repeats are in the folders' names here: call "
        "the folder 10_name", "datasets.mask_path": "masks are in masks/a.png or a_mask.png here",
        "datasets.control_path": "control images are a folder beside the images here",
        "datasets.is_reg": "regularisation images are not a setting here: train with --regularisation",
        "datasets.": "images and captions are not changed so here",
        "model.quantize": "use --base-precision int8 or fp8",
        "model.low_vram": "memory is found by itself here: fit_memory",
        "model.assistant_lora_path": "no LoRA is trained beside another by this import",
        "model.": "the family follows from the base model",
        "sample.": "previews are drawn as the model's family does it",
        "process": "only the first process of the job is read",
    },
    quiet=(
        "type", "training_folder", "device", "performance_log_every", "save.dtype", "save.max_step_saves_to_keep",
        "save.push_to_hub", "save.hf_repo_id", "save.hf_private", "save.save_format", "logging.", "meta.",
        "datasets.folder_path", "datasets.cache_latents_to_disk", "datasets.cache_latents", "model.name_or_path",
        "train.diff_output_preservation_multiplier", "train.diff_output_preservation_class",
        "train.blank_prompt_preservation_multiplier", "train.skip_first_sample",
        "train.disable_sampling", "train.ema_config.ema_decay", "sqlite_db_path",
        "train.cache_text_embeddings", "train.unload_text_encoder", "train.force_first_sample", "sample.sampler",
        "sample.width", "sample.height", "sample.neg", "sample.seed", "sample.walk_seed", "sample.guidance_scale",
        "sample.sample_steps", "sample.fps", "sample.num_frames", "model.quantize_te", "model.qtype", "model.qtype_te",
        "model.arch", "model.is_flux",
    ),
)
