"""What a training will take, counted on the host's own network before it starts, and what it then took."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management as management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from ...trainer.memory.counter import TookTooLong
from ...trainer.memory.fit import Fit, smallest_offload, smallest_share
from ...trainer.memory.measured import free_memory, peak_memory
from ...trainer.memory.overwritten import keeping_overwritten
from ...trainer.memory.plan import CONTEXT, GAPS, GIB, WORKSPACE, Estimate, block_shares_of
from ...trainer.memory.preflight import in_ram_words, refusal, refuse_state
from ...trainer.memory.step import CPU, META, Attach, StepCount, attach_trained, count_step, let_go
from ...trainer.models.backbone import Controls
from ...trainer.models.out_of_memory import describe_share
from ...trainer.models.recompute import recomputed
from ...trainer.training.config import FULL, TrainConfig
from ...trainer.training.runs import settle_precision
from ...trainer.training.trained.network import TYPES
from ..finetune.weights import PLAIN
from .encoded import unpack
from .model import HostBackbone

SECONDS = 10.0
"""How long counting may delay a training."""
OVERWRITES = "modified by an inplace operation"

log = logging.getLogger(__name__)


def count_training(backbone: HostBackbone, config: TrainConfig, caption: str, seconds: float = SECONDS,
                   controls: Controls | None = None, recompute: float | None = None,
                   attach: Attach = attach_trained) -> StepCount:
    """Count a step of the training on the network of the MODEL, which is left unchanged. `controls` are the caption's,
    `recompute` is the share of the blocks that are computed again (None: as the config says), `attach` as in
    `count_step`.

    Raises counter.TookTooLong after `seconds`, and whatever a network raises that cannot run without values.
    """
    ends_at, config = time.monotonic() + seconds, settle_precision(config, backbone)
    with torch.no_grad():
        text = unpack(backbone.encode_text([caption], controls).to(CPU).row(0))
    for guarded in (False, True):
        rehearsal = _HostRehearsal(backbone, config, text, guarded)
        share = float(config.gradient_checkpointing) if recompute is None else recompute
        with recomputed(rehearsal.network, share, overwrites=True):
            try:
                return count_step(rehearsal, config, ends_at - time.monotonic(), whole=0 < share < 1, attach=attach)
            except RuntimeError as error:
                if guarded or OVERWRITES not in str(error):
                    raise
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class _AnyLevel:
    """The host's schedule for times without values: it reads them one by one."""

    known: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.known, name)

    def sigmas(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.known.mix_of(torch.ones_like(t))


@dataclass(frozen=True)
class _SameText:
    """Stands for the Conditioning of a batch: every row is conditioned on the same text."""

    text: dict[str, Any]

    def row(self, index: int) -> dict[str, Any]:
        return self.text


class _HostRehearsal(HostBackbone):
    """The backbone over a network whose tensors have no values, on the CPU."""

    def __init__(self, backbone: HostBackbone, config: TrainConfig, text: dict[str, Any], guarded: bool) -> None:
        self.__dict__.update(backbone.__dict__)
        self.device = self.text_device = CPU
        self.model = copy.copy(backbone.model)
        self.model.model_options = {"transformer_options": {
            **backbone.model.model_options["transformer_options"], "optimized_attention_override": pytorch_attention}}
        self.config, self._guarded = config, guarded
        self._text: Any = _SameText(text)
        self.schedule = _AnyLevel(backbone.schedule)  # type: ignore[assignment]
        self.blocks = backbone.family.blocks
        self._shadows = {"network": backbone.new_shadow()}
        self._step = _Untested()  # type: ignore[assignment]
        self._resident, self._training = frozenset(self._shadows), True
        for module in self.network.modules():
            module.__dict__.pop("_v", None)  # a place in the host's own memory on the card
        if config.method == FULL:
            self._compute_plainly(TYPES[config.precision])
        let_go(self.network, META)

    def _compute_plainly(self, dtype: torch.dtype) -> None:
        """With the weights that the layers have, in this type, as `own_weights` does."""
        root = self._shadows["network"].root
        root.manual_cast_dtype, root.diffusion_model.dtype = None, dtype
        for module in self.network.modules():
            module.__dict__.pop("forward", None)
            module.__dict__.update({name: value for name, value in PLAIN.items() if hasattr(module, name)})

    def latents(self) -> Tensor:
        made = self.model.model.latent_format
        frames = [1] if made.latent_dimensions == 3 else []
        step = self.family.bucket_step  # as the buckets of images are
        side = max(self.config.data.resolution // step * step, step) // self.latent_scale
        return torch.empty(self.config.data.batch_size, made.latent_channels, *frames, side, side)

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Any = None) -> Tensor:
        return super().predict(noisy, t, conditioning or self._text)

    def step(self) -> contextlib.AbstractContextManager[None]:
        return keeping_overwritten() if self._guarded else contextlib.nullcontext()

    def _heard(self, noisy: Tensor, *args: Any) -> dict[str, Any]:
        """What the host makes of a caption, which reads values of masks; where it needs the network, without values."""
        with contextlib.suppress(NotImplementedError, RuntimeError), unset_fake_temporarily():
            return super()._heard(torch.zeros(noisy.shape), *args)
        return super()._heard(noisy, *args)


def pytorch_attention(chosen: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Kernels of other libraries keep as much, but cannot run without values."""
    return attention_pytorch(*args, **kwargs)


class _Untested:
    """Stands for gradients.GuardedStep, which would try the network out."""

    def prepare(self, network: nn.Module, run: Any) -> None:
        pass


# -- what the node says ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forecast:
    """Attributes:
        line: what a step will take, and whether the card has it; "" if it could not be counted.
        note: why it could not; "" if it could.
        share: of the blocks, to be computed again in the backward pass.
        offload: share of the blocks of a fine-tune, to be held in RAM.
        memory: bytes that a step takes beside the weights; 0 if that is not known, or not all of it is counted.
        refusal: why the training must not start; "" if it may.
    """

    line: str = ""
    note: str = ""
    share: float = 0.0
    offload: float = 0.0
    memory: int = 0
    refusal: str = ""


def forecast_memory(backbone: HostBackbone, config: TrainConfig, caption: str, seconds: float = SECONDS,
                    controls: Controls | None = None) -> Forecast:
    """Count a step, in a few seconds, and choose the share of the blocks to recompute. Whatever goes wrong is a note:
    no training fails for it."""
    counts: dict[float, StepCount] = {}
    ends_at = time.monotonic() + seconds

    def needed(share: float) -> int:
        if share not in counts:
            counts[share] = count_training(backbone, config, caption, ends_at - time.monotonic(), controls, share)
        return counts[share].peak + WORKSPACE

    try:
        least = backbone.recompute
        peak = needed(least)
        whole = f"{_about(peak)} at the peak of a step"
        text = config.adapter.text_encoder
        if text:
            whole += ", without the text encoder, which is trained too"
        refused = refuse_state(backbone, config)
        if backbone.device.type == "cpu":
            return Forecast(whole, share=least, refusal=refused)
        backbone.unload()  # counting has loaded the text encoder, whose memory would not count as free
        card = Card.of(backbone.device)
        fit = _fit(needed, card.room, least) if config.fit_memory else Fit(least, peak, peak <= card.room)
        if config.method == FULL and config.fit_memory and fit is not UNKNOWN:
            fit = _moved(backbone, config, fit, counts[fit.share], card.room)
        verdict = _verdict(fit, least, config)
        known = fit is not UNKNOWN and not text
        return Forecast(f"{whole}; {card.words}: {'without it, this ' if text else ''}{verdict}", share=fit.share,
                        offload=fit.offload if fit.fits else 0.0,
                        memory=fit.needed - counts[least].weights if known else 0,
                        refusal=refused or _refusal(fit, config))
    except management.InterruptProcessingException:
        raise
    except TookTooLong:
        return Forecast(note=f"what a step takes was not counted: it would have taken more than {seconds:.0f} s.")
    except Exception as error:
        log.debug("LoRA Bootstrap: memory could not be counted", exc_info=True)
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Forecast(note=f"what a step takes could not be counted for this model ({reason[:120]}). The training is "
                             "not affected.")


@dataclass(frozen=True)
class Card:
    """Bytes of a card: all, and those that other programs leave."""

    total: int
    free: int

    @classmethod
    def of(cls, device: torch.device) -> Card:
        total = int(management.get_total_memory(device))
        known = device.type == "cuda" and torch.cuda.is_available()
        return cls(total, min(total, free_memory(device)) if known else total)

    @property
    def room(self) -> int:
        """For tensors."""
        return min(self.total - CONTEXT, self.free - GAPS)

    @property
    def words(self) -> str:
        free = f", of which {self.free / GIB:.1f} are free" if self.free < self.total - CONTEXT else ""
        return f"this card has {self.total / GIB:.0f}{free}"


UNKNOWN = Fit(1.0, 0, False)
"""All blocks are recomputed, and what a step takes then is not known."""


def _fit(needed: Callable[[float], int], room: int, least: float) -> Fit:
    """As smallest_share. If all blocks cannot be counted as recomputed, they are all recomputed: UNKNOWN."""
    try:
        return smallest_share(needed, room, least)
    except management.InterruptProcessingException:
        raise
    except Exception:
        log.debug("LoRA Bootstrap: memory with gradient checkpointing could not be counted", exc_info=True)
        return UNKNOWN


def _moved(backbone: HostBackbone, config: TrainConfig, fit: Fit, count: StepCount, room: int) -> Fit:
    """With as many blocks in RAM as the card needs, if it is not enough to recompute them all."""
    blocks = block_shares_of(backbone.network)

    def needed(share: float) -> int:
        return Estimate(config, "bf16", count, 0, fit.share, share, blocks).peak

    return smallest_offload(fit, needed, room, backbone.offload)


def _refusal(fit: Fit, config: TrainConfig) -> str:
    """A fine-tune that is known not to fit is not started. With fit_memory off, nobody asked."""
    known = fit is not UNKNOWN and config.fit_memory
    return refusal(fit) if config.method == FULL and known and not fit.fits else ""


def _about(size: int) -> str:
    return f"about {size / GIB:.1f} GiB"


def _verdict(fit: Fit, least: float, config: TrainConfig) -> str:
    if fit is UNKNOWN:
        return (f"does not fit as it is, so {describe_share(fit.share)} computed again in the backward pass, which is "
                "slower. What a step takes then was not counted")
    again = f"{describe_share(fit.share)} computed again in the backward pass{in_ram_words(fit)} ({_about(fit.needed)})"
    if fit.fits:
        return "fits" if fit.share == least and not fit.offload else f"fits, as {again}, which is slower"
    if fit.share < 1:
        return "does not fit. Turn on fit_memory or gradient_checkpointing in Train Settings"
    return (f"does not fit, although {again}. ComfyUI keeps a part of the weights in RAM, which is slower; a lower "
            "resolution, a smaller batch or an fp8 model takes less")


def measured_peak(backbone: HostBackbone) -> int | None:
    """Bytes of tensors on a CUDA card at the worst moment since the last call, without those of models that the
    training does not use; None on other devices."""
    if backbone.device.type != "cuda":
        return None
    peak = peak_memory(backbone.device, anew=True) or 0
    others = (loaded for loaded in management.current_loaded_models
              if loaded.device == backbone.device and loaded.model.model is not backbone.model.model)
    return peak - sum(int(loaded.model_loaded_memory()) for loaded in others)
