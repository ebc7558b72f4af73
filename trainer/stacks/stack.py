"""A stack of LoRAs: its entries, and the guides' rules for stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..captions.kinds import KINDS, name_lora
from ..common.errors import UserError
from ..common.names import name_from
from ..lora.metadata import read_table
from ..lora.tensors import TensorFile
from .time_split import STYLE

MOST_STRENGTH = 10.0
START, MOST_TOTAL, MOST_LORAS, HIGH, HIGH_ALONE = 0.7, 1.8, 3, 0.8, 0.9
"""The guides' rules: START is where to begin, MOST_TOTAL the largest sum of strengths, MOST_LORAS the largest number of
LoRAs, HIGH a strength that is high in a stack, and HIGH_ALONE one that is high for a single LoRA."""
CHARACTER = "character"
CONFIG = "lora_bootstrap.config"
"""Where a LoRA that this project trained has its settings, as JSON."""


@dataclass(frozen=True, kw_only=True)
class StackEntry:
    """A LoRA of a stack. Raises UserError for a strength that is not a number or is beyond ±MOST_STRENGTH.

    Attributes:
        strength: strength on the denoiser; `clip_strength` on the text encoders, None for the same.
        role: what it was trained as, a key of `kinds.KINDS`, or any other word; "" is looked up in the file.
        name: its name in reports; the file's stem if "".
    """

    path: Path
    strength: float = 1.0
    clip_strength: float | None = None
    role: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "name", self.name or self.path.stem)
        for value in (self.strength, self.strength_of("text_encoder.")):
            if not isinstance(value, (int, float)) or not abs(value) <= MOST_STRENGTH:
                raise UserError(f"the strength of {self.name} is {value!r}; it must be a number from "
                                f"{-MOST_STRENGTH:g} to {MOST_STRENGTH:g}. LoRAs usually work at 0.4 to 1.")

    def strength_of(self, layer: str) -> float:
        """The strength on the layer of this name."""
        text = layer.startswith("text_encoder")
        return self.clip_strength if text and self.clip_strength is not None else self.strength


def file_role(metadata: Mapping[str, str]) -> str:
    """What a LoRA was trained as ("character", "style", ...), if this project trained it; "" for others."""
    kind = read_table(metadata, CONFIG).get("kind", "")
    return kind if isinstance(kind, str) else ""


def leads(role: str) -> bool:
    """Whether a LoRA of that role should be the strongest of a stack, as a character and a real person should."""
    return role in KINDS and KINDS[role].leads


def start_of(role: str) -> float:
    """The strength at which a LoRA of that role starts in a stack (seed guide 001)."""
    return KINDS[role].strength if role in KINDS else START


def join_names(names: Sequence[str]) -> str:
    """The names of LoRAs joined into one valid file name."""
    return name_from("+".join(names), "loras")


def stack_advice(entries: Sequence[StackEntry]) -> tuple[str, ...]:
    """The guides' rules for stacks that these break, one line each; () if none. Strength 0 means off.

    The rules: at most three LoRAs, strengths that sum to at most 1.8, the character strongest, a start at the strength
    of their kind in a stack, and at most 0.9 alone.
    """
    used = [entry for entry in entries if entry.strength]
    return tuple(line for rule in (_too_many, _too_much, _not_strongest, _start_lower, _alone) if (line := rule(used)))


def _too_many(used: Sequence[StackEntry]) -> str:
    return "" if len(used) <= MOST_LORAS else (
        f"{len(used)} LoRAs at once; more than {MOST_LORAS} usually cost quality. Remove the least needed.")


def _too_much(used: Sequence[StackEntry]) -> str:
    whole = sum(abs(entry.strength) for entry in used)
    # sums such as 0.8 + 0.6 + 0.4 are 1.8 to a person
    return "" if whole <= MOST_TOTAL + 1e-6 else (
        f"The strengths sum to {whole:.2f}; keep the sum at {MOST_TOTAL} or less, for example by multiplying each by "
        f"{MOST_TOTAL / whole:.2f}.")


def _not_strongest(used: Sequence[StackEntry]) -> str:
    heroes = [entry for entry in used if leads(entry.role)]
    others = [entry for entry in used if not leads(entry.role)]
    if not heroes or not others:
        return ""
    hero, other = (max(group, key=lambda entry: abs(entry.strength)) for group in (heroes, others))
    return "" if abs(hero.strength) > abs(other.strength) else (
        f"{other.name} at {other.strength:g} is not below the {hero.role} {hero.name} at {hero.strength:g}. The "
        f"{hero.role} should be the strongest.")


def _start_lower(used: Sequence[StackEntry]) -> str:
    high = [entry for entry in used if abs(entry.strength) > HIGH]
    return "" if len(used) < 2 or not high else (
        f"{', '.join(f'{entry.name} at {entry.strength:g}' for entry in high)}: in a stack, start at "
        f"{' and '.join(dict.fromkeys(map(_describe_start, high)))} and raise it only if the effect is too weak.")


def _describe_start(entry: StackEntry) -> str:
    return f"{start_of(entry.role):g}" + (f" for {name_lora(entry.role)}" if entry.role in KINDS else "")


def _alone(used: Sequence[StackEntry]) -> str:
    high = [entry for entry in used if entry.strength > HIGH_ALONE]
    return "" if len(used) != 1 or not high else (
        f"{high[0].name} at {high[0].strength:g}: a LoRA usually works best at 0.7 to 0.8. Above {HIGH_ALONE} images "
        "may become rigid or burnt, unless its base asks for more; Strength Grid shows it.")


def roles(entries: Sequence[StackEntry], what: str = "a split in time") -> tuple[int, int]:
    """(character's, style's) positions in a stack: the LoRAs whose files say so, or else the first ones.

    Raises UserError if there are fewer than two, or if both are the same file.
    """
    if len(entries) < 2:
        raise UserError(f"{what} needs two LoRAs, and the stack has {len(entries) or 'none'}; add more to the stack.")
    told = [entry.role or file_role(TensorFile(entry.path).metadata) for entry in entries]
    character = min(range(len(told)), key=lambda place: (not leads(told[place]), told[place] == STYLE))
    others = [place for place in range(len(told)) if place != character]
    style = min(others, key=lambda place: told[place] != STYLE)
    if entries[style].path == entries[character].path:
        raise UserError(f"{entries[style].name} is both the character and the style; use two different LoRAs.")
    return character, style
