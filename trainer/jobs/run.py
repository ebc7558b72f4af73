"""Runs a job: trains, draws its sweep, and scores that, going on from wherever an earlier run of it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..captions.kinds import KINDS
from ..common.errors import UserError
from ..common.events import Event, Events
from ..measures.eyes import open_eye
from ..memory.preflight import fitted
from ..models.backbone import Backbone
from ..models.sampler import Sampler
from ..stacks.stack import StackEntry
from ..sweeps import draw
from ..sweeps.axis_text import choose_checkpoints
from ..sweeps.cells import Sweep, prompt_axis, recorded_captions
from ..sweeps.html import write_html
from ..sweeps.log import refuse_name_of_the_log
from ..sweeps.prompt_sets import FROM_CAPTIONS, prompts
from ..sweeps.score import Scored, ScoreSettings, score_sweep, validation_of
from ..sweeps.score_table import write_scores
from ..sweeps.sheets import write_sheets
from ..training.events import Finished
from ..training.loop import train
from ..training.runs import Run, read_run
from .job import SweepPlan
from .pack import JobSets
from .work import Work


@dataclass(frozen=True)
class JobEnded(Event):
    """The last event of a job.

    Attributes:
        stopped: whether it was asked to stop before everything was done.
    """

    run: Path
    sweep: Path | None
    stopped: bool


def run_job(work: Work, backbone: Backbone, beside: Sequence[StackEntry] = (), likeness: str = "",
            should_stop: Callable[[], bool] = lambda: False) -> Events:
    """Train, sweep and score as the job says, yielding events; the last is JobEnded.

    What is there already is not made again: a finished run is reused, a partial one resumed, and drawn cells stay.

    Args:
        beside: the job's LoRAs beside the training, from `Work.find_beside`.
        likeness: folder of a CLIP or DINOv2 model to measure likeness with; the sandbox has its own.

    Raises UserError as `train` and `score_sweep` do, and for images that are not the job's.
    """
    sets, config = work.load_sets(), work.job.settings
    finished: Event | None = None
    events = train(backbone, sets.train, config, work.loras, validation=sets.validation,
                   regularisation=sets.regularisation, beside=beside, lineage={"job": work.job.id},
                   should_stop=should_stop)
    for event in fitted(events, backbone, config):
        finished = event
        yield event
    assert isinstance(finished, Finished), "the last event of a training"
    run = read_run(finished.path.parent)
    if finished.stopped or work.job.sweep is None:
        yield JobEnded(run.folder, None, finished.stopped)
        return
    sweep = _plan_sweep(work, work.job.sweep, backbone, run)
    yield from _draw(sweep, work.job.sweep, backbone, run, should_stop)
    if stopped := bool(sweep.missing()) and should_stop():
        yield JobEnded(run.folder, sweep.folder, stopped)
        return
    if work.job.sweep.scored:
        yield from _score(sweep, run, sets, likeness)
    yield JobEnded(run.folder, sweep.folder, stopped=False)


def swept_files(run: Run, plan: SweepPlan) -> list[Path]:
    """The LoRA files of a run that its job sweeps."""
    return [path for _, path in choose_checkpoints(run.checkpoints(), plan.checkpoints, run.averages())]


def _sampler(plan: SweepPlan, backbone: Backbone) -> Sampler:
    return Sampler.of(backbone, width=plan.width, height=plan.height, steps=plan.steps, cfg=plan.cfg)


def _plan_sweep(work: Work, plan: SweepPlan, backbone: Backbone, run: Run) -> Sweep:
    refuse_name_of_the_log(plan.name)
    files = swept_files(run, plan)
    captions = recorded_captions(files) if plan.prompt_set == FROM_CAPTIONS else ()
    texts = prompts(plan.prompts, plan.prompt_set, backbone.family.name, captions)
    return draw.lora_sweep(work.sweeps / plan.name, backbone, _sampler(plan, backbone), files,
                           strengths=plan.strengths, prompts=prompt_axis(texts), seeds=plan.seeds, title=plan.name,
                           without=plan.without)


def _draw(sweep: Sweep, plan: SweepPlan, backbone: Backbone, run: Run, should_stop: Callable[[], bool]) -> Events:
    yield from draw.run_sweep(backbone, sweep, swept_files(run, plan), _sampler(plan, backbone), should_stop)
    write_sheets(sweep)
    write_html(sweep)


def _score(sweep: Sweep, run: Run, sets: JobSets, likeness: str) -> Events:
    """Score the sweep, and write its scores. Raises UserError if no cell was drawn."""
    facts = sweep.choices("checkpoint")[0].facts
    kind = facts["kind"] if facts["kind"] in KINDS else "character"
    train_set, _ = sets.split(run.config)
    for event in score_sweep(sweep, eye=open_eye(facts["family"], likeness or None), training=train_set,
                             trigger=facts["trigger"], validation=validation_of(run),
                             rate=run.config.optimizer.learning_rate, settings=ScoreSettings(kind=kind)):
        if isinstance(event, Scored):
            write_scores(sweep, event.scores)
        yield event


def find_missing(work: Work) -> str:
    """What is left to do of a job, in words; "" if everything is there."""
    run = work.find_run()
    if run is None or not run.finished:
        step = run.checkpoints()[-1][0] if run and run.checkpoints() else 0
        return f"the training, of which {step} of {work.job.settings.steps} steps are saved as a LoRA"
    folder = work.sweep_folder
    if folder is None:
        return ""
    try:
        counts = Sweep.load(folder).counts()
    except UserError:
        return "the sweep"
    if left := counts["total"] - counts["done"] - counts["failed"]:
        return f"{left} of {counts['total']} cells of the sweep"
    return "the scores" if work.job.sweep and work.job.sweep.scored and not (folder / "scores.json").is_file() else ""
