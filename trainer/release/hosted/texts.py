"""settings.md, the settings of a training in plain words, and dataset_config.toml as kohya's sd-scripts read it.

Facts from sd-scripts' documentation of its dataset configuration (docs/config_README-en.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ...captions.kinds import KINDS, name_lora
from ...training.config import FULL, TrainConfig
from ..cards.sections import table
from ..texts import as_code, escaped
from .contents import Contents

SETTINGS: tuple[tuple[str, Callable[[TrainConfig], object]], ...] = (
    ("steps", lambda run: run.steps), ("batch size", lambda run: run.data.batch_size),
    ("accumulated batches", lambda run: run.accumulation_steps if run.accumulation_steps > 1 else None),
    ("resolution", lambda run: run.data.resolution),
    ("what is saved", lambda run: "the whole network" if run.method == FULL else f"an adapter ({run.adapter.kind})"),
    ("rank (network dim)", lambda run: None if run.method == FULL else run.adapter.rank),
    ("alpha (network alpha)", lambda run: None if run.method == FULL else run.adapter.alpha),
    ("layers", lambda run: run.adapter.layers),
    ("text encoder", lambda run: "trained" if run.adapter.text_encoder else "not trained"),
    ("optimizer", lambda run: run.optimizer.name), ("learning rate", lambda run: run.optimizer.learning_rate),
    ("schedule", lambda run: run.optimizer.schedule), ("warm-up steps", lambda run: run.optimizer.warmup_steps),
    ("weight decay", lambda run: run.optimizer.weight_decay),
    ("loss weighting", lambda run: run.objective.weighting),
    ("noise offset", lambda run: run.objective.noise_offset or None),
    ("shuffled captions", lambda run: _yes(run.data.shuffle_captions)),
    ("tags that stay first (keep tokens)", lambda run: run.data.keep_tokens),
    ("dropped captions", lambda run: run.data.caption_dropout), ("dropped tags", lambda run: run.data.tag_dropout),
    ("mirrored images", lambda run: _yes(run.data.flip)), ("precision", lambda run: run.precision),
    ("seed", lambda run: run.seed))
"""(name, value of a run; None leaves it out)."""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def write_settings(contents: Contents, files: Sequence[str]) -> str:
    """The text of settings.md. It names no folder, file or run of this machine.

    Args:
        files: names of the images in the zip, in the order of the samples.
    """
    config, repeats = contents.config, [sample.repeats for sample in contents.samples]
    rows = [("trigger", as_code(contents.trigger) or "none"), ("images", str(len(files)))]
    if config is not None and config.kind in KINDS:
        rows.insert(0, ("what is trained", name_lora(config.kind)))
    if contents.family is not None:
        rows.append(("base model", escaped(contents.family.title)))
    if set(repeats) != {1}:
        rows.append(("repeats", "; ".join(f"{count} × {_span(names)}" for count, names in _by(repeats, files).items())))
    if config is not None:
        rows += [(name, escaped(f"{value:g}" if isinstance(value, float) else value))
                 for name, read in SETTINGS if (value := read(config)) is not None]
        rows += [("stopped at step", str(contents.trained))] * bool(contents.trained)
    else:
        rows.append(("training", "no run is part of this zip, so there are no settings to repeat"))
    return "\n".join([
        "# Images and captions to train a LoRA on", "", *(f"⚠ {escaped(line)}\n" for line in contents.warnings),
        "Each image has its caption in the .txt file of the same name. If there is a trigger, the captions begin with "
        "it. The images are cropped as they are trained on, and keep their size.", "",
        *table(("setting", "value"), rows), ""])


def _by(repeats: Sequence[int], files: Sequence[str]) -> dict[int, list[str]]:
    """Files by how often they are repeated."""
    found: dict[int, list[str]] = {}
    for count, name in zip(repeats, files, strict=True):
        found.setdefault(count, []).append(name)
    return found


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} images)"


def write_toml(contents: Contents, folders: Mapping[str, int]) -> str:
    """The text of dataset_config.toml.

    Args:
        folders: folder in the zip → how often its images are repeated.
    """
    config = contents.config
    general = ['caption_extension = ".txt"']
    dataset = []
    if config is not None:
        general += [f"shuffle_caption = {_toml(config.data.shuffle_captions)}",
                    f"keep_tokens = {config.data.keep_tokens}",
                    f"caption_dropout_rate = {config.data.caption_dropout:g}",
                    f"caption_tag_dropout_rate = {config.data.tag_dropout:g}",
                    f"flip_aug = {_toml(config.data.flip)}"]
        dataset = [f"resolution = {config.data.resolution}", f"batch_size = {config.data.batch_size}",
                   "enable_bucket = true", f"bucket_no_upscale = {_toml(not config.data.upscale)}"]
    subsets = [f"\n[[datasets.subsets]]\nimage_dir = {json.dumps(folder, ensure_ascii=False)}\nnum_repeats = {count}"
               for folder, count in folders.items()]
    return "\n".join(["# Run sd-scripts in the folder of this file, or write whole paths for image_dir.",
                      "[general]", *general, "", "[[datasets]]", *dataset, *subsets, ""])


def _toml(value: bool) -> str:
    return "true" if value else "false"
