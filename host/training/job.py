"""A training of a workflow as a job for another machine, where it is trained without ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ...trainer.common.errors import UserError
from ...trainer.jobs.bases import check_trainable
from ...trainer.jobs.job import Desk, JobBase, SweepPlan
from ...trainer.jobs.pack import JobRequest, JobSets, find_desk_precision
from ...trainer.models.precision import choose_precision
from ...trainer.training.config import AUTO_PRECISION
from ..drawing.base_file import base_file
from ..drawing.node_place import NodePlace
from .base import loras_on_model, made_by
from .request import TrainRequest, plan_run

SANDBOX = "sandbox"
FOLDERS = ("checkpoints", "diffusion_models")
"""The host's folders in which a MODEL's file may be."""


@dataclass(frozen=True)
class PlannedJob:
    """A job that can be written.

    Attributes:
        family: name of the base's family, by which its cost is counted.
        length: how its steps follow from the images.
    """

    request: JobRequest
    family: str
    length: str


def plan_job(parts: tuple[Any, Any, Any], asked: TrainRequest, place: NodePlace, sweep: SweepPlan | None,
             source: str = "", beside_inside: bool = False) -> PlannedJob:
    """The job of a training of MODEL, CLIP and VAE.

    Args:
        source: where to get the base, in the user's words.
        beside_inside: whether the LoRAs beside the training go into the job.

    Raises UserError for a base that only ComfyUI trains, for one whose file is not known, and as `plan_run` does.
    """
    from ..backbone import model as host

    if carried := loras_on_model(parts[0], place):
        raise UserError(f"the MODEL carries {', '.join(carried)}, which the base on another machine does not. Link the "
                        "model from before it, and link the LoRA to beside.")
    with torch.inference_mode(False):
        file = base_file(parts[0], place.find, place.links["model"])
        base = host.HostBackbone(*parts, file)
        base.made_by = made_by(parts, place)
        check_trainable(base.family.name, base.family.title)
        planned = plan_run(asked, base.family, AUTO_PRECISION)
        desk = Desk(base.fingerprint, base.family.name, find_desk_precision(planned.config, choose_precision(base)))
    request = JobRequest(planned.config, JobSets(asked.dataset, asked.validation, asked.regularisation),
                         describe_base(base.family.name, file, source), desk, asked.beside, beside_inside, sweep)
    return PlannedJob(request, base.family.name, planned.length)


def describe_base(family: str, file: str, source: str) -> JobBase:
    """What a job says of its base. The whole file is read once for its hash. Raises UserError if it is not known, or
    not a checkpoint that is trained without ComfyUI."""
    from ...trainer.backends.diffusers import base_family, base_fingerprint

    if family == SANDBOX:
        return JobBase(SANDBOX, SANDBOX, base_fingerprint(SANDBOX), source=source)
    path = _find_weights(file)
    return JobBase(path.name, base_family(path).name, base_fingerprint(path), source=source)


def _find_weights(file: str) -> Path:
    found = [path for name in (file, *(folder_paths.get_full_path(folder, file) for folder in FOLDERS if file))
             if name and (path := Path(name)).is_file()]
    if not found:
        raise UserError(f"the file of the MODEL is not known{f' ({file})' if file else ''}, so a job cannot name its "
                        "base. Load it with Load Checkpoint.")
    if found[0].suffix.lower() not in (".safetensors", ".sft"):
        raise UserError(f"{found[0].name} is not a .safetensors file, the one format that is trained without ComfyUI. "
                        "Convert it, and load that.")
    return found[0]
