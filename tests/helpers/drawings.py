"""Pictures of the drawn world, each drawn once: most tests want few different ones, but many of each."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image

from lora_bootstrap.sandbox import world


def draw_once(scene: world.Scene, size: int = 64) -> Image.Image:
    """What `world.draw` gives, a copy for each caller."""
    return _draw(scene, size).copy()


@lru_cache(maxsize=4096)
def _draw(scene: world.Scene, size: int) -> Image.Image:
    return world.draw(scene, size)
