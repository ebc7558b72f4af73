"""The LoRA file of a release: the same tensors under metadata for others (modelspec 1.0.0, kohya's `ss_*`, our own),
without what tells of the images that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ..lora.hashes import write_hashed
from ..lora.metadata import ALPHA_TABLE, read_table
from ..lora.tensors import Source as Tensors, TensorFile
from ..statements.plain_text import one_line
from .source import CAPTIONS
from .texts import json_without_folders, without_folders

NEEDED = ("ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args", "ss_base_model_version",
          "ss_v2", ALPHA_TABLE)
"""What readers need to use the weights as they were trained: kept even without training metadata."""
TRAINING = (
    *NEEDED, "ss_learning_rate", "ss_unet_lr", "ss_text_encoder_lr", "ss_optimizer", "ss_lr_scheduler",
    "ss_lr_warmup_steps", "ss_max_grad_norm", "ss_steps", "ss_max_train_steps", "ss_epoch", "ss_num_epochs",
    "ss_num_train_images", "ss_num_reg_images", "ss_num_batches_per_epoch", "ss_batch_size_per_device",
    "ss_total_batch_size", "ss_gradient_accumulation_steps", "ss_resolution", "ss_enable_bucket", "ss_min_bucket_reso",
    "ss_max_bucket_reso", "ss_bucket_no_upscale", "ss_bucket_info", "ss_shuffle_caption", "ss_keep_tokens",
    "ss_caption_dropout_rate", "ss_caption_tag_dropout_rate", "ss_mixed_precision", "ss_full_fp16",
    "ss_gradient_checkpointing", "ss_seed", "ss_clip_skip", "ss_noise_offset", "ss_min_snr_gamma",
    "ss_max_token_length",
    "ss_training_started_at", "ss_training_finished_at", "ss_sd_model_name", "ss_sd_model_hash",
    "ss_new_sd_model_hash", "ss_vae_name", "ss_vae_hash", "ss_new_vae_hash", "ss_sd_scripts_commit_hash",
    "ss_loss_type", "ss_huber_c", "ss_huber_schedule", "ss_prior_loss_weight", "ss_scale_weight_norms",
    "ss_ip_noise_gamma", "ss_debiased_estimation", "ss_multires_noise_iterations", "ss_zero_terminal_snr")
"""kohya's facts about a training that name no image, caption or folder. (The names of base and VAE lose their folder.)
"""
OURS = "lora_bootstrap."
OF_THE_BASE = ("lora_bootstrap.base_hash", "lora_bootstrap.family")
TAGS = "ss_tag_frequency"
CONFIG, LINEAGE = "lora_bootstrap.config", "lora_bootstrap.lineage"
_EARLIER, _NAMES = "lineage", ("name", "model_loras")
"""Fields of a lineage: the lineage of what a file was made from, as JSON; names of LoRAs, which ComfyUI lists with
their folders."""
LONGEST_TAG = 4
"""Words of a tag; what is longer is a caption in prose, which kohya's trainer counts as a tag too."""
MODELSPEC = ("sai_model_spec", "architecture", "implementation", "date", "resolution", "prediction_type",
             "timestep_range", "encoder_layer", "merged_from")
"""Facts of Stability's modelspec that stay as they are; the others are the author's or this pack's."""


def released_metadata(metadata: Mapping[str, str], *, name: str, author: Mapping[str, str], strip: bool = False,
                      captions: bool = False) -> dict[str, str]:
    """The metadata to release.

    Args:
        name: of the file, which web UIs show as its alias.
        author: modelspec's title, author, ... without their prefix; empty ones are left out.
        strip: only what is needed to use the weights.
        captions: keep captions, prompts, and names of the dataset's folders. Paths lose their folders all the same.
    """
    kept = {key: value for key, value in metadata.items() if _stays(key, strip, captions)}
    if not strip and not captions:
        kept |= {key: change(kept[key], name) for key, change in _REDUCED.items() if key in kept}
    kept = {key: json_without_folders(value) for key, value in kept.items()}
    if not strip or "ss_network_module" in kept:
        kept["ss_output_name"] = name
    return kept | {f"modelspec.{key}": value for key, value in author.items() if value}


def _stays(key: str, strip: bool, captions: bool) -> bool:
    if key.startswith("modelspec."):
        return key.removeprefix("modelspec.") in MODELSPEC
    if strip:
        return key in NEEDED or key in OF_THE_BASE
    if captions:
        return key != "sshs_model_hash" and key != "sshs_legacy_hash"
    return key in TRAINING or key in _REDUCED or key.startswith(OURS) and key != CAPTIONS


def _tag_counts(text: str, name: str) -> str:
    """How often each tag occurs, all folders together, without captions in prose."""
    counts: dict[str, int] = {}
    for folder in read_table({TAGS: text}, TAGS).values():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if type(count) is int and 0 < len(tag.split()) <= LONGEST_TAG:
                counts[one_line(tag)] = counts.get(one_line(tag), 0) + count
    return json.dumps({name: dict(sorted(counts.items()))}, ensure_ascii=False)


def _without_prompts(text: str, name: str) -> str:
    """Our own settings without their prompts: those of previews are often captions, and that of the preservation may
    be one."""
    values: dict[str, Any] = {**read_table({CONFIG: text}, CONFIG), "name": name, "preview_prompts": []}
    if isinstance(preservation := values.get("preservation"), dict):
        values["preservation"] = {**preservation, "prompt": ""}
    return json.dumps(values, ensure_ascii=False, sort_keys=True)


def _without_places(text: str, name: str) -> str:
    """What a LoRA was made from, without the folders: even their last part may be the dataset's name. Other LoRAs keep
    their names and hashes; names of files go, because those of checkpoints have the run's name."""
    rows = read_table({LINEAGE: text}, LINEAGE).items()
    kept = {key: value for key, value in rows if without_folders(value) == value}
    return json.dumps(_without_files(kept, name), ensure_ascii=False, sort_keys=True)


def _without_files(value: Any, name: str, field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _without_files(inner, name, key) for key, inner in value.items() if key != "file"}
    if isinstance(value, list):
        return [_without_files(inner, name, field) for inner in value]
    if not isinstance(value, str):
        return value
    if field == _EARLIER:
        return _without_places(value, name)
    return PureWindowsPath(value).name if field in _NAMES else value


_REDUCED = {TAGS: _tag_counts, CONFIG: _without_prompts, LINEAGE: _without_places}


def write_released(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Write the tensors of a LoRA file, unchanged to the bit, under other metadata. Raises UserError if a tensor has a
    type that cannot be written, or if the file cannot be."""
    file = TensorFile(source)

    def tensor(key: str) -> Tensors:
        return Tensors(file.torch_type(key), file.shapes[key], lambda: file.read(key))

    try:
        write_hashed(target, {key: tensor(key) for key in file.shapes}, metadata)
    finally:
        file.close()
