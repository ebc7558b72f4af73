"""Tables and lists that the model card and the site's description share, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...common.counts import count_noun
from ...sweeps.score_table import FIGURES
from ..facts import Facts
from ..limits import dataset_axes
from ..texts import as_code, escaped

TRAINING = (
    ("ss_network_dim", "rank"), ("ss_network_alpha", "alpha"), ("ss_optimizer", "optimizer"),
    ("ss_learning_rate", "learning rate"), ("ss_text_encoder_lr", "learning rate of the text encoder"),
    ("ss_lr_scheduler", "schedule"), ("ss_steps", "steps"), ("ss_epoch", "epochs"),
    ("ss_batch_size_per_device", "batch size"), ("ss_gradient_accumulation_steps", "accumulated batches"),
    ("ss_resolution", "resolution"), ("ss_min_snr_gamma", "min-SNR gamma"), ("ss_noise_offset", "noise offset"),
    ("ss_ip_noise_gamma", "noise in the input"), ("ss_scale_weight_norms", "largest norm of a layer"),
    ("ss_prior_loss_weight", "weight of regularisation images"), ("lora_bootstrap.weights", "weights"),
    ("ss_mixed_precision", "mixed precision"), ("ss_seed", "seed"), ("ss_sd_model_name", "base file"))
"""(key of the file's metadata, its name)."""
DRAWN = (("steps", "steps"), ("cfg", "cfg"), ("sampler", "sampler"), ("scheduler", "scheduler"))
"""(fact that all images of a sweep share, its name)."""


def table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    """Rows of a table; values are Markdown already. [] without rows."""
    lines = [f"| {name} | {value} |" for name, value in rows if value]
    return [f"| {head[0]} | {head[1]} |", "| --- | --- |", *lines] if lines else []


def bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def training_rows(facts: Facts) -> list[tuple[str, str]]:
    """What the released file says about its training, and the validation loss of its run."""
    rows = [(name, escaped(facts.metadata[key])) for key, name in TRAINING
            if facts.metadata.get(key, "") not in ("", "None")]
    if rows:
        rows.insert(0, ("kind of adapter", escaped(facts.source.adapter)))
    ratio = None if facts.settings.strip else facts.source.validation
    if rows and ratio is not None:
        rows.append(("validation loss, as a share of the base's", f"{ratio:.3f}"))
    base = facts.source.base_hash
    return [*rows, *([("base, sha256", as_code(base))] if base else [])]


def drawing_rows(facts: Facts) -> list[tuple[str, str]]:
    """How the test images were drawn."""
    shared = facts.measured.settings
    rows = [(name, escaped(shared[key])) for key, name in DRAWN if shared.get(key) not in (None, "")]
    if shared.get("width") and shared.get("height"):
        rows.append(("size", f"{escaped(shared['width'])} × {escaped(shared['height'])}"))
    return [*rows, *([("negative prompt", as_code(facts.negative))] if facts.negative else [])]


def dataset_lines(facts: Facts) -> list[str]:
    """The dataset in numbers: no name and no caption of an image."""
    images = facts.source.images
    if images is None:
        count = facts.metadata.get("ss_num_train_images", "")
        return [f"{escaped(count)} images, by the file's metadata."] if count else ["The dataset is not recorded."]
    trained = [image for image in images if not image.validation]
    repeated = sum(image.repeats for image in trained)
    held = len(images) - len(trained)
    lines = [f"{count_noun(len(trained), 'image')}" + (
        f", {repeated} with repeats" if repeated != len(trained) else "") + (
        f"; {count_noun(held, 'image')} held back for validation" if held else "") + "."]
    if facts.source.regularisation:
        lines.append(f"{count_noun(facts.source.regularisation, 'regularisation image')} beside them.")
    for axis in dataset_axes(facts.source):
        lines.append(f"{axis.title}: " + ", ".join(f"{bar.name} {bar.pictures}" for bar in axis.bars if bar.pictures)
                     + (f", not named {axis.unsaid}" if axis.unsaid else "") + ".")
    return lines


def score_rows(facts: Facts) -> list[tuple[str, str]]:
    """The figures of the scoring matrix; `not measured` for those that were not."""
    row = facts.measured.row
    if row is None:
        return []
    values = [(heading, getattr(row, name)) for name, heading in FIGURES]
    return [(heading, "not measured" if value is None else f"{value:.2f}") for heading, value in values]


def strength_lines(facts: Facts) -> list[str]:
    """The recommended strength, and those that were measured together with other LoRAs."""
    lines = [facts.strength_line]
    for pair in facts.measured.pairs:
        both = ", ".join(f"{escaped(lora.name.replace(chr(92), '/').rpartition('/')[2])} at {lora.strength:g}"
                         for lora in pair.loras)
        lines.append(f"With another LoRA, on {escaped(pair.base)}: {both}, by Refine Strengths.")
    return lines


def history_lines(facts: Facts, most: int = 20) -> list[str]:
    """What changed in each version, the newest first."""
    lines: list[str] = []
    for version, changes in facts.history.lines()[:most]:
        lines += [f"- **{escaped(version)}**", *(f"  - {escaped(line)}" for line in changes)]
    return lines


def warning_lines(warnings: Sequence[str]) -> list[str]:
    return [f"> ⚠️ {line}  " for line in warnings]
