"""`lora-bootstrap generate`: images from a base model and LoRAs."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from typing import Any

from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_run_options, add_sampler_options, add_size_options, build_sampler, parse_lora


def add_generate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", required=True)
    command.add_argument("--lora", action="append", default=[], metavar="FILE[:STRENGTH]",
                         help="LoRA to apply; may be repeated")
    command.add_argument("--count", type=_parse_count, default=1, help="number of images, each with the next seed")
    add_run_options(command)
    add_size_options(command)
    add_sampler_options(command)


def handle_generate(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..common.new_files import write_new
    from ..models.sampler import save_picture
    from ..pictures.images import to_image

    backbone = load_backbone_quietly(options.base, options.base_precision)
    sampler = build_sampler(options, backbone)
    seeds = [options.seed + index for index in range(options.count)]
    folder, paths = options.output / "generated", []
    with ExitStack() as stack:
        for text in options.lora:
            path, strength = parse_lora(text)
            stack.enter_context(backbone.lora(path, strength))
        for start in range(0, len(seeds), sampler.batch):
            batch = seeds[start : start + sampler.batch]
            pictures = sampler.pictures(backbone, [options.prompt] * len(batch), batch)
            for seed, picture in zip(batch, pictures, strict=True):
                save = partial(save_picture, image=to_image(picture))
                paths.append(write_new(folder / f"{_file_stem(options.prompt)}-{seed}.png", save))
                console.say(str(paths[-1]))
    return {"prompt": options.prompt, "pictures": paths, "seeds": seeds}


def _parse_count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _file_stem(prompt: str) -> str:
    """At most 60 letters and digits of the prompt, its words joined by hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in prompt).split())[:60] or "picture"

