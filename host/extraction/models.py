"""A MODEL and its CLIP as one side of an extraction: each weight as the host would sample with it, one at a time.

The patches of a MODEL, such as those of merged models and applied LoRAs, are calculated into copies, so the user's
MODEL is left unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.lora
import comfy.utils
import torch
from torch import Tensor, nn

from ...trainer.common.errors import UserError
from ...trainer.extraction.sides import Shapes, host_key
from ...trainer.lora.names import ORIGINAL
from ...trainer.training.metadata import BASE_VERSIONS
from ..backbone.facts import known_family, originals
from ..backbone.shadow import is_plain


class ModelWeights:
    """The weights of a MODEL's denoiser, and of a CLIP if there is one; see `trainer.extraction.sides.Weights`.

    Args:
        title: of the model, for reports.
        device: where patches are calculated.
    """

    def __init__(self, title: str, model: Any, clip: Any = None, device: torch.device | str = "cpu") -> None:
        self.title, self._device = title, torch.device(device)
        self.names: Mapping[str, str] = {}
        self.facts = _facts(model.model)
        self._places: dict[str, tuple[Any, str, Tensor]] = {}
        for patcher in filter(None, (model, clip and clip.patcher)):
            for name, weight in _parameters(patcher).items():
                if patcher is not model or name.startswith(f"{ORIGINAL}."):
                    self._places[host_key(name)] = (patcher, name, weight)
        self.shapes: Shapes = {key: tuple(weight.shape) for key, (_, _, weight) in self._places.items()}

    def read(self, key: str) -> Tensor:
        patcher, name, weight = self._places[key]
        plain = _unpacked(patcher, name, weight, self.title)
        plain = plain.to(self._device, torch.float32, copy=True)
        patches = patcher.patches.get(name)
        return comfy.lora.calculate_weight(patches, plain, name) if patches else plain

    def close(self) -> None:
        self._places.clear()


def _parameters(patcher: Any) -> dict[str, Tensor]:
    """A model's parameters by name, without what the host changed in it while it is loaded."""
    found: dict[str, Tensor] = dict(patcher.model.named_parameters())
    for path, part in getattr(patcher, "object_patches_backup", {}).items():
        inner = dict(part.named_parameters()) if isinstance(part, nn.Module) else {}
        found = {name: weight for name, weight in found.items() if not name.startswith(f"{path}.")}
        found |= {f"{path}.{name}": weight for name, weight in inner.items()}
    return found | {name: weight for name, weight in originals(patcher).items() if name in found}


def _unpacked(patcher: Any, name: str, weight: Tensor, title: str) -> Tensor:
    """The weight as plain numbers. Raises UserError if it is packed in a way that the host's tensor does not undo."""
    try:
        plain = weight if is_plain(weight) else weight.dequantize()
        layer, _, parameter = name.rpartition(".")
        convert = getattr(comfy.utils.get_attr(patcher.model, layer), f"convert_{parameter}", None) if layer else None
        plain = convert(plain.detach().clone(), inplace=True) if convert else plain.detach()
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        raise _packed(name, title, f"{type(weight).__name__} ({error})") from error
    if not plain.is_floating_point() or plain.shape != weight.shape:
        raise _packed(name, title, str(plain.dtype).removeprefix("torch."))
    return plain


def _packed(name: str, title: str, kind: str) -> UserError:
    return UserError(f"layer {name} of {title} is packed as {kind}, and cannot be compared. Load the model in 16 or 32 "
                     "bits.")


def _facts(model: Any) -> Mapping[str, str]:
    family = known_family(model)
    if family is None:
        return {}
    return {"ss_base_model_version": BASE_VERSIONS.get(family.architecture, family.name), "ss_v2": "False",
            "modelspec.architecture": f"{family.architecture}/lora", "lora_bootstrap.family": family.name}
