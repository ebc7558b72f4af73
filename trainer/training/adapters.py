"""Puts adapters into a network and takes them out again: their weights, their strength.

peft does the arithmetic of the kinds in `tuners/kinds.py`, `models/layers.py` chooses the modules and `tuners/ranks.py`
the sizes of some. This file fixes the initial weights by a seed, and restores the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..common.errors import UserError
from ..lora import names
from ..lora.file import Factors, LoraWeights, ModuleWeights
from ..lora.layouts import diffusers_names, match_key
from ..lora.names import DENOISER, DENOISERS, LayerName, with_text_model
from ..models.layers import base_modules, kind_of, select_modules
from ..models.noise import per_row
from .config import DORA, AdapterConfig
from .tuners.dora import add_magnitudes
from .tuners.injection import Adapted, inject, kept_flags, remove_adapters
from .tuners.kinds import TUNERS, weights_of
from .tuners.ranks import choose_ranks

MANY_SIZES = 8
"""With more sizes than this, ranks are padded to powers of two: each size costs a walk through the network."""


class AdapterHandle:
    """The adapters of one `attach` or `use_lora` in one network. Several handles can share a network."""

    def __init__(self, network: nn.Module, adapted: Sequence[Adapted], flags: Sequence[tuple[nn.Parameter, bool]]):
        self._network, self._adapted, self._flags = network, tuple(adapted), flags
        self._rows: list[RemovableHandle] = []
        self._casts = [row.layer.register_forward_pre_hook(_prepare_pass) for row in adapted]

    @property
    def module_names(self) -> tuple[str, ...]:
        """Adapted modules in the network's own order."""
        return tuple(row.name for row in self._adapted)

    def parameters(self) -> list[nn.Parameter]:
        """The weights of each module in the order of `module_names`, such as down, then up."""
        return [parameter for row in self._adapted for parameter in row.weights.values()]

    def weights(self) -> dict[str, ModuleWeights]:
        """Copies on the CPU in float32, by module name."""
        return {row.name: row.saved(_copy) for row in self._adapted}

    def trained(self) -> dict[str, ModuleWeights]:
        """The weights themselves, by module name: the next step changes them."""
        return {row.name: row.saved(torch.Tensor.detach) for row in self._adapted}

    @torch.no_grad()
    def load(self, weights: Mapping[str, ModuleWeights]) -> None:
        """Set the weights; a different alpha is compensated in one of them. Raises UserError if modules, kinds or ranks
        differ."""
        strangers = sorted(set(self.module_names) ^ set(weights))
        if strangers:
            raise UserError(f"the LoRA and the adapters differ in {len(strangers)} modules, such as {strangers[0]}: "
                            "use the layers and conv_rank that the LoRA was trained with.")
        for row in self._adapted:
            values, own = weights[row.name].rescaled(row.alpha).roles, row.weights
            shapes = {role: list(value.shape) for role, value in values.items()}
            mine = {role: list(value.shape) for role, value in own.items()}
            if shapes != mine:
                raise UserError(f"LoRA module {row.name} has shapes {_listed(shapes)}, but the adapter has "
                                f"{_listed(mine)}: set the kind and the ranks to the LoRA's.")
            for role, parameter in own.items():
                parameter.copy_(values[role])

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
            if not isinstance(strength, Sequence):
                row.set_strength(float(strength))
                continue
            assert row.tuner.file_kind == names.LORA, "strengths by row are for applied LoRAs, which have factors"
            up = row.layer.lora_B[row.adapter]
            strengths = torch.tensor(several, dtype=torch.float32, device=up.weight.device)
            row.set_strength(strengths)
            if row.magnitude is None:
                self._rows.append(up.register_forward_pre_hook(partial(_scaled, strengths)))

    def _forget_rows(self) -> None:
        for hook in self._rows:
            hook.remove()
        self._rows = []

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Turn these adapters off while the block lasts; those of other handles stay on."""
        with kept_flags(self._network):
            active = [list(row.layer.active_adapters) for row in self._adapted]
            for row, names in zip(self._adapted, active, strict=True):
                row.layer.set_adapter([name for name in names if name != row.adapter])
        try:
            yield
        finally:
            with kept_flags(self._network):
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


def _prepare_pass(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Before each pass through a layer of peft. In training mode its LoHa and LoKr would take a random number to decide
    on their dropout, which is 0 here."""
    layer.training = False
    _leave_cast_to_autocast(layer, inputs)


