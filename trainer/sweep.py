"""Sweeps without a host: LoRA files x strengths x prompts x seeds by a backbone; each cell is kept once it is made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from .backbone import Backbone
from .cells import Axis, Cell, Sweep, checkpoint_axis, seed_axis, strength_axis
from .errors import UserError
from .files import atomic_path, file_hash
from .images import to_image
from .stages import Making

BATCH_PIXELS, LARGEST_BATCH = 2**20, 16
MEASURED_SIDE = 512

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampler:
    """How pictures are made."""

    width: int
    height: int
    steps: int
    cfg: float

    @classmethod
    def of(cls, backbone: Backbone, **changed: int | float | None) -> Sampler:
        """The family's own defaults; what is given and not None takes their place."""
        family = backbone.family
        values = {"width": family.resolution, "height": family.resolution, "steps": family.sample_steps,
                  "cfg": family.cfg}
        return cls(**{**values, **{name: value for name, value in changed.items() if value is not None}})

    @property
    def batch(self) -> int:
        """How many pictures are made at once: as many as have the area of one of 1024 pixels square, at most 16."""
        return min(LARGEST_BATCH, max(1, BATCH_PIXELS // (self.width * self.height)))

    @property
    def measured_size(self) -> tuple[int, int]:
        """(width, height) at which its pictures are compared."""
        return measured_size(self.width, self.height)

    def pictures(self, backbone: Backbone, prompts: Sequence[str], seeds: Sequence[int]):
        """[B, 3, H, W] in 0..1."""
        return backbone.generate(prompts, seeds=seeds, width=self.width, height=self.height, steps=self.steps,
                                 cfg=self.cfg)


def measured_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which pictures are compared: their own, but no side longer than 512 pixels."""
    scale = min(1.0, MEASURED_SIDE / max(width, height))
    return round(width * scale), round(height * scale)


def save_picture(path: Path, image: Image.Image) -> None:
    with atomic_path(path) as temp:
        image.save(temp, format="PNG")


def lora_sweep(folder: Path, backbone: Backbone, sampler: Sampler, files: Sequence[str | Path], *,
               strengths: Sequence[float], prompts: Axis, seeds: Sequence[int] = (), title: str = "",
               without: bool = False) -> Sweep:
    """The plan of a sweep of LoRA files by this backbone.

    Args:
        prompts: `cells.prompt_axis`, or one whose choices also set their seed.

    Raises UserError for a file that is not there or is no LoRA, and for an empty axis.
    """
    files = [Path(file) for file in files]
    for path in files:
        if not path.is_file():
            raise UserError(f"no LoRA file at {path}; give the path of a .safetensors LoRA.")
    own_seeds = all("seed" in choice.facts for choice in prompts.choices)
    axes = [checkpoint_axis(files), strength_axis(strengths), prompts, *([] if own_seeds else [seed_axis(seeds)])]
    return Sweep(folder, title, tuple(axes), {"base": backbone.fingerprint, **vars(sampler)}, without)


def run_sweep(backbone: Backbone, sweep: Sweep, files: Sequence[str | Path], sampler: Sampler,
              should_stop: Callable[[], bool] = lambda: False) -> Iterator[Making]:
    """Make every missing cell, batch by batch, yielding progress after each.

    A batch that fails is tried again cell by cell; a cell that fails is marked, and the others go on. `should_stop` is
    asked after every batch; what is made is kept.
    """
    sweep.write()
    paths = {file_hash(path): Path(path) for path in files}
    missing = sweep.missing()
    total = len({cell.key for cell in sweep.everything})
    done = total - len(missing)
    yield Making("sweep", done, total)
    for digest, of_lora in groupby(missing, key=lambda cell: cell.facts["lora_sha256"]):
        with backbone.lora(paths[digest]) if digest else nullcontext() as applied:
            for strength, of_strength in groupby(of_lora, key=lambda cell: cell.facts["strength"]):
                if applied:
                    applied.set_strength(strength)
                cells = list(of_strength)
                for start in range(0, len(cells), sampler.batch):
                    batch = cells[start : start + sampler.batch]
                    _make(backbone, sweep, sampler, batch)
                    done += len(batch)
                    yield Making("sweep", done, total)
                    if should_stop():
                        return


def _make(backbone: Backbone, sweep: Sweep, sampler: Sampler, cells: Sequence[Cell]) -> None:
    try:
        pictures = sampler.pictures(backbone, [cell.facts["prompt"] for cell in cells],
                                    [cell.facts["seed"] for cell in cells])
    except UserError:
        raise
    except Exception as error:  # whatever a model raises for one picture must not lose the others
        if len(cells) > 1:
            for cell in cells:
                _make(backbone, sweep, sampler, [cell])
        else:
            log.warning("a cell of %s failed", sweep.folder.name, exc_info=True)
            sweep.fail(cells[0], f"{type(error).__name__}: {error}")
        return
    for cell, picture in zip(cells, pictures, strict=True):
        sweep.save(cell, to_image(picture))
