"""LoHa training for the comparison in `conflict.py`; the trainer has none of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..trainer.lora.file import Factors
from ..trainer.training import adapters


class Loha:
    """A LoHa (Hyeon-Woo et al. 2021, arXiv:2108.06098) in a network while it is trained, in a LoRA's place.

    The change is (w1a w1b) * (w2a w2b), value by value, of half the LoRA's rank, so it has as many values to train; as
    a LoRA it has the square of that for rank, and is exact. Starts as LyCORIS does: w2a at zero.
    """

    def __init__(self, network: nn.Module, config: adapters.AdapterConfig, blocks: Sequence[str], seed: int,
                 _device: torch.device | None = None) -> None:
        self.network, generator = network, torch.Generator().manual_seed(seed)
        self.rank, self.hooks, self.factors = max(1, config.rank // 2), [], {}
        network.requires_grad_(False)
        for name in adapters.select_modules(network, config.layers, blocks, config.conv_rank):
            module = network.get_submodule(name)
            rows, columns = len(module.weight), module.weight[0].numel()
            sizes = {"1a": (rows, 0.1), "1b": (columns, 1.0), "2a": (rows, 0.0), "2b": (columns, 1.0)}
            self.factors[name] = [nn.Parameter(torch.randn(size, self.rank, generator=generator) * spread)
                                  for size, spread in sizes.values()]
            self.hooks.append(module.register_forward_hook(partial(self._add, name)))

    def change(self, name: str) -> Tensor:
        w1a, w1b, w2a, w2b = self.factors[name]
        return (w1a @ w1b.T) * (w2a @ w2b.T)

    def _add(self, name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        weight = self.change(name).view_as(module.weight)
        if isinstance(module, nn.Linear):
            return output + functional.linear(inputs[0], weight)
        return output + functional.conv2d(inputs[0], weight, None, module.stride, module.padding, module.dilation)

    @property
    def module_names(self) -> tuple[str, ...]:
        return tuple(self.factors)

    def parameters(self) -> list[nn.Parameter]:
        return [factor for row in self.factors.values() for factor in row]

    def weights(self) -> dict[str, Factors]:
        """As the LoRA of rank r * r that it is."""
        found = {}
        for name, factors in self.factors.items():
            w1a, w1b, w2a, w2b = (factor.detach() for factor in factors)
            up, down = _rowwise_products(w1a, w2a), _rowwise_products(w1b, w2b).T
            shape = self.network.get_submodule(name).weight.shape
            if len(shape) == 4:
                up, down = up[:, :, None, None], down.reshape(-1, *shape[1:])
            found[name] = Factors(down.contiguous(), up, float(len(down)))
        return found

    trained = weights

    def detach(self) -> None:
        for hook in self.hooks:
            hook.remove()


def _rowwise_products(a: Tensor, b: Tensor) -> Tensor:
    """[n, r], [n, s] to [n, r * s]: all products of a row of one with the same row of the other."""
    return (a[:, :, None] * b[:, None, :]).flatten(1)


@contextmanager
def loha_training() -> Iterator[None]:
    """The trainer puts a LoHa where it puts a LoRA. It has no LoHa of its own, so this is for the comparison."""
    usual, adapters.attach = adapters.attach, Loha
    try:
        yield
    finally:
        adapters.attach = usual
