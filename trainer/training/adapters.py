"""Puts LoRA adapters into a network and takes them out again: their weights, their strength.

peft does the arithmetic (LoRA: Hu et al. 2021, arXiv:2106.09685; the output is scaled by alpha / rank).
`models/layers.py` chooses the modules; this file fixes the initial weights by a seed, and restores the network.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..common.errors import UserError
from ..lora.file import Factors, LoraWeights
from ..lora.layouts import diffusers_names, match_key
from ..lora.names import DENOISER, DENOISERS, LayerName, with_text_model
from ..models.layers import base_modules, kind_of, select_modules
from ..models.noise import per_row
from .config import AdapterConfig

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

MANY_SIZES = 8
"""With more sizes than this, ranks are padded to powers of two: each size costs a walk through the network."""

_numbers = itertools.count()


@dataclass(frozen=True)
class _Adapted:
    name: str
    layer: LoraLayer
    """peft's layer, which replaces the original module."""
    adapter: str

    @property
    def down(self) -> nn.Parameter:
        return self.layer.lora_A[self.adapter].get_parameter("weight")

    @property
    def up(self) -> nn.Parameter:
        return self.layer.lora_B[self.adapter].get_parameter("weight")

    @property
    def alpha(self) -> float:
        return float(self.layer.lora_alpha[self.adapter])


