"""Files that the host lists, as sides of an extraction."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...trainer.common.errors import UserError
from ...trainer.stacks.prompt import find_lora
from .. import paths
from ..drawing.bases import named_bases
from ..stacks import lora_names


def listed_file(text: str) -> Path:
    """The checkpoint, diffusion model or file of differences that a widget's text names, as the host's loaders list it.

    Raises UserError if there is none, or if a pattern fits several.
    """
    try:
        found = named_bases(text)
    except UserError:
        with suppress(UserError):  # a fine-tune's differences lie among the LoRAs
            return paths.lora_file(find_lora(text.strip(), lora_names()))
        raise
    if len(found) != 1:
        raise UserError(f"{text!r} names {len(found)} files; give the name of one checkpoint or diffusion model.")
    return found[0].path
