"""What is done for a character, in three kinds of tasks: its project, shares of its sweep's cells, and the scores.

A task is as large as one worker can go on alone. The stages of a project follow from each other, so that a project is
one task: splitting it would only load and read more often. Its trainings resume from their last state, its images and
its cells are kept one by one, so a task that is begun again does again only what was not saved. The cells of a sweep
do not depend on each other: they are split into shares where workers are free.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from ..bootstrap.candidates import Stopped
from ..bootstrap.events import BootstrapFinished
from ..bootstrap.loop import run_bootstrap
from ..bootstrap.project import ProjectRecord, crops_folder
from ..common.events import Event
from ..datasets.dataset import Dataset, load_folder
from ..measures.eyes import open_eye
from ..models.backbone import Backbone
from ..models.sampler import Sampler
from ..statements.consent import find_warnings
from ..sweeps.axis_text import choose_checkpoints
from ..sweeps.cells import Sweep, prompt_axis, recorded_captions
from ..sweeps.draw import lora_sweep, run_sweep
from ..sweeps.html import write_html
from ..sweeps.prompt_sets import FROM_CAPTIONS, prompts
from ..sweeps.score import Scored, Scores, ScoreSettings, score_sweep, validation_of
from ..sweeps.score_table import write_scores
from ..sweeps.sheets import write_sheets
from ..training.runs import Run, read_run
from .character import KIND, Character
from .records import CELLS, PROJECT, SCORE

LEAST_CELLS = 24
"""Cells of a share, at least: the LoRA is read once for each share."""


TITLES = {PROJECT: "project", CELLS: "cells of its sweep", SCORE: "scores"}


@dataclass(frozen=True)
class Job:
    """One task for a character. CELLS draws share `number`, from 0, of `count` shares."""

    character: Character
    kind: str
    number: int = 0
    count: int = 1

    @property
    def words(self) -> str:
        share = f", share {self.number + 1} of {self.count}" if self.count > 1 else ""
        return f"{self.character.name}: {TITLES[self.kind]}{share}"

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "character": self.character.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        return cls(**{**values, "character": Character.from_dict(values["character"])})


Work = Generator[Event, None, dict[str, Any]]
"""A task's work: yields events and returns what the report says of it. Raises Stopped if it was asked to stop."""
Task = Callable[[Job, Path, Backbone, Callable[[], bool]], Work]


def count_shares(cells: int, workers: int) -> int:
    """Into how many shares the cells of a sweep are split."""
    return max(1, min(workers, ceil(cells / LEAST_CELLS)))


def _make_project(job: Job, output: Path, backbone: Backbone, should_stop: Callable[[], bool]) -> Work:
    """The whole bootstrap loop, and the plan of the sweep."""
    last = None
    for event in run_bootstrap(job.character.project, output, backbone=backbone, should_stop=should_stop,
                               statement=job.character.statement):
        last = event
        yield event
    if not isinstance(last, BootstrapFinished):
        raise Stopped
    run = read_run(last.lora.parent)
    sweep, _ = _plan_sweep(job.character, output, backbone, run)
    sweep.write()
    record = ProjectRecord.load(last.folder)
    return {"lora": _relative(last.lora, output), "run": _relative(run.folder, output),
            "report": _relative(last.report, output), "stopped_because": last.stopped_because,
            "warnings": [*find_warnings(last.folder), *record.notes],
            "cells": len({cell.key for cell in sweep.everything}), "images": _count_images(record), "steps": run.step,
            "stage_seconds": round(sum(stage.seconds for stage in record.stages.values()), 1)}


def _draw_cells(job: Job, output: Path, backbone: Backbone, should_stop: Callable[[], bool]) -> Work:
    run = _find_run(job.character, output)
    sweep, files = _plan_sweep(job.character, output, backbone, run)
    keys = list(dict.fromkeys(cell.key for cell in sweep.everything))
    first, last = (len(keys) * number // job.count for number in (job.number, job.number + 1))
    yield from run_sweep(backbone, sweep, files, _sampler(job.character, backbone), should_stop, keys[first:last])
    if should_stop():
        raise Stopped
    return {}


def _score(job: Job, output: Path, backbone: Backbone, should_stop: Callable[[], bool]) -> Work:
    character, run = job.character, _find_run(job.character, output)
    sweep = Sweep.load(output / "sweeps" / character.sweep_name)
    eye = open_eye(character.project.base, character.project.likeness or None, backbone.device)
    settings = ScoreSettings(kind=KIND, **character.score.gates)
    scores: Scores | None = None
    for event in score_sweep(sweep, eye=eye, training=_training_images(character, output),
                             trigger=character.project.trigger, validation=validation_of(run), settings=settings,
                             rate=run.config.optimizer.learning_rate):
        if should_stop():
            raise Stopped
        if isinstance(event, Scored):
            scores = event.scores
        yield event
    assert scores is not None  # score_sweep ends with it
    write_sheets(sweep)
    write_scores(sweep, scores)
    page = write_html(sweep)
    return {"page": _relative(page, output), "best": None if scores.best is None else asdict(scores.best),
            "why": scores.why, "notes": list(scores.notes), "cells": sweep.counts()}


TASKS: Mapping[str, Task] = {PROJECT: _make_project, CELLS: _draw_cells, SCORE: _score}


def _plan_sweep(character: Character, output: Path, backbone: Backbone, run: Run) -> tuple[Sweep, list[Path]]:
    """The sweep of a character's run, and its LoRA files."""
    plan, trigger = character.sweep, character.project.trigger
    files = [path for _, path in choose_checkpoints(run.checkpoints(), plan.checkpoints, run.averages())]
    captions = recorded_captions(files) if plan.prompt_set == FROM_CAPTIONS else ()
    texts = prompts(plan.written_prompts(trigger), plan.prompt_set, backbone.family.name, captions)
    sweep = lora_sweep(output / "sweeps" / character.sweep_name, backbone, _sampler(character, backbone), files,
                       strengths=plan.strengths, prompts=prompt_axis(texts), seeds=plan.seeds,
                       title=character.sweep_name, without=plan.without)
    return sweep, files


def _sampler(character: Character, backbone: Backbone) -> Sampler:
    return Sampler.of(backbone, steps=character.project.sample_steps, cfg=character.project.cfg)


def _project_record(character: Character, output: Path) -> ProjectRecord:
    return ProjectRecord.load(output / "bootstrap" / character.name)


def _find_run(character: Character, output: Path) -> Run:
    """The run that the project trained its character LoRA in. Raises UserError if it is gone."""
    stage = _project_record(character, output).stages["character"]
    return read_run(output / stage.facts["run"])


def _dataset_folder(record: ProjectRecord) -> Path:
    """What the character LoRA was trained on: the last round's dataset, or the crops."""
    rounds = [stage for name, stage in record.stages.items() if name.startswith("dataset-")]
    return record.folder.parents[1] / rounds[-1].facts["folder"] if rounds else crops_folder(record.folder)


def _training_images(character: Character, output: Path) -> Dataset:
    return load_folder(_dataset_folder(_project_record(character, output)))


def _count_images(record: ProjectRecord) -> int:
    return len(load_folder(_dataset_folder(record)))


def _relative(path: Path, output: Path) -> str:
    return path.resolve().relative_to(output.resolve()).as_posix()