class AdapterHandle:
    """The adapters of one `attach` or `use_lora` in one network. Several handles can share a network."""

    def __init__(self, network: nn.Module, adapted: Sequence[_Adapted], flags: Sequence[tuple[nn.Parameter, bool]]):
        self._network, self._adapted, self._flags = network, tuple(adapted), flags
        self._rows: list[RemovableHandle] = []
        layers: list[Any] = [row.layer for row in adapted]  # modules, which peft's type does not say
        self._casts = [layer.register_forward_pre_hook(_leave_cast_to_autocast) for layer in layers]

    @property
    def module_names(self) -> tuple[str, ...]:
        """Adapted modules in the network's own order."""
        return tuple(row.name for row in self._adapted)

    def parameters(self) -> list[nn.Parameter]:
        """Down, then up, of each module in the order of `module_names`."""
        return [parameter for row in self._adapted for parameter in (row.down, row.up)]

    def weights(self) -> dict[str, Factors]:
        """Copies on the CPU in float32, by module name."""
        return {name: Factors(_copy(row.down), _copy(row.up), row.alpha) for name, row in self.trained().items()}

    def trained(self) -> dict[str, Factors]:
        """The weights themselves, by module name: the next step changes them."""
        return {row.name: Factors(row.down.detach(), row.up.detach(), row.alpha) for row in self._adapted}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Factors]) -> None:
        """Set the weights; a different alpha is compensated in up. Raises UserError if modules or ranks differ."""
        strangers = sorted(set(self.module_names) ^ set(weights))
        if strangers:
            raise UserError(f"the LoRA and the adapters differ in {len(strangers)} modules, such as {strangers[0]}: "
                            "use the layers and conv_rank that the LoRA was trained with.")
        for row in self._adapted:
            factors = weights[row.name]
            if factors.down.shape != row.down.shape or factors.up.shape != row.up.shape:
                raise UserError(f"LoRA module {row.name} has rank {factors.rank} and shapes {list(factors.down.shape)} "
                                f"and {list(factors.up.shape)}, but the adapter has rank {len(row.down)} and shapes "
                                f"{list(row.down.shape)} and {list(row.up.shape)}: set the ranks to the LoRA's.")
            row.down.copy_(factors.down)
            row.up.copy_(factors.rescaled(row.alpha).up)

    def set_strength(self, strength: float | Sequence[float]) -> None:
        """Multiply the adapters' output: 1 as trained, 0 none, negative the opposite.

        Several strengths apply to the rows of a batch, and repeat if the batch has more rows: with guidance, diffusers
        runs the rows without the prompt, then those with it. The forward pass raises ValueError if the number of rows
        is not a multiple of the number of strengths.
        """
        several = strength if isinstance(strength, Sequence) else None
        if several is not None and not several:
            raise ValueError("no strengths: give one for each row of the batch")
        self._forget_rows()
        for row in self._adapted:
            row.layer.set_scale(row.adapter, 1.0 if isinstance(strength, Sequence) else float(strength))
            if several is not None:
                scaling = partial(_scaled, torch.tensor(several, dtype=torch.float32, device=row.up.device))
                self._rows.append(row.layer.lora_B[row.adapter].register_forward_pre_hook(scaling))

    def _forget_rows(self) -> None:
        for hook in self._rows:
            hook.remove()
        self._rows = []

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Turn these adapters off while the block lasts; those of other handles stay on."""
        with _kept_flags(self._network):
            active = [list(row.layer.active_adapters) for row in self._adapted]
            for row, names in zip(self._adapted, active, strict=True):
                row.layer.set_adapter([name for name in names if name != row.adapter])
        try:
            yield
        finally:
            with _kept_flags(self._network):
                for row, names in zip(self._adapted, active, strict=True):
                    row.layer.set_adapter(names)

    def detach(self) -> None:
        """Take the adapters out. Without any, a module is the original object again. Safe to call twice."""
        self._forget_rows()
        for row, hook in zip(self._adapted, self._casts, strict=True):
            hook.remove()
            row.layer.cast_input_dtype_enabled = True
        remove_adapters(self._network, {row.adapter for row in self._adapted})
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        self._adapted, self._flags, self._casts = (), (), []


def _leave_cast_to_autocast(layer: LoraLayer, inputs: tuple[torch.Tensor, ...]) -> None:
    """Keep peft from casting the input to the adapter's float32 where autocast casts it to 16 bits at once.

    The values are the same either way, but the copy in float32 would be held for the backward pass too. Autocast is
    looked up at each pass, because some passes (proofs, previews) have none.
    """
    layer.cast_input_dtype_enabled = not torch.is_autocast_enabled(inputs[0].device.type)


def _scaled(strengths: torch.Tensor, up: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """The input of `up`, each row of the batch scaled by its own strength."""
    (hidden,) = inputs
    if len(hidden) % len(strengths):
        raise ValueError(f"{len(strengths)} strengths do not fit a batch of {len(hidden)} rows: give one for each row")
    rows = strengths.to(hidden.device).repeat(len(hidden) // len(strengths))
    return ((hidden * per_row(rows, hidden)).to(hidden.dtype),)


def attach(network: nn.Module, adapter: AdapterConfig, blocks: Sequence[str], seed: int,
           device: torch.device | None = None, excluded: Sequence[str] = (),
           dtype: torch.dtype = torch.float32) -> AdapterHandle:
    """Put trainable adapters into a network; everything else in it is frozen until `detach`.

    Down starts as nn.Linear does (uniform in ±1/sqrt(fan in)), drawn on the CPU from `seed` alone, and up at zero, so
    the network's output does not change. Adapter weights have `dtype` whatever the network is. The global random state
    is left alone. The weights are on each module's own device, or on `device`. Raises UserError if no module matches.
    """
    modules = select_modules(network, adapter.layers, blocks, adapter.conv_rank, excluded)
    conv_alpha = adapter.alpha / adapter.rank * adapter.conv_rank if adapter.conv_alpha is None else adapter.conv_alpha
    sizes = {"linear": (adapter.rank, adapter.alpha), "conv": (adapter.conv_rank, conv_alpha)}
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    adapted = _inject(network, {name: sizes[kind] for name, kind in modules.items()})
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for row in adapted:
        for part in (row.layer.lora_A, row.layer.lora_B):
            part[row.adapter].to(device, dtype).requires_grad_(True)
        with torch.no_grad():
            bound = row.down[0].numel() ** -0.5
            row.down.copy_(torch.empty(row.down.shape).uniform_(-bound, bound, generator=generator))
            row.up.zero_()
    return AdapterHandle(network, adapted, flags)


def _inject(network: nn.Module, sizes: Mapping[str, tuple[int, float]]) -> list[_Adapted]:
    """Adapters of the given (rank, alpha) by module name. It does not change which parameters are trained.

    There is one peft adapter per distinct size: peft tries patterns per module against every other module, which takes
    minutes on a resized LoRA where each module has its own rank.
    """
    from peft import LoraConfig, inject_adapter_in_model

    groups = defaultdict(list)
    for name, size in sizes.items():
        groups[size].append(name)
    names: dict[str, str] = {}
    with torch.random.fork_rng(), warnings.catch_warnings(), _kept_flags(network):
        warnings.simplefilter("ignore")  # peft warns of a second adapter, which is meant here
        active = {id(layer): list(layer.active_adapters) for _, layer in _layers(network)}
        for (rank, alpha), members in groups.items():
            adapter = f"lora_bootstrap_{next(_numbers)}"
            names |= dict.fromkeys(members, adapter)
            pattern = "|".join(map(re.escape, members))
            config = LoraConfig(
                r=rank, target_modules=pattern, bias="none", init_lora_weights=False,
                lora_alpha=alpha)  # type: ignore[arg-type]  # peft divides it by the rank, whatever number it is
            try:
                inject_adapter_in_model(config, network, adapter_name=adapter)
            except BaseException:
                remove_adapters(network, set(names.values()))
                raise
        layers = dict(_layers(network))
        for name, layer in layers.items():
            layer.set_adapter(active.get(id(layer), []) + ([names[name]] if name in names else []))
    return [_Adapted(name, layers[name], names[name]) for name in sizes]


def remove_adapters(network: nn.Module, adapters: Set[str]) -> None:
    """Take peft adapters out; a module left with none becomes the original object again."""
    with _kept_flags(network):
        for name, layer in list(_layers(network)):
            ours = adapters & set(layer.lora_A)
            for adapter in ours:
                layer.set_adapter([other for other in layer.active_adapters if other != adapter])
                layer.delete_adapter(adapter)
            if ours and not layer.lora_A:
                parent, _, child = name.rpartition(".")
                setattr(network.get_submodule(parent), child, layer.get_base_layer())
    configs = getattr(network, "peft_config", {})
    for adapter in adapters:
        configs.pop(adapter, None)
    if not configs:
        with suppress(AttributeError):
            del network.peft_config


def adapted_modules(network: nn.Module, adapter: str) -> tuple[str, ...]:
    """Names of the modules that have the peft adapter of this name."""
    return tuple(name for name, layer in _layers(network) if adapter in layer.lora_A)


def _layers(network: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """Every layer of peft in the network. Only here and in `_inject` is peft imported: it takes a second, which each
    start of a ComfyUI would take longer."""
    from peft.tuners.lora import LoraLayer

    return ((name, module) for name, module in network.named_modules() if isinstance(module, LoraLayer))


@contextmanager
def _kept_flags(network: nn.Module) -> Iterator[None]:
    """Restores the requires_grad flags, which peft changes as it switches adapters."""
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _copy(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)


class NetworkLora:
    """A LoRA applied to the parts of a model, as `use_lora` returns it; also a context manager that detaches.

    Attributes:
        unmatched: keys of the LoRA that match no module of the given parts.
    """

    def __init__(self, handles: Sequence[AdapterHandle], unmatched: Sequence[str]) -> None:
        self._handles, self.unmatched = tuple(handles), tuple(unmatched)

    def set_strength(self, strength: float | Sequence[float]) -> None:
        """One strength for all, or one for each row of a batch; see `AdapterHandle.set_strength`."""
        for handle in self._handles:
            handle.set_strength(strength)

    def move(self, device: torch.device) -> None:
        """Have the LoRA's weights on a device, for a network whose own are moved there at each use."""
        for handle in self._handles:
            for parameter in handle.parameters():
                parameter.data = parameter.data.to(device)

    def detach(self) -> None:
        for handle in self._handles:
            handle.detach()

    def __enter__(self) -> NetworkLora:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


