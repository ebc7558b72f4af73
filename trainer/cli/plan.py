"""`lora-bootstrap plan`: memory, time and disk of a training, before anything is loaded."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from ..common.checks import check, check_choice
from ..common.counts import duration
from .terminal.console import Console

GIB = 2**30
PLACES = ("comfyui", "command-line")
LORA, FULL = "lora", "full"
METHODS = (LORA, FULL)
TRAINABLE = ("fp32", "bf16")
"""Precisions of a base that a fine-tune can start from."""
OFFLOADED = {"comfyui": "ComfyUI keeps weights in RAM by itself as the card needs it",
             "command-line": "hold blocks in RAM with --set offload_blocks={share:g}"}
"""How the weights of blocks come to be in RAM, by place."""
OFFLOADED_FULL = "with fit_memory on, as it is by default, a fine-tune moves blocks to RAM by itself"
FEW = 10
"""Images that are assumed where the preset is the same for every set."""


def add_plan_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("base", help="a family such as sdxl, flux, z-image or qwen-image, a diffusers folder, or a "
                         ".safetensors file; only its header is read")
    command.add_argument("--kind", default="character", help="selects the family's preset (%(default)s)")
    command.add_argument("--method", default=LORA, help="lora, or full for a fine-tune of all weights (%(default)s)")
    command.add_argument("--resolution", type=int, help="side of the images' square, in pixels; default: the family's")
    command.add_argument("--batch", type=int, help="images per batch; default: the preset's")
    command.add_argument("--rank", type=int, help="size of the LoRA; default: the preset's")
    command.add_argument("--layers", help="layers with a LoRA: attention, attention+mlp or all; default: the preset's")
    command.add_argument("--checkpointing", action="store_true", help="recompute in the backward pass: slower, smaller")
    command.add_argument("--precision", help="precision of the base's weights on the card: fp32, bf16, fp8, int8 or "
                         "nf4; default: fp8 for a file in fp8 in comfyui, else bf16, as it is loaded")
    command.add_argument("--optimizer", help="adamw, adamw8bit, adamw_bf16, adamw_schedule_free, adafactor, prodigy, "
                         "lion or came; default: adamw, adafactor in a fine-tune")
    command.add_argument("--images", type=int, help="images in the dataset, which the steps follow; default: as many "
                         "as the preset is for")
    command.add_argument("--vram", type=float, default=12, help="memory of the card, in GB (%(default)s)")
    command.add_argument("--place", default="comfyui",
                         help="where it will train: comfyui or command-line, which differ in how a base is loaded "
                              "(%(default)s)")


def handle_plan(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..memory.bases import find_base
    from ..memory.plan import make_plan
    from ..memory.shapes import shape_family
    from ..memory.text import CLIPS
    from ..training.epochs import steps_for
    from ..training.presets import kind_preset, preset_config

    base = find_base(options.base)
    given = {"data.resolution": options.resolution, "data.batch_size": options.batch, "adapter.rank": options.rank,
             "adapter.layers": options.layers, "optimizer.name": options.optimizer}
    settings = {name: value for name, value in given.items() if value is not None}
    family = shape_family(base.shape)
    preset = kind_preset(family, options.kind)
    images = options.images or preset.images or FEW
    full = options.method == FULL
    trained = preset.text_encoder_learning_rate is not None and not full
    trains_text = trained and base.shape.name in CLIPS
    config = preset_config(family, options.kind, {
        **({"method": FULL} if full else {}), "adapter.text_encoder": trains_text,
        "steps": steps_for(preset, images), **settings,
        "gradient_checkpointing": options.checkpointing})
    console.say(f"counting a step of {base.shape.title} without its weights; the first time this may take a minute ...")
    precision = options.precision or _loaded_precision(base, options)
    check(not full or precision in TRAINABLE, "the precision of the base", precision, f"{' or '.join(TRAINABLE)} for a "
          "fine-tune. Plan with the model in 16 bits, or a LoRA")
    plan = make_plan(base, config, precision, options.vram, images)
    notes = [base.note] if base.note else []
    if trained and not trains_text:
        notes.append("without the text encoder, which the preset trains too")
    if plan.fits and plan.fits.offload:
        notes.append(OFFLOADED_FULL if full else OFFLOADED[options.place].format(share=plan.fits.offload))
    for line in plan_lines(base.shape.title, plan, options.vram, options.place, notes):
        console.say(line)
    return plan_facts(base.shape.title, plan, options.vram)


def _loaded_precision(base: Any, options: argparse.Namespace) -> str:
    """ComfyUI keeps that of the file, but loads float32 in 16 bits; the command line loads every base in 16 bits. The
    sandbox is float32 everywhere."""
    kept = options.base == "sandbox" or (base.precision == "fp8" and options.place == "comfyui")
    return str(base.precision) if kept else "bf16"


def check_plan(options: argparse.Namespace) -> None:
    check_choice("--method", options.method, METHODS)
    for name in ("rank", "layers") if options.method == FULL else ():
        value = getattr(options, name)
        check(value is None, f"--{name}", value, "left out with --method full, which trains all weights")
    check(options.method != FULL or options.precision in (None, *TRAINABLE), "--precision", options.precision,
          f"{' or '.join(TRAINABLE)} with --method full: packed weights cannot be trained")
    for name in ("batch", "images"):
        value = getattr(options, name)
        check(value is None or 1 <= value <= 1_000_000, f"--{name}", value, "from 1 to 1000000")
    check(options.resolution is None or 64 <= options.resolution <= 8192, "--resolution", options.resolution,
          "from 64 to 8192 pixels")
    check(math.isfinite(options.vram) and 0 < options.vram <= 10_000, "--vram", options.vram, "from 0 to 10000 GB")
    check_choice("--place", options.place, PLACES)
    if options.precision is not None:
        from ..memory.bases import BASES

        check_choice("--precision", options.precision, BASES)


def plan_lines(title: str, plan: Any, vram: float, place: str, notes: Sequence[str] = ()) -> list[str]:
    """What the command says to people; `notes` say what is not counted."""
    asked, config = plan.asked, plan.asked.config
    data, count, full = config.data, plan.asked.count, config.method == FULL
    resident = "VAE is" if asked.resident else "text encoders and VAE are"
    lines = [
        f"{title}, {data.resolution} px, batch {data.batch_size}, {trained_words(config, count)}, "
        f"{config.optimizer.name}, "
        f"{asked.precision} base, {'with' if config.gradient_checkpointing else 'without'} gradient checkpointing",
        *([] if full else [f"weights      {gib(count.weights)}"]),
        *([f"text encoder {gib(asked.resident)}, trained too"] if asked.resident else []),
        f"{'weights     ' if full else 'LoRA        '} {gib(count.adapter)}, with the optimizer's state "
        f"{gib(count.adapter + count.state)}",
        f"activations  {gib(count.activations)}",
        f"peak         about {gib(asked.peak)} ({resident} moved off); on the card about {gib(asked.needed)}",
        *notes,
        verdict(plan, vram),
    ]
    if plan.largest_batch:
        lines.append(f"largest batch that fits: {plan.largest_batch}")
    lines += [f"time         {name}: about {duration(seconds)} a step, {duration(seconds * config.steps)} for "
              f"{config.steps} steps" for name, seconds in plan.seconds.items()]
    lines.append(f"disk         about {gib(plan.disk)} for {'the differences' if full else 'LoRA files'} and training "
                 "state")
    kept = f", with the base as it was ({gib(count.adapter)}, on disk where RAM is short)" if full else ""
    lines.append(f"RAM          about {gib(plan.ram)}{kept}")
    lines.append(f"These are predictions, counted for {place}; docs/memory.md says how well they do.")
    return lines


def trained_words(config: Any, count: Any) -> str:
    """What is trained, and of what size."""
    if config.method == FULL:
        return f"fine-tune of all weights ({count.parameters / 1e6:.1f} M parameters)"
    adapter = config.adapter
    return (f"rank {adapter.rank} on {adapter.layers} ({count.modules} layers, {count.parameters / 1e6:.1f} M "
            "parameters)")


def verdict(plan: Any, vram: float) -> str:
    """Whether and how the training fits a card with `vram` GB."""
    if plan.fits is None and plan.asked.config.method == FULL:
        return (f"does not fit {vram:g} GB, even with gradient checkpointing, weights in bf16 and all blocks in RAM: "
                "lower --resolution or --batch, or train a LoRA")
    if plan.fits is None:
        return (f"does not fit {vram:g} GB, even with gradient checkpointing, fp8 base and all blocks in RAM: lower "
                "--resolution or --batch")
    if plan.fits is plan.asked:
        return f"fits {vram:g} GB as it is"
    return f"fits {vram:g} GB with {plan.fits.words} (about {gib(plan.fits.needed)} on the card)"


def plan_facts(title: str, plan: Any, vram: float) -> dict[str, Any]:
    """What --json prints; sizes in bytes."""
    return {
        "base": title, **estimate_facts(plan.asked), "vram": vram,
        "fits": None if plan.fits is None else estimate_facts(plan.fits), "largest_batch": plan.largest_batch,
        "seconds_per_step": plan.seconds, "disk": plan.disk, "ram": plan.ram,
    }


def estimate_facts(estimate: Any) -> dict[str, Any]:
    config, count = estimate.config, estimate.count
    return {
        "resolution": config.data.resolution, "batch": config.data.batch_size, "rank": config.adapter.rank,
        "layers": config.adapter.layers, "optimizer": config.optimizer.name, "precision": estimate.precision,
        "checkpointing": config.gradient_checkpointing, "recompute": estimate.recompute, "offload": estimate.offload,
        "in_ram": estimate.in_ram, "blocks_in_ram": estimate.blocks_in_ram, "blocks": len(estimate.blocks),
        "weights": count.weights, "adapter": count.adapter,
        "optimizer_state": count.state, "activations": count.activations, "resident": estimate.resident,
        "peak": estimate.peak, "needed": estimate.needed, "modules": count.modules, "parameters": count.parameters,
        "operations": count.operations,
    }


def gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size < GIB else f"{size / GIB:.1f} GiB"
