"""OneTrainer: a preset or a config that it saved, as JSON. A preset holds only what is not its default."""

from __future__ import annotations

from collections.abc import Mapping
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
    optional,
    whole,
)

_DENOISERS = ("unet", "transformer", "prior")
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
_SCALERS = {"batch": ("batch_size",), "gradient_accumulation": ("gradient_accumulation_steps",),
            "both": ("batch_size", "gradient_accumulation_steps")}
_DEFAULT_RATE = 3e-6
_LAYERS = choose({"attn-only": "attention", "attn-mlp": "attention+mlp", "full": "all"}, "preset of layers")


def _scale(given: Given) -> float:
    """What `learning_rate_scaler` makes of a rate: the square root of what it counts."""
    scaler = str(given.get("learning_rate_scaler", "NONE")).lower().removeprefix("global_")
    count = 1.0
    for name in _SCALERS.get(scaler, ()):
        count *= number(given.get(name, 1), given)
    return count**0.5


def _rate(value: Any, given: Given) -> float:
    return number(value, given) * _scale(given)


def _both_rates(value: Any, given: Given) -> dict[str, Any]:
    rate = _rate(value, given)
    return {"optimizer.learning_rate": rate, "optimizer.text_encoder_learning_rate": rate}


def _trains_text(value: Any, given: Given) -> dict[str, Any]:
    return {"adapter.text_encoder": any(given.get(f"{encoder}.train", encoder == "text_encoder")
                                        for encoder in _ENCODERS)}


def _method(value: Any, given: Given) -> dict[str, Any]:
    methods = {"lora": {}, "fine_tune": {"method": "full", "adapter.text_encoder": False}}
    if str(value).lower() not in methods:
        raise NotMapped("only LORA and FINE_TUNE can be trained here")
    return methods[str(value).lower()]


def _resolution(value: Any, given: Given) -> int:
    sides = [int(part) for part in str(value).split(",")]
    if len(sides) > 1:
        raise NotMapped("images are trained at one resolution here. Set data.resolution yourself")
    return sides[0]


def _every(unit: str, steps: str, epochs: str = "") -> Any:
    """A number that counts steps or epochs, as another setting of theirs says."""
    def converted(value: Any, given: Given) -> dict[str, Any]:
        what = str(given.get(unit, "NEVER")).upper()
        ours = {"STEP": steps, "EPOCH": epochs, "NEVER": None}.get(what, "")
        if ours is None or not value:
            return {}
        if not ours:
            raise NotMapped(f"it is counted in units of {what} there, which {steps} does not count")
        return {ours: whole(value, given)}

    return converted


def _warmup(value: Any, given: Given) -> int:
    """A number of steps, or up to 1 a share of them."""
    steps = number(value, given)
    if 0 < steps <= 1:
        raise NotMapped("it is a share of the steps, which follow from the images. Set optimizer.warmup_steps yourself")
    return int(steps)


def _weighting(value: Any, given: Given) -> dict[str, Any]:
    gamma = number(given.get("loss_weight_strength", 5.0), given)
    made: Mapping[str, dict[str, Any]] = {
        "constant": {"objective.weighting": "none"}, "debiased_estimation": {"objective.weighting": "debiased"},
        "min_snr_gamma": {"objective.weighting": "min_snr", "objective.min_snr_gamma": gamma}}
    if str(value).lower() not in made:
        raise NotMapped("this weighting is not among ours")
    return made[str(value).lower()]


def _density(value: Any, given: Given) -> dict[str, Any]:
    name = str(value).lower()
    if any(number(given.get(each, 0), given) for each in ("noising_weight", "noising_bias")) and name != "uniform":
        raise NotMapped("densities of times have no weight and no bias here")
    if name not in ("uniform", "logit_normal"):
        raise NotMapped("this density of times is not among ours")
    return {"objective.timestep_density": name}


def _shift(value: Any, given: Given) -> dict[str, Any]:
    if number(value, given) == 1:
        return {}
    if str(given.get("timestep_distribution", "UNIFORM")).upper() != "UNIFORM":
        raise NotMapped("only uniform times can be shifted here")
    return {"objective.timestep_density": "shifted", "objective.density_shift": number(value, given)}


def _loss(value: Any, given: Given) -> dict[str, Any]:
    strengths = {name: number(given.get(f"{name}_strength", float(name == "mse")), given) for name in
                 ("mse", "mae", "log_cosh", "huber")}
    used = [name for name, strength in strengths.items() if strength]
    if used == ["huber"]:
        return {"objective.loss": "huber", "objective.huber_schedule": "constant"}
    if used == ["mse"]:
        return {}
    raise NotMapped(f"one loss is trained here, and not {' + '.join(used) or 'none'}")


