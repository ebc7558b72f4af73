"""Which base model a job is trained on where it runs: it is found by its name, and told from others by its hash."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..backends.given_base import SANDBOX
from ..common.errors import UserError
from .job import Job

FAMILIES = ("sandbox", "sd15", "sdxl", "illustrious")
"""Those whose bases are trained without ComfyUI."""


def find_job_base(job: Job, given: str, near: Iterable[Path]) -> str:
    """The base to load: the one that is given, the sandbox, or a file or folder of the job's name in one of the folders
    `near`. Raises UserError if none is there."""
    if given or job.base.name == SANDBOX:
        return given or SANDBOX
    found = next((path for folder in near if (path := folder / job.base.name).exists()), None)
    if found is None:
        where = f" Get it from {job.base.source}." if job.base.source else ""
        raise UserError(f"the job's base {job.base.name} ({job.base.family}, {job.base.fingerprint[:12]}) is not "
                        f"here.{where} Give its file or folder with --base PATH.")
    return str(found)


def compare_base(job: Job, base: str, any_base: bool = False) -> str:
    """"" if a base is the job's, by the hash of its weights; or, with `any_base`, a warning that it is another one.

    Raises UserError for another one otherwise, and for what is not a base model.
    """
    from ..backends.diffusers import base_fingerprint

    found = base_fingerprint(base, job.base.precision)
    if found == job.base.fingerprint:
        return ""
    other = (f"{Path(base).name} is not the job's base: the hash of its weights is {found[:12]}, that of "
             f"{job.base.name} is {job.base.fingerprint[:12]}")
    if not any_base:
        raise UserError(f"{other}. Give the same file, or add --any-base to train on this one all the same: that gives "
                        "another LoRA.")
    return (f"{other}. It is trained on all the same, so this is another LoRA than the desk would train, and the desk "
            "will not take it for its own.")


def check_trainable(family: str, title: str) -> None:
    """Raises UserError for a family that only ComfyUI trains."""
    if family not in FAMILIES:
        raise UserError(f"the base is {title}, which only ComfyUI trains; without it, lora-bootstrap run trains SD1.5 "
                        "and SDXL with their offspring. Run this workflow in a rented ComfyUI, as docs/reach.md says.")
