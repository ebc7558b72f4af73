"""kohya-ss/sd-scripts: the options of `train_network.py` and its siblings, as --config_file or a command line holds
them, and the settings of a --dataset_config."""

from __future__ import annotations

from dataclasses import replace
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
    reverse,
    side,
    whole,
)

_KINDS = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_TIMES = 1000


def _name(value: Any, given: Given) -> str:
    return str(value)


def _network(value: Any, given: Given) -> dict[str, Any]:
    """`network_module` together with the algorithm that is among the network's arguments."""
    module, algorithm = str(value), str(given.get("network_args.algo", "lora")).lower()
    if module in ("networks.lora", "networks.lora_flux", "networks.lora_sd3", "networks.lora_lumina"):
        return {}
    known = {"networks.loha": "loha", "networks.lokr": "lokr", "lycoris.kohya": algorithm, "networks.dylora": "dylora"}
    if module not in known:
        raise NotMapped("the import does not know this kind of network")
    if (kind := known[module]) not in _KINDS:
        raise NotMapped(f"{kind} is not a kind of adapter here")
    return {"adapter.kind": _KINDS[kind]} if _KINDS[kind] != "lora" else {}


def _dora(value: Any, given: Given) -> dict[str, Any]:
    kind = _network(given.get("network_module", "networks.lora"), given).get("adapter.kind", "lora")
    if kind != "lora":
        raise NotMapped(f"only a LoRA can be a DoRA here, and not {kind}")
    return {"adapter.kind": "dora"}


def _factor(value: Any, given: Given) -> dict[str, Any]:
    """The side of LoKr's smaller matrix, which other kinds do not have."""
    kind = _network(given.get("network_module", "networks.lora"), given).get("adapter.kind")
    return {"adapter.lokr_factor": whole(value, given)} if kind == "lokr" else {}


def _is_schedule_free(given: Given) -> bool:
    return "schedulefree" in str(given.get("optimizer_type", "")).lower()


def _schedule(value: Any, given: Given) -> Any:
    """sd-scripts takes no schedule with a schedule-free optimizer, and the power 1 for polynomial by default."""
    if _is_schedule_free(given):
        return "constant"
    if str(value).lower() == "polynomial":
        power = number(given.get("lr_scheduler_power", 1.0), given)
        if power not in _POWERS:
            raise NotMapped("the power of polynomial is 2 here")
        return _POWERS[power]
    return choose_schedule(value, given)


_POWERS = {1.0: "linear", 2.0: "polynomial"}


def _rounded(value: Any, given: Given) -> dict[str, Any]:
    """Weights in bf16, which only one optimizer trains here."""
    name = str(given.get("optimizer_type") or "AdamW")
    if name.lower() != "adamw" or given.get("use_8bit_adam") or given.get("use_lion_optimizer"):
        raise NotMapped("only AdamW trains weights in bf16 here: set optimizer.name to adamw_bf16")
    return {"optimizer.name": "adamw_bf16"}


def _text_rate(value: Any, given: Given) -> dict[str, Any]:
    rates = value if isinstance(value, list) else [value]
    rate = number(rates[0], given) if rates else 0.0
    if rate == 0:
        return {"adapter.text_encoder": False}
    if any(number(other, given) != rate for other in rates):
        raise NotMapped("all text encoders share one rate here. Set optimizer.text_encoder_learning_rate yourself")
    return {"optimizer.text_encoder_learning_rate": rate}


def _both_rates(value: Any, given: Given) -> dict[str, Any]:
    """sd-scripts trains the text encoder at the same rate, unless told otherwise."""
    rate = number(value, given)
    return {"optimizer.learning_rate": rate, "optimizer.text_encoder_learning_rate": rate}


def _warmup(value: Any, given: Given) -> int:
    """A number of steps, or below 1 a share of them; none with a schedule-free optimizer."""
    steps = 0.0 if _is_schedule_free(given) else number(value, given)
    if steps >= 1 or steps == 0:
        return int(steps)
    if given.get("max_train_epochs"):
        raise NotMapped("it is a share of the steps, which follow from the images. Set optimizer.warmup_steps yourself")
    return round(steps * number(given.get("max_train_steps", 1600), given))


def _steps(value: Any, given: Given) -> dict[str, Any]:
    return {} if given.get("max_train_epochs") else {"steps": whole(value, given)}


def _epochs(value: Any, given: Given) -> dict[str, Any]:
    return {"epochs": whole(value, given)}


def _min_snr(value: Any, given: Given) -> dict[str, Any]:
    return {"objective.weighting": "min_snr", "objective.min_snr_gamma": number(value, given)}


def _time(value: Any, given: Given) -> float:
    return whole(value, given) / _TIMES


