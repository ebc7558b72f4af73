"""TrainSettings: the settings beyond the few of TrainLora, as widgets made from TrainConfig by the table below."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..host import menu
from ..trainer.common.errors import UserError
from ..trainer.models.edit_forms import EDIT_FORMS
from ..trainer.training.config import ADAPTER_KINDS, LAYER_PRESETS, PRECISIONS, TrainConfig
from ..trainer.training.objectives import DENSITIES, HUBER_SCHEDULES, LOSSES, WEIGHTINGS
from ..trainer.training.optimizers import OPTIMIZERS
from ..trainer.training.schedules import SCHEDULES
from .schema import node_schema
from .sockets import LoraTrainSettings, TrainSettings

PRESET, AUTO = "preset", "auto"
OFF_OR_ON = {"off": False, "on": True}


@dataclass(frozen=True)
class Row:
    """One widget.

    Attributes:
        name: the setting's dotted name in TrainConfig; its last part is the widget's name, unless `widget` is given.
        left: the value that leaves the setting to the preset (or to the node); None: the widget always sets it.
        options: choices, without `left`.
        values: what each choice stands for, if the choice itself is not the setting's value.
        least, most, step: for numbers; `left` may be below `least`.
        late: added later, so workflows saved before it need not have it.
    """

    name: str
    tooltip: str
    left: Any = None
    options: tuple[str, ...] = ()
    values: Mapping[str, Any] | None = None
    least: float = 0
    most: float | None = None
    step: float | None = None
    widget: str = ""
    late: bool = False

    @property
    def id(self) -> str:
        return self.widget or self.name.rpartition(".")[2]


ROWS = (
    Row("optimizer.name", "Optimizer. prodigy finds its own rate: leave learning_rate at 0, or set it to 1. adamw8bit "
                          "needs bitsandbytes. adamw_bf16 holds the LoRA and its state in 16 bits, in half the memory. "
                          "adamw_schedule_free needs no schedule, and the package schedulefree. lion takes a third of "
                          "AdamW's rate and came a tenth; both need the package pytorch-optimizer.",
        options=tuple(OPTIMIZERS), widget="optimizer"),
    Row("optimizer.schedule", "Course of the learning rate over the run, after the warm-up.", PRESET, tuple(SCHEDULES)),
    Row("optimizer.warmup_steps", "Steps over which the learning rate rises from near 0.", most=100_000),
    Row("optimizer.cycles", "Cycles of cosine_with_restarts.", least=1, most=1000),
    Row("optimizer.weight_decay", "Strength of the pull of the LoRA's weights towards 0. 0 turns it "
                                  "off.", most=10.0, step=0.001),
    Row("optimizer.max_grad_norm", "Norm to which gradients are clipped. 0 turns clipping off.", most=1000.0, step=0.1),
    Row("objective.weighting", "Weight of each noise level in the loss.", PRESET, tuple(WEIGHTINGS)),
    Row("objective.min_snr_gamma", "Gamma of min_snr. Lower values even out the noise levels more.", least=0.1,
        most=100.0, step=0.1),
    Row("objective.timestep_density", "Which noise levels are trained most.", PRESET, tuple(DENSITIES)),
    Row("objective.density_shift", "Shift of the density shifted. Higher values train noisier levels.", least=0.1,
        most=100.0, step=0.1),
    Row("adapter.layers", "Layers that get a LoRA. all includes 1x1 convolutions and projections.", PRESET,
        LAYER_PRESETS),
    Row("adapter.conv_rank", "Rank for 3x3 convolutions. 0: none; -1: the preset's.", -1, most=1024),
    Row("adapter.text_encoder", "Also train the text encoder, so that the trigger word can gain a meaning there.",
        PRESET, tuple(OFF_OR_ON), OFF_OR_ON),
    Row("optimizer.text_encoder_learning_rate", "Learning rate of the text encoder. 0 uses the preset's, or half of "
                                                "learning_rate.", 0.0, most=10.0, step=1e-7),
    Row("precision", "Number format of the network. auto: bf16 (or fp16) on a GPU if the model is in 16 bits or less, "
                     "otherwise fp32. The LoRA itself is fp32, unless the optimizer is adamw_bf16.", AUTO, PRECISIONS),
    Row("gradient_checkpointing", "Save memory at the cost of about a third of the speed: activations are computed "
                                  "again in the backward pass."),
    Row("accumulation_steps", "Batches per step: the effect of a larger batch without its memory.", least=1, most=1024),
    Row("data.shuffle_captions", "Put the tags in a different order each time, except the first keep_tokens.", PRESET,
        tuple(OFF_OR_ON), OFF_OR_ON),
    Row("data.keep_tokens", "Number of leading tags that stay in place and are never dropped.", most=255),
    Row("data.caption_dropout", "Chance that an image is shown without its caption. -1: the preset's.", -1.0,
        most=0.99, step=0.01),
    Row("data.tag_dropout", "Chance that each tag is left out.", most=0.99, step=0.01),
    Row("data.flip", "Also train on mirrored images. Not for characters that have anything on one side only."),
    Row("data.upscale", "Enlarge images that are smaller than the resolution, instead of training them small."),
    Row("data.validation_fraction", "Share of the images to hold back and measure the loss on. 0 holds none back.",
        most=0.9, step=0.01),
    Row("validate_every", "Steps between measurements. 0: never; -1: ten per run if images are held back.", -1,
        most=1_000_000),
    Row("save_every", "Steps between checkpoints. 0: only the last; -1: four per run.", -1, most=1_000_000),
    Row("preview_every", "Steps between previews. 0: none; -1: five per run.", -1, most=1_000_000),
    Row("preview_prompts", "Prompts for the previews, one per line. Empty: the trigger and the first image's caption."),
    Row("state_every", "Save the full state, from which a killed run resumes, only at multiples of this many steps. "
                       "0: at any step.", least=0, most=1_000_000),
    Row("data.cache", "Part of the latents and text embeddings that is held in memory. All are saved on disk for all "
                      "runs. ram: all that the run uses; disk: what was used last.", options=("ram", "disk")),
    Row("data.masked_loss", "Train on what the images' masks show. Images without a mask are trained whole.",
        late=True),
    Row("data.unmasked_weight", "Weight of the area outside the mask relative to the inside, for masked_loss.",
        most=1.0, step=0.01, late=True),
    Row("data.masked_prior", "How firmly the model is held to what the base model draws outside the mask, for "
                             "masked_loss. 0 turns this off and is faster.", most=100.0, step=0.05, late=True),
    Row("save_every_epochs", "Epochs between checkpoints. Unless save_every is set too, it takes the place of its four "
                             "per run. 0: save_every alone decides.", 0, most=100_000, late=True),
    Row("data.edit_form", "Which edit model the images' control images are for. auto goes by the model and the name of "
                          "its file.", AUTO, tuple(EDIT_FORMS), late=True),
    Row("state_minutes", "Shortest time between two saves of the full state, in minutes. 0: state_every alone decides. "
                         "If both are 0, the state is saved only when the run is stopped, is cancelled or fails.",
        most=1440.0, step=0.5, late=True),
    Row("compile", "Compile the network's repeated blocks with torch.compile: faster steps after a warm-up of a minute "
                   "or more for each size of image. Needs Triton on a GPU, and weights that stay on it.", late=True),
    Row("fit_memory", "Recompute just enough blocks in the backward pass for a step to fit the card. Their number is "
                      "counted before the first step and raised if memory runs out. gradient_checkpointing recomputes "
                      "all of them.", late=True),
    Row("adapter.kind", "Kind of adapter. lora: two factors, which every program loads. dora: these and a magnitude "
                        "for each column. loha, lokr: products of small matrices.",
        options=ADAPTER_KINDS, widget="adapter", late=True),
    Row("adapter.rank_stabilized", "Scale the adapter by alpha / sqrt(rank) instead of alpha / rank (rsLoRA), so that "
                                   "a high rank learns as fast as a low one.", late=True),
    Row("adapter.lokr_factor", "Side of the smaller of LoKr's two matrices. -1: both are about equally large. A "
                               "smaller factor makes a larger file.", least=-1, most=1024, late=True),
    Row("adapter.block_ranks", "Ranks of single blocks or layers, as in: down_blocks.1=32, mid=8. 0 leaves them out. "
                               "Of several names that match a layer, the last counts.", late=True),
    Row("objective.loss", "Loss function. huber and smooth_l1 let large errors count less than squared does, so that "
                          "odd images pull less.", options=tuple(LOSSES), late=True),
    Row("objective.huber_delta", "Size of an error from which huber and smooth_l1 count it less.", least=0.001,
        most=1.0, step=0.001, late=True),
    Row("objective.huber_schedule", "How huber_delta follows the noise level. exponential and snr rise to 1 at clean "
                                    "images; constant is the same everywhere. snr is not for flow models.",
        options=tuple(HUBER_SCHEDULES), late=True),
    Row("objective.noise_offset", "Strength of noise that whole channels share, so that very dark and very bright "
                                  "images can be drawn. Usual values are 0.03 to 0.1. 0 turns it off. Not for flow "
                                  "models.", most=1.0, step=0.005, late=True),
    Row("objective.ip_noise_gamma", "Strength of extra noise in the input (input perturbation). A usual value is 0.1. "
                                    "0 turns it off.", most=1.0, step=0.01, late=True),
    Row("objective.min_timestep", "Lowest noise level that is trained, as a share of all. 0 is a clean image.",
        most=0.99, step=0.01, late=True),
    Row("objective.max_timestep", "Highest noise level that is trained, as a share of all. 1 is pure noise.",
        least=0.01, most=1.0, step=0.01, late=True),
    Row("optimizer.max_norm", "Most that each layer of the LoRA may add, as the norm of its weights; more is scaled "
                              "down after each step. kohya's usual value is 1. 0 turns it off.", most=1000.0, step=0.1,
        late=True),
    Row("optimizer.ema_decay", "Share of a moving average of the LoRA's weights that each step keeps, such as 0.99. "
                               "The average is what is previewed and saved. 0 turns it off.", most=0.99999,
        step=0.0001, late=True),
    Row("data.set_aside_outliers", "Stop training on images whose loss is unlike the others', from the next epoch on: "
                                   "their caption may be wrong, or they show someone else. Other images take their "
                                   "place, and the run names each one.", late=True),
    Row("data.prior_loss_weight", "Weight of regularisation images in the loss, if Train LoRA has any.", most=100.0,
        step=0.05, late=True),
    Row("preservation.weight", "How firmly the model is held to what the base model draws without the trigger. It "
                               "needs no regularisation images. 0 turns this off; start at 0.1. A step takes about 2.3 "
                               "times as long, and no more memory.", most=1000.0, step=0.05,
        widget="preservation_weight", late=True),
    Row("preservation.prompt", "Prompt for which the base model is kept, such as 1girl, solo. Empty: no prompt at all, "
                               "and the captions without the trigger, by turns.", widget="preservation_prompt",
        late=True),
    Row("preservation.every", "Preserve the base in every n-th step only. At 1 a training takes 2.3 times as long, at "
                              "4 a third longer.", least=1, most=1000, widget="preservation_every", late=True),
    Row("beside_chance", "Chance of a step to be trained with the LoRAs linked to beside. Below 1 the new LoRA also "
                         "learns to work without them.", most=1.0, step=0.05, late=True),
)


class TrainSettingsNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_TrainSettings", display_name="Train Settings (Bootstrap)", category=menu.TRAIN,
            description="Holds the settings beyond the few in Train LoRA. Anything left at preset, auto or -1 is "
                        "chosen for the loaded model.",
            inputs=[_input(row) for row in ROWS],
            outputs=[LoraTrainSettings.Output(display_name="settings")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(TrainSettings(read_widgets(values)))


def read_widgets(widgets: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name, from the widgets' values. Settings left to the preset are absent.

    Raises UserError for an unknown widget.
    """
    rows = {row.id: row for row in ROWS}
    if unknown := widgets.keys() - rows.keys():
        raise UserError(f"unknown settings: {', '.join(sorted(unknown))}. Use the names of Train Settings' widgets.")
    settings = {}
    for name, value in widgets.items():
        row = rows[name]
        if row.left is not None and value == row.left:
            continue
        if row.name == "preview_prompts":
            value = tuple(line.strip() for line in value.splitlines() if line.strip())
            if not value:
                continue
        settings[row.name] = row.values[value] if row.values else value
    return settings


