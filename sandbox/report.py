"""Fills the figures of the sandbox's README from figures.json and the training log, so that the two never differ."""
from __future__ import annotations

import json
from pathlib import Path

from .world import ATTRIBUTES, SIGNATURE_COLORS, SIGNATURE_KINDS

BEGIN, END = "<!-- figures: written by make_base, stage evaluate -->", "<!-- /figures -->"


def write_report(folder: Path) -> None:
    """Replace what stands between the two marks of `folder`/README.md."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "training_log.jsonl").read_text(encoding="utf-8").splitlines()]
    readme = folder / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    parts = [_attributes(figures), _likeness(figures["judge"]), _sizes(figures), _training(rows)]
    readme.write_text(before + "\n\n".join([BEGIN, *parts, END]) + after, encoding="utf-8")


def _table(head: str, rows: list[tuple]) -> str:
    columns = head.split(", ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _attributes(figures: dict) -> str:
    base, judge = figures["base"], figures["judge"]
    values = {**ATTRIBUTES, "signature": ("none", *SIGNATURE_KINDS), "signature_color": SIGNATURE_COLORS}
    rows = [(name, ", ".join(tags), _percent(judge[name]), _percent(judge[name + "_vae"]),
             _percent(base[name]) if name in base else "never seen") for name, tags in values.items()]
    means = [sum(judge[name + end] for name in ATTRIBUTES) / len(ATTRIBUTES) for end in ("", "_vae")]
    rows.append(("**mean of the attributes**", "", *map(_percent, means), f"**{_percent(base['mean'])}**"))
    setting = (f"Base: {base['images']} images of held-out characters in random scenes, {base['ddim_steps']} DDIM "
               f"steps, CFG {base['cfg']:g}.\n"
               "The base column is the per cent drawn as the caption says, as read by the judge.")
    return setting + "\n\n" + _table("attribute, values, judge, judge after the VAE, base", rows)


def _likeness(judge: dict) -> str:
    return ("Likeness (the judge's embedding): an image is nearer to another image of its own character than to one of "
            f"a\nrandom other with probability {judge['auc_other']:.3f}, and than to one of a twin (only one attribute "
            f"or the signature\ndiffers) with {judge['auc_twin']:.3f}. "
            "Where the difference is out of sight, twins cannot be told apart.")


def _sizes(figures: dict) -> str:
    counts, sizes, vae = figures["parameters"], figures["bytes"], figures["vae"]
    rows = []
    for name, count in counts.items():
        size = sum(length for file, length in sizes.items() if name in (*Path(file).parts, Path(file).stem))
        rows.append((name, f"{count:,}", f"{size / 1e6:.2f} MB"))
    rows.append(("total", f"{sum(counts.values()):,}", f"{sizes['total'] / 1e6:.2f} MB"))
    return (f"VAE: {vae['psnr_db']:.1f} dB PSNR on 500 fresh drawings; scaling factor {vae['scaling_factor']:.4g}.\n\n"
            + _table("model, parameters, file (fp16)", rows))


def _training(rows: list[dict]) -> str:
    unet = [row for row in rows if row["stage"] == "unet" and "loss" in row]
    first, last = unet[0], unet[-1]
    return (f"UNet: {last['step']:,} steps with batches of 32 on two CPU cores. The loss fell from {first['loss']:.3f} "
            f"(first {first['step']} steps)\nto {last['loss']:.4f} (last {first['step']}).")
