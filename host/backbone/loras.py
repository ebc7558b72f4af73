"""A LoRA file on the host's MODEL and CLIP, through the host's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
from torch import Tensor

from ...trainer.common.errors import UserError
from ...trainer.lora.hashes import check_weights
from ...trainer.lora.names import module_of


def apply_lora(model: Any, clip: Any, path: str | Path, model_strength: float = 1.0,
               clip_strength: float = 1.0) -> tuple[Any, Any]:
    """(MODEL, CLIP) with the LoRA file, through the host's own loader. Both are clones, so the inputs are left
    unchanged.

    CLIP may be None. Raises UserError if there is no such file.
    """
    return comfy.sd.load_lora_for_models(model, clip, read_lora(path), model_strength, clip_strength)


def unmatched_modules(model: Any, clip: Any, path: str | Path) -> tuple[str, ...]:
    """Modules of a LoRA file that the host finds neither in the MODEL nor in the CLIP.

    Raises UserError if that is all of them.
    """
    names = _lora_names(model, clip)
    keys = comfy.lora_convert.convert_lora(read_lora(path))
    modules = dict.fromkeys(map(module_of, keys))
    unmatched = tuple(name for name in modules if name not in names)
    if len(unmatched) == len(modules):
        raise UserError(f"none of the {len(modules)} modules of {path} is in this model: it was made for another model "
                        "family, or is not a LoRA.")
    return unmatched


def changed_layers(model: Any, clip: Any, path: str | Path) -> int:
    """Number of the layers of the MODEL and the CLIP that the host's loader changes by a LoRA file."""
    tensors = comfy.lora_convert.convert_lora(read_lora(path))
    return len(comfy.lora.load_lora(tensors, _lora_names(model, clip), log_missing=False))


def _lora_names(model: Any, clip: Any) -> dict[str, Any]:
    """The host's table of the names that a LoRA file may give to the layers of a MODEL and its CLIP, which may be None.
    """
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    return names if clip is None else comfy.lora.model_lora_keys_clip(clip.cond_stage_model, names)


def read_lora(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a LoRA file by their keys. Raises UserError if there is no such file, or it was damaged."""
    if not Path(path).is_file():
        raise UserError(f"LoRA file {path} does not exist. Check the path.")
    check_weights(path)
    return comfy.utils.load_torch_file(str(path), safe_load=True)