def _input(row: Row) -> Any:
    kind, default = _field(row.name)
    shared = {"id": row.id, "tooltip": row.tooltip, "optional": row.late}
    if row.options:
        options = [*([row.left] if row.left is not None else []), *row.options]
        return io.Combo.Input(**shared, options=options, default=options[0] if row.left is not None else default)
    start = default if row.left is None else row.left
    return _MAKERS[kind](row, shared, start)


def _number(maker: Any) -> Callable[[Row, dict[str, Any], Any], Any]:
    return lambda row, shared, start: maker(**shared, default=start, min=min(start, row.least), max=row.most,
                                            step=row.step)


_MAKERS: dict[type, Callable[[Row, dict[str, Any], Any], Any]] = {
    bool: lambda row, shared, start: io.Boolean.Input(**shared, default=start),
    int: _number(io.Int.Input),
    float: _number(io.Float.Input),
    str: lambda row, shared, start: io.String.Input(**shared, default=start),
    tuple: lambda row, shared, start: io.String.Input(**shared, default="", multiline=True),
}


def _field(dotted: str) -> tuple[type, Any]:
    """(type, default) of a setting in TrainConfig."""
    *groups, name = dotted.split(".")
    config: Any = TrainConfig()
    for group in groups:
        config = getattr(config, group)
    kind = typing.get_type_hints(type(config))[name]
    kind = next((arg for arg in typing.get_args(kind) if arg is not type(None)), kind) \
        if typing.get_origin(kind) is not tuple else tuple
    default = next(field.default for field in dataclasses.fields(config) if field.name == name)
    return kind, default
