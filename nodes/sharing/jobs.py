"""Nodes for a training on another machine: write it as a job, and read the job's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...host import menu, paths
from ...host.drawing.node_place import NodePlace
from ...host.drawing.sweep_plan import seeds_of, strengths_of
from ...host.session import current_session
from ...host.shown_text import menu_choices, show_text
from ...host.stacks import read_stack, stack_entries
from ...host.training.request import TrainRequest, Widgets, widgets_problem
from ...host.working import problem, show_report
from ...trainer.common.errors import UserError
from ...trainer.common.names import with_ending
from ...trainer.memory.cards import CARDS
from ...trainer.sweeps.axis_text import lines
from ...trainer.sweeps.cells import Sweep
from ...trainer.sweeps.prompt_sets import FROM_CAPTIONS
from ...trainer.training.runs import read_run
from ..inputs import lora_inputs, train_widgets, training_sockets
from ..schema import node_schema
from ..sockets import LoraDataset, LoraRun, LoraStack, LoraSweep, TrainSettings

ALL_CARDS = "all cards"
NO_RESULT = "no result yet"
SWEPT = ("checkpoints", "strengths", "prompts", "prompt_set", "seeds")
"""Widgets of the sweep that are the same as Checkpoint Sweep's."""


class ExportJob(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ExportJob", display_name="Export Job", category=menu.TRAIN,
            description="Writes a training with its images, sweep and scoring as one zip into output/jobs, to run on a "
                        "rented machine with lora-bootstrap run. It takes what Train LoRA takes, and trains nothing. "
                        "The base's weights are not in it.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model, for its hash: the job runs only on the same file."),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                LoraDataset.Input("dataset"),
                *(widget for widget in train_widgets() if widget.id != "retrain"),
                *(widget for widget in lora_inputs("all", "0.8, 1") if widget.id in SWEPT),
                io.Boolean.Input("score", default=True, tooltip="Score the sweep after it is drawn."),
                io.String.Input("base_source", default="", tooltip=(
                    "Where to get the base model, such as its page. It is shown where the base is missing.")),
                io.Boolean.Input("pack_beside", default=False, tooltip=(
                    "Put the LoRAs beside the training into the job. Otherwise the job has only their hashes.")),
                io.Float.Input("price", default=0.0, min=0.0, max=10_000.0, step=0.01, tooltip=(
                    "Price of the rented card per hour, in any currency, to estimate the cost. 0: only the time is "
                    "estimated.")),
                io.Combo.Input("card", options=[ALL_CARDS, *(card.name for card in CARDS)], default=ALL_CARDS,
                               tooltip="Card to estimate the time and the cost for."),
                *training_sockets(),
                LoraStack.Input("beside", optional=True, tooltip=(
                    "LoRAs that are on in the training, frozen and not saved.")),
            ],
            outputs=[
                io.String.Output(display_name="job", tooltip="The zip of the job."),
                io.String.Output(display_name="report", tooltip="What is in the job, and what it will cost."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, trigger, kind, steps=0, epochs=0, strengths=None, seeds=None) -> bool | str:
        checks = (widgets_problem(name, trigger, kind, steps, epochs), problem(strengths_of, strengths),
                  problem(seeds_of, seeds))
        return next((found for found in checks if found is not True), True)

    @classmethod
    def fingerprint_inputs(cls, **_) -> Any:
        return current_session().stack_files.look()

    @classmethod
    def execute(cls, model, clip, vae, dataset, price, card, base_source, pack_beside, score, settings=None,
                validation=None, regularisation=None, beside=None, **widgets) -> io.NodeOutput:
        from ...host.training.job import plan_job

        show_text("reading the base for its hash, and counting a step ...", cls.hidden.unique_id)
        swept = {name: widgets.pop(name) for name in SWEPT}
        asked = TrainRequest(dataset, validation, Widgets(**widgets), settings or TrainSettings(), False,
                             regularisation, stack_entries(read_stack(beside)))
        sweep = sweep_plan(asked.widgets.name.strip(), score, **swept)
        job = plan_job((model, clip, vae), asked, NodePlace.of(cls.hidden), sweep, base_source.strip(), pack_beside)
        done = job.request.write(job_file(job.request.config.name))
        current_session().stack_files.note(done.file)
        text = describe_job(job, done, price, "" if card == ALL_CARDS else card)
        show_report(text, cls.hidden.unique_id)
        return io.NodeOutput(str(done.file), text)


def job_file(name: str) -> Path:
    """Where the job of that name is written."""
    return paths.jobs_root() / f"{name}-job.zip"


def sweep_plan(name: str, score: bool, checkpoints: str, strengths: str, prompts: str, prompt_set: str,
               seeds: str) -> Any:
    """What is drawn after the training; None without prompts. Raises UserError for texts that cannot be read."""
    from ...trainer.jobs.job import SweepPlan

    written = lines(prompts)
    if not written and prompt_set != FROM_CAPTIONS:
        return None
    return SweepPlan(name=with_ending(name, "-checkpoints"), checkpoints=checkpoints,
                     strengths=tuple(strengths_of(strengths)), prompts=written, prompt_set=prompt_set,
                     seeds=tuple(seeds_of(seeds)), scored=score)


def describe_job(job: Any, done: Any, price: float, card: str) -> str:
    """What the node shows: size, images, steps, and what it will cost."""
    from ...trainer.jobs.costs import count_costs, describe_costs

    config, base = job.request.config, done.job.base
    with torch.inference_mode(False):
        costs = describe_costs(count_costs(job.family, config), price, card)
    swept = f"sweep {done.job.sweep.name}" if done.job.sweep else "no sweep, as no prompt was given"
    return "\n".join((
        f"{done.file.name}: {done.bytes / 2**20:.1f} MB, {done.images} images, {config.steps} steps, {swept}",
        job.length, f"base {base.name} ({base.fingerprint[:12]}), which is not in it", *costs,
        f"On the other machine: lora-bootstrap run {done.file.name}. Then bring the result back with Import Result."))


class ImportResult(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ImportResult", display_name="Import Result", category=menu.TRAIN,
            description="Reads the result of a job, or a LoRA file that was trained elsewhere: the run goes to "
                        "output/loras, where Train LoRA finds it, and its sweep and scores to output/sweeps.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("file", options=menu_choices(paths.result_files()) or [NO_RESULT], tooltip=(
                    "A zip in ComfyUI's input folder, in the output folder or in output/jobs, or a .safetensors LoRA "
                    "in the input folder. Press R to list new files.")),
                io.String.Input("name", default="", tooltip=(
                    "Name of the run or the LoRA here. Leave empty to keep its own, with a number if that is taken.")),
            ],
            outputs=[
                LoraRun.Output(display_name="run"),
                LoraSweep.Output(display_name="sweep"),
                io.String.Output(display_name="path", tooltip="The LoRA file."),
                io.String.Output(display_name="report", tooltip="What was imported."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file, name) -> bool | str:
        return problem(result_file, file)

    @classmethod
    def fingerprint_inputs(cls, file, **_) -> Any:
        if file is None:
            return float("nan")
        status = result_file(file).stat()
        return [status.st_size, status.st_mtime_ns, current_session().stack_files.look()]

    @classmethod
    def execute(cls, file, name) -> io.NodeOutput:
        from ...trainer.jobs.import_result import import_result

        done = import_result(paths.output_root(), result_file(file), name.strip())
        if done.lora:
            current_session().stack_files.note(done.lora)
        show_report(done.text(), cls.hidden.unique_id)
        run, sweep = done.run and read_run(done.run), done.sweep and Sweep.load(done.sweep)
        return io.NodeOutput(run or absent("run"), sweep or absent("sweep"),
                             str(done.lora) if done.lora else absent("LoRA"), done.text())


def result_file(listed: str) -> Path:
    """The file that the widget lists under that name. The name never becomes part of a path. Raises UserError if it is
    not listed."""
    found = paths.result_files().get(listed)
    if found is None:
        raise UserError(f"{listed!r} is not in ComfyUI's input folder, output folder or output/jobs. Put the zip or "
                        "the LoRA file into the input folder, press R, and choose it.")
    return found


def absent(what: str) -> ExecutionBlocker:
    """What an output gives that the file has nothing for."""
    return ExecutionBlocker(f"Import Result has no {what} to give, because the imported file has none")
