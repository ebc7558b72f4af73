"""AdamW over weights and moments in bf16, which takes half the memory of float32: each step is computed in float32 and
rounded stochastically.

bf16 has 8 bits of precision, so most steps of a training are smaller than half the distance to the next number:
rounded to the nearest, they would all be lost. Rounded up or down by chance, in proportion to how near each is, they
count on average (Zamirai et al., 2010.06192). torchao's optimizers round the weights in this way, but the moments to
the nearest, and AdamW's average of squares, which moves by a thousandth of the difference, then hardly ever falls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

CHUNK = 1 << 20
"""Weights that are computed together, in about 60 MB. Other chunks draw other random numbers, so a run that is resumed
needs the same."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


def round_to_bf16(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 values in bf16, each one of its two neighbours there, so that the mean is the value itself. What bf16 can
    hold does not change."""
    chance = torch.randint(1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    return ((values.view(torch.int32) + chance) & -(1 << 16)).view(torch.float32).bfloat16()


def has_fused_adamw(weights: Iterable[Tensor]) -> bool:
    """Whether torch has its fused AdamW on the devices of these weights. It is tried, because torch's own check passes
    devices (DirectML's) on which the step then fails."""
    for device in {weight.device for weight in weights}:
        tried = torch.nn.Parameter(torch.zeros(1, device=device))
        tried.grad = torch.zeros_like(tried)
        try:
            torch.optim.AdamW([tried], fused=True).step()
        except RuntimeError:
            return False
    return True


class RoundedAdamW(torch.optim.Optimizer):
    """torch's fused AdamW (1711.05101) for parameters in bf16.

    What is rounded up is a pure function of the number of steps, which its state holds, so a resumed run goes on with
    the same bits.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rounded": 0})
        self._fused = has_fused_adamw(weight for group in self.param_groups for weight in group["params"])
        self._step_supports_amp_scaling = self._fused  # it heeds `found_inf`, as torch's fused optimizers do
        for group in (self.defaults, *self.param_groups):
            group["fused"] = self._fused

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            for row, chunk in enumerate(_chunks(trained)):
                generator = torch.Generator(chunk[0].device).manual_seed((group["rounded"] << 24) + (row << 8) + number)
                self._step_chunk(group, chunk, generator)
            group["rounded"] += 1
        return loss

    def _step_chunk(self, group: dict[str, Any], parameters: list[Tensor], generator: torch.Generator) -> None:
        states = [self._state_of(parameter) for parameter in parameters]
        held = [*parameters, *(state[name] for name in _MOMENTS for state in states)]
        flat = torch.cat([tensor.flatten() for tensor in held]).float()
        wide = _split(flat, held)
        count, (beta1, beta2) = len(parameters), group["betas"]
        adamw(wide[:count], [parameter.grad.float() for parameter in parameters if parameter.grad is not None],
              wide[count : 2 * count], wide[2 * count :], [], [state["step"] for state in states],
              fused=self._fused or None,
              grad_scale=getattr(self, "grad_scale", None), found_inf=getattr(self, "found_inf", None), amsgrad=False,
              beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"],
              maximize=False)
        pairs = zip(held, wide, _split(round_to_bf16(flat, generator), held), strict=True)
        # among weights in bf16, a DoRA's magnitudes are in float32
        torch._foreach_copy_(held, [rounded if tensor.dtype == torch.bfloat16 else exact
                                    for tensor, exact, rounded in pairs])

    def _state_of(self, parameter: Tensor) -> dict[str, Any]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device if self._fused else "cpu")
            state |= {name: torch.zeros_like(parameter) for name in _MOMENTS}
        return state


def _chunks(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters in order, of one device and at most CHUNK weights together; a larger one is alone."""
    chunk: list[Tensor] = []
    held = 0
    for parameter in parameters:
        held += parameter.numel()
        if chunk and (held > CHUNK or parameter.device != chunk[0].device):
            yield chunk
            chunk, held = [], parameter.numel()
        chunk.append(parameter)
    if chunk:
        yield chunk


def _split(flat: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Views into `flat` [N], in the shapes of `like`."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
