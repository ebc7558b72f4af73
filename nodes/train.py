"""The nodes that train a LoRA, or a whole network, on the workflow's own MODEL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing import lora_loaders
from ..host.drawing.base_file import base_file
from ..host.drawing.node_place import NodePlace
from ..host.drawing.sampling_figures import DrawnModel
from ..host.outputs import apply_to, lora_outputs, lora_stack, run_plot
from ..host.progress import Reporter
from ..host.session import current_session
from ..host.stacks import read_stack, stack_entries
from ..host.training.base import loras_on_model, made_by
from ..host.training.request import SETTING, TrainRequest, Widgets, own_settings, plan_run, widgets_problem
from ..trainer.captions.kinds import KINDS
from ..trainer.captions.tags import add_trigger, join_tags, split_tags
from ..trainer.common.errors import UserError
from ..trainer.common.events import Warned
from ..trainer.datasets.dataset import Dataset
from ..trainer.models.backbone import Controls
from ..trainer.models.edit_forms import is_edit_name
from ..trainer.models.families import FAMILIES, Family, named_row
from ..trainer.models.precision import choose_precision
from ..trainer.pictures.images import to_tensor
from ..trainer.training.config import FULL, LORA, TrainConfig, is_of_loras
from ..trainer.training.events import Finished, RunStarted
from ..trainer.training.optimizers import OPTIMIZERS
from ..trainer.training.presets import FIGURES, kind_preset, preset_config, word_figures
from ..trainer.training.runs import Run, full_precision, read_run
from ..trainer.training.trained.model_file import is_made_from, model_path
from .inputs import train_widgets, training_sockets
from .schema import node_schema
from .sockets import LoraDataset, LoraModel, LoraRun, LoraStack, TrainSettings

SANDBOX_FAMILY = "sandbox"


class TrainLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_TrainLora", display_name="Train LoRA (Bootstrap)", category=menu.TRAIN,
            description="Trains a LoRA on the loaded model, without a second copy of it, and then continues the "
                        "workflow with the LoRA applied. Neither Cancel nor Stop & keep loses work; after Cancel, "
                        "queue the same workflow to continue.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model. It is left unchanged."),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                LoraDataset.Input("dataset"),
                *train_widgets(),
                *training_sockets("the images, each as often as its folder's repeats say"),
                LoraStack.Input("beside", optional=True, tooltip=(
                    "LoRAs that are on in the training, frozen and not saved, so that the new LoRA works together with "
                    "them. Only their layers in the diffusion model are used.")),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model with the LoRA applied at strength 1."),
                io.Clip.Output(display_name="CLIP", tooltip="The text encoder with the LoRA applied at strength 1."),
                LoraRun.Output(display_name="run"),
                LoraStack.Output(display_name="LORA_STACK"),
                LoraModel.Output(display_name="LORA_MODEL"),
                io.String.Output(display_name="path", tooltip="The LoRA file."),
                io.Image.Output(display_name="loss"),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, trigger, kind, steps=0, epochs=0) -> bool | str:
        return widgets_problem(name, trigger, kind, steps, epochs)

    @classmethod
    def fingerprint_inputs(cls, name, retrain, **_) -> Any:
        # a linked name is known only when the node runs
        return float("nan") if retrain else current_session().trainings.resumed(None if name is None else name.strip())

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: TrainSettings | None) -> str:
        """For the route `plan`: what will be trained with these widgets."""
        family = named_row(model.family, model.file) if model.family else None
        return describe_training(values, family, settings or TrainSettings())

    @classmethod
    def execute(cls, model, clip, vae, dataset, retrain, settings=None, validation=None, regularisation=None,
                beside=None, **widgets) -> io.NodeOutput:
        job = TrainRequest(dataset, validation, Widgets(**widgets), settings or TrainSettings(), retrain,
                           regularisation, stack_entries(read_stack(beside)))
        finished, notes = run_training((model, clip, vae), job, NodePlace.of(cls.hidden))
        run, lora = read_run(finished.path.parent), lora_outputs(finished.path)
        model, clip = apply_to(model, clip, finished.path)
        return io.NodeOutput(model, clip, run, lora.stack, lora.weights, lora.path, run_plot(run),
                             ui={"lora_bootstrap": [run_summary(run, finished, notes)]})


FULL_OPTIMIZERS = tuple(name for name, row in OPTIMIZERS.items() if row.alone)
DIFFERENCE, WHOLE = "difference", "difference and model"


class FineTune(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_FineTune", display_name="Fine-tune Model (Bootstrap)", category=menu.TRAIN,
            description="Trains the diffusion model itself on weights of its own, with the text encoders frozen, and "
                        "then continues the workflow with the fine-tuned model. The model you linked is left "
                        "unchanged. Neither Cancel nor Stop & keep loses work.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model, in 16 or 32 bits. It is left unchanged."),
                io.Clip.Input("clip", tooltip="The text encoders. They are not trained."),
                io.Vae.Input("vae"),
                LoraDataset.Input("dataset"),
                *(widget for widget in train_widgets("fine_tuned") if widget.id not in ("rank", "alpha")),
                io.Combo.Input("optimizer", options=list(FULL_OPTIMIZERS), default="adafactor", tooltip=(
                    "Optimizer. adafactor keeps the least beside the weights, adamw8bit (needs bitsandbytes) two bytes "
                    "a weight, adamw eight; lion and came need pytorch-optimizer. It counts instead of the one in "
                    "Train Settings.")),
                io.Combo.Input("save", options=[WHOLE, DIFFERENCE], default=WHOLE, tooltip=(
                    "What is saved at the end. difference: what the training adds to the base, which loads like a LoRA "
                    "at any strength. difference and model: the whole diffusion model too, in "
                    "output/diffusion_models.")),
                *training_sockets(beyond="What concerns LoRAs only is ignored."),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The fine-tuned model."),
                LoraRun.Output(display_name="run"),
                LoraStack.Output(display_name="LORA_STACK", tooltip="The difference at strength 1."),
                io.String.Output(display_name="path", tooltip="The file with the difference."),
                io.String.Output(display_name="model_path", tooltip=(
                    "The whole model's file; empty if it is not saved.")),
                io.Image.Output(display_name="loss"),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, trigger, kind, steps=0, epochs=0) -> bool | str:
        return widgets_problem(name, trigger, kind, steps, epochs, FULL)

    @classmethod
    def fingerprint_inputs(cls, name, retrain, **_) -> Any:
        return TrainLora.fingerprint_inputs(name, retrain)

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: TrainSettings | None) -> str:
        """For the route `plan`: what will be trained with these widgets."""
        return TrainLora.describe_plan({"method": FULL, **values}, model, _for_networks(settings))

    @classmethod
    def execute(cls, model, clip, vae, dataset, retrain, save, settings=None, validation=None, regularisation=None,
                **widgets) -> io.NodeOutput:
        job = TrainRequest(dataset, validation, Widgets(**widgets, method=FULL), _for_networks(settings), retrain,
                           regularisation)
        finished, notes = run_training((model, clip, vae), job, NodePlace.of(cls.hidden))
        run, whole = read_run(finished.path.parent), ""
        if save == WHOLE:
            whole = str(save_whole_model(model, finished.path))
        tuned, _ = apply_to(model, None, finished.path)
        return io.NodeOutput(tuned, run, lora_stack(finished.path), str(finished.path), whole, run_plot(run),
                             ui={"lora_bootstrap": [run_summary(run, finished, notes)]})


def _for_networks(settings: TrainSettings | None) -> TrainSettings:
    """Without what concerns LoRAs only."""
    values = settings.values if settings else {}
    return TrainSettings({name: value for name, value in values.items()
                          if not is_of_loras(name)})


def save_whole_model(model: Any, difference: Path) -> Path:
    """Write the fine-tuned MODEL as a whole where the host looks for diffusion models. One that was written from the
    same difference is kept."""
    from ..host.backbone.model import release_memory
    from ..host.finetune.weights import save_fine_tuned

    path = model_path(difference)
    if not is_made_from(path, difference):
        release_memory()
        save_fine_tuned(model, difference, path)
    return path


# -- from widgets to a config ------------------------------------------------------------------------------------------


def describe_training(values: Mapping[str, Any], family: Family | None, settings: TrainSettings) -> str:
    """What a training will be, in one line, before its images are known.

    Args:
        values: the widgets' values, and the method if it is not a LoRA's; those that come over a link are absent.
        family: that of the linked model; None if it is not known.
    """
    families = [family] if family else [row for row in FAMILIES.values() if row.name != SANDBOX_FAMILY]
    kinds = [values["kind"]] if "kind" in values else list(KINDS)
    given = {name: values[name] for name in (*SETTING, "method") if name in values}
    choices = [(row, Widgets(name="lora", kind=kind, **given)) for row in families for kind in kinds]
    configs = [preset_config(row, widgets.kind, {
        "method": widgets.method, **settings.values, **own_settings(widgets, row)}) for row, widgets in choices]
    linked = {name: f"{name.replace('_', ' ')} over a link" for name in FIGURES if name not in values}
    length = {} if "steps" in linked else _word_length(configs[0], choices, settings)
    whose = "" if family else ", by the model's family"
    return f"will train{whose}: {word_figures(configs, {**length, **linked})}"


def _word_length(config: TrainConfig, choices: list[tuple[Family, Widgets]], settings: TrainSettings) -> dict[str, str]:
    """The words for a training's length, where it is not a number of steps that is known before the images are."""
    if config.epochs:
        return {"steps": f"{config.epochs} epochs"}
    widgets = choices[0][1]
    images = {kind_preset(row, chosen.kind).images or 0 for row, chosen in choices}
    if widgets.steps or settings.values.get("steps") or images == {0}:
        return {}
    steps = word_figures([preset_config(row, chosen.kind) for row, chosen in choices]).split(" · ")[3]
    least, most = min(images), max(images)
    return {"steps": f"{steps} for {least if least == most else f'{least} to {most}'} images"}


