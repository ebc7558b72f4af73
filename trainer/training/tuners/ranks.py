"""Ranks of single blocks or layers, written as "down_blocks.1=32, mid=8, to_out.0=0".

A pattern is one or more words of a layer's path, which stand there side by side, in diffusers' names or in the
network's own. A word may hold * and ?; `down`, `mid` and `up` stand for the sides of a UNet. Of several patterns that
match a layer, the last counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from ...common.errors import UserError
from ...lora.layouts import layers_per_block, ldm_to_diffusers

MOST_RANK = 1024
_SIDES = {"down": ("down_blocks", "input_blocks"), "mid": ("mid_block", "middle_block"),
          "up": ("up_blocks", "output_blocks")}
_PART = re.compile(r"([\w.*?]+)\s*=\s*(\d{1,9})")
_SHOWN = 4


def read_block_ranks(text: str) -> dict[str, int]:
    """Pattern → rank, in the order in which they are written. Raises UserError for anything else."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        match = _PART.fullmatch(part)
        if match is None or int(match[2]) > MOST_RANK:
            raise UserError(f"block_ranks has {part!r}; it must be a block's or layer's name = a rank from 0 to "
                            f"{MOST_RANK}. Write it as in: down_blocks.1=32, mid=8.")
        found.pop(match[1], None)  # the last one counts, also in the order
        found[match[1]] = int(match[2])
    return found


def choose_ranks(modules: Iterable[str], text: str) -> dict[str, int]:
    """The ranks of those of the modules that a pattern matches.

    Raises UserError for a pattern that matches none.
    """
    called = _words_of_all(modules)
    ranks: dict[str, int] = {}
    for pattern, rank in read_block_ranks(text).items():
        fitting = _find_fitting(pattern, called)
        if not fitting:
            raise UserError(f"block_ranks {pattern!r} matches none of the {len(called)} layers that get an adapter, "
                            f"such as {_some(called)}. Write words of their names, or choose other layers.")
        ranks |= dict.fromkeys(fitting, rank)
    return ranks


def layers_left_out(modules: Iterable[str], text: str) -> frozenset[str]:
    """Those of the modules that a rank of 0 leaves without an adapter."""
    called = _words_of_all(modules)
    ranks = {name: rank for pattern, rank in read_block_ranks(text).items() for name in _find_fitting(pattern, called)}
    return frozenset(name for name, rank in ranks.items() if rank == 0)


_Called = Mapping[str, tuple[list[str], ...]]
"""Module → the words of its paths."""


def _words_of_all(modules: Iterable[str]) -> _Called:
    names = tuple(modules)
    layers = layers_per_block(names)
    return {name: _words_of(name, layers) for name in names}


def _words_of(name: str, layers: int) -> tuple[list[str], ...]:
    """The layer's path, and that of diffusers where the network has the original UNet's names."""
    other = ldm_to_diffusers(name, layers)
    return (name.split("."),) if other is None else (name.split("."), other.split("."))


def _find_fitting(pattern: str, called: _Called) -> list[str]:
    words = pattern.split(".")
    return [name for name, paths in called.items() if any(_matches(words, path) for path in paths)]


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    starts = range(len(path) - len(pattern) + 1)
    return any(all(map(_fits, pattern, path[start:])) for start in starts)


def _fits(pattern: str, word: str) -> bool:
    return fnmatchcase(word, pattern) or word in _SIDES.get(pattern, ())


def _some(called: _Called) -> str:
    """A few of the layers, spread over all, by the names that most know."""
    names = [".".join(paths[-1]) for paths in called.values()]
    return ", ".join(names[index * len(names) // _SHOWN] for index in range(min(_SHOWN, len(names))))
