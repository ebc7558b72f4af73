"""The node that scores a sweep and recommends a checkpoint and a strength."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.drawing.sweep_session import lora_facts, sweep_ui
from ..host.events import tell_sweep
from ..host.eyes import choose_eye, copy_eye, tag_reader
from ..host.outputs import lora_stack
from ..host.shown_text import has_panels
from ..host.working import Work, follow, show_report
from ..trainer.captions.kinds import KINDS, order_kinds
from ..trainer.common.errors import UserError
from ..trainer.sweeps.cells import CHECKPOINT, Sweep
from ..trainer.sweeps.earlier import MARKS
from ..trainer.sweeps.log import SCORES, add_to_log
from ..trainer.sweeps.marks import Marks
from ..trainer.sweeps.score import ScoreRow, Scores, ScoreSettings, score_sweep, validation_of
from ..trainer.sweeps.score_table import as_picture, report, write_scores
from ..trainer.tagging.tagger import SANDBOX
from ..trainer.training.runs import Run, read_run
from .inputs import clip_vision_input, tagger_input
from .schema import node_schema
from .sockets import LoraDataset, LoraStack, LoraSweep

AS_TRAINED = "as trained"
_KINDS = order_kinds("character", "style", "concept")


class ScoreSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ScoreSweep", display_name="Score Sweep", category=menu.SWEEP,
            description="Scores each checkpoint at each strength by likeness, prompt accuracy, diversity, copies of "
                        "training images, copied backgrounds, burn, artefacts, validation and what you rated as good "
                        "by eye, and recommends one. Anything that could not be measured is reported as such.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraSweep.Input("sweep", tooltip="A sweep from Checkpoint Sweep, Strength Grid or Compose Grid."),
                io.Combo.Input("kind", options=[AS_TRAINED, *_KINDS], default=AS_TRAINED, tooltip=(
                    "What the LoRA was trained as. For a character, a real person or an object, likeness counts nine "
                    "times as much as prompt accuracy; for anything else, equally.")),
                tagger_input(),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "The LoRA's training images. Likeness, copies and copied backgrounds are measured against them.")),
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
    def fingerprint_inputs(cls, **_) -> Any:
        """What was rated by eye; which sweep is meant is known only when the node runs."""
        ratings = ((path.parent.name, _rated(path)) for path in paths.sweeps_root().glob(f"*/{MARKS}"))
        return sorted((name, rated) for name, rated in ratings if rated)

    @classmethod
    def execute(cls, sweep, kind, tagger, dataset=None, clip_vision=None) -> io.NodeOutput:
        me, counts = cls.hidden.unique_id, sweep.counts()
        scores = score(sweep, kind, dataset, clip_vision, tagger, me)
        note = add_to_log(sweep, write_scores(sweep, scores)["png"], SCORES, scores.why)
        told = report(scores)
        if has_panels() and scores.best is not None:  # what is recommended stands in the panel, with its reason
            told = told.removeprefix(scores.why).lstrip()
        show_report("\n".join(filter(None, (told, note))), me)
        tell_sweep(sweep.folder.name, me, **counts)
        return io.NodeOutput(sweep, *recommended_outputs(sweep, scores), table_image(sweep, scores), report(scores),
                             ui=sweep_ui(sweep, counts))


def _rated(path: Path) -> str:
    """The ratings in a file of marks, as a text; "" if there are none, or the file is damaged or gone."""
    with suppress(UserError):
        if ratings := Marks.load(path).ratings:
            return json.dumps(ratings, sort_keys=True)
    return ""


# -- the work ----------------------------------------------------------------------------------------------------------


def score(sweep: Sweep, kind: str, dataset: Any, clip_vision: Any, tagger: str, node_id: str) -> Scores:
    """The scores of a sweep, measured with what is linked."""
    facts = lora_facts(sweep)
    if kind == AS_TRAINED:
        kind = facts["kind"] if facts["kind"] in KINDS else "character"
    eye = choose_eye(facts["family"] == SANDBOX, clip_vision, tag_reader(tagger, node_id))
    run = run_of(sweep)
    events = score_sweep(sweep, eye=eye, training=dataset, trigger=facts["trigger"],
                         validation=validation_of(run) if run else None, copies=copy_eye(),
                         settings=ScoreSettings(kind=kind), rate=run.config.optimizer.learning_rate if run else None)
    return follow(events, Work(node_id)).scores


def table_image(sweep: Sweep, scores: Scores) -> Tensor:
    """The scoring matrix as an IMAGE."""
    return to_batch(as_picture(scores, f"{sweep.title}: scores"))


def run_of(sweep: Sweep) -> Run | None:
    """The run whose checkpoints are swept; None if they are from several runs, or from none."""
    runs: dict[Path, Run] = {}
    axis = sweep.axis(CHECKPOINT)
    for choice in axis.choices if axis else ():
        try:
            file = paths.lora_of_hash(choice.facts["lora"], choice.facts["lora_sha256"])
            if file is None:
                return None
            runs[file.parent] = read_run(file.parent)
        except UserError:
            return None
    return next(iter(runs.values())) if len(runs) == 1 else None


def recommended_outputs(sweep: Sweep, scores: Scores) -> tuple[Any, Any, Any]:
    """The recommended (step, strength, LORA_STACK). Anything unknown is an ExecutionBlocker that gives the reason."""
    if scores.best is None:
        blocked = ExecutionBlocker(scores.why)
        return blocked, blocked, blocked
    best = scores.best
    step = ExecutionBlocker(f"{best.lora} does not record its step.") if best.step is None else best.step
    return step, best.at, _stack_of(sweep, best)


def _stack_of(sweep: Sweep, best: ScoreRow) -> Any:
    """The LORA_STACK of a row, by the file that its cells were drawn with."""
    digest = sweep.choices(CHECKPOINT)[best.checkpoint].facts["lora_sha256"]
    file = paths.lora_of_hash(best.lora, digest)
    return lora_stack(file, best.at) if file else ExecutionBlocker(
        f"the LoRA {best.lora!r} is gone or has changed since its cells were drawn; run the sweep again.")
