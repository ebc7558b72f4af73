"""What a step keeps for its backward pass and takes at its peak, at true sizes: ours, other forms, the bare network.

bench/memory.py puts these rows into its table. The node's are counted in the host's own Python, on its own networks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIDES = {"sd15": 512, "sdxl": 1024, "flux": 1024, "krea2": 1024}
COMMAND_LINE, NODE = "command line", "node"
FORMS = ("ours", "kohya", "peft", "bare")
GIB = 2**30


@dataclass(frozen=True)
class Option:
    """How the base lies on the card, and what the step computes in."""

    name: str
    base: str = "bf16"
    precision: str = "bf16"
    checkpointing: bool = False
    networks: tuple[str, ...] = tuple(SIDES)
    places: tuple[str, ...] = (COMMAND_LINE, NODE)
    forms: tuple[str, ...] = FORMS


OPTIONS = (
    Option("bf16"), Option("bf16, checkpointing", checkpointing=True),
    Option("fp32", base="fp32", precision="fp32", networks=("sd15", "sdxl")),
    # as the command line trained until auto: kohya's form and the bare network take no such mixture
    Option("bf16 base in fp32", precision="fp32", networks=("sd15", "sdxl"), places=(COMMAND_LINE,),
           forms=("ours", "peft")),
)

Counted = dict[str, dict[str, int]]
"""By form: kept and peak, in bytes."""


def rows(host: Any | None) -> list[dict[str, Any]]:
    """One for each network, place and option; those of the node only with a host."""
    places = [COMMAND_LINE, *([NODE] if host else [])]
    return [_row(name, place, option, _in_host(host, name, option) if place == NODE else _here(name, option))
            for name in SIDES for place in places for option in OPTIONS
            if name in option.networks and place in option.places]


def _row(name: str, place: str, option: Option, found: Counted) -> dict[str, Any]:
    limit = found.get("bare", {}).get("kept")
    cells = {f"{what} {form}": f"{found[form][what] / GIB:.2f}" if form in found else "-"
             for what in ("kept", "peak") for form in FORMS}
    ratio = f"{found['ours']['kept'] / limit:.2f}" if limit else "-"
    print(name, place, option.name, cells, ratio, flush=True)
    return {"network": name, "px": SIDES[name], "place": place, "option": option.name,
            **{key: value for key, value in cells.items() if key.startswith("kept")}, "ours / bare": ratio,
            **{key: value for key, value in cells.items() if key.startswith("peak")}}


def _config(name: str, option: Option) -> Any:
    from ..trainer.training.config import TrainConfig

    return TrainConfig(precision=option.precision, gradient_checkpointing=option.checkpointing).replace(
        **{"data.resolution": SIDES[name]})


def _counts(place: str, name: str, option: Option, count: Callable[[Any], Any]) -> Counted:
    """Each form's count; the same question is counted once, so that an interrupted bench goes on where it was."""
    from ..trainer.memory.cache import cached
    from .lora_forms import FORMS as ATTACH

    found: Counted = {}
    for form in option.forms:
        step = cached({"bench": "kept", "place": place, "name": name, "option": repr(option), "form": form},
                      lambda attach=ATTACH[form]: count(attach))
        found[form] = {"kept": step.kept, "peak": step.peak}
    return found


def _here(name: str, option: Option) -> Counted:
    import torch

    from ..trainer.memory.published import PublishedNetwork
    from ..trainer.memory.shapes import SHAPES
    from ..trainer.memory.step import count_step

    config, dtype = _config(name, option), torch.float32 if option.base == "fp32" else torch.bfloat16
    return _counts("diffusers", name, option, lambda attach: count_step(
        PublishedNetwork(SHAPES[name], config, dtype), config, attach=attach))


def _in_host(host: Any, name: str, option: Option) -> Counted:
    done = subprocess.run(
        [host.python, Path(__file__), str(host.path), name, str(OPTIONS.index(option))], cwd=host.path,
        env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True)
    found: Counted = json.loads(done.stdout.strip().splitlines()[-1])
    return found


# -- inside the host's Python ----------------------------------------------------------------------------------------


def inside(folder: str, name: str, number: int) -> None:
    """Print the counts of a network as the last line."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "comfyui" / "inside"))
    from start import load_pack, start_host

    start_host(folder)
    load_pack()
    from lora_bootstrap.bench import kept
    from lora_bootstrap.host.compat import host_version

    option = kept.OPTIONS[number]
    print(json.dumps(kept._counts(f"ComfyUI {host_version()}", name, option,
                                  lambda attach: _count_in_host(name, option, attach))))


def _count_in_host(name: str, option: Any, attach: Any) -> Any:
    import torch

    from lora_bootstrap.bench import kept
    from lora_bootstrap.host.backbone.memory_plan import count_training

    backbone = _make_backbone(name, torch.float32 if option.base == "fp32" else torch.bfloat16)
    with backbone.training(option.checkpointing):
        return count_training(backbone, kept._config(name, option), " ".join(["word"] * 20), 3600, attach=attach)


def _make_backbone(name: str, dtype: Any) -> Any:
    """The host's network at its true size, on the CPU, with memory that nobody touches."""
    import comfy.model_patcher
    import comfy.supported_models as supported
    import tiny_models
    import torch

    from lora_bootstrap.bench.gpu import SIZES, Size
    from lora_bootstrap.host.backbone.model import HostBackbone

    krea = Size("Krea2", {"image_model": "krea2"}, {"width": 12 * 2560, "tokens": 128})
    size, cpu = {**SIZES, "krea2": krea}[name], torch.device("cpu")
    with torch.inference_mode():
        settings = {**size.settings, "dtype": dtype}
        config = getattr(supported, size.config)(settings)
        config.unet_config = settings
        config.set_inference_dtype(dtype, None)
        model = config.get_model({}, "", device=cpu)
    made = model.latent_format
    return HostBackbone(comfy.model_patcher.ModelPatcher(model, cpu, cpu),
                        tiny_models.TinyClip(tiny_models.Tiny(size.config, size.settings, **size.text)),
                        tiny_models.TinyVae(made.latent_channels, made.latent_dimensions == 3))


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0]))
    yield from ("| " + " | ".join(map(str, row.values())) + " |" for row in rows)


if __name__ == "__main__":
    inside(sys.argv[1], sys.argv[2], int(sys.argv[3]))
