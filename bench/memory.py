"""What a training takes in memory, counted without weights, and the error of such counts against published figures.

Writes docs/memory.md and bench/results/memory.md, which also says what our LoRA keeps beside other forms of one.

    python -m lora_bootstrap.bench.memory [--results-only]
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..trainer.common.files import atomic_write, read_json, write_json
from ..trainer.memory.cache import cached
from ..trainer.memory.cards import CARDS, COPIES, GIB, LAUNCH, PRODUCTS, step_seconds
from ..trainer.memory.plan import CONTEXT, PACKED, WORKSPACE, count_published, packed
from ..trainer.memory.published import PublishedNetwork
from ..trainer.memory.shapes import SHAPES, Shape
from ..trainer.memory.step import StepCount, count_step
from ..trainer.training.config import TrainConfig
from . import kept
from .lora_forms import attach_peft
from .report import write_result

DOCS = Path(__file__).parents[1] / "docs" / "memory.md"
SIZES = {"sd15": (512, 768), "sdxl": (768, 1024)}
"""Sides in pixels by name of the network; 512 and 1024 for all others."""
BATCHES = {"sd15": (1, 4), "sdxl": (1, 4)}
"""Batch sizes by name; 1 for all others, whose counts take long."""
PRECISIONS, IN_FP32 = ("bf16", "fp8", "fp32"), ("sd15", "sdxl")
"""Precisions of the base, and networks that people hold in float32 too."""

SWEEP = ("[SimpleTuner, SEGMENTED_CHECKPOINTING.md](https://github.com/bghira/SimpleTuner/blob/main/documentation/"
         "experimental/SEGMENTED_CHECKPOINTING.md)")
QWEN = "[musubi-tuner, qwen_image.md](https://github.com/kohya-ss/musubi-tuner/blob/main/docs/qwen_image.md)"
BLOG = "[Hugging Face, flux-qlora](https://huggingface.co/blog/flux-qlora)"


@dataclass(frozen=True)
class Published:
    """A figure that others measured.

    Attributes:
        settings: those of their example, by our names.
        memory: GiB by the source's own way of measuring.
        whole: whether that is the whole card (nvidia-smi) instead of tensors alone.
        seconds: a step on an H100, and on an L40S.
        fitted: whether WORKSPACE or CONTEXT was set by it, so that its error says nothing.
    """

    name: str
    settings: dict[str, Any]
    memory: float
    source: str
    precision: str = "bf16"
    whole: bool = False
    seconds: tuple[float, float] | None = None
    fitted: bool = False
    remark: str = ""


def _pair(name: str, plain: float, recomputed: float, seconds: tuple[tuple[float, float], tuple[float, float]],
          remark: str = "", fitted: bool = False, **settings: Any) -> list[Published]:
    """Two rows of SimpleTuner's sweep: `none` and `layer` in bf16, on an H100 and an L40S."""
    rows = []
    for memory, recompute, times in zip((plain, recomputed), (False, True), seconds, strict=True):
        values = {"adapter.layers": "attention", "gradient_checkpointing": recompute, **settings}
        rows.append(Published(name, values, memory, SWEEP, seconds=times, fitted=fitted and not recompute,
                              remark=remark))
    return rows


SMALL = "its example names the 512 px dataset, and its speed fits 512 px"
PUBLISHED = (
    *_pair("sd15", 2.87, 1.98, ((.181, .176), (.305, .292)), fitted=True,
           **{"data.resolution": 512, "adapter.rank": 16}),
    *_pair("sdxl", 13.03, 6.53, ((.606, .585), (1.080, 1.029)), "theirs is a LoKr, counted as a LoRA of rank 16",
           **{"data.resolution": 1024, "adapter.rank": 16}),
    *_pair("sdxl", 7.22, 5.36, ((.635, .628), (1.118, 1.065)), f"Kolors, whose UNet is SDXL's; {SMALL}",
           **{"data.resolution": 512, "adapter.rank": 16}),
    *_pair("sd35_medium", 34.59, 7.67, ((.529, 1.189), (.721, 1.607)), "their LoRA and optimizer are bf16",
           **{"data.resolution": 1024, "adapter.rank": 128, "data.batch_size": 3}),
    *_pair("chroma", 26.18, 17.67, ((.454, .559), (1.276, 1.430)), SMALL,
           **{"data.resolution": 512, "adapter.rank": 16}),
    *_pair("lumina2", 15.99, 6.60, ((.235, .332), (.384, .457)),
           **{"data.resolution": 512, "adapter.rank": 16, "data.batch_size": 2}),
    *_pair("z_image", 21.25, 12.87, ((.243, .316), (.479, .493)), SMALL,
           **{"data.resolution": 512, "adapter.rank": 64}),
    *_pair("krea2", 40.09, 30.06, ((.272, .661), (.371, .919)), "layers are not said; counted with all",
           **{"data.resolution": 512, "adapter.rank": 64, "adapter.layers": "all"}),
    Published("qwen_image", {"data.resolution": 1024, "adapter.rank": 8, "adapter.layers": "attention",
                             "gradient_checkpointing": True}, 41.04, SWEEP, seconds=(1.202, 3.377)),
    Published("qwen_image", {"data.resolution": 1024, "adapter.rank": 16, "gradient_checkpointing": True,
                             "optimizer.name": "adamw8bit"}, 42, QWEN, whole=True, fitted=True),
    Published("qwen_image", {"data.resolution": 1024, "adapter.rank": 16, "gradient_checkpointing": True,
                             "optimizer.name": "adamw8bit"}, 30, QWEN, precision="fp8", whole=True,
              remark="their fp8 leaves some layers in bf16"),
    Published("flux", {"data.resolution": 640, "adapter.rank": 4, "adapter.layers": "attention",
                       "gradient_checkpointing": True, "optimizer.name": "adamw8bit"}, 26, BLOG, whole=True,
              remark="512 x 768 px, counted as a square of the same area"),
)


