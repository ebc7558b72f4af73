"""The node that tries a base on this machine: a short training with its proofs, and a table for a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..host import menu
from ..host.compat import host_version
from ..host.drawing.base_file import base_file
from ..host.drawing.node_place import NodePlace
from ..host.drawing.pictures import to_batch
from ..host.working import Work, follow, problem, show_report
from ..sandbox import PICTURES_DIR
from ..trainer.common.checks import check
from ..trainer.datasets.dataset import Dataset, load_folder
from ..trainer.pictures.images import open_image
from ..trainer.sweeps.trial import STEPS, Trial, Tried, run_trial
from .schema import node_schema
from .sockets import LoraDataset

MOST_STEPS = 1000


class ProveModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ProveModel", display_name="Prove Training", category=menu.TRAIN,
            description="Trains a LoRA for a few steps to show whether this model trains right on this machine: that "
                        "training reads captions as sampling does, that every layer of attention gets a LoRA, and that "
                        "the saved file works. Gives peak memory, seconds a step, a grid of strengths, and a table to "
                        "paste into a report.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model. It is left unchanged."),
                io.Clip.Input("clip"),
                io.Vae.Input("vae"),
                io.Int.Input("steps", default=STEPS, min=1, max=MOST_STEPS, tooltip="Training steps."),
                io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
                    "Side in pixels of the square whose area no image exceeds. 0 uses the model's own.")),
                io.Boolean.Input("gradient_checkpointing", default=False, tooltip=(
                    "Compute parts of the step twice. This takes less memory and more time.")),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "Captioned images to train on. Without them, three drawings that come with the pack.")),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="The table, as Markdown."),
                io.Image.Output(display_name="grid", tooltip="The LoRA at eight strengths; blank if none was drawn."),
                io.Boolean.Output(display_name="proved", tooltip="Whether the training ended and all proofs hold."),
            ],
        )

    @classmethod
    def validate_inputs(cls, steps) -> bool | str:
        return problem(lambda count: check(1 <= count <= MOST_STEPS, "steps", count, f"from 1 to {MOST_STEPS}"), steps)

    @classmethod
    def fingerprint_inputs(cls, **_) -> float:
        return float("nan")  # whoever asks wants it measured now

    @classmethod
    def execute(cls, model, clip, vae, steps, resolution, gradient_checkpointing, dataset=None) -> io.NodeOutput:
        place = NodePlace.of(cls.hidden)
        settings = {"gradient_checkpointing": gradient_checkpointing,
                    **({"data.resolution": resolution} if resolution else {})}
        trial = _try((model, clip, vae), base_file(model, place.find, place.links["model"]),
                     dataset or load_folder(PICTURES_DIR), steps, settings, Work(place.id))
        report = trial.table()
        show_report(report, place.id)
        grid = to_batch(open_image(trial.grid)) if trial.grid else torch.zeros(1, 64, 64, 3)
        return io.NodeOutput(report, grid, trial.passed)


def _try(parts: tuple[Any, Any, Any], file: str, dataset: Dataset, steps: int, settings: dict, work: Work) -> Trial:
    from ..host.backbone import model as host

    host.release_memory()
    try:
        with torch.inference_mode(False):  # ComfyUI runs nodes in a mode whose tensors cannot be trained through
            base = host.HostBackbone(*parts, file)
            last = follow(run_trial(base, dataset, Path(folder_paths.get_output_directory()), steps=steps,
                                    host=f"ComfyUI {host_version()}", caution=base.caution, settings=settings), work)
        assert isinstance(last, Tried), "the last event of a trial"
        return last.trial
    finally:
        host.release_memory()
