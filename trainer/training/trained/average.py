"""The average of a run's last checkpoints as one more file beside them, to be compared with them in a sweep.

Corresponding tensors are averaged, as an EMA does it during the training: checkpoints of one run began with the same
factors, so these go together. The average then has their rank and their kind, whatever that is. The mean of the layers'
products would be exact too (as a merge, with the ranks added up), but four checkpoints of rank 16 would make a LoRA of
rank 64, and cutting it back loses something again. What a fine-tune saves is averaged exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from torch import Tensor

from ...common.errors import UserError
from ...common.new_files import numbered, write_new
from ...lora.hashes import check_weights, tensor_hash, write_hashed
from ...lora.metadata import read_table
from ...lora.tensors import Source, TensorFile
from ..metadata import LINEAGE, WEIGHTS
from ..runs import Run

_OF_ONE_STEP = ("ss_steps", "ss_epoch")
"""Metadata of a single step, which an average does not have. Without it, a sweep names the average by its file."""


@dataclass(frozen=True)
class AveragedFile:
    """Attributes:
        steps: of the checkpoints that are averaged.
        reused: whether the file already existed.
    """

    path: Path
    steps: tuple[int, ...]
    reused: bool


def average_checkpoints(run: Run, *, last: int = 0, files: Sequence[Path] = ()) -> AveragedFile:
    """Write the average of a run's checkpoints into its folder; the same average is reused.

    Args:
        last: number of last checkpoints, if `files` names none.
        files: checkpoints of the run.

    Raises UserError for fewer than two checkpoints, a file that is not one of the run's, or one that is damaged.
    """
    chosen = _choose(run, last, files)
    for _, path in chosen:
        check_weights(path)
    steps = tuple(step for step, _ in chosen)
    parents = [{"file": path.name, "step": step, "tensors": tensor_hash(path)} for step, path in chosen]
    target = run.average_path(steps[0], steps[-1])
    for found in takewhile(Path.exists, numbered(target)):
        if _parents_of(found) == parents:
            return AveragedFile(found, steps, True)
    with ExitStack() as stack:
        opened = [TensorFile(path) for _, path in chosen]
        for file in opened:
            stack.callback(file.close)
        _check_alike(opened)
        sources = {key: Source(opened[-1].torch_type(key), tuple(shape), partial(_mean, opened, key))
                   for key, shape in opened[-1].shapes.items()}
        metadata = _metadata(opened[-1].metadata, parents)
        path = write_new(target, lambda temporary: write_hashed(temporary, sources, metadata))
    return AveragedFile(path, steps, False)


def _choose(run: Run, last: int, files: Sequence[Path]) -> list[tuple[int, Path]]:
    checkpoints = run.checkpoints()
    if files:
        wanted = {path.resolve() for path in files}
        if strangers := wanted - {path.resolve() for _, path in checkpoints}:
            raise UserError(f"{min(strangers)} is not a checkpoint of run {run.name!r}. Only checkpoints of one run "
                            "can be averaged; use merge for other LoRAs.")
        chosen = [(step, path) for step, path in checkpoints if path.resolve() in wanted]
    else:
        chosen = checkpoints[-last:] if last > 0 else []
    if len(chosen) < 2:
        raise UserError(f"an average needs two or more checkpoints, but of the {len(checkpoints)} of run {run.name!r} "
                        f"{len(chosen)} would be averaged. Choose more, or train with save_every to get more.")
    return chosen


def _check_alike(files: Sequence[TensorFile]) -> None:
    for file in files[:-1]:
        if file.shapes != files[-1].shapes:
            raise UserError(f"{file.path.name} and {files[-1].path.name} do not hold the same layers in the same "
                            "sizes, so they cannot be averaged. Choose checkpoints of one training.")


def _mean(files: Sequence[TensorFile], key: str) -> Tensor:
    values = [file.read(key) for file in files]
    if not values[-1].is_floating_point():
        return values[-1]
    total = values[0].float()
    for value in values[1:]:
        total += value
    return (total / len(values)).to(values[-1].dtype)


def _parents_of(path: Path) -> Any:
    try:
        file = TensorFile(path)
        file.close()
        return read_table(file.metadata, LINEAGE).get("average")
    except UserError:
        return None


def _metadata(of_last: Mapping[str, str], parents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    lineage = {**read_table(of_last, LINEAGE), "average": list(parents)}
    steps = ", ".join(str(parent["step"]) for parent in parents)
    return {**{name: text for name, text in of_last.items() if name not in _OF_ONE_STEP},
            LINEAGE: json.dumps(lineage, ensure_ascii=False, sort_keys=True),
            WEIGHTS: f"average of the checkpoints at steps {steps}"}
