"""Sweeps without a host: a backbone draws LoRA files x strengths x prompts x seeds, and each cell is saved at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from itertools import groupby
from pathlib import Path

from ..common.errors import UserError
from ..common.events import Events, Progress
from ..common.files import file_hash
from ..models.backbone import Backbone
from ..models.sampler import Sampler
from ..pictures.images import to_image
from .cells import Axis, Cell, Sweep, checkpoint_axis, seed_axis, strength_axis
from .writer import CellWriter

log = logging.getLogger(__name__)


def lora_sweep(folder: Path, backbone: Backbone, sampler: Sampler, files: Sequence[str | Path], *,
               strengths: Sequence[float], prompts: Axis, seeds: Sequence[int] = (), title: str = "",
               without: bool = False) -> Sweep:
    """The plan of a sweep of LoRA files with this backbone.

    Args:
        prompts: `cells.prompt_axis`, or an axis whose choices also set their seeds.

    Raises UserError for a file that is missing or not a LoRA, and for an empty axis.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise UserError(f"there is no LoRA file at {path}; give the path of a .safetensors LoRA.")
    own_seeds = all("seed" in choice.facts for choice in prompts.choices)
    axes = [checkpoint_axis(paths), strength_axis(strengths), prompts, *([] if own_seeds else [seed_axis(seeds)])]
    return Sweep(folder, title, tuple(axes), {"base": backbone.fingerprint, **vars(sampler)}, without)


def run_sweep(backbone: Backbone, sweep: Sweep, files: Sequence[str | Path], sampler: Sampler,
              should_stop: Callable[[], bool] = lambda: False, only: Collection[str] | None = None) -> Events:
    """Make every missing cell, batch by batch, yielding progress after each.

    A batch that fails is tried again cell by cell. A cell that fails is marked, and the others continue. `should_stop`
    is called after every batch; finished cells stay on disk.

    Args:
        only: keys of the cells that are made here, where others make the rest; None for all.
    """
    sweep.write()
    paths = {file_hash(path): Path(path) for path in files}
    missing = [cell for cell in sweep.missing() if only is None or cell.key in only]
    keys = {cell.key for cell in sweep.everything}
    total = len(keys if only is None else keys.intersection(only))
    done = total - len(missing)
    yield Progress("sweep", done, total)
    with CellWriter(sweep) as writer, closing(_draw(backbone, writer, missing, paths, sampler)) as drawn:
        for batch in drawn:
            done += len(batch)
            if done == total:
                writer.flush()  # the last event says that all is there
            yield Progress("sweep", done, total)
            if should_stop():
                return


def _draw(backbone: Backbone, writer: CellWriter, missing: Sequence[Cell], paths: Mapping[str, Path],
          sampler: Sampler) -> Generator[Sequence[Cell], None, None]:
    """Draw cells batch by batch; yields each batch once it is given to the writer.

    Args:
        paths: the LoRA files by their hashes.
    """
    for digest, of_lora in groupby(missing, key=lambda cell: cell.facts["lora_sha256"]):
        with backbone.lora(paths[digest]) if digest else nullcontext() as applied:
            for strength, of_strength in groupby(of_lora, key=lambda cell: cell.facts["strength"]):
                if applied:
                    applied.set_strength(strength)
                cells = list(of_strength)
                for start in range(0, len(cells), sampler.batch):
                    batch = cells[start : start + sampler.batch]
                    _make(backbone, writer, sampler, batch)
                    yield batch


def _make(backbone: Backbone, writer: CellWriter, sampler: Sampler, cells: Sequence[Cell]) -> None:
    try:
        pictures = sampler.pictures(backbone, [cell.facts["prompt"] for cell in cells],
                                    [cell.facts["seed"] for cell in cells])
    except UserError:
        raise
    except Exception as error:  # whatever a model raises for one image must not lose the others
        if len(cells) > 1:
            for cell in cells:
                _make(backbone, writer, sampler, [cell])
        else:
            log.warning("a cell of %s failed", writer.sweep.folder.name, exc_info=True)
            writer.fail(cells[0], f"{type(error).__name__}: {error}")
        return
    for cell, picture in zip(cells, pictures, strict=True):
        writer.save(cell, to_image(picture))
