"""Several strengths of one LoRA in one batch of the host's sampler, so that a grid of strengths takes only a few runs.

The factors stay beside the weights: as the model runs, each layer of the LoRA adds its row's strength times alpha /
rank * up(down(x)) (Hu et al. 2021, arXiv:2106.09685). Text encoders are not changed: the caller encodes the prompt once
for each strength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.lora_convert
import torch
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor, nn

from ...trainer.common.errors import UserError
from ...trainer.models.noise import per_row
from .loras import read_lora

DETERMINISTIC = frozenset({
    "euler", "euler_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "lms", "dpm_fast", "dpmpp_2m",
    "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "gradient_estimation",
    "gradient_estimation_cfg_pp", "ddim", "uni_pc", "uni_pc_bh2",
})
"""The host's samplers that draw each row of a batch as they would draw it alone.

The others draw new noise for the whole batch at each step, and dpm_adaptive chooses its steps by all rows together.
"""


class NotInRows(UserError):
    """Found while sampling: this model cannot run its rows at different strengths. Sample the strengths one by one."""


@dataclass(frozen=True)
class _Layer:
    """A layer of the host's model and the LoRA's factors in its shape.

    Attributes:
        name: dotted path in `model.model`.
        down: [rank, in] or [rank, in, height, width].
        up: [out, rank], multiplied with alpha / rank.
    """

    name: str
    down: Tensor
    up: Tensor


class RowLora:
    """A LoRA file on a MODEL, to be drawn at several strengths at once.

    Attributes:
        why_not: one line that says why this is not possible; "" if it is.
    """

    def __init__(self, model: Any, path: str | Path) -> None:
        """Raises UserError if there is no such file."""
        self._model = model
        names = comfy.lora.model_lora_keys_unet(model.model, {})
        patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(read_lora(path)), names, log_missing=False)
        self._layers, reasons = [], {}
        for key, patch in patches.items():
            name, reason = _unfit(model, key, patch)
            if reason:
                reasons[name] = reason
            else:
                self._layers.append(_layer(model, name, patch))
        self.why_not = ""
        if _is_compiled(model):
            self.why_not = "the MODEL is compiled, and compiled layers cannot have a different strength in each row."
        elif reasons:
            name, reason = next(iter(reasons.items()))
            self.why_not = (f"{len(reasons)} of the {len(patches)} layers in {Path(path).name} cannot have a different "
                            f"strength in each row, such as {name}: it {reason}.")

    @contextmanager
    def at(self, strengths: Sequence[float]) -> Iterator[Any]:
        """A MODEL that denoises row i of a latent batch with the LoRA at strengths[i]; the batch must have that many
        rows.

        It is a clone: the MODEL is left unchanged, and other patches on it stay in force. The network has hooks only
        while it runs. Factors on the device are freed when the block ends.

        Raises ValueError if `why_not` gives a reason. The sampler raises ValueError for a batch of another size, and
        NotInRows if the network has layers that mix or split its rows.
        """
        if self.why_not or not strengths:
            raise ValueError(self.why_not or "no strengths: give one for each row of the batch")
        rows = torch.tensor(strengths, dtype=torch.float32)
        placed: dict[Any, tuple[Tensor, Tensor]] = {}

        def run(executor: Any, x: Tensor, t: Tensor, c_concat: Any = None, c_crossattn: Any = None,
                control: Any = None, transformer_options: Any = None, **extra: Any) -> Tensor:
            # the host runs conditionings one after another, or as chunks of one batch, each with all rows in order
            chunks = len(transformer_options["cond_or_uncond"])
            if len(x) != chunks * len(rows):
                raise ValueError(f"{len(rows)} strengths need a latent batch of {len(rows)}, not {len(x) // chunks}")
            with self._hooked(executor.class_obj, rows.to(x.device).repeat(chunks), placed):
                return executor(x, t, c_concat, c_crossattn, control, transformer_options, **extra)

        model = self._model.clone()
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "lora_bootstrap_rows", run)
        try:
            yield model
        finally:
            placed.clear()

    @contextmanager
    def _hooked(self, whole: nn.Module, rows: Tensor, placed: dict[Any, tuple[Tensor, Tensor]]) -> Iterator[None]:
        """With the LoRA applied to the host's model. `placed` holds the factors by layer, device and dtype."""
        heard, hooks = set(), []

        def hook(layer: _Layer) -> Callable[..., Tensor]:
            def added(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
                heard.add(layer.name)
                x = inputs[0]
                if len(x) % len(rows):
                    raise NotInRows(f"layer {layer.name} gets {len(x)} rows for a batch of {len(rows)}, so the "
                                    "strengths cannot share one. Draw them one by one.")
                place = layer.name, x.device, x.dtype
                if place not in placed:
                    placed[place] = layer.down.to(x.device, x.dtype), layer.up.to(x.device, x.dtype)
                return output + _change(module, x, *placed[place], rows.repeat_interleave(len(x) // len(rows)))

            return added

        try:
            for layer in self._layers:
                hooks.append(whole.get_submodule(layer.name).register_forward_hook(hook(layer)))
            yield
        finally:
            for handle in hooks:
                handle.remove()
        unheard = [layer.name for layer in self._layers if layer.name not in heard]
        if unheard:
            raise NotInRows(f"{len(unheard)} of the LoRA's {len(self._layers)} layers, such as {unheard[0]}, are not "
                            "run as layers of their own, so the strengths cannot share a batch. Draw them one by one.")


def _change(module: nn.Module, x: Tensor, down: Tensor, up: Tensor, strengths: Tensor) -> Tensor:
    """What the LoRA adds to a layer's output, with its strength for each of `x`'s rows."""
    if isinstance(module, nn.Conv2d):
        hidden = module._conv_forward(x, down, None)  # with the layer's stride, dilation and padding mode
    else:
        hidden = nn.functional.linear(x, down)
    hidden = (hidden * per_row(strengths, hidden)).to(x.dtype)
    if isinstance(module, nn.Conv2d):
        return nn.functional.conv2d(hidden, up[:, :, None, None])
    return nn.functional.linear(hidden, up)


# -- what can be done in rows ----------------------------------------------------------------------------------------


def _unfit(model: Any, key: Any, patch: Any) -> tuple[str, str]:
    """(the layer's name, what is in the way or "") of a patch as the host's loader makes it."""
    name = (key if isinstance(key, str) else key[0]).removesuffix(".weight")
    if not isinstance(key, str):
        return name, "holds several layers of the LoRA side by side"
    if not isinstance(patch, LoRAAdapter):
        return name, f"is changed by {getattr(patch, 'name', None) or patch[0]!r} rather than by a plain LoRA"
    up, down, _, middle, dora, reshape = patch.weights
    for value, word in ((dora, "a DoRA"), (middle, "a LoRA with a third factor (Tucker)"),
                        (reshape, "a LoRA that reshapes it")):
        if value is not None:
            return name, f"is changed by {word}"
    module = model.get_model_object(name) if key.endswith(".weight") else None
    if not isinstance(module, (nn.Linear, nn.Conv2d)) or getattr(module, "groups", 1) != 1:
        return name, f"is not a plain linear or convolution layer ({type(module).__name__})"
    if module.weight.dtype.itemsize == 1:
        return name, "has 8-bit weights, which ComfyUI's loader rounds again for each strength"
    weight = module.weight.shape
    if len(up) != weight[0] or up.flatten(1).shape[1] != len(down) or down[0].numel() != weight[1:].numel():
        return name, f"has the shape {list(weight)}, but the LoRA's is {list(up.shape)} by {list(down.shape)}"
    return name, ""


def _layer(model: Any, name: str, patch: LoRAAdapter) -> _Layer:
    up, down, alpha, *_ = patch.weights
    rank, shape = len(down), model.get_model_object(name).weight.shape
    scale = 1.0 if alpha is None else alpha / rank
    return _Layer(name, down.reshape(rank, *shape[1:]), up.flatten(1).float() * scale)


def _is_compiled(model: Any) -> bool:
    parts = [*model.object_patches.values(), *model.model.modules()]
    return "torch_compile_kwargs" in model.model_options or any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None for part in parts)
