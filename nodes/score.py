"""The node that scores a sweep and recommends a checkpoint and a strength."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import paths
from ..host.drawing.pictures import to_batch
from ..host.events import tell_sweep
from ..host.working import Work, follow, show_report
from ..trainer.common.errors import UserError
from ..trainer.sweeps.cells import CHECKPOINT, Sweep
from ..trainer.sweeps.log import SCORES, log_picture
from ..trainer.sweeps.score import KINDS, Scores, ScoreSettings, score_sweep, validation_of
from ..trainer.sweeps.score_table import as_picture, report, write_scores
from ..trainer.tagging.tagger import SANDBOX
from ..trainer.training.runs import Run, read_run
from .eyes import choose_eye, clip_vision_input, copy_eye, tag_reader, tagger_input
from .sockets import LoraDataset, LoraStack, LoraSweep
from .sweep import CATEGORY

AS_TRAINED = "as trained"


class ScoreSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_ScoreSweep", display_name="Score Sweep", category=CATEGORY,
            description="Scores each checkpoint at each strength by likeness, prompt accuracy, diversity, copies of "
                        "training images, burn and validation, and recommends one. Anything that could not be measured "
                        "is reported as such.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraSweep.Input("sweep", tooltip="A sweep from Checkpoint Sweep, Strength Grid or Compose Grid."),
                io.Combo.Input("kind", options=[AS_TRAINED, *KINDS], default=AS_TRAINED, tooltip=(
                    "What the LoRA was trained as. For a character, likeness counts nine times as much as prompt "
                    "accuracy; for a style or concept, equally.")),
                tagger_input(),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "The LoRA's training images. Likeness and copies are measured against them.")),
                clip_vision_input(),
            ],
            outputs=[
                LoraSweep.Output(display_name="sweep"),
                io.Int.Output(display_name="step", tooltip=(
                    "The recommended step, for Pick Checkpoint with which set to step.")),
                io.Float.Output(display_name="strength", tooltip="The recommended strength, for Pick Checkpoint."),
                LoraStack.Output(display_name="LORA_STACK", tooltip=(
                    "The recommended LoRA at the recommended strength.")),
                io.Image.Output(display_name="table", tooltip="The matrix as an image."),
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


def facts_of(sweep: Sweep) -> dict[str, Any]:
    """What the first LoRA of a sweep records about itself: trigger, family, kind."""
    axis = sweep.axis(CHECKPOINT)
    return {"trigger": "", "family": "", "kind": "", **(axis.choices[0].facts if axis else {})}


def validation(sweep: Sweep) -> dict[int, float]:
    """The validation losses, by step, of the run whose checkpoints are swept; {} if they are from several runs, or from
    none."""
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
    """The recommended (step, strength, LORA_STACK). Anything unknown is an ExecutionBlocker that gives the reason."""
    if scores.best is None:
        blocked = ExecutionBlocker(scores.why)
        return blocked, blocked, blocked
    best = scores.best
    step = ExecutionBlocker(f"{best.lora} does not record its step.") if best.step is None else best.step
    return step, best.at, [(best.lora, best.at, best.at)]
