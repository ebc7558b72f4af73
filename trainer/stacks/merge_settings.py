"""How LoRAs are merged: names and numbers, checked before torch is imported. `merge.py` has the methods themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..common.errors import UserError, unknown_name
from ..lora.layouts import CONTENT, OTHER, STYLE

METHOD_NAMES = ("sum", "null_space", "ties", "even")
NEEDS_RANK = ("ties",)
DTYPE_NAMES = ("float32", "float16", "bfloat16")
MOST_RANK = 1024
WEIGHTS = {
    # preset → role of the block → (how much the character yields, how much the style yields), as shares of mu/(1+mu)
    "style_first": {CONTENT: (1.0, 0.0), STYLE: (1.0, 0.0), OTHER: (1.0, 0.0)},
    "identity_first": {CONTENT: (0.0, 1.0), STYLE: (0.0, 0.0), OTHER: (0.0, 1.0)},
    "balanced": {CONTENT: (0.0, 1.0), STYLE: (1.0, 0.0), OTHER: (0.6, 0.3)},
}


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """How to merge. Raises UserError for a value out of range.

    Attributes:
        method: one of METHOD_NAMES.
        rank: compress every layer to at most this rank; None does not compress.
        preset: for null_space, one of WEIGHTS.
        mu: for null_space: the cost of a step into the other's directions. 0 is the plain sum; large values are a hard
            projection.
        restore_norm: for null_space: scale what yielded back to its old size, by at most MOST_RESTORED.
        roles: for null_space: block → "content", "style" or "other", overriding the architecture's known roles.
        density: for ties: the share of each layer's values that is kept.
        dtype: one of DTYPE_NAMES; float16 and bfloat16 halve the file size and round the values.
    """

    method: str = "sum"
    rank: int | None = None
    preset: str = "balanced"
    mu: float = 0.5
    restore_norm: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    density: float = 0.6
    dtype: str = "float32"

    def __post_init__(self) -> None:
        names: list[tuple[str, str, Collection[str]]] = [
            ("merge method", self.method, METHOD_NAMES), ("preset", self.preset, WEIGHTS),
            ("dtype", self.dtype, DTYPE_NAMES),
            *(("role of a block", role, (CONTENT, STYLE, OTHER)) for role in self.roles.values())]
        for what, value, valid in names:
            if value not in valid:
                raise unknown_name(what, value, valid)
        if self.rank is not None and (type(self.rank) is not int or not 1 <= self.rank <= MOST_RANK):
            raise UserError(f"the rank is {self.rank!r}; it must be a whole number from 1 to {MOST_RANK}, or None.")
        if not 0 <= self.mu <= 1000:
            raise UserError(f"mu is {self.mu!r}; it must be from 0 (plain sum) to 1000 (hard), usually 0.5.")
        if not 0 < self.density <= 1:
            raise UserError(f"the density is {self.density!r}; it must be above 0 and at most 1, usually 0.5 to 0.8.")
        if self.method in NEEDS_RANK and self.rank is None:
            raise UserError(f"{self.method} produces whole matrices, so it needs a rank to compress them to, such as "
                            "32.")
