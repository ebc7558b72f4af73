"""The base model that a user gives: looked at before torch and diffusers are imported."""

from __future__ import annotations

from pathlib import Path

from ..common.errors import UserError

SANDBOX = "sandbox"
AS_LOADED = "auto"
BASE_PRECISIONS = (AS_LOADED, "fp8", "int8", "nf4")
"""How a base's weights can be held; `held.py` has the table."""


def find_given_base(base: str | Path) -> Path | None:
    """The diffusers folder or the file; None for the sandbox. Raises UserError if it is none of these."""
    if str(base) == SANDBOX:
        return None
    path = Path(base).expanduser()
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise UserError(f"base folder {str(path)!r} is not a diffusers model: it has no model_index.json. Give a "
                        "diffusers folder, or a .safetensors file.")
    if not path.exists():
        raise UserError(f"base {str(base)!r} is not a base model. Give 'sandbox', a diffusers folder, or a "
                        ".safetensors file.")
    return path
