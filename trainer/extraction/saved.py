"""The files that extracting and resizing write: under a name that nobody has, never over a different file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..common.events import Event
from ..common.files import file_hash
from ..common.leftovers import remove_leftovers
from ..common.names import checked_name
from ..common.new_files import write_new
from ..lora.file import Factors, LoraWeights, save_lora
from .report import Report

LINEAGE = "lora_bootstrap.lineage"


HEADER = 300
"""Bytes that a layer's names, types and places take in a file at most, besides three times its name's length."""
METADATA = 4096
"""Bytes that the metadata of a new file takes at most."""


@dataclass(frozen=True)
class Written(Event):
    """The last event of an extraction or a resizing: the file, and what is in it."""

    path: Path
    report: Report


def network_metadata(ranks: Mapping[str, int], modules: Mapping[str, Factors], lineage: Mapping[str, Any]
                     ) -> dict[str, str]:
    """kohya's description of a plain LoRA, and how it was made.

    Args:
        ranks: by layer.
        modules: factors by layer; those with a kernel larger than 1 have the ranks of convolutions.
    """
    large = {key for key, factors in modules.items() if factors.down[0, 0].numel() > 1}
    most = max([rank for key, rank in ranks.items() if key not in large] or ranks.values())
    conv = max((rank for key, rank in ranks.items() if key in large), default=0)
    return {
        "ss_network_module": "networks.lora", "ss_network_dim": str(most), "ss_network_alpha": str(most),
        "ss_network_args": json.dumps({"conv_dim": conv, "conv_alpha": conv} if conv else {}),
        "sai_model_spec": "1.0.0", LINEAGE: json.dumps(lineage, ensure_ascii=False, sort_keys=True),
    }


def save_new(folder: Path, name: str, lora: LoraWeights, *, key_style: str, dtype: torch.dtype) -> Path:
    """Write `<folder>/<name>.safetensors`, or `<name>-2` and so on if a different file has the name; returns its path.

    A file of the same bytes is not written again. Raises UserError as `save_lora` does, and for a name that a file
    cannot have.
    """
    remove_leftovers(folder)
    path = folder / f"{checked_name(name)}.safetensors"
    titled = replace(lora, metadata={**lora.metadata, "ss_output_name": name, "modelspec.title": name})
    written: list[str] = []

    def write(temp: Path) -> None:
        save_lora(temp, titled, key_style=key_style, dtype=dtype)
        written.append(file_hash(temp))

    return write_new(path, write, lambda found: found.is_file() and file_hash(found) == written[0])