def use_lora(parts: Mapping[str, nn.Module], lora: LoraWeights,
               strength: float | Sequence[float] = 1.0) -> NetworkLora:
    """Attach a LoRA for generating images. LoRAs add up, and can be detached in any order.

    Args:
        parts: the model's networks by first word of the LoRA's keys: "unet", "text_encoder", "text_encoder_2", ...
        strength: as in `AdapterHandle.set_strength`.

    Raises UserError if no key fits, or if a module's shape differs: then the LoRA is for another model.
    """
    factors: dict[str, dict[str, Factors]] = {part: {} for part in parts}
    finders = {part: _Finder(network) for part, network in parts.items()}
    unmatched = []
    for key, value in lora.modules.items():
        word, _, path = key.partition(".")
        part = word if word in parts else next((name for name in DENOISERS if name in parts and word in DENOISERS), "")
        name = finders[part].find(path) if part else None
        if name is None:
            unmatched.append(key)
        else:
            factors[part][name] = _fitted_factors(key, value, finders[part].modules[name])
    if not any(factors.values()):
        raise UserError(f"none of the LoRA's {len(unmatched)} modules, such as {unmatched[0]}, is in this model: "
                        "it was made for another model family.")
    handles = [_attach_factors(parts[part], values) for part, values in factors.items() if values]
    applied = NetworkLora(handles, unmatched)
    applied.set_strength(strength)
    return applied


