"""Nodes for runs that have been trained: load one, and pick one of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu, paths
from ..host.outputs import apply_to, lora_outputs
from ..host.shown_text import menu_choices, show_text
from ..trainer.common.errors import UserError
from ..trainer.common.schema import read_record
from ..trainer.stacks.lora_stack import read_strength
from ..trainer.training.runs import Run, latest_checkpoint, read_run, run_folders
from ..trainer.training.trained.average import average_checkpoints
from .schema import node_schema
from .sockets import LoraModel, LoraRun, LoraStack

NO_RUN = "no run yet"
AVERAGE = "average of the last"
WHICH = ("final", "best validation", "step", "picked in a sweep", AVERAGE)
PICKED = "picked.json"
"""File in a run's folder: which checkpoint was chosen in the sweep viewer, and at which strength."""


class LoadRun(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_LoadRun", display_name="Load Run", category=menu.TRAIN,
            description="Loads an earlier training run, for Pick Checkpoint and other nodes.",
            inputs=[io.Combo.Input("run", options=run_names() or [NO_RUN], tooltip=(
                "A folder in output/loras, newest first. Press R to list runs trained since the page was opened."))],
            outputs=[LoraRun.Output(display_name="run"),
                     io.String.Output(display_name="path", tooltip="The run's latest LoRA file.")],
        )

    @classmethod
    def validate_inputs(cls, run) -> bool | str:
        try:
            if run is not None:
                latest_checkpoint(named_run(run))
        except UserError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, run) -> list[Any] | float:
        if run is None:  # linked: the run is known only when the node runs
            return float("nan")
        found = named_run(run)
        stats = [(str(path), path.stat()) for _, path in (*found.checkpoints(), *found.averages())]
        return [found.facts["status"], found.facts["step"], [[name, status.st_size, status.st_mtime_ns]
                                                             for name, status in stats]]

    @classmethod
    def execute(cls, run) -> io.NodeOutput:
        found = named_run(run)
        return io.NodeOutput(found, str(latest_checkpoint(found)[1]))


class PickCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_PickCheckpoint", display_name="Pick Checkpoint", category=menu.TRAIN,
            description="Picks one LoRA file of a run: the last, the one with the lowest validation loss, the one at a "
                        "step, the one picked in a sweep, or an average of the last.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                LoraRun.Input("run"),
                io.Combo.Input("which", options=list(WHICH), default=WHICH[0], tooltip=(
                    "final: the last step. best validation: the file nearest to the step with the lowest validation "
                    "loss relative to the base model. step: the file nearest to the step below. picked in a sweep: the "
                    "file and strength chosen with Use this one in the sweep viewer. average of the last: a new file "
                    "beside the run's, with the average of its last checkpoints.")),
                io.Int.Input("step", default=0, min=0, max=1_000_000, tooltip="The step to pick, if which is step."),
                io.Float.Input("strength", default=1.0, min=-4.0, max=4.0, step=0.05, tooltip=(
                    "Strength at which the LoRA is applied and listed in the stack. Ignored with picked in a sweep.")),
                io.Model.Input("model", optional=True, tooltip="A model to apply the LoRA to."),
                io.Clip.Input("clip", optional=True, tooltip="A text encoder to apply the LoRA to."),
                io.Int.Input("last", default=4, min=2, max=1000, optional=True, tooltip=(
                    "Number of last checkpoints to average, if which is average of the last.")),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The LoRA file."),
                LoraStack.Output(display_name="LORA_STACK"),
                LoraModel.Output(display_name="LORA_MODEL"),
                io.Model.Output(display_name="MODEL", tooltip="The model with the LoRA, if a model was linked."),
                io.Clip.Output(display_name="CLIP", tooltip="The text encoder with the LoRA, if one was linked."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, which, **_) -> Any:
        return float("nan") if which in (None, WHICH[3]) else ""

    @classmethod
    def execute(cls, run, which, step, strength, model=None, clip=None, last=4) -> io.NodeOutput:
        at, path, strength = choose_checkpoint(read_run(run.folder), which, step, strength, last)
        show_text(f"{path.name} (step {at})", cls.hidden.unique_id)
        lora = lora_outputs(path, strength)
        return io.NodeOutput(lora.path, lora.stack, lora.weights, *apply_or_block(model, clip, path, strength))


