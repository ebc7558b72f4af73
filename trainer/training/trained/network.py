"""A run that fine-tunes the denoiser itself, with the text encoders frozen.

The network trains weights of its own, in bf16 rounded by chance or in float32, and has those of the base back when the
run ends. What is saved is the difference to the base: it loads like a LoRA, so checkpoints can be swept, at any
strength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ...lora.difference import save_difference
from ...models.backbone import Backbone
from ...models.blocks_in_ram import BlocksInRam
from ...models.devices import to_device
from ...models.layers import base_modules, kind_of
from ...models.own_weights import Keep, as_before
from ...models.ram import GIB, free_ram, refuse_ram
from ...proofs.proof import Proof, tolerance
from ...proofs.same_text import Probe
from ...proofs.saved_file import prove_difference
from ..config import TrainConfig
from ..optimizers import OPTIMIZERS, build_optimizer
from .kept_weights import check_disk, kept_in
from .on_arrival import OnArrival

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Precision of a run → type of the weights that it trains."""


def is_ram_short(needed: int, base: int) -> bool:
    """Whether RAM has room for `needed` bytes only without the base's own weights, which it holds now."""
    free = free_ram()
    return free is not None and free < needed <= free + base


def check_ram(needed: int) -> None:
    """Raises UserError if RAM has no room for the weights that are trained and the copy of them that is saved."""
    if refusal := refuse_ram(needed, "the weights that are trained, and their copy for the training state, take",
                             "choose precision bf16, or train a LoRA. With fit_memory off, RAM is not checked"):
        raise UserError(refusal)


class NetworkHandle:
    """The trained weights of a network, with the verbs of `adapters.AdapterHandle` that a run needs."""

    def __init__(self, network: nn.Module, before: Mapping[str, Tensor], blocks: BlocksInRam) -> None:
        self._network, self.before, self._blocks = network, before, blocks
        self.named = dict(network.named_parameters())

    @property
    def module_names(self) -> Sequence[str]:
        """All layers, in the network's own order."""
        return tuple(name for name, module in base_modules(self._network) if kind_of(module))

    def parameters(self) -> list[nn.Parameter]:
        return list(self.named.values())

    def weights(self) -> dict[str, Tensor]:
        """The trained weights by name, wherever they are; not copied."""
        return {name: self._blocks.weight(parameter) for name, parameter in self.named.items()}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The network computes as the base while the block lasts; call it without gradients."""
        with self._blocks.off(), as_before(self._network, self.before):
            yield

    def difference(self, name: str) -> Tensor:
        """What the training added to a parameter, float32 on the CPU."""
        trained = self._blocks.weight(self.named[name])
        return trained.to("cpu", torch.float32) - self.before[name].to("cpu", torch.float32)


class NetworkTraining:
    """`kinds.Training` of the network's own weights; its methods are described there."""

    def __init__(self, backbone: Backbone, config: TrainConfig, folder: Path, changed: Callable[[], None]) -> None:
        self._backbone, self._config, self._changed = backbone, config, changed
        self._optimizer: OnArrival | None = None
        self._stack = ExitStack()
        self.notes: tuple[str, ...] = ()
        try:
            keep = self._keep(folder / "state") if config.fit_memory else None
            own = self._stack.enter_context(backbone.own_weights(TYPES[config.precision], config.offload_blocks, keep))
            self._blocks = own.blocks
            self._handle = NetworkHandle(backbone.network, own.before, own.blocks)
            self.handles = {backbone.network_prefix: self._handle}
            self.parameters = self._handle.parameters()
            for parameter in self.parameters:
                parameter.requires_grad_(True)
        except BaseException:
            self.close()
            raise

    def _keep(self, folder: Path) -> Keep | None:
        """What keeps the weights of before in a file, if RAM is short; None: they stay in RAM. Raises UserError if
        neither has room."""
        parameters = list(self._backbone.network.parameters())
        needed = 2 * sum(parameter.numel() for parameter in parameters) * TYPES[self._config.precision].itemsize
        base = sum(parameter.nbytes for parameter in parameters)
        if not self._backbone.frees_base or not is_ram_short(needed, base):
            check_ram(needed)
            return None
        check_disk(folder, base)
        self.notes = (f"RAM has no room for the base's own weights beside those that are trained, so they are kept on "
                      f"disk until the training ends ({base / GIB:.1f} GiB in {folder}).",)
        return self._stack.enter_context(kept_in(folder))

    def close(self) -> None:
        if self._optimizer:
            self._optimizer.remove()
        self._stack.close()

    def new_optimizer(self) -> OnArrival:
        if self._optimizer:
            self._optimizer.remove()
        settings = self._config.optimizer
        optimizer = build_optimizer(settings.name, [(self.parameters, settings.learning_rate)], settings.weight_decay)
        self._optimizer = OnArrival(optimizer, settings.max_grad_norm, self._changed,
                                    OPTIMIZERS[settings.name].factored, self._blocks)
        return self._optimizer

    def tensors(self) -> dict[str, Tensor]:
        return {f"weight.{name}": weight for name, weight in self._handle.weights().items()}

    def expect(self, last: bool) -> None:
        assert self._optimizer, "the optimizer is made before the first step"
        self._optimizer.applying = last

    def clip(self) -> Tensor:
        assert self._optimizer, "the optimizer is made before the first step"
        return to_device(self._optimizer.norm(), self._backbone.device)

    def limit(self) -> None:
        pass

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        prefix = self._backbone.network_prefix
        shapes = {f"{prefix}.{name}": parameter.shape for name, parameter in self._handle.named.items()}
        save_difference(path, shapes, lambda name: self._handle.difference(name.removeprefix(f"{prefix}.")), metadata,
                        key_style=self._backbone.key_style, dtype=TYPES[self._config.precision])

    def prove(self, path: Path, probe: Probe, predict: Callable[[], Tensor], release: Callable[[], None]) -> Proof:
        trained, limit = predict(), tolerance(self._backbone.network)
        count = len(self.parameters)
        release()
        return prove_difference(self._backbone, path, count, probe, trained, limit)
