"""A job of the tiny model, packed as a desk would pack it, and its work on another machine."""

from __future__ import annotations

from pathlib import Path

from lora_bootstrap.trainer.jobs.job import Desk, JobBase, SweepPlan
from lora_bootstrap.trainer.jobs.pack import JobRequest, JobSets
from lora_bootstrap.trainer.jobs.run import run_job
from lora_bootstrap.trainer.jobs.work import Work, open_work
from lora_bootstrap.trainer.memory.step import StepCount

from .short_runs import short_config

SWEEP = SweepPlan(name="tiny-checkpoints", strengths=(1.0,), prompts=("zqx, red", "zqx, blue"), seeds=(1,), width=32,
                  height=32, steps=2)


def count_at_once(*asked) -> StepCount:
    """In place of `costs.count_published`, which takes seconds."""
    return StepCount(**{**dict.fromkeys(StepCount.__dataclass_fields__, 0), "operations": 10**12, "kernels": 1000})


def make_request(backbone, dataset, sweep=None, desk=None, **settings) -> JobRequest:
    """The training of `short_config` on the tiny model."""
    config = short_config(**settings)
    base = JobBase("tiny", "sandbox", backbone.fingerprint)
    return JobRequest(config, JobSets(dataset), base, desk or Desk(backbone.fingerprint, "sandbox", "fp32"),
                      sweep=sweep)


def write_job(folder: Path, backbone, dataset, **options) -> Path:
    return make_request(backbone, dataset, **options).write(folder / "job.zip").file


def run_to_end(backbone, source: Path, folder: Path | None = None, **options) -> Work:
    """The job's work, once it is run as far as it comes."""
    work = open_work(source, folder)
    for _ in run_job(work, backbone, **options):
        pass
    return work
