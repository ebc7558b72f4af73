"""How a LoRA is extracted or resized: names and numbers, checked before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..common.checks import check, check_choice

DTYPE_NAMES = ("float16", "bfloat16", "float32")
MOST_RANK = 1024
FIXED, ENERGY, RATIO, CUMULATIVE, SIZE = "fixed", "energy", "ratio", "cumulative", "size"


@dataclass(frozen=True)
class Rule:
    """A way to choose the rank of each layer.

    Attributes:
        target: what its number means; "" if it takes none.
        usual: the target that 0 stands for.
        least, most: the range of the target.
    """

    target: str = ""
    usual: float = 0.0
    least: float = 0.0
    most: float = 0.0


RULES = {
    FIXED: Rule(),
    ENERGY: Rule("share of each layer's squared singular values", 0.95, 1e-3, 1.0),
    RATIO: Rule("how many times smaller than a layer's largest singular value the smallest may be", 20.0, 1.0, 1e6),
    SIZE: Rule("megabytes of the whole file", 100.0, 1e-3, 1e6),
    CUMULATIVE: Rule("share of the sum of each layer's singular values", 0.9, 1e-3, 1.0),
}
"""By name. kohya's resize has RATIO as sv_ratio, CUMULATIVE as sv_cumulative, and ENERGY, with the root of the share,
as sv_fro. SIZE gives each layer as many directions as lower the error of the whole most for their bytes."""
EXTRACT_RULES = (FIXED, ENERGY, RATIO, SIZE)
"""CUMULATIVE needs all singular values of the whole matrices, which an extraction does not compute."""


@dataclass(frozen=True, kw_only=True)
class RankSettings:
    """How ranks are chosen. Raises UserError for a value out of range.

    Attributes:
        rule: one of RULES.
        target: the rule's number; 0 is its usual one.
        rank: rank of each layer with FIXED, the largest that a layer may get with the others.
        conv_rank: the same for convolutions with a kernel larger than 1; 0 is as `rank`.
        dtype: number format of the file, one of DTYPE_NAMES.
    """

    rule: str = FIXED
    target: float = 0.0
    rank: int = 64
    conv_rank: int = 0
    dtype: str = "float16"

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, RULES)
        check_choice("dtype", self.dtype, DTYPE_NAMES)
        check(type(self.rank) is int and 1 <= self.rank <= MOST_RANK, "rank", self.rank, f"from 1 to {MOST_RANK}")
        check(type(self.conv_rank) is int and 0 <= self.conv_rank <= MOST_RANK, "conv_rank", self.conv_rank,
              f"from 1 to {MOST_RANK}, or 0 for that of the other layers")
        row = RULES[self.rule]
        check(self.target == 0 or not row.target or math.isfinite(self.target) and row.least <= self.target <= row.most,
              f"the target of rule {self.rule}", self.target,
              f"from {row.least:g} to {row.most:g} ({row.target}), or 0 for {row.usual:g}")

    @property
    def chosen_target(self) -> float:
        return self.target or RULES[self.rule].usual

    def most(self, kernel: tuple[int, ...], sides: tuple[int, int]) -> int:
        """The largest rank of a layer of this kernel and shape (out, in * kh * kw)."""
        wanted = self.conv_rank or self.rank if math.prod(kernel) > 1 else self.rank
        return min(wanted, *sides)


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(RankSettings):
    """How a LoRA is extracted from two models. Raises UserError for a value out of range.

    Attributes:
        min_difference: layers where no weight differs by more are skipped. kohya asks this of the text encoder as a
            whole.
        clamp_quantile: values of a layer's factors are clamped to this quantile of them, as kohya does; 1 leaves them.
        vectors: whether differences of biases and norms are kept.
        text_encoder: whether those of the text encoders are extracted too.
        exact: whether every layer gets a full decomposition instead of a randomised one where it is large.
    """

    min_difference: float = 0.0
    clamp_quantile: float = 1.0
    vectors: bool = True
    text_encoder: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rule of an extraction", self.rule, EXTRACT_RULES)
        check(math.isfinite(self.min_difference) and self.min_difference >= 0, "min_difference", self.min_difference,
              "a number of at least 0, usually 0 to 0.01")
        check(0.5 <= self.clamp_quantile <= 1, "clamp_quantile", self.clamp_quantile, "from 0.5 to 1 (no clamp)")


OWN_VALUES = "own values"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    OWN_VALUES: {},
    "kohya guide": {"rank": 64, "conv_rank": 64, "clamp_quantile": 0.99, "min_difference": 1e-4},
}
"""Values that take the place of those given. "kohya guide" is what guides for kohya's extraction of a character from a
full fine-tune advise."""


def preset_settings(preset: str, **values: Any) -> ExtractSettings:
    """The settings with a preset's values in place of those given. Raises UserError as ExtractSettings does."""
    check_choice("preset", preset, PRESETS)
    return ExtractSettings(**{**values, **PRESETS[preset]})
