"""Sweeps: the same prompts and seeds at several LoRA strengths, kept as cells on disk, and labelled sheets of them."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .backbone import Backbone
from .errors import UserError
from .files import atomic_path, file_hash, read_json, write_json
from .images import open_image, to_image
from .stages import Making

BATCH_PIXELS, LARGEST_BATCH = 2**20, 16
MEASURED_SIDE = 512
MARGIN = 10


@dataclass(frozen=True)
class Grid:
    """Cells of a sweep: `cells[row][column]` is the picture's file; rows are prompts, columns strengths."""

    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    strengths: tuple[float, ...]
    cells: tuple[tuple[Path, ...], ...]

    @property
    def sheet(self) -> Path:
        return self.folder / "grid.png"


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


def sweep_strengths(backbone: Backbone, lora: str | Path, prompts: Sequence[str], seeds: Sequence[int],
                    strengths: Sequence[float], *, folder: Path, sampler: Sampler | None = None,
                    title: str = "") -> Iterator[Making]:
    """Make every missing cell, yielding progress; the generator's return value is the Grid.

    A cell is `cells/<hash>.png` with its settings in a `.json` beside it; a cell that is there is not made again.
    Also writes manifest.json and grid.png. Raises UserError for a missing LoRA file or for no prompts or strengths.
    """
    if not prompts or not strengths or len(prompts) != len(seeds):
        raise UserError(f"a grid needs prompts, a seed for each, and strengths; got {len(prompts)} prompts, "
                        f"{len(seeds)} seeds and {len(strengths)} strengths.")
    if not Path(lora).is_file():
        raise UserError(f"no LoRA file at {lora}; give the path of a .safetensors LoRA.")
    sampler = sampler or Sampler.of(backbone)
    shared = {"lora": file_hash(lora), "base": backbone.fingerprint, **vars(sampler)}
    grid = _plan(folder, shared, prompts, seeds, strengths)
    total, done = len(prompts) * len(strengths), 0
    with backbone.lora(lora, strengths[0]) as handle:
        for column, strength in enumerate(strengths):
            handle.set_strength(strength)
            for start in range(0, len(prompts), sampler.batch):
                rows = range(start, min(start + sampler.batch, len(prompts)))
                _make(backbone, sampler, shared, grid, [r for r in rows if not grid.cells[r][column].exists()], column)
                done += len(rows)
                yield Making("grid", done, total)
    _write_sheet(grid, title)
    return grid


def strength_grid(backbone: Backbone, lora: str | Path, prompts: Sequence[str], seeds: Sequence[int],
                  strengths: Sequence[float], *, folder: Path, sampler: Sampler | None = None,
                  title: str = "") -> Grid:
    """`sweep_strengths` run to its end."""
    sweep = sweep_strengths(backbone, lora, prompts, seeds, strengths, folder=folder, sampler=sampler, title=title)
    while True:
        try:
            next(sweep)
        except StopIteration as end:
            return end.value


def _cell_facts(shared: dict, prompt: str, seed: int, strength: float) -> dict:
    return {**shared, "prompt": prompt, "seed": seed, "strength": float(strength)}


def _plan(folder: Path, shared: dict, prompts, seeds, strengths) -> Grid:
    def path(prompt: str, seed: int, strength: float) -> Path:
        facts = json.dumps(_cell_facts(shared, prompt, seed, strength), sort_keys=True)
        return folder / "cells" / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.png"

    cells = tuple(tuple(path(prompt, seed, strength) for strength in strengths)
                  for prompt, seed in zip(prompts, seeds, strict=True))
    return Grid(folder, tuple(prompts), tuple(seeds), tuple(map(float, strengths)), cells)


def _make(backbone, sampler: Sampler, shared: dict, grid: Grid, rows: list[int], column: int) -> None:
    if not rows:
        return
    pixels = sampler.pictures(backbone, [grid.prompts[r] for r in rows], [grid.seeds[r] for r in rows])
    for row, picture in zip(rows, pixels, strict=True):
        path = grid.cells[row][column]
        facts = _cell_facts(shared, grid.prompts[row], grid.seeds[row], grid.strengths[column])
        write_json(path.with_suffix(".json"), facts)
        save_picture(path, to_image(picture))


def _write_sheet(grid: Grid, title: str) -> None:
    names = [[cell.name for cell in row] for row in grid.cells]
    write_json(grid.folder / "manifest.json", {
        "prompts": grid.prompts, "seeds": grid.seeds, "strengths": grid.strengths, "cells": names, "title": title})
    images = [[open_image(cell) for cell in row] for row in grid.cells]
    labels = [f"{prompt} (seed {seed})" for prompt, seed in zip(grid.prompts, grid.seeds, strict=True)]
    save_picture(grid.sheet, compose_grid(images, labels, [f"{s:g}" for s in grid.strengths], title))


def load_grid(folder: Path) -> Grid:
    """The grid of a sweep's folder, from its manifest.json. Raises UserError if it cannot be read."""
    manifest = read_json(folder / "manifest.json")
    cells = tuple(tuple(folder / "cells" / name for name in row) for row in manifest["cells"])
    return Grid(folder, tuple(manifest["prompts"]), tuple(manifest["seeds"]), tuple(manifest["strengths"]), cells)


def compose_grid(images: Sequence[Sequence[Image.Image]], row_labels: Sequence[str] = (),
                 column_labels: Sequence[str] = (), title: str = "", cell: int = 160) -> Image.Image:
    """A labelled sheet of rows of pictures, on white. Small pictures are enlarged to `cell` pixels, larger ones shrunk.

    Row labels are wrapped beside their row, column labels stand above; empty label lists take no room.
    """
    rows, columns = len(images), max(map(len, images))
    font, heading = ImageFont.load_default(13), ImageFont.load_default(20)
    left = MARGIN + (190 if row_labels else 0)
    top = MARGIN + (34 if title else 0) + (24 if column_labels else 0)
    size = (left + columns * (cell + MARGIN), top + rows * (cell + MARGIN))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN), title, "black", heading)
    for column, label in enumerate(column_labels):
        draw.text((left + column * (cell + MARGIN) + cell // 2, top - 14), label, "black", font, anchor="mm")
    for row, pictures in enumerate(images):
        y = top + row * (cell + MARGIN)
        if row_labels:
            lines = textwrap.wrap(row_labels[row], 27)[: cell // 17]
            draw.multiline_text((MARGIN, y + cell // 2), "\n".join(lines), "black", font, anchor="lm", spacing=4)
        for column, picture in enumerate(pictures):
            fitted = _fitted(picture, cell)
            x = left + column * (cell + MARGIN)
            sheet.paste(fitted, (x + (cell - fitted.width) // 2, y + (cell - fitted.height) // 2))
    return sheet


def contact_sheet(images: Sequence[Image.Image], columns: int = 8, title: str = "", cell: int = 128) -> Image.Image:
    """The pictures in reading order, without labels."""
    rows = [images[start : start + columns] for start in range(0, len(images), columns)] or [[]]
    return compose_grid(rows, title=title, cell=cell)


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