def preset_line(family: Family, config: TrainConfig) -> str:
    """The settings of the training, with alpha / rank beside the rate, as the node shows them before the first step."""
    adapter, rate = config.adapter, config.optimizer.learning_rate
    if config.method == FULL:
        return (f"{family.title}, fine-tune of all weights in {config.precision}: {config.steps} steps at rate "
                f"{rate:g} ({config.optimizer.name}), batch {config.data.batch_size}, {config.data.resolution} px")
    return (f"{family.title}, {config.kind}: {config.steps} steps, rank {adapter.rank}, alpha {adapter.alpha:g} "
            f"(alpha/rank {adapter.alpha / adapter.rank:g}) at rate {rate:g}, batch {config.data.batch_size}, "
            f"{config.data.resolution} px")


# -- training ----------------------------------------------------------------------------------------------------------


def run_training(parts: tuple[Any, Any, Any], job: TrainRequest, place: NodePlace) -> tuple[Finished, list[str]]:
    """Train, and report to ComfyUI meanwhile. Returns how it ended, and the warnings.

    On Cancel and on errors, what was trained is saved before they are raised again.
    """
    from ..host.backbone import model as host
    from ..trainer.training.loop import train

    training = current_session().trainings.begin(job.widgets.name.strip(), place.id)
    reporter = Reporter(training)
    try:
        reporter.preparing("freeing memory for the training")
        host.release_memory()
        with torch.inference_mode(False):  # ComfyUI runs nodes in a mode whose tensors cannot be trained through
            file = base_file(parts[0], place.find, place.links["model"])
            base = host.HostBackbone(*parts, file)
            base.made_by = made_by(parts, place)
            reporter.memory = lambda: host.memory_in_use(base.device)
            precision = full_precision(base) if job.widgets.method == FULL else choose_precision(base)
            planned = plan_run(job, base.family, precision)
            config = planned.config
            training.steps = config.steps
            reporter.headline = f"{preset_line(base.family, config)} · {planned.length}"
            reporter.preparing(reporter.headline)
            carried = loras_on_model(parts[0], place)
            for note in filter(None, (base.caution, edit_warning(parts[0], file, job.dataset),
                                      describe_carried(carried, config.method), *twice_notes(job, place))):
                reporter(Warned(note))
            for note in job.dataset.notes if job.validation is not None else ():  # else the loop reports them
                reporter(Warned(note))
            with closing(train(base, job.dataset, config, paths.loras_root(), validation=job.validation,
                               regularisation=job.regularisation, beside=job.beside,
                               lineage={"model_loras": carried} if carried else None,
                               should_stop=training.stop.is_set, retrain=job.retrain)) as events:
                for event in events:
                    reporter(event)
                    if isinstance(event, RunStarted):
                        forecast(base, config, job.dataset, reporter)
        assert isinstance(event, Finished), "the last event of a training"
        return event, reporter.notes
    except comfy.model_management.InterruptProcessingException:
        reporter.ended("cancelled", f"cancelled at step {training.step}; queue the same workflow again to continue "
                                    "from there")
        raise
    except BaseException as error:
        reporter.ended("failed", str(error) or type(error).__name__)
        raise
    finally:
        host.release_memory()


