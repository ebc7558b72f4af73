"""Measures the sandbox: how the base model draws held-out characters, the VAE, the judge, and the file sizes."""
from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from . import JUDGE_FILE, SANDBOX_DIR
from .dataset import PIXELS, render
from .judge import load_judge
from .make_judge import measure_judge
from .make_vae import psnr
from .report import write_report
from .workshop import Workshop, to_pixels
from .world import ATTRIBUTES, HELD_OUT, Character, Scene, caption_tags, sample_scene

IMAGES, CFG, BATCH = 320, 4.0, 32


def load_base(folder: Path) -> StableDiffusionPipeline:
    """The sandbox base model in float32, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline: StableDiffusionPipeline, captions: Sequence[str], steps: int = 20, cfg: float = CFG,
             seed: int = 0) -> torch.Tensor:
    """Images drawn from the captions, [B,3,64,64] in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(captions), BATCH):
        part = pipeline(list(captions[start:start + BATCH]), height=PIXELS, width=PIXELS, num_inference_steps=steps,
                        guidance_scale=cfg, generator=generator, output_type="pt").images
        parts.append(part.float().cpu())
    return torch.cat(parts)


def held_out_scenes(count: int, seed: int) -> list[Scene]:
    """Random scenes of the held-out characters in turn, without their signatures, because no caption can name those."""
    rng = random.Random(seed)
    plain = [Character(*character.identity) for character in HELD_OUT.values()]
    return [sample_scene(rng, plain[k % len(plain)]) for k in range(count)]


def caption(scene: Scene) -> str:
    return ", ".join(caption_tags(scene))


def contact_sheet(pixels: torch.Tensor, columns: int, zoom: int = 2) -> Image.Image:
    """[N,3,H,W] in 0..1 as one image, row by row."""
    images = (pixels.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    side = images.shape[1]
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), (255, 255, 255))
    for k, image in enumerate(images):
        sheet.paste(Image.fromarray(image), (k % columns * side, k // columns * side))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.NEAREST)


def measure_base(pipeline: StableDiffusionPipeline, count: int, steps: int, seed: int = 7) -> dict[str, float]:
    """Accuracy of each visible attribute in images of held-out characters, as the judge reads them."""
    scenes = held_out_scenes(count, seed)
    scores = load_judge().score(generate(pipeline, [caption(scene) for scene in scenes], steps, seed=seed), scenes)
    figures = {name: scores.attributes[name] for name in ATTRIBUTES}
    return {**figures, "mean": sum(figures.values()) / len(figures), "identity": scores.mean_identity,
            "prompt": scores.mean_prompt}


def file_sizes(base: Path) -> dict[str, int]:
    files = [*base.rglob("*.safetensors"), JUDGE_FILE]
    return {file.relative_to(base.parent).as_posix(): file.stat().st_size for file in sorted(files)}


def _parameters(pipeline: StableDiffusionPipeline) -> dict[str, int]:
    models = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder, "vae": pipeline.vae,
              "judge": load_judge()}
    return {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}


def sample_sheet(pipeline: StableDiffusionPipeline, steps: int) -> Image.Image:
    """A row per held-out character, a column per way to show it."""
    rng = random.Random(5)
    scenes = [sample_scene(rng, Character(*character.identity), framing=framing)
              for character in HELD_OUT.values()
              for framing in ("full body", "upper body", "close-up", "full body", "upper body", "full body")]
    pictures = generate(pipeline, [caption(scene) for scene in scenes], steps, seed=5)
    return contact_sheet(pictures, columns=6, zoom=3)


def evaluate(shop: Workshop, steps: int) -> None:
    """Write figures.json and samples.png, and the figures into the README."""
    pipeline = load_base(shop.base)
    vae: AutoencoderKL = pipeline.vae
    fresh = to_pixels(render(held_out_scenes(500, seed=99), seed=99))
    sizes = file_sizes(shop.base)
    figures = {
        "base": {"images": IMAGES, "cfg": CFG, "ddim_steps": steps, **measure_base(pipeline, IMAGES, steps)},
        "vae": {"psnr_db": psnr(vae, fresh), "scaling_factor": vae.config.scaling_factor},
        "judge": measure_judge(vae),
        "parameters": _parameters(pipeline),
        "bytes": {**sizes, "total": sum(sizes.values())},
    }
    rounded = {part: {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
               for part, values in figures.items()}
    (SANDBOX_DIR / "figures.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    sample_sheet(pipeline, steps).save(SANDBOX_DIR / "samples.png", optimize=True)
    write_report(SANDBOX_DIR)
    shop.log("evaluate", mean=figures["base"]["mean"], psnr=figures["vae"]["psnr_db"])
