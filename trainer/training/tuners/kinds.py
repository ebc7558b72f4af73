"""The kinds of adapters, one table row each: which layer of peft computes it, and what its weights are called.

LoRA (arXiv:2106.09685), DoRA (arXiv:2402.09353; see `dora.py`), LoHa (FedPara, arXiv:2108.06098) and LoKr
(arXiv:2212.10650), whose weights start as in LyCORIS, so that the field's learning rates fit. The weights of larger
convolutions have the kernel in their last factor, without a Tucker core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...lora import names
from ..config import DORA, LOHA, LOKR

if TYPE_CHECKING:
    from peft import PeftConfig

Start = Callable[[Tensor, torch.Generator], None]
LORA = "lora"


def _uniform(tensor: Tensor, generator: torch.Generator) -> None:
    """Uniform in ±1/sqrt(fan in), as nn.Linear starts."""
    bound = tensor[0].numel() ** -0.5
    tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator))


def _normal(deviation: float) -> Start:
    def fill(tensor: Tensor, generator: torch.Generator) -> None:
        tensor.copy_(torch.empty(tensor.shape).normal_(0, deviation, generator=generator))

    return fill


def _zero(tensor: Tensor, generator: torch.Generator) -> None:
    tensor.zero_()


@dataclass(frozen=True)
class Part:
    """One weight of an adapter.

    Attributes:
        role: what `lora.names.ENDINGS` calls it.
        attribute: of peft's layer, which holds it by the adapter's name.
        start: fills it, drawn from a generator on the CPU.
    """

    role: str
    attribute: str
    start: Start


@dataclass(frozen=True)
class Tuner:
    """A kind of adapter.

    Attributes:
        file_kind: its kind in a LoRA file, a key of `lora.layers.KINDS`.
        parts: its weights; a layer has those of them that its shape needs.
        configure: (pattern of the modules, rank, alpha, LoKr's factor) → peft's configuration. peft divides alpha by
            the rank.
        whole: parts which, if a layer has them both, are not scaled by alpha / rank.
        algorithm: what LyCORIS calls it in a file's metadata.
    """

    file_kind: str
    parts: tuple[Part, ...]
    configure: Callable[[str, int, float, int], PeftConfig]
    whole: frozenset[str] = frozenset()
    algorithm: str = LORA


def _lora_config(pattern: str, rank: int, alpha: float, factor: int) -> PeftConfig:
    from peft import LoraConfig

    return LoraConfig(r=rank, target_modules=pattern, bias="none", init_lora_weights=False,
                      lora_alpha=alpha)  # type: ignore[arg-type]  # peft divides it by the rank, whatever number it is


def _loha_config(pattern: str, rank: int, alpha: float, factor: int) -> PeftConfig:
    from peft import LoHaConfig

    return LoHaConfig(r=rank, target_modules=pattern, init_weights=False,
                      alpha=alpha)  # type: ignore[arg-type]


def _lokr_config(pattern: str, rank: int, alpha: float, factor: int) -> PeftConfig:
    from peft import LoKrConfig

    return LoKrConfig(r=rank, target_modules=pattern, decompose_factor=factor, init_weights=False,
                      alpha=alpha)  # type: ignore[arg-type]


_FACTORS = (Part("down", "lora_A", _uniform), Part("up", "lora_B", _zero))

TUNERS = {
    LORA: Tuner(names.LORA, _FACTORS, _lora_config),
    DORA: Tuner(names.LORA, _FACTORS, _lora_config),
    LOHA: Tuner(names.LOHA, (
        Part("w1_a", "hada_w1_a", _normal(0.1)), Part("w1_b", "hada_w1_b", _normal(1.0)),
        Part("w2_a", "hada_w2_a", _zero), Part("w2_b", "hada_w2_b", _normal(1.0))), _loha_config, algorithm="loha"),
    LOKR: Tuner(names.LOKR, (
        Part("w1", "lokr_w1", _uniform), Part("w2", "lokr_w2", _zero), Part("w2_a", "lokr_w2_a", _uniform),
        Part("w2_b", "lokr_w2_b", _zero)), _lokr_config, frozenset({"w1", "w2"}), "lokr"),
}
"""To add a kind, add a row here and its name to `config.ADAPTER_KINDS`."""


def weights_of(layer: Any, adapter: str, tuner: Tuner) -> Mapping[str, nn.Parameter]:
    """The weights of an adapter in peft's layer, by role."""
    held = {part.role: getattr(layer, part.attribute) for part in tuner.parts}
    return {role: _weight(values[adapter]) for role, values in held.items() if adapter in values}


def _weight(held: nn.Module | nn.Parameter) -> nn.Parameter:
    return held.get_parameter("weight") if isinstance(held, nn.Module) else held
