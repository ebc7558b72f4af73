"""Gradient checkpointing for a share of a network's blocks: what they compute is not kept for the backward pass but
computed again there (Chen et al. 2016, arXiv:1604.06174). The gradients are the same up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputation:
    """The blocks of a network of which a share is recomputed.

    The first blocks are taken: while they are recomputed, at the end of the backward pass, all that the others kept is
    freed already. The last ones would be recomputed beside it.

    Attributes:
        share: that is recomputed now.
    """

    def __init__(self, network: nn.Module, overwrites: bool = False) -> None:
        """`overwrites`: whether a block may change its inputs in place. They are copied for it, which takes time and
        changes the last bit of a sum of gradients."""
        self._blocks, self._overwrites = blocks_of(network), overwrites
        self.share = 0.0

    def set_share(self, share: float) -> None:
        """Recompute this share of the blocks, from 0 (none) to 1 (all), from the next forward pass on."""
        self.share, count = share, math.ceil(share * len(self._blocks))
        for number, block in enumerate(self._blocks):
            if number < count:
                block.__dict__["forward"] = Recomputed(block, self._overwrites)
            else:
                block.__dict__.pop("forward", None)


@contextmanager
def recomputed(network: nn.Module, share: float = 1.0, overwrites: bool = False) -> Iterator[Recomputation]:
    """A `Recomputation` of this share while the context lasts."""
    blocks = Recomputation(network, overwrites)
    blocks.set_share(share)
    try:
        yield blocks
    finally:
        blocks.set_share(0.0)


class Recomputed:
    """The forward of a block that is recomputed."""

    def __init__(self, block: nn.Module, overwrites: bool) -> None:
        self.block, self.overwrites, self.recomputes = block, overwrites, True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return type(self.block).forward(self.block, *args, **kwargs)
        if not self.recomputes:
            return _Pass(self, args, kwargs)(*args, **kwargs)
        # nothing in a base model is random in training: no random state need be kept, which a GPU waits for
        return checkpoint(_Pass(self, args, kwargs), *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def is_recomputed(module: nn.Module) -> bool:
    """Whether the module is a block that is recomputed."""
    return isinstance(module.__dict__.get("forward"), Recomputed)


@contextmanager
def keeping_all(network: nn.Module) -> Iterator[None]:
    """Compute blocks that are recomputed once, as the backward pass would."""
    forwards = [module.__dict__["forward"] for module in network.modules() if is_recomputed(module)]
    for forward in forwards:
        forward.recomputes = False
    try:
        yield
    finally:
        for forward in forwards:
            forward.recomputes = True


class _Pass:
    """A block's forward, for the first time and again: with the inputs as they were.

    Some blocks add to their inputs in place (Flux's), and some networks (ComfyUI's) pass one dict to all blocks and
    change it between them.
    """

    def __init__(self, forward: Recomputed, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._block, self._overwrites, self._again = forward.block, forward.overwrites, False
        self._told = {name: dict(value) for name, value in (*enumerate(args), *kwargs.items())
                      if type(value) is dict}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(self._as_given(name, value) for name, value in enumerate(args))
        kwargs = {name: self._as_given(name, value) for name, value in kwargs.items()}
        self._again = True
        return type(self._block).forward(self._block, *args, **kwargs)

    def _as_given(self, name: int | str, value: Any) -> Any:
        if self._overwrites and isinstance(value, Tensor) and value.is_floating_point():
            return value.clone()
        return dict(self._told[name]) if self._again and name in self._told else value


# -- which parts of a network are its blocks ---------------------------------------------------------------------------


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The members of the innermost ModuleLists that hold most of the network; a Sequential counts as its members,
    because some networks go through them one by one. In the network's own order."""
    return list(_blocks(network))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for member in child for part in _parts(member) for block in _smallest(part))
        elif isinstance(child, nn.Sequential):
            yield from (block for part in _parts(child) for block in _smallest(part))
        elif not _is_leaf(child):
            yield from _blocks(child)


def _parts(block: nn.Module) -> list[nn.Module]:
    parts = block.children() if isinstance(block, nn.Sequential) else (block,)
    return [part for part in parts if not _is_leaf(part)]


def _smallest(block: nn.Module) -> Iterator[nn.Module]:
    """The blocks inside a block if they are most of it, else itself: the smaller a block, the less is held at once
    while it is recomputed."""
    lists = list(_lists(block))
    if 2 * sum(map(_weights, lists)) < _weights(block) or not lists:
        yield block
        return
    for held in lists:
        yield from (inner for member in held for part in _parts(member) for inner in _smallest(part))


def _lists(block: nn.Module) -> Iterator[nn.ModuleList]:
    for child in block.children():
        if isinstance(child, nn.ModuleList):
            if len(child) and not any(map(_is_leaf, child)):
                yield child
        elif not _is_leaf(child):
            yield from _lists(child)


def _is_leaf(module: nn.Module) -> bool:
    """Whether it is one layer, with or without adapters of peft around it."""
    return "base_layer" in module._modules or not module._modules


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