KEPT = (
    "## What a step keeps, beside other forms of a LoRA", "",
    "GiB held between the forward and the backward pass (*kept*) and of all tensors at once (*peak*): batch 1, rank 16 "
    "on attention and MLP, AdamW. *kohya* is sd-scripts' form of the module, *peft* is plain peft, *bare* is the "
    "network without a LoRA, below which none can go. *bf16 base in fp32* is how the command line trained on a card "
    "before it had autocast. The command line is counted on diffusers' networks, the node on ComfyUI's own.", "")


def main() -> None:
    from ..tests.helpers.hosts import newest

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results-only", action="store_true", help="leave docs/memory.md as it is")
    options = parser.parse_args()
    beside = kept.rows(next(iter(newest()), None))
    rows = [compare(published) for published in PUBLISHED]
    times = [row for published in PUBLISHED for row in compare_seconds(published)]
    path = write_result("memory", "Memory of a training step, predicted against published figures", rows, notes(rows))
    sections = [*KEPT, *kept.table(beside), "", *_times_table(times)]
    text = path.read_text(encoding="utf-8").rstrip() + "\n\n" + "\n".join(sections) + "\n"
    atomic_write(path, text.encode())
    figures = path.with_suffix(".json")
    write_json(figures, {**read_json(figures), "kept": beside})
    if not options.results_only:
        atomic_write(DOCS, page().encode())
    print(text)


def compare(published: Published) -> dict[str, Any]:
    shape, config = SHAPES[published.name], TrainConfig().replace(**published.settings)
    count = count_as_published(shape, config, published.precision)
    predicted = (count.peak + WORKSPACE + CONTEXT * published.whole) / GIB
    return {
        "network": shape.title, "px": config.data.resolution, "batch": config.data.batch_size,
        "rank": config.adapter.rank, "layers": config.adapter.layers, "base": published.precision,
        "checkpointing": "on" if config.gradient_checkpointing else "off", "published GiB": published.memory,
        "of": "card" if published.whole else "tensors", "predicted GiB": round(predicted, 2),
        "error": "(fitted)" if published.fitted else f"{100 * (predicted / published.memory - 1):+.1f} %",
        "source": published.source, "remark": published.remark or "-"}


def count_as_published(shape: Shape, config: TrainConfig, precision: str) -> StepCount:
    """A step with plain peft, as those who published the figures train."""
    config, dtype = config.replace(precision="bf16"), torch.bfloat16
    question = {"bench": "published", "shape": shape.name, "config": config.to_dict()}
    count = cached(question, lambda: count_step(PublishedNetwork(shape, config, dtype), config, attach=attach_peft))
    return packed(count, PACKED["fp8"]) if precision == "fp8" else count


def notes(rows: list[dict[str, Any]]) -> str:
    errors = [abs(float(row["error"].removesuffix(" %"))) for row in rows if row["error"] != "(fitted)"]
    return (
        "*Predicted* are counts under FakeTensorMode of torch, without weights and without a GPU, of a step with plain "
        "peft: bf16 autocast with the rules of CUDA, a float32 LoRA, AdamW in float32. The published trainers differ "
        "in such details; this pack's own step takes less, see below. Two figures set two constants for all families: "
        f"{WORKSPACE / GIB:.2f} GiB for what libraries take beside tensors (Stable Diffusion 1.5 without "
        f"checkpointing), and {CONTEXT / GIB:.1f} GiB for the context and gaps on the card (Qwen-Image, 42 GB, taken "
        f"as GiB). On the other {len(errors)} figures the error is {sum(errors) / len(errors):.1f} % on average and "
        f"{max(errors):.1f} % at most (aim: 15 %).")


