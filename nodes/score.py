"""The node that scores a sweep and says which checkpoint and strength to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.drawing.sweep_session import facts_of
from ..host.events import tell_sweep
from ..host.eyes import choose_eye, copy_eye, tag_reader
from ..host.working import Work, follow, show_report
from ..trainer.common.errors import UserError
from ..trainer.sweeps.cells import CHECKPOINT, Sweep
from ..trainer.sweeps.log import SCORES, log_picture
from ..trainer.sweeps.score import KINDS, Scores, ScoreSettings, score_sweep, validation_of
from ..trainer.sweeps.score_table import as_picture, report, write_scores
from ..trainer.tagging.tagger import SANDBOX
from ..trainer.training.runs import Run, read_run
from .inputs import clip_vision_input, tagger_input
from .sockets import LoraDataset, LoraStack, LoraSweep

AS_TRAINED = "as trained"


class ScoreSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_ScoreSweep", display_name="Score Sweep", category=menu.SWEEP,
            description="The scoring matrix: each checkpoint at each strength by likeness, prompt accuracy, diversity, "
                        "copies of training pictures, burn and validation; and which to take. What was not measured is "
                        "said.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraSweep.Input("sweep", tooltip="From Checkpoint Sweep, Strength Grid or Compose Grid."),
                io.Combo.Input("kind", options=[AS_TRAINED, *KINDS], default=AS_TRAINED, tooltip=(
                    "What the LoRA is of. For a character, likeness weighs nine times as much as prompt accuracy; for "
                    "a style or concept, as much.")),
                tagger_input(),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "What the LoRA was trained on: likeness and copies are measured against it.")),
                clip_vision_input(),
            ],
            outputs=[
                LoraSweep.Output(display_name="sweep"),
                io.Int.Output(display_name="step", tooltip="To take: for Pick Checkpoint, with which on step."),
                io.Float.Output(display_name="strength", tooltip="To take: for Pick Checkpoint."),
                LoraStack.Output(display_name="LORA_STACK", tooltip="The LoRA to take at the strength to take."),
                io.Image.Output(display_name="table", tooltip="The matrix as a picture."),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(cls, sweep, kind, tagger, dataset=None, clip_vision=None) -> io.NodeOutput:
        me = cls.hidden.unique_id
        told = facts_of(sweep)
        if kind == AS_TRAINED:
            kind = told["kind"] if told["kind"] in KINDS else next(iter(KINDS))
        scores = scored(sweep, ScoreSettings(kind=kind), Work(me), dataset,
                        choose_eye(told["family"] == SANDBOX, clip_vision, tag_reader(tagger, me)), told["trigger"])
        log_picture(sweep, write_scores(sweep, scores)["png"], SCORES, scores.why)
        show_report(report(scores), me)
        states = list(sweep.states().values())
        counts = {"done": states.count("done"), "failed": states.count("failed"), "total": len(states)}
        tell_sweep(sweep.folder.name, me, *counts.values())
        return io.NodeOutput(sweep, *taken(scores), to_batch(as_picture(scores, f"{sweep.title}: scores")),
                             report(scores), ui={"lora_bootstrap": [{"sweep": sweep.folder.name, **counts}]})


# -- the work ----------------------------------------------------------------------------------------------------------


def scored(sweep: Sweep, settings: ScoreSettings, work: Work, dataset: Any, eye: Any, trigger: str) -> Scores:
    events = score_sweep(sweep, eye=eye, training=dataset, trigger=trigger, validation=validation(sweep),
                         copies=copy_eye(), settings=settings)
    return follow(events, work).scores


def validation(sweep: Sweep) -> dict[int, float]:
    """By step, of the run whose checkpoints are swept; {} if they are of several runs, or of none."""
    runs: dict[Path, Run] = {}
    axis = sweep.axis(CHECKPOINT)
    for choice in axis.choices if axis else ():
        try:
            folder = paths.lora_file(choice.facts["lora"]).parent
            runs[folder] = read_run(folder)
        except UserError:
            return {}
    return validation_of(next(iter(runs.values()))) if len(runs) == 1 else {}


def taken(scores: Scores) -> tuple[Any, Any, Any]:
    """(step, strength, LORA_STACK) to take; what is not known blocks what comes after it, and says why."""
    if scores.best is None:
        blocked = ExecutionBlocker(scores.why)
        return blocked, blocked, blocked
    best = scores.best
    step = ExecutionBlocker(f"{best.lora} does not tell its step.") if best.step is None else best.step
    return step, best.at, [(best.lora, best.at, best.at)]