def _huber(name: str) -> Any:
    def converted(value: Any, given: Given) -> dict[str, Any]:
        if given.get("loss_type", "l2") not in ("huber", "smooth_l1"):
            return {}
        return {name: value}

    return converted


def _masks(value: Any, given: Given) -> dict[str, Any]:
    return {"data.masked_loss": True, "data.unmasked_weight": 0.0, "data.masked_prior": 0.0}


def _swapped(value: Any, given: Given) -> Any:
    raise NotMapped(f"{value} blocks are a share of the model's here: set offload_blocks from 0 to 1")


_DEFAULT_STEPS, _DEFAULT_RANK, _DEFAULT_RATE = 1600, 4, 2e-6

TABLE = Table(
    title="kohya sd-scripts", base="pretrained_model_name_or_path", dataset="image_dir",
    regularisation=("is_reg", "reg_data_dir"),
    rows=(
        Row("output_name", "name", _name),
        Row("network_module", "adapter.kind", _network),
        Row("network_dim", "adapter.rank", whole, default=_DEFAULT_RANK),
        Row("network_alpha", "adapter.alpha", number, default=1.0),
        Row("network_args.conv_dim", "adapter.conv_rank", whole),
        Row("network_args.conv_alpha", "adapter.conv_alpha", number),
        Row("network_args.dora_wd", "adapter.kind", optional(_dora)),
        Row("network_args.factor", "adapter.lokr_factor", _factor),
        Row("network_args.preset", "adapter.layers", choose(
            {"attn-only": "attention", "attn-mlp": "attention+mlp", "full": "all", "full-lin": "all"},
            "preset of layers"), "full has adapters in convolutions too: set adapter.conv_rank for that"),
        Row("network_args.rs_lora", "adapter.rank_stabilized", optional(lambda value, given: True)),
        Row("network_train_unet_only", "adapter.text_encoder", reverse, default=False),
        Row("learning_rate", "optimizer.learning_rate", _both_rates, default=_DEFAULT_RATE),
        Row("unet_lr", "optimizer.learning_rate", number),
        Row("text_encoder_lr", "optimizer.text_encoder_learning_rate", _text_rate),
        Row("optimizer_type", "optimizer.name", choose_optimizer),
        Row("use_8bit_adam", "optimizer.name", optional(lambda value, given: "adamw8bit")),
        Row("use_lion_optimizer", "optimizer.name", optional(lambda value, given: "lion")),
        Row("optimizer_args.weight_decay", "optimizer.weight_decay", number),
        Row("max_grad_norm", "optimizer.max_grad_norm", number),
        Row("scale_weight_norms", "optimizer.max_norm", optional(number)),
        Row("lr_scheduler", "optimizer.schedule", _schedule, default="constant"),
        Row("lr_warmup_steps", "optimizer.warmup_steps", _warmup),
        Row("lr_scheduler_num_cycles", "optimizer.cycles", whole),
        Row("max_train_steps", "steps", _steps, "optimizer steps in both, whatever the accumulation",
            default=_DEFAULT_STEPS),
        Row("max_train_epochs", "epochs", optional(_epochs),
            "an epoch there is one pass over all images with their repeats; here too, if the repeats are in the "
            "folders' names (10_name)"),
        Row("train_batch_size", "data.batch_size", whole, default=1),
        Row("batch_size", "data.batch_size", whole),
        Row("gradient_accumulation_steps", "accumulation_steps", whole),
        Row("gradient_checkpointing", "gradient_checkpointing", flag),
        Row("mixed_precision", "precision", choose_precision),
        Row("full_bf16", "optimizer.name", optional(_rounded),
            "trainable weights in bf16 round by chance here, and are lost to rounding there"),
        Row("torch_compile", "compile", flag),
        Row("seed", "seed", whole, "the same number draws other noise here"),
        Row("save_every_n_steps", "save_every", whole),
        Row("save_every_n_epochs", "save_every_epochs", whole),
        Row("sample_every_n_steps", "preview_every", optional(whole),
            "the prompts in the file of sample_prompts are not read: set preview_prompts"),
        Row("validate_every_n_steps", "validate_every", optional(whole)),
        Row("validation_split", "data.validation_fraction", number, "other images are held back here"),
        Row("min_snr_gamma", "objective.weighting", optional(_min_snr)),
        Row("debiased_estimation_loss", "objective.weighting", optional(lambda value, given: "debiased")),
        Row("loss_type", "objective.loss", choose({"l2": {}, "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"},
                                                  "loss")),
        Row("huber_c", "objective.huber_delta", _huber("objective.huber_delta")),
        Row("huber_schedule", "objective.huber_schedule", _huber("objective.huber_schedule"), default="snr"),
        Row("noise_offset", "objective.noise_offset", optional(number)),
        Row("ip_noise_gamma", "objective.ip_noise_gamma", optional(number)),
        Row("min_timestep", "objective.min_timestep", optional(_time), "0 to 1000 there, 0 to 1 here"),
        Row("max_timestep", "objective.max_timestep", _time, "0 to 1000 there, 0 to 1 here"),
        Row("timestep_sampling", "objective.timestep_density", choose({"sigmoid": "logit_normal", "uniform": "uniform",
                                                                       "shift": "shifted"}, "density of times")),
        Row("discrete_flow_shift", "objective.density_shift", number),
        Row("resolution", "data.resolution", side, "buckets have at most this area, and steps of the model's own"),
        Row("enable_bucket", "", only(True, "images are always put into buckets here, instead of being cropped")),
        Row("bucket_no_upscale", "data.upscale", reverse, default=False),
        Row("shuffle_caption", "data.shuffle_captions", flag, default=False),
        Row("keep_tokens", "data.keep_tokens", whole, "the trigger counts as the first of them here", default=0),
        Row("caption_dropout_rate", "data.caption_dropout", number, default=0.0),
        Row("caption_tag_dropout_rate", "data.tag_dropout", number, default=0.0),
        Row("caption_prefix", "data.trigger", _name, "it is put first, as a tag of its own"),
        Row("caption_extension", "", only(".txt", "captions are read from .txt files here. Rename them"),
            default=".caption"),
        Row("flip_aug", "data.flip", flag),
        Row("masked_loss", "data.masked_loss", optional(_masks),
            "masks are read from masks/a.png or a_mask.png here, not from a folder of conditioning images"),
        Row("alpha_mask", "data.masked_loss", optional(_masks), "an image's transparent parts are its mask there; here "
            "its mask is a file of its own"),
        Row("prior_loss_weight", "data.prior_loss_weight", number, "regularisation images are as many as the training "
            "images there, and every second batch here"),
        Row("blocks_to_swap", "offload_blocks", optional(_swapped),
            "a number of blocks there, a share of them here"),
    ),
    left={
        "network_train_text_encoder_only": "the denoiser is always trained here",
        "network_weights": "a training cannot start from an earlier LoRA here",
        "dim_from_weights": "a training cannot start from an earlier LoRA here",
        "network_dropout": "LoRAs have no dropout here",
        "network_args.block_dims": "set adapter.block_ranks, by the names of the blocks here",
        "network_args.block_alphas": "set adapter.block_ranks, by the names of the blocks here",
        "network_args.": "the import does not know this argument of the network",
        "optimizer_args.": "an optimizer has its usual arguments here",
        "lr_scheduler_args.": "a schedule has no arguments here", "lr_scheduler_power": "schedules have no power here",
        "lr_scheduler_type": "only the schedules of the table are known here",
        "lr_scheduler_min_lr_ratio": "schedules end at 0 here", "lr_decay_steps": "schedules end with the last step",
        "v2": "the family follows from the base model", "v_parameterization": "it follows from the base model",
        "zero_terminal_snr": "the noise levels are those of the base model",
        "scale_v_pred_loss_like_noise_pred": "this weighting is not among ours",
        "v_pred_like_loss": "this weighting is not among ours",
        "multires_noise_iterations": "noise has one resolution here",
        "multires_noise_discount": "noise has one resolution here",
        "adaptive_noise_scale": "the noise offset is not adaptive here",
        "noise_offset_random_strength": "the strength is fixed here",
        "ip_noise_gamma_random_strength": "the strength is fixed here", "huber_scale": "the scale is 1 here",
        "clip_skip": "the text encoder is read as the base model's family does it",
        "max_token_length": "captions are cut at what the text encoder reads",
        "weighted_captions": "brackets in captions have no weight here",
        "min_bucket_reso": "buckets follow from data.resolution",
        "max_bucket_reso": "buckets follow from data.resolution",
        "bucket_reso_steps": "the model's family decides the step of the buckets",
        "num_repeats": "repeats are in the folders' names here: call the folder 10_name",
        "dataset_repeats": "repeats are in the folders' names here: call the folder 10_name",
        "class_tokens": "every image needs a caption file, or a folder called 10_name",
        "keep_tokens_separator": "set data.keep_tokens to a number",
        "secondary_separator": "tags are separated by commas only",
        "caption_separator": "tags are separated by commas only",
        "caption_suffix": "append it to the captions themselves",
        "enable_wildcard": "captions have no wildcards here",
        "caption_dropout_every_n_epochs": "only a share of captions can be dropped",
        "color_aug": "colours are not changed here", "random_crop": "images are cropped to the middle of their bucket",
        "face_crop_aug_range": "images are cropped to the middle of their bucket",
        "token_warmup_min": "all tags are trained from the first step",
        "token_warmup_step": "all tags are trained from the first step",
        "is_reg": "regularisation images are not a setting here: train with --regularisation",
        "reg_data_dir": "regularisation images are not a setting here: train with --regularisation",
        "metadata_file": "captions are read from .txt files here", "in_json": "captions are read from .txt files here",
        "sample_prompts": "set preview_prompts",
        "sample_every_n_epochs": "previews are counted in steps: preview_every",
        "full_fp16": "weights in fp16 cannot be trained", "fp8_base": "use --base-precision fp8",
        "fp8_base_unet": "use --base-precision fp8", "resume": "an interrupted run is resumed by itself here",
        "save_state": "the state is always saved here", "base_weights": "merge the LoRAs into the base first",
        "guidance_scale": "the model's family decides it", "model_prediction_type": "it follows from the base model",
        "validation_seed": "seed decides it", "ddp_timeout": "one card trains here",
    },
    quiet=(
        "output_dir", "logging_dir", "log_prefix", "log_with", "log_tracker_name", "wandb_run_name", "save_model_as",
        "save_precision", "train_data_dir", "cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk", "xformers", "sdpa", "mem_eff_attn", "max_data_loader_n_workers",
        "persistent_data_loader_workers", "vae_batch_size", "lowram", "highvram", "no_half_vae", "no_metadata",
        "training_comment", "huggingface_repo_id", "console_log_level", "log_config", "tokenizer_cache_dir",
        "save_last_n_epochs", "save_last_n_steps", "config_file", "dataset_config", "vae", "ae", "clip_l", "t5xxl",
        "sample_sampler", "cache_info", "debug_dataset", "dynamo_backend", "pretrained_model_name_or_path", "image_dir",
        "skip_cache_check", "fused_backward_pass", "network_args.algo", "metadata_title",
        "metadata_author", "metadata_description", "metadata_license", "metadata_tags", "save_state_on_train_end",
    ),
)


