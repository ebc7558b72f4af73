"""torch.compile for the blocks that a network repeats, while it is trained.

Only what repeats is compiled: all blocks of one shape share one compiled graph, so it takes a fraction of the time that
the whole network would. Sizes are not made symbolic: images come in buckets, and each bucket's graph is compiled once.
Whatever runs without gradients (previews, measurements, proofs) runs as it always did. CUDA graphs are not used: they
need every input at the same address, but the buckets take turns, and checkpointed or cached activations move.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError

_TRIALS = 0
"""How many `uncompiled` are open. A context variable would not do: autograd recomputes blocks in threads of its own."""
MOST_GRAPHS = 128
"""Compiled graphs (one for each shape of block and each bucket). Blocks beyond that run as they are."""
_COMPILERS = ("cl", "g++", "clang++", "c++")
_REMEDY = "turn compile off"


class CompiledBlocks:
    """The blocks of a network, compiled when they are first run with gradients.

    Attributes:
        count: number of blocks.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        """Call this when the weights are where they are trained.

        Raises UserError if there is nothing to compile, or nothing to compile with.
        """
        _require_compiler(device)
        blocks = list(repeated_blocks(network))
        if not blocks:
            raise UserError(f"compile is on, but {type(network).__name__} has no repeated blocks: {_REMEDY}.")
        if any(map(_has_own_forward, blocks)):
            raise UserError("compile is on, but weights of this model are cast or moved at each use (low memory, or a "
                            f"quantised model), which cannot be compiled: {_REMEDY}, or load the model in 16 bits on a "
                            "card that holds it.")
        self._blocks, self.count = blocks, len(blocks)
        self._graphs, self._seconds, self._began = 0, 0.0, 0.0

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The blocks are compiled while the block lasts."""
        from torch._dynamo.callback import callback_handler

        limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
        for block in self._blocks:
            compiled = torch.compile(block._call_impl, dynamic=False)
            block.__dict__["_compiled_call_impl"] = partial(_run, compiled, block._call_impl)
        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)
        try:
            with torch._dynamo.config.patch({limit: MOST_GRAPHS}):
                yield
        finally:
            callback_handler.remove_start_callback(self._start)
            callback_handler.remove_end_callback(self._end)
            for block in self._blocks:
                block.__dict__.pop("_compiled_call_impl", None)

    def _start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self._graphs += 1
        self._seconds += time.perf_counter() - self._began

    def report(self, step: int) -> str:
        """One line on what was compiled since the last call; "" if nothing was."""
        graphs, seconds, self._graphs, self._seconds = self._graphs, self._seconds, 0, 0.0
        return (f"step {step}: {graphs} graphs were compiled in {seconds:.0f} s for this size of image. Later steps of "
                "the same size do not wait for it.") if graphs else ""


def _run(compiled: Callable[..., Any], plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return (compiled if torch.is_grad_enabled() and not _TRIALS else plain)(*args, **kwargs)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Blocks run as they always did while the block lasts: for a trial whose hooks would break each graph in pieces."""
    global _TRIALS
    _TRIALS += 1
    try:
        yield
    finally:
        _TRIALS -= 1


def compile_problem(error: BaseException) -> str:
    """What a user can do about an error of the compiler; "" if it is another error."""
    from torch._dynamo.exc import TorchDynamoException

    if not isinstance(error, TorchDynamoException):
        return ""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"compile is on, but a block could not be compiled ({reason}): {_REMEDY}."


def repeated_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The innermost members of ModuleLists that consist of several parts themselves: transformer blocks.

    Blocks of convolutions are left out: in a UNet hardly two have the same shape, so that each would take a graph of
    its own. A Sequential counts as its members, because some networks go through them one by one.
    """
    for child in network.children():
        if _is_adapted(child):
            continue
        for member in _members(child) if isinstance(child, nn.ModuleList) else ():
            yield from list(repeated_blocks(member)) or ([member] if _is_block(member) else [])
        if not isinstance(child, nn.ModuleList):
            yield from repeated_blocks(child)


def _is_adapted(module: nn.Module) -> bool:
    """Whether it is a layer of peft, which is imported only by a training: it would slow each start of a ComfyUI."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer)


def _members(held: nn.ModuleList) -> Iterator[nn.Module]:
    for member in held:
        yield from member.children() if isinstance(member, nn.Sequential) else (member,)


def _is_block(module: nn.Module) -> bool:
    if _is_adapted(module) or any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return False
    parts = [child for child in module.children() if not _is_adapted(child)]
    return sum(bool(list(part.children())) for part in parts) > 1


def _has_own_forward(block: nn.Module) -> bool:
    """Whether a layer's forward was replaced in the layer itself, as hosts do that provide weights for each use."""
    layers = (module for module in block.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
    return any("forward" in layer.__dict__ for layer in layers)


def _require_compiler(device: torch.device) -> None:
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("compile is on, but Triton is not installed here: pip install triton (on Windows "
                        f"triton-windows), or {_REMEDY}.")
    if device.type != "cuda" and not any(map(shutil.which, _COMPILERS)):
        raise UserError(f"compile is on, but no C++ compiler was found ({', '.join(_COMPILERS)}): install one, or "
                        f"{_REMEDY}.")
