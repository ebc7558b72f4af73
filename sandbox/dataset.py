"""Drawings for training: scenes from one seed, rendered once on every core and cached as uint8 arrays."""
from __future__ import annotations

import random
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from .drawing import draw
from .world import Scene, sample_character, sample_scene, with_signature

PIXELS = 64
CHUNK = 1000
PAINTER = ("world.py", "dataset.py", "drawing.py", "figure.py", "backdrop.py")


def sample_scenes(count: int, seed: int, signatures: float = 0.0) -> list[Scene]:
    """`count` random scenes, none of them of a held-out character; a share of them has a signature."""
    rng = random.Random(seed)
    scenes = []
    for _ in range(count):
        character = sample_character(rng)
        if rng.random() < signatures:
            character = with_signature(rng, character)
        scenes.append(sample_scene(rng, character))
    return scenes


def render(scenes: list[Scene], seed: int) -> np.ndarray:
    """uint8 [N, 64, 64, 3]; each image is framed slightly off, so that crops of images are familiar too."""
    chunks = [(scenes[k:k + CHUNK], f"{seed}/{k}") for k in range(0, len(scenes), CHUNK)]
    if len(chunks) <= 2:
        return np.concatenate([_render_chunk(chunk) for chunk in chunks])
    # Forking after torch has started its threads can hang, so the workers are spawned.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_render_chunk, chunks)))


def _render_chunk(job: tuple[list[Scene], str]) -> np.ndarray:
    scenes, seed = job
    rng = random.Random(seed)
    return np.stack([np.asarray(draw(scene, PIXELS, _jitter(rng))) for scene in scenes])


def _jitter(rng: random.Random) -> tuple[float, float, float]:
    return rng.uniform(-.03, .03), rng.uniform(-.03, .03), rng.uniform(.95, 1.07)


def cached_drawings(folder: Path, scenes: list[Scene], seed: int) -> np.ndarray:
    """`render`, cached in `folder` after the first use; the file's name depends on the scenes and the painter."""
    painter = b"".join((Path(__file__).parent / name).read_bytes() for name in PAINTER)
    key = zlib.crc32(painter + repr(scenes).encode())
    path = folder / f"drawings-{seed}-{key:08x}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, render(scenes, seed))
    return np.load(path)
