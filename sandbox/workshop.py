"""What the stages of `make_base` share: folders, the training log, fp16 saving and pixel conversion."""
from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import BASE_DIR, SANDBOX_DIR
from .dataset import cached_drawings, sample_scenes
from .world import Scene

DRAWINGS = 40_000


@dataclass(frozen=True)
class Workshop:
    """Where the stages read and write: `base` ships, `scratch` holds drawings and resumable states."""
    base: Path = BASE_DIR
    scratch: Path = Path(tempfile.gettempdir()) / "lora_bootstrap_sandbox"
    log_file: Path = SANDBOX_DIR / "training_log.jsonl"

    def base_drawings(self) -> tuple[list[Scene], np.ndarray]:
        """The scenes that the VAE and the UNet learn from, and their drawings, uint8 [N,64,64,3]."""
        scenes = sample_scenes(DRAWINGS, seed=1)
        return scenes, self.render(scenes, seed=1)

    def render(self, scenes: list[Scene], seed: int) -> np.ndarray:
        """See `dataset.cached_drawings`."""
        return cached_drawings(self.scratch, scenes, seed)

    def log(self, stage: str, **values: float) -> None:
        """Append one line to the training log, and print it."""
        row = {"stage": stage, "time": round(time.time()), **{k: _short(v) for k, v in values.items()}}
        line = json.dumps(row)
        print(line, flush=True)
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def autocast():
    """Use bfloat16 on the CPU; it halves a step's time on the machines this was made on."""
    return torch.autocast("cpu", torch.bfloat16)


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 [B,H,W,3] to float [B,3,H,W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def save_half(model, folder: Path) -> None:
    """Save a diffusers or transformers model as fp16 safetensors, so that no reader sees an incomplete folder."""
    import copy
    staged = folder.with_name(folder.name + ".new")
    shutil.rmtree(staged, ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(staged, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    staged.rename(folder)