_DATASET = ("batch_size", "resolution", "enable_bucket", "bucket_no_upscale", "shuffle_caption", "keep_tokens",
            "caption_dropout_rate", "caption_tag_dropout_rate", "caption_prefix", "caption_extension", "flip_aug",
            "alpha_mask", "validation_split", "prior_loss_weight")
DATASET_TABLE = replace(TABLE, title="kohya sd-scripts (a dataset_config alone)",
                        rows=tuple(row for row in TABLE.rows if row.theirs in _DATASET))
"""For a --dataset_config without the options of its training."""


def flatten_options(sections: Given) -> dict[str, Any]:
    """The options of a --config_file, whose sections have no meaning; lists of `name=value` become options of their
    own."""
    flat: dict[str, Any] = {}
    for name, value in sections.items():
        flat |= value if isinstance(value, dict) else {name: value}
    for group in ("network_args", "optimizer_args", "lr_scheduler_args"):
        for pair in _pairs(flat.pop(group, None)):
            name, _, text = pair.partition("=")
            flat[f"{group}.{name.strip()}"] = _literal(text.strip())
    return flat


def _pairs(value: Any) -> list[str]:
    return [str(pair) for pair in (value if isinstance(value, list) else [value] if value else [])]


def _literal(text: str) -> Any:
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def flatten_dataset(config: Given) -> tuple[dict[str, Any], dict[str, str]]:
    """(the settings of a --dataset_config, with those of general, datasets and subsets as sd-scripts inherits them, and
    as `is_reg` the folders of regularisation images; what differs between its subsets, by name)."""
    subsets: list[dict[str, Any]] = []
    general = _table(config.get("general"))
    for dataset in _tables(config.get("datasets")):
        shared = general | {name: value for name, value in dataset.items() if name != "subsets"}
        subsets += [shared | subset for subset in _tables(dataset.get("subsets"))] or [shared]
    merged: dict[str, Any] = {}
    notes: dict[str, str] = {}
    trained = [subset for subset in subsets if not subset.get("is_reg")] or subsets or [general]
    for name in dict.fromkeys(name for subset in trained for name in subset):
        values = [subset.get(name) for subset in trained]
        merged[name] = next(value for value in values if value is not None)
        if name != "image_dir" and any(value != values[0] for value in values):
            notes[name] = f"it differs between the {len(trained)} subsets, and one value holds for all here"
    merged["image_dir"] = [subset["image_dir"] for subset in trained if subset.get("image_dir")]
    merged.pop("is_reg", None)
    if regularising := [str(subset.get("image_dir", "")) for subset in subsets if subset.get("is_reg")]:
        merged["is_reg"] = regularising
    return merged, notes


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _tables(value: Any) -> list[dict[str, Any]]:
    return [dict(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else []