def describe_carried(carried: Sequence[str], method: str = LORA) -> str:
    """What it means for a training that its MODEL carries LoRAs; "" if it does not."""
    if not carried:
        return ""
    how = "fine-tune starts from it" if method == FULL else "new LoRA is trained beside it"
    return (f"the MODEL carries {', '.join(carried)}, so the {how}; proofs, previews and the run belong to that model. "
            "Link the model from before it to train on the base alone.")


def twice_notes(job: TrainRequest, place: NodePlace) -> list[str]:
    """A line for each LoRA that is both on the MODEL and beside the training."""
    return lora_loaders.twice_notes(place.find, place.links, [entry.path for entry in job.beside]) if job.beside else []


def forecast(base: Any, config: TrainConfig, dataset: Dataset, reporter: Reporter) -> None:
    """Say what a step will take before anybody waits for it, and have as many blocks recomputed as the card needs. The
    longest caption counts for all, and the control images of the image that has most."""
    from ..host.backbone import memory_plan

    captions = (join_tags(add_trigger(split_tags(sample.caption), config.data.trigger)) for sample in dataset)
    message = reporter.training.message
    reporter.preparing("counting what a step will take in memory")
    controls = most_controls(base, config, dataset)
    found = memory_plan.forecast_memory(base, config, max(captions, key=len), controls=controls)
    if found.refusal:
        raise UserError(found.refusal)
    if found.share > base.recompute:
        base.set_recompute(found.share)
    if found.offload:
        base.set_offload(found.offload)
    base.step_memory = found.memory
    reporter.forecast, reporter.peak = found.line, lambda: memory_plan.measured_peak(base)
    if found.note:
        reporter(Warned(found.note))
    reporter.preparing(message)