class _Finder:
    """Finds a network's modules by a file's names: exact, or by the one name that both have in `lora.layouts`."""

    def __init__(self, network: nn.Module) -> None:
        self.modules = {name: module for name, module in base_modules(network)
                        if isinstance(module, (nn.Linear, nn.Conv2d)) and kind_of(module)}
        layers = getattr(getattr(network, "config", None), "layers_per_block", None)
        self._layers = layers if isinstance(layers, int) else 2
        self._names = {self._common_name(name): name for name in self.modules}

    def _common_name(self, path: str) -> str:
        layer = LayerName(DENOISER, with_text_model(path), DENOISER)
        return match_key(diffusers_names(layer, self._layers, split=False)[0])

    def find(self, path: str) -> str | None:
        return path if path in self.modules else self._names.get(self._common_name(path))


def _fitted_factors(key: str, factors: Factors, module: nn.Linear | nn.Conv2d) -> Factors:
    """The factors in the module's own number of dimensions: 1x1 convolutions and linear layers are interchangeable.

    LoHa and LoKr files give only the area of a larger kernel, not its sides.
    """
    down, up, shape = factors.down, factors.up, module.weight.shape
    if isinstance(module, nn.Linear) and down.ndim == 4 and down.shape[2:] == (1, 1):
        down, up = down[:, :, 0, 0], up[:, :, 0, 0]
    elif isinstance(module, nn.Conv2d) and down.ndim == 2 and down.shape[1] == shape[1:].numel():
        down, up = down.reshape(len(down), *shape[1:]), up[:, :, None, None]
    if (len(up), *down.shape[1:]) != tuple(shape):
        raise UserError(f"LoRA module {key} maps {down.shape[1]} to {len(up)} channels, the model's module "
                        f"{shape[1]} to {shape[0]}: it was made for another model family.")
    return Factors(down, up, factors.alpha)


@torch.no_grad()
def _attach_factors(network: nn.Module, weights: Mapping[str, Factors]) -> AdapterHandle:
    if len({(value.rank, value.alpha) for value in weights.values()}) > MANY_SIZES:
        weights = {name: value.rescaled(value.rank).padded(1 << (value.rank - 1).bit_length())
                   for name, value in weights.items()}
    adapted = _inject(network, {name: (value.rank, value.alpha) for name, value in weights.items()})
    for row in adapted:
        row.down.requires_grad_(False).copy_(weights[row.name].down)
        row.up.requires_grad_(False).copy_(weights[row.name].up)
    return AdapterHandle(network, adapted, ())
