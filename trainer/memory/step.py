"""One training step on fake tensors: what the loop does, counted instead of computed."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..models.blocks_in_ram import movable_layers
from ..models.families import Family
from ..models.noise import NoiseSchedule, per_row
from ..models.precision import autocast
from ..models.recompute import blocks_of
from ..training import adapters
from ..training.config import FULL, TrainConfig
from ..training.objectives import Loss
from ..training.optimizers import OPTIMIZERS
from ..training.trained.network import TYPES
from .autocast import run_backward
from .counter import StorageCounter, Work, counting

CPU, META = torch.device("cpu"), torch.device("meta")


class Rehearsal(Protocol):
    """A network without memory, and how a step calls it.

    Attributes:
        blocks: where adapters go, as in `Family.blocks`.
    """

    family: Family
    blocks: tuple[str, ...]

    @property
    def network(self) -> nn.Module: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    def latents(self) -> Tensor:
        """A batch of latents, float32."""

    def predict(self, noisy: Tensor, t: Tensor) -> Tensor:
        """As `Backbone.predict`, for some captions."""

    def step(self) -> contextlib.AbstractContextManager[None]:
        """As `Backbone.step`."""


@dataclass(frozen=True, kw_only=True)
class StepCount:
    """What a training step takes; sizes in bytes.

    Attributes:
        weights: the base network.
        adapter: the LoRA, in the optimizer's own dtype; in a fine-tune the network's own weights.
        state: the optimizer's state.
        peak: all that is held at once at the worst moment, with the three above.
        modules, parameters: of the LoRA.
        operations, traffic, kernels: of a forward and a backward pass; see counter.Work.
        widest: weights of the largest layer, by number.
        movable: weights of the layers inside the blocks, in bytes: what can be held in RAM or, unless they are trained,
            in fewer bits.
        kept: held between the forward and the backward pass beyond what was there before.
    """

    weights: int
    adapter: int
    state: int
    peak: int
    modules: int
    parameters: int
    operations: int
    traffic: int
    kernels: int
    widest: int = 0
    movable: int = 0
    kept: int = 0

    @property
    def activations(self) -> int:
        """What is held for the backward pass, gradients included."""
        return self.peak - self.weights - self.adapter - self.state


Attach = Callable[[Rehearsal, TrainConfig], object]
"""Puts into the network what is to be trained, on the device "meta"."""


def attach_adapters(rehearsal: Rehearsal, config: TrainConfig) -> adapters.AdapterHandle:
    return adapters.attach(rehearsal.network, config.adapter, rehearsal.blocks, 0, META, rehearsal.family.excluded,
                           OPTIMIZERS[config.optimizer.name].dtype)


STEPPED = 20
"""Bytes for each weight of a parameter that a fine-tune is stepping: itself, its gradient and its update in float32,
the chances by which it is rounded, and one more for what they are computed through."""


def attach_own_weights(rehearsal: Rehearsal, config: TrainConfig) -> None:
    """What a fine-tune trains: the network itself. Each gradient is applied and freed as it arrives."""
    for parameter in rehearsal.network.parameters():
        parameter.data = parameter.data.to(TYPES.get(config.precision, parameter.dtype))
        parameter.requires_grad_(True)


def attach_trained(rehearsal: Rehearsal, config: TrainConfig) -> object:
    """What the run trains, by its method."""
    return (attach_own_weights if config.method == FULL else attach_adapters)(rehearsal, config)


def count_step(rehearsal: Rehearsal, config: TrainConfig, seconds: float | None = None, whole: bool = False,
               attach: Attach = attach_trained) -> StepCount:
    """Count one step of `config`. The network's own tensors are replaced by fake ones, so it is of no use afterwards.

    Others than our adapters can be counted by `attach`. Without any, gradients flow to the latents.

    Of many blocks that are alike, two are counted, then three, and the difference stands for each of the others: all
    figures grow by the same amount with each block. `whole` counts them all.

    Raises counter.TookTooLong after `seconds`, and whatever the network raises that cannot run without values.
    """
    ends_at = None if seconds is None else time.monotonic() + seconds
    with torch.inference_mode(False), torch.enable_grad():
        with torch.random.fork_rng(devices=[]), META:
            attach(rehearsal, config)
        count = partial(_count, rehearsal, config, ends_at)
        alike = [] if whole else list(_blocks_alike(rehearsal.network))
        with contextlib.ExitStack() as stack:
            for blocks in alike:
                stack.enter_context(_cut(blocks, LEAST))
            found = base = count()
            for blocks in alike:
                with _cut(blocks, LEAST + 1):
                    found = _plus(found, base, count(), len(blocks.whole) - LEAST)
        return found


LEAST, MANY = 2, 12
"""Number of blocks counted of those that are alike, and how many there must be for that."""


@dataclass(frozen=True)
class _Alike:
    """A ModuleList whose members have the same class and shapes; `whole` are all of them."""

    held: nn.ModuleList
    whole: tuple[tuple[str, nn.Module], ...]


def _blocks_alike(network: nn.Module) -> Iterator[_Alike]:
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) >= MANY and len(set(map(_form, module))) == 1:
            yield _Alike(module, tuple(module.named_children()))


def _form(block: nn.Module) -> tuple[object, ...]:
    return type(block), *((name, tensor.shape, tensor.dtype) for name, tensor in block.named_parameters())


@contextlib.contextmanager
def _cut(blocks: _Alike, length: int) -> Iterator[None]:
    before = dict(blocks.held._modules)
    blocks.held._modules = dict(blocks.whole[:length])
    try:
        yield
    finally:
        blocks.held._modules = before


def _plus(found: StepCount, base: StepCount, longer: StepCount, times: int) -> StepCount:
    """`found`, and `times` the difference between `longer` and `base`."""
    pairs = ((name, getattr(found, name) + times * (getattr(longer, name) - getattr(base, name)))
             for name in StepCount.__dataclass_fields__)
    return StepCount(**dict(pairs))


def _count(rehearsal: Rehearsal, config: TrainConfig, ends_at: float | None
           ) -> StepCount:
    """Count the network with the blocks that it holds now."""
    with counting(ends_at) as counter:
        network = rehearsal.network
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        let_go(network)
        adapter = sum(map(_size, parameters))
        weights = counter.now - adapter
        state = sum(state_bytes(config.optimizer.name, stepped_shape(parameter, config)) for parameter in parameters)
        several = config.accumulation_steps > 1 or config.preservation.weight > 0
        gradients = adapter if config.method == FULL and several else 0
        if config.optimizer.ema_decay:
            state += sum(4 * parameter.numel() for parameter in parameters)  # the average, in float32
        held = torch.empty(state + gradients, dtype=torch.uint8)
        for parameter in parameters if config.method == FULL else ():
            parameter.register_post_accumulate_grad_hook(_apply)
        counter.peak, counter.work = counter.now, Work()
        kept = _run_step(rehearsal, config, counter)
        if config.preservation.weight:
            _run_preservation(rehearsal, config, counter)
        del held
    return StepCount(
        weights=weights, adapter=adapter, state=state, peak=counter.peak, modules=len(parameters) // 2,
        parameters=sum(parameter.numel() for parameter in parameters), widest=_widest(network), kept=kept,
        movable=_movable(network, config), **vars(counter.work))


def stepped_shape(parameter: Tensor, config: TrainConfig) -> torch.Size:
    """The shape in which the optimizer is given a parameter."""
    matrix = config.method == FULL and OPTIMIZERS[config.optimizer.name].factored and parameter.ndim > 2
    return torch.Size((len(parameter), parameter[0].numel())) if matrix else parameter.shape


def _apply(parameter: Tensor) -> None:
    """As trained/on_arrival.py does it: what stepping takes is taken, then the gradient is freed."""
    torch.empty(STEPPED * parameter.numel(), dtype=torch.uint8)
    parameter.grad = None


def _widest(network: nn.Module) -> int:
    layers = (module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    return max((layer.weight.numel() for layer in layers), default=0)


def _movable(network: nn.Module, config: TrainConfig) -> int:
    if config.method == FULL:
        return sum(_size(layer.weight) for layers in movable_layers(network) for layer in layers)
    return sum(movable_by_block(network))


def movable_by_block(network: nn.Module) -> list[int]:
    """Bytes of the frozen weights of the layers inside each block, which can be held in RAM or in fewer bits."""
    seen: set[nn.Module] = set()
    sizes = []
    for block in blocks_of(network):
        layers = {layer for layer in block.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))} - seen
        seen |= layers
        sizes.append(sum(_size(layer.weight) for layer in layers if not layer.weight.requires_grad))
    return sizes


def _run_step(rehearsal: Rehearsal, config: TrainConfig, counter: StorageCounter) -> int:
    """Returns what is kept for the backward pass, in bytes."""
    before = counter.now
    loss = Loss.of(rehearsal.family, rehearsal.schedule, config.objective)
    latents = rehearsal.latents()
    noise, t = torch.empty_like(latents), torch.empty(len(latents))
    alpha, sigma = rehearsal.schedule.coefficients(t)
    noisy = per_row(alpha, latents) * latents + per_row(sigma, latents) * noise
    if not any(parameter.requires_grad for parameter in rehearsal.network.parameters()):
        noisy.requires_grad_()
    with rehearsal.step():
        with autocast(CPU, config.precision):
            prediction = rehearsal.predict(noisy, t)
        total = loss.per_sample(prediction, latents, noise, t).mean() / config.accumulation_steps
        kept = counter.now - before
        run_backward(total)
    return kept


BASE_PASS = 1 / 3
"""A forward pass as a share of a forward and a backward pass."""


def _run_preservation(rehearsal: Rehearsal, config: TrainConfig, counter: StorageCounter) -> None:
    """The further pass of a step that preserves, beside the gradients of the first. Its work, with that of the base's
    own prediction, counts as far as a step has it on average."""
    first, counter.work = counter.work, Work()
    _run_step(rehearsal, config, counter)
    share = (1 + BASE_PASS) / config.preservation.every
    counter.work = Work(**{name: value + round(share * getattr(counter.work, name))
                           for name, value in vars(first).items()})


def let_go(network: nn.Module, device: torch.device = CPU) -> None:
    """Give the network new parameters and buffers like those it has; where tensors are fake, they take no memory.

    A tensor that is used twice stays one tensor. Quantised tensors count as their plain data.
    """
    made: dict[int, Any] = {}

    def empty(tensor: Tensor) -> Any:
        if id(tensor) not in made:
            data = getattr(tensor, "_qdata", tensor)
            new = torch.empty(tensor.shape, dtype=data.dtype, device=device)
            made[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        return made[id(tensor)]

    for module in network.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: empty(tensor) for name, tensor in tensors.items() if tensor is not None})


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# -- optimizers --------------------------------------------------------------------------------------------------------

_LEAST_8BIT, _BLOCK = 4096, 256
"""bitsandbytes keeps smaller parameters in 32 bits, and a float32 scale for every block of larger ones."""


def _adamw8bit(shape: torch.Size) -> int:
    count = shape.numel()
    return 8 * count if count < _LEAST_8BIT else 2 * (count + 4 * math.ceil(count / _BLOCK))


def _adafactor(shape: torch.Size) -> int:
    if len(shape) < 2:
        return 4 * shape.numel()
    return 4 * (shape[:-1].numel() + shape[:-2].numel() * shape[-1])


def _came(shape: torch.Size) -> int:
    first = 4 * shape.numel()
    return first + _adafactor(shape) * (2 if len(shape) > 1 else 1)  # the second moment, and that of the residuals


STATE_BYTES: dict[str, Callable[[torch.Size], int]] = {
    # by name of the optimizer: shape of a parameter → bytes of its state
    "adamw": lambda shape: 8 * shape.numel(),  # first and second moments
    "adamw8bit": _adamw8bit,
    "adafactor": _adafactor,
    "prodigy": lambda shape: 16 * shape.numel(),  # both moments, the start, and the sum of gradients
    "adamw_bf16": lambda shape: 4 * shape.numel(),  # both moments in 16 bits
    "adamw_schedule_free": lambda shape: 8 * shape.numel(),  # the second moment, and the weights of the fast sequence
    "lion": lambda shape: 4 * shape.numel(),  # the first moment
    "came": _came,
}


def state_bytes(optimizer: str, shape: torch.Size) -> int:
    """Bytes that the optimizer keeps for a parameter of this shape. An optimizer without a row counts as AdamW."""
    return STATE_BYTES.get(optimizer, STATE_BYTES["adamw"])(shape)