def most_controls(base: Any, config: TrainConfig, dataset: Dataset) -> Controls | None:
    """The control images of the image that has most; None if no image has any."""
    paired = max(dataset, key=lambda sample: len(sample.controls))
    if not paired.controls:
        return None
    images = [to_tensor(image) for image in paired.load_controls()]
    return Controls(base.edit_form(config.data.edit_form), [images])


def edit_warning(model: Any, file: str, dataset: Dataset) -> str:
    """Why a MODEL may not fit images with or without control images, by the name of its file; "" if it may."""
    file = Path(file).name
    named = is_edit_name(file, type(getattr(model, "model", None)).__name__)
    if named and not dataset.paired:
        return (f"{file} is an edit model by its name, but no image has a control image, so it is trained to draw from "
                "text alone. Others got bad results that way (musubi-tuner issue 669). Put the images to edit into a "
                "folder controls beside the images, or train the text-to-image model.")
    if named is False and dataset.paired:
        return (f"{dataset.paired} of {len(dataset)} images have a control image, but {file} is not an edit model by "
                "its name. Load the edit model, or continue if it is one.")
    return ""


def run_summary(run: Run, finished: Finished, notes: list[str]) -> dict[str, Any]:
    """The summary of a training in ComfyUI's prompt history."""
    path = Path(finished.path)
    return {"run": run.name, "lora": paths.lora_place(path), "path": str(path), "step": finished.step,
            "steps": run.config.steps, "stopped": finished.stopped, "reused": finished.reused, "notes": notes}