def _huber_delta(value: Any, given: Given) -> dict[str, Any]:
    used = number(given.get("huber_strength", 0), given)
    return {"objective.huber_delta": number(value, given)} if used else {}


def _dora(value: Any, given: Given) -> dict[str, Any]:
    """`lora_decompose`, which their other kinds of adapters do not read."""
    return {"adapter.kind": "dora"} if str(given.get("peft_type", "LORA")).upper() == "LORA" else {}


def _tag_dropout(value: Any, given: Given) -> dict[str, Any]:
    if not given.get("concepts.text.tag_dropout_enable") or not value:
        return {}
    if str(given.get("concepts.text.tag_dropout_mode", "FULL")).upper() == "FULL":
        return {"data.caption_dropout": number(value, given)}
    return {"data.tag_dropout": number(value, given)}


def _checkpointing(value: Any, given: Given) -> bool:
    return value is True or str(value).upper() in ("ON", "CPU_OFFLOADED")


def _clip(value: Any, given: Given) -> dict[str, Any]:
    return {"optimizer.max_grad_norm": number(value, given)}


TABLE = Table(
    title="OneTrainer", base="base_model_name", dataset="concepts.path",
    rows=(
        Row("training_method", "method", _method, default="FINE_TUNE"),
        Row("peft_type", "adapter.kind", choose({"lora": {}, "loha": "loha", "lokr": "lokr"}, "kind of adapter")),
        Row("lora_rank", "adapter.rank", whole, default=16),
        Row("lora_alpha", "adapter.alpha", number, default=1.0),
        Row("lora_decompose", "adapter.kind", optional(_dora)),
        Row("layer_filter_preset", "adapter.layers", _LAYERS,
            "full has LoRAs in convolutions too; set adapter.conv_rank for that", default="full"),
        Row("learning_rate", "optimizer.learning_rate", _both_rates,
            "times the root of what learning_rate_scaler counts", default=_DEFAULT_RATE),
        *(Row(f"{part}.learning_rate", "optimizer.learning_rate", _rate) for part in _DENOISERS),
        Row("text_encoder.train", "adapter.text_encoder", _trains_text, "all text encoders are trained, or none",
            default=True),
        Row("text_encoder.learning_rate", "optimizer.text_encoder_learning_rate", _rate),
        Row("optimizer.optimizer", "optimizer.name", choose_optimizer),
        Row("optimizer.weight_decay", "optimizer.weight_decay", number),
        Row("learning_rate_scheduler", "optimizer.schedule", choose_schedule, default="CONSTANT"),
        Row("learning_rate_warmup_steps", "optimizer.warmup_steps", _warmup, default=200),
        Row("learning_rate_cycles", "optimizer.cycles", whole),
        Row("clip_grad_norm", "optimizer.max_grad_norm", _clip),
        Row("epochs", "epochs", whole, "an epoch there follows from the concepts' balancing; here it is one pass over "
            "all images with the repeats in their folders' names", default=100),
        Row("batch_size", "data.batch_size", whole, default=1),
        Row("gradient_accumulation_steps", "accumulation_steps", whole),
        Row("gradient_checkpointing", "gradient_checkpointing", _checkpointing),
        *(Row(f"{part}.gradient_checkpointing", "gradient_checkpointing", _checkpointing) for part in _DENOISERS),
        *(Row(f"{part}.offload_fraction", "offload_blocks", number) for part in _DENOISERS),
        Row("layer_offload_fraction", "offload_blocks", number),
        Row("train_dtype", "precision", choose_precision, default="FLOAT_16"),
        Row("compile", "compile", flag),
        Row("resolution", "data.resolution", _resolution, default="512"),
        Row("ema", "optimizer.ema_decay", lambda value, given: {} if str(value).upper() == "OFF" else
            {"optimizer.ema_decay": number(given.get("ema_decay", 0.999), given)},
            "it is updated every few steps there, and at every step here"),
        Row("loss_weight_fn", "objective.weighting", _weighting),
        Row("mse_strength", "objective.loss", _loss),
        Row("huber_strength", "objective.loss", optional(_loss)),
        Row("huber_delta", "objective.huber_delta", _huber_delta, default=1.0),
        Row("offset_noise_weight", "objective.noise_offset", optional(number)),
        Row("perturbation_noise_weight", "objective.ip_noise_gamma", optional(number)),
        Row("min_noising_strength", "objective.min_timestep", optional(number)),
        Row("max_noising_strength", "objective.max_timestep",
            lambda value, given: {} if value == 1 else {"objective.max_timestep": number(value, given)}),
        Row("timestep_distribution", "objective.timestep_density", _density),
        Row("timestep_shift", "objective.density_shift", _shift),
        Row("masked_training", "data.masked_loss", flag,
            "masks are called a-masklabel.png there, and masks/a.png or a_mask.png here"),
        Row("unmasked_weight", "data.unmasked_weight", number),
        Row("masked_prior_preservation_weight", "data.masked_prior", number),
        Row("text_encoder.dropout_probability", "data.caption_dropout", number),
        Row("concepts.text.enable_tag_shuffling", "data.shuffle_captions", flag),
        Row("concepts.text.keep_tags_count", "data.keep_tokens", whole,
            "the trigger counts as the first of them here"),
        Row("concepts.text.tag_dropout_probability", "data.tag_dropout", _tag_dropout),
        Row("concepts.image.enable_random_flip", "data.flip", flag),
        Row("save_every", "save_every", _every("save_every_unit", "save_every", "save_every_epochs")),
        Row("sample_after", "preview_every", _every("sample_after_unit", "preview_every"),
            "the prompts of the samples are not read: set preview_prompts"),
        Row("validate_after", "validate_every", _every("validate_after_unit", "validate_every")),
    ),
    left={
        "model_type": "the family follows from the base model", "lora_model_name": "a training cannot start from an "
        "earlier LoRA here", "layer_filter": "set adapter.layers: attention, attention+mlp or all",
        "learning_rate_min_factor": "schedules end at 0 here", "dropout_probability": "LoRAs have no dropout here",
        "custom_learning_rate_scheduler": "schedules are those of a table here",
        "scheduler_params": "a schedule has no arguments here",
        "dynamic_timestep_shifting": "times are shifted alike for all resolutions here",
        "unmasked_probability": "masks are applied at every step here",
        "normalize_masked_area_loss": "the loss of a masked image is its weighted mean here",
        "generalized_offset_noise": "this noise is not drawn here",
        "force_v_prediction": "it follows from the base model",
        "force_epsilon_prediction": "it follows from the base model",
        "rescale_noise_scheduler_to_zero_terminal_snr": "the noise levels are those of the base model",
        "aspect_ratio_bucketing": "images are always put into buckets here",
        "additional_embeddings.": "embeddings are not trained here", "embedding.": "embeddings are not trained here",
        "optimizer.": "an optimizer has its usual arguments here", "quantization.": "use --base-precision",
        "concepts.image.": "images are not changed here", "concepts.text.": "captions are not changed so here",
        "concepts.type": "use data.validation_fraction, or train with --regularisation",
        "concepts.balancing": "repeats are in the folders' names here: call the folder 10_name",
        "concepts.": "all images count alike here", "loss_scaler": "the loss is a mean over the batch here",
        "text_encoder_layer_skip": "the text encoder is read as the base model's family does it",
        "text_encoder_2_layer_skip": "the text encoder is read as the base model's family does it",
        "log_cosh_strength": "this loss is not among ours", "mae_strength": "this loss is not among ours",
        "lokr_": "see adapter.kind", "oft_": "this kind of adapter is not among ours",
        **{f"{part}.": "it is one setting for all parts here, or follows from the base model"
           for part in (*_DENOISERS, *_ENCODERS, "vae")},
    },
    quiet=(
        "base_model_name", "output_model_destination", "output_model_format", "output_dtype", "workspace_dir",
        "cache_dir", "debug_mode", "debug_dir", "tensorboard", "tensorboard_expose", "tensorboard_always_on",
        "tensorboard_port", "concept_file_name", "latent_caching", "clear_cache_before_training", "train_device",
        "temp_device", "dataloader_threads", "backup_after", "backup_after_unit", "rolling_backup",
        "rolling_backup_count", "backup_before_save", "save_every_unit", "sample_after_unit", "validate_after_unit",
        "sample_definition_file_name", "save_filename_prefix", "secrets.", "cloud.", "__version", "concepts.path",
        "concepts.name", "concepts.seed", "concepts.concept_stats.", "learning_rate_scaler", "loss_weight_strength",
        "noising_weight", "noising_bias", "ema_decay", "ema_update_step_interval", "optimizer_defaults.",
        "huggingface_cache_dir", "offline_mode", "validation", "continue_last_backup", "include_train_config",
        "enable_autocast_cache", "only_cache", "attention_mechanism", "fallback_train_dtype", "samples_to_tensorboard",
        "non_ema_sampling", "sample_image_format", "sample_video_format", "sample_audio_format", "multi_gpu",
        "device_indexes", "gradient_reduce_precision", "fused_gradient_reduce", "async_gradient_reduce",
        "async_gradient_reduce_buffer", "prevent_overwrites", "samples", "sample_skip_first", "save_skip_first",
        "bundle_additional_embeddings", "frames", "lora_weight_dtype", "embedding_weight_dtype", "async_offloading",
        "weight_dtype", "concepts.text.tag_dropout_enable", "text_encoder_2.train", "text_encoder_3.train",
        "text_encoder_4.train", "concepts.text.prompt_source", "concepts.text.prompt_path",
    ),
)
