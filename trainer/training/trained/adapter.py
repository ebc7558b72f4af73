"""A run that trains a LoRA: adapters in the denoiser, and in the text encoders if asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ...lora import file as lora_file
from ...lora.file import Factors, ModuleWeights
from ...models.backbone import Backbone
from ...models.devices import to_device
from ...proofs.proof import Proof
from ...proofs.same_text import Probe
from ...proofs.saved_file import prove_file
from .. import adapters
from ..config import TrainConfig
from ..feed import derived_seed
from ..optimizers import OPTIMIZERS, build_optimizer
from ..step.max_norm import limit_norms

TEXT_BLOCKS = ("layers",)


class AdapterTraining:
    """`kinds.Training` of a LoRA; its methods are described there."""

    def __init__(self, backbone: Backbone, config: TrainConfig, folder: Path, changed: Callable[[], None]) -> None:
        self._backbone, self._config = backbone, config
        self.notes: tuple[str, ...] = ()
        self.handles: dict[str, adapters.AdapterHandle] = {}
        try:
            self.handles.update(_attach(backbone, config))
        except BaseException:
            self.close()
            raise
        self.parameters = [p for handle in self.handles.values() for p in handle.parameters()]

    def close(self) -> None:
        for handle in self.handles.values():
            handle.detach()

    def new_optimizer(self) -> torch.optim.Optimizer:
        settings = self._config.optimizer
        text_rate = settings.text_encoder_learning_rate or settings.learning_rate / 2
        if OPTIMIZERS[settings.name].rate is not None:  # optimizers that find their own rate need one for all groups
            text_rate = settings.learning_rate
        network = self._backbone.network_prefix
        groups = [(handle.parameters(), settings.learning_rate if prefix == network else text_rate)
                  for prefix, handle in self.handles.items()]
        return build_optimizer(settings.name, groups, settings.weight_decay)

    def tensors(self) -> dict[str, Tensor]:
        return {f"adapter.{row}": parameter.detach() for row, parameter in enumerate(self.parameters)}

    def expect(self, last: bool) -> None:
        pass

    def clip(self) -> Tensor:
        limit = self._config.optimizer.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True).float()
        return to_device(norm, self._backbone.device)

    def limit(self) -> None:
        if limit := self._config.optimizer.max_norm:
            for handle in self.handles.values():
                limit_norms((weights for weights in handle.trained().values() if isinstance(weights, Factors)), limit)

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        trained = _by_part({prefix: handle.trained() for prefix, handle in self.handles.items()})
        lora_file.save_lora(path, lora_file.LoraWeights.of_run(trained, metadata), key_style=self._backbone.key_style)

    def prove(self, path: Path, probe: Probe, predict: Callable[[], Tensor], release: Callable[[], None]) -> Proof:
        weights = _by_part({prefix: handle.weights() for prefix, handle in self.handles.items()})
        for parameter in self.parameters:  # as the file is loaded; all is saved, and they are taken out next
            parameter.data = parameter.data.float()
        trained = predict()
        release()
        return prove_file(self._backbone, path, weights, probe, trained)


def _by_part(weights: dict[str, dict[str, ModuleWeights]]) -> dict[str, ModuleWeights]:
    return {f"{prefix}.{name}": values for prefix, row in weights.items() for name, values in row.items()}


def _attach(backbone: Backbone, config: TrainConfig) -> Iterator[tuple[str, adapters.AdapterHandle]]:
    """Adapters in the denoiser, and in the text encoders if asked, each with its prefix in a LoRA file."""
    texts = backbone.text_network
    if config.adapter.text_encoder and texts is None:
        raise UserError("adapter.text_encoder is on, but the text encoder of this base cannot be trained here. Turn it "
                        "off.")
    family = backbone.family
    parts = [(backbone.network_prefix, backbone.network, family.blocks, family.excluded, backbone.device)]
    if config.adapter.text_encoder and texts is not None:
        parts += [(prefix, network, TEXT_BLOCKS, (), backbone.text_device) for prefix, network in texts.items()]
    for prefix, network, blocks, excluded, device in parts:
        # the patterns of block_ranks are for the denoiser's layers
        adapter = config.adapter if network is backbone.network else replace(config.adapter, block_ranks="")
        yield prefix, adapters.attach(network, adapter, blocks, derived_seed(config.seed, "adapter", prefix),
                                      device, excluded, OPTIMIZERS[config.optimizer.name].dtype)
