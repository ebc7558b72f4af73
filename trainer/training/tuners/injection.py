"""peft's layers in a network: putting them in, finding them, and taking them out again.

A layer of peft replaces the module that it adapts and holds it as `base_layer`; layers of several kinds lie one inside
the other.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...lora import names
from ...lora.file import Factors, KindWeights, ModuleWeights
from ...lora.names import MAGNITUDE
from .kinds import LORA, TUNERS, Tuner, weights_of

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer

_numbers = itertools.count()


@dataclass(frozen=True)
class Adapted:
    """One adapter in one layer of peft, which replaces the original module.

    Attributes:
        alpha: what the file holds: the output is scaled by alpha / rank.
    """

    name: str
    layer: Any
    adapter: str
    tuner: Tuner
    alpha: float

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """By role, a DoRA's magnitude last."""
        weights = dict(weights_of(self.layer, self.adapter, self.tuner))
        return weights if self.magnitude is None else weights | {MAGNITUDE: self.magnitude}

    @property
    def magnitude(self) -> nn.Parameter | None:
        held = getattr(self.layer, "lora_magnitude_vector", {})
        return held[self.adapter].get_parameter("weight") if self.adapter in held else None

    def saved(self, read: Callable[[torch.Tensor], torch.Tensor]) -> ModuleWeights:
        """What a file holds of it; `read` is given each weight."""
        weights = {role: read(parameter) for role, parameter in self.weights.items()}
        if self.tuner.file_kind != names.LORA:
            return KindWeights(self.tuner.file_kind, weights, self.alpha)
        return Factors(weights["down"], weights["up"], self.alpha, weights.get(MAGNITUDE))

    def set_strength(self, strength: float | torch.Tensor) -> None:
        """A tensor holds a strength for each row of a batch."""
        if self.magnitude is not None:
            self.layer.lora_variant[self.adapter].strength = strength
        elif isinstance(strength, float):
            self.layer.set_scale(self.adapter, strength)
            if self._is_whole:
                self.layer.scaling[self.adapter] = strength
        else:
            self.layer.set_scale(self.adapter, 1.0)

    @property
    def _is_whole(self) -> bool:
        """Whether alpha does not scale it."""
        return bool(self.tuner.whole) and self.tuner.whole <= self.weights.keys()


def inject(network: nn.Module, sizes: Mapping[str, tuple[int, float]], kind: str = LORA, factor: int = -1
           ) -> list[Adapted]:
    """Adapters of the given (rank, alpha) by module name. It does not change which parameters are trained.

    There is one peft adapter per distinct size: peft tries patterns per module against every other module, which takes
    minutes on a resized LoRA where each module has its own rank.
    """
    from peft import inject_adapter_in_model

    groups = defaultdict(list)
    for name, size in sizes.items():
        groups[size].append(name)
    called: dict[str, str] = {}
    with torch.random.fork_rng(), warnings.catch_warnings(), kept_flags(network):
        warnings.simplefilter("ignore")  # peft warns of a second adapter, which is meant here
        active = {id(layer): list(layer.active_adapters) for _, layer in _layers(network)}
        for (rank, alpha), members in groups.items():
            adapter = f"lora_bootstrap_{next(_numbers)}"
            called |= dict.fromkeys(members, adapter)
            config = TUNERS[kind].configure("|".join(map(re.escape, members)), rank, alpha, factor)
            try:
                inject_adapter_in_model(config, network, adapter_name=adapter)
            except BaseException:
                remove_adapters(network, set(called.values()))
                raise
        layers: dict[str, Any] = {}
        for name, layer in _layers(network):
            ours = sorted(_held_by(layer).intersection(called.values()))
            layers |= {_inner_name(name): layer} if ours else {}
            layer.set_adapter(active.get(id(layer), []) + ours)
    return [Adapted(name, layers[name], called[name], TUNERS[kind], sizes[name][1]) for name in sizes]


def remove_adapters(network: nn.Module, adapters: Set[str]) -> None:
    """Take peft adapters out; a module left with none becomes the original object again."""
    with kept_flags(network):
        for name, layer in reversed(list(_layers(network))):  # layers of several kinds lie one inside the other
            ours = adapters & _held_by(layer)
            for adapter in ours:
                layer.set_adapter([other for other in layer.active_adapters if other != adapter])
                layer.delete_adapter(adapter)
            if ours and not _held_by(layer):
                parent, _, child = name.rpartition(".")
                setattr(network.get_submodule(parent), child, layer.base_layer)
    configs = getattr(network, "peft_config", {})
    for adapter in adapters:
        configs.pop(adapter, None)
    if not configs:
        with suppress(AttributeError):
            del network.peft_config


def adapted_modules(network: nn.Module, adapter: str) -> tuple[str, ...]:
    """Names of the modules that have the peft adapter of this name."""
    return tuple(_inner_name(name) for name, layer in _layers(network) if adapter in _held_by(layer))


def _layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Every layer of peft in the network. Only in functions is peft imported: it takes a second, which each start of a
    ComfyUI would take longer."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return ((name, module) for name, module in network.named_modules() if isinstance(module, BaseTunerLayer))


def _held_by(layer: BaseTunerLayer) -> set[str]:
    """Names of the adapters in peft's layer."""
    return {adapter for attribute in layer.adapter_layer_names for adapter in getattr(layer, attribute)}


def _inner_name(name: str) -> str:
    """The module's name in the network without adapters, from that of a layer of peft, which may be in another."""
    return re.sub(r"(\.base_layer)+$", "", name)


@contextmanager
def kept_flags(network: nn.Module) -> Iterator[None]:
    """Restores the requires_grad flags, which peft changes as it switches adapters."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