def compare_seconds(published: Published) -> list[dict[str, Any]]:
    if published.seconds is None:
        return []
    shape, config = SHAPES[published.name], TrainConfig().replace(**published.settings)
    count = count_as_published(shape, config, published.precision)
    cards = [next(card for card in CARDS if card.name == name) for name in ("H100", "L40S")]
    return [{"network": shape.title, "px": config.data.resolution, "batch": config.data.batch_size,
             "checkpointing": "on" if config.gradient_checkpointing else "off", "card": card.name,
             "published s": measured, "predicted s": round(step_seconds(count, card), 3),
             "error": 100 * (step_seconds(count, card) / measured - 1)}
            for card, measured in zip(cards, published.seconds, strict=True)]


def _times_table(rows: list[dict[str, Any]]) -> list[str]:
    errors = [abs(row["error"]) for row in rows]
    return [
        "## Seconds a step", "",
        f"The same source. Three constants for all rows were fitted on them: {PRODUCTS:g} of a card's published "
        f"products, {COPIES:g} of its bandwidth, and {1e6 * LAUNCH:.0f} µs to start a kernel. So this says how good "
        f"the form is, not how it does on other cards: {sum(errors) / len(errors):.0f} % off on average, "
        f"{max(errors):.0f} % at most.",
        "", *_table([{**row, "error": f"{row['error']:+.0f} %"} for row in rows])]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(rows[0])
    return ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns),
            *("| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows)]


# -- the page ----------------------------------------------------------------------------------------------------------


def page() -> str:
    rows = [row for shape in SHAPES.values() for row in page_rows(shape)]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "peft"))
    return "\n".join([
        "# What a training takes in memory", "",
        f"**Predicted**, not measured: counted without weights on {datetime.date.today().isoformat()} with "
        f"{libraries}. `lora-bootstrap plan BASE` counts your own settings. *Train LoRA* says what your own model will "
        "take before the first step, and on a CUDA card what it then took. Nothing here was measured on a card yet; "
        "`python bench/gpu.py` does that in about 8 minutes, with `COMFYUI_PATH` set, in the Python of that ComfyUI.",
        "",
        "GiB on the card, with the CUDA context: LoRA of rank 16 on attention and MLP in float32, AdamW, cached "
        "latents and text, text encoders and VAE moved off the card as ComfyUI does. *bf16*, *fp8* and *fp32* are the "
        "base's weights; *ckpt* is gradient checkpointing, which is about a third slower. Families that only ComfyUI "
        "trains are counted on diffusers' network of the same model; Anima and Wan are counted in ComfyUI only. "
        "How such counts do against what others measured: "
        "[bench/results/memory.md](../bench/results/memory.md).", "",
        "A batch takes what one image takes beyond the weights, once for each image. What does not fit can still be "
        "trained with a part of the weights in RAM: slower, and not in this table. ComfyUI does so by itself, the "
        "command line with `--set offload_blocks=1`.", "",
        "On the command line, text encoders and VAE are moved off the card for the steps as well, and fp8 is "
        "`--base-precision fp8`. Without that option it loads every base in 16 bits, except the sandbox, and so does "
        "`plan --place command-line`. For both places a step is counted as `precision` auto trains it: "
        "under bf16 autocast over a base in 16 bits or less, without autocast over one in float32.", "",
        *_table(rows), ""])


def page_rows(shape: Shape) -> list[dict[str, Any]]:
    sides, batches = SIZES.get(shape.name, (512, 1024)), BATCHES.get(shape.name, (1,))
    return [_page_row(shape, side, batch) for side in sides for batch in batches]


def _page_row(shape: Shape, side: int, batch: int) -> dict[str, Any]:
    config = TrainConfig().replace(**{"data.resolution": side, "data.batch_size": batch})
    cells = {}
    for precision in PRECISIONS:
        for recompute in (False, True):
            setting = replace(config, gradient_checkpointing=recompute)
            cells[f"{precision}{' ckpt' if recompute else ''}"] = _cell(shape, setting, precision)
    return {"network": shape.title, "px": side, "batch": batch, **cells}


def _cell(shape: Shape, config: TrainConfig, precision: str) -> str:
    if precision == "fp32" and shape.name not in IN_FP32:
        return "-"
    count = count_published(shape, config, precision)
    print(shape.name, config.data.resolution, config.data.batch_size, precision, flush=True)
    return f"{(count.peak + WORKSPACE + CONTEXT) / GIB:.1f}"


if __name__ == "__main__":
    main()