def run_names() -> list[str]:
    """The runs in output/loras, newest first."""
    folders = run_folders(paths.loras_root())
    newest = sorted(folders, key=lambda folder: -(folder / "run.json").stat().st_mtime)
    return menu_choices(folder.name for folder in newest)


def named_run(name: str) -> Run:
    """The run in the folder of that name. The name is compared with the existing folders and never becomes part of a
    path.

    Raises UserError if there is none.
    """
    folder = next((folder for folder in run_folders(paths.loras_root()) if folder.name == name), None)
    if folder is None:
        raise UserError(f"there is no run {name!r} in output/loras. Train one, or press R and choose again.")
    return read_run(folder)


def choose_checkpoint(run: Run, which: str, step: int, strength: float, last: int = 4) -> tuple[int, Path, float]:
    """(step, path, strength) from the widgets; what was picked in a sweep brings its own strength. Raises UserError for
    a strength that is not a finite number, and as `pick_checkpoint` does."""
    if which == WHICH[3]:
        at, path, strength = picked_in_sweep(run)
    elif which == AVERAGE:
        averaged = average_checkpoints(run, last=last)
        at, path = averaged.steps[-1], averaged.path
    else:
        at, path = pick_checkpoint(run, which, step)
    return at, path, read_strength(strength, path.name)


def apply_or_block(model: Any, clip: Any, path: Path, strength: float) -> tuple[Any, Any]:
    """(MODEL, CLIP) with the LoRA. An output whose input is not linked is an ExecutionBlocker that gives the reason."""
    absent = ExecutionBlocker("Pick Checkpoint has nothing to give here, because nothing is linked to its input of "
                              "that name")
    if model is not None or clip is not None:
        model, clip = apply_to(model, clip, path, strength)
    return (absent if model is None else model), (absent if clip is None else clip)


def pick_checkpoint(run: Run, which: str, step: int = 0) -> tuple[int, Path]:
    """(step, path) of a run's LoRA file, chosen by one of WHICH. Raises UserError if the run has no such file."""
    last = latest_checkpoint(run)
    if which == "final":
        return last
    if which == "best validation":
        step = best_validation_step(run)
    return min(run.checkpoints(), key=lambda file: abs(file[0] - step))


def best_validation_step(run: Run) -> int:
    """The step with the lowest validation loss relative to the base model. Raises UserError if none was measured."""
    measured = [(row["validation_ratio"], row["step"]) for row in run.metrics()
                if row.get("validation_ratio") is not None]
    if not measured:
        raise UserError(f"run {run.name!r} has no validation loss. Give Train LoRA a validation dataset, or set "
                        "validation_fraction in Train Settings.")
    return min(measured)[1]


def picked_in_sweep(run: Run) -> tuple[int, Path, float]:
    """(step, path, strength) of what was chosen in the sweep viewer. Raises UserError if nothing was."""
    path = run.folder / PICKED
    if not path.is_file():
        raise UserError(f"nothing was picked in a sweep of run {run.name!r} yet; open the viewer of such a sweep and "
                        "press Use this one on a cell.")
    picked = read_record(path, PickedCell, "does not give a step and a strength", "Pick again in the sweep viewer.")
    averages = {file.name: (step, file) for step, file in run.averages()}
    if picked.step is None and picked.lora not in averages:
        reason = f"{picked.lora!r} is not in its folder any more" if picked.lora else "step is missing"
        raise UserError(f"{path} does not give a step and a strength: {reason}. Pick again in the sweep viewer.")
    at, file = averages.get(picked.lora) or pick_checkpoint(run, "step", picked.step or 0)
    return at, file, picked.strength


@dataclass(frozen=True)
class PickedCell:
    """What the sweep viewer saves in a run's picked.json.

    Attributes:
        step: of a checkpoint; None for an average of some.
        lora: name of the file; versions before averages did not need it.
    """

    strength: float
    step: int | None = None
    lora: str = ""