def _leave_cast_to_autocast(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
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

    One of a layer's weights starts at zero, so the network's output does not change; the others are drawn on the CPU
    from `seed` alone, as `tuners.kinds` says. Adapter weights have `dtype` whatever the network is, only a DoRA's
    magnitude is in float32. The global random state is left alone. The weights are on each module's own device, or on
    `device`. Raises UserError if no module matches.
    """
    modules = select_modules(network, adapter.layers, blocks, adapter.conv_rank, excluded)
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    adapted = inject(network, _sizes(modules, adapter), adapter.kind, adapter.lokr_factor)
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    starts = {part.role: part.start for part in TUNERS[adapter.kind].parts}
    try:
        for row in adapted:
            for role, parameter in weights_of(row.layer, row.adapter, row.tuner).items():
                parameter.data = parameter.data.to(device=device, dtype=dtype)
                parameter.requires_grad_(True)
                with torch.no_grad():
                    starts[role](parameter, generator)
            row.set_strength(1.0)
            if adapter.kind == DORA:
                add_magnitudes(row.layer, row.adapter)
    except BaseException:
        AdapterHandle(network, adapted, flags).detach()
        raise
    return AdapterHandle(network, adapted, flags)


def _sizes(modules: Mapping[str, str], adapter: AdapterConfig) -> dict[str, tuple[int, float]]:
    """(rank, alpha as the file holds it) of the modules, by name; `modules` are those of `select_modules`.

    Raises UserError if block_ranks leaves none.
    """
    own = choose_ranks(modules, adapter.block_ranks)
    usual = {"linear": (adapter.rank, adapter.alpha), "conv": (adapter.conv_rank, adapter.alpha_of_convolutions)}
    sizes = {}
    for name, kind in modules.items():
        rank, alpha = usual[kind]
        chosen = own.get(name, rank)
        if not adapter.rank_stabilized:
            alpha = alpha / rank * chosen if chosen != rank else alpha
        if chosen:
            sizes[name] = chosen, alpha * chosen**0.5 if adapter.rank_stabilized else alpha
    if not sizes:
        raise UserError(f"block_ranks {adapter.block_ranks!r} leaves none of the {len(modules)} layers an adapter. "
                        "Give some of them a rank above 0.")
    return sizes


def _listed(shapes: Mapping[str, list[int]]) -> str:
    return ", ".join(f"{role} {shape}" for role, shape in shapes.items())


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
    down, up, magnitude, shape = factors.down, factors.up, factors.magnitude, module.weight.shape
    if isinstance(module, nn.Linear) and down.ndim == 4 and down.shape[2:] == (1, 1):
        down, up = down[:, :, 0, 0], up[:, :, 0, 0]
    elif isinstance(module, nn.Conv2d) and down.ndim == 2 and down.shape[1] == shape[1:].numel():
        down, up = down.reshape(len(down), *shape[1:]), up[:, :, None, None]
    if (len(up), *down.shape[1:]) != tuple(shape):
        raise UserError(f"LoRA module {key} maps {down.shape[1]} to {len(up)} channels, the model's module "
                        f"{shape[1]} to {shape[0]}: it was made for another model family.")
    if magnitude is not None:
        if magnitude.numel() != shape[1]:
            raise UserError(f"LoRA module {key} has magnitudes of {magnitude.numel()} channels, the model's module has "
                            f"{shape[1]}: it was made for another model family.")
        magnitude = magnitude.reshape(1, -1, *(1 for _ in shape[2:]))
    return Factors(down, up, factors.alpha, magnitude)


@torch.no_grad()
def _attach_factors(network: nn.Module, weights: Mapping[str, Factors]) -> AdapterHandle:
    if len({(value.rank, value.alpha) for value in weights.values()}) > MANY_SIZES:
        weights = {name: value.rescaled(value.rank).padded(1 << (value.rank - 1).bit_length())
                   for name, value in weights.items()}
    adapted = inject(network, {name: (value.rank, value.alpha) for name, value in weights.items()})
    for row in adapted:
        factors, own = weights[row.name], row.weights
        own["down"].requires_grad_(False).copy_(factors.down)
        own["up"].requires_grad_(False).copy_(factors.up)
        if factors.magnitude is not None:
            add_magnitudes(row.layer, row.adapter, factors.magnitude)
    return AdapterHandle(network, adapted, ())
