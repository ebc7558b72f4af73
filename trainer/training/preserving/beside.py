"""Frozen LoRAs that are on while another LoRA is trained, so that both work together later.

Only their layers in the denoiser are used, on either backbone, at a strength that stays the same for the whole run.
They are not saved with the LoRA. Proofs compare the LoRA alone with the base, so these are off in them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...common.errors import UserError
from ...lora.file import LoraWeights, load_lora
from ...lora.hashes import tensor_hash
from ...lora.names import DENOISERS
from ...models.backbone import Backbone
from ...stacks.stack import StackEntry
from ..adapters import NetworkLora, use_lora
from ..config import FULL, TrainConfig
from ..feed import derived_seed


class FrozenLoras:
    """The LoRAs beside a training, in the backbone's network until `close`.

    Attributes:
        notes: what the user should know of them.
    """

    def __init__(self, backbone: Backbone, entries: Sequence[StackEntry], config: TrainConfig) -> None:
        """Raises UserError if a file cannot be read or does not fit the network."""
        self._seed, self._chance = config.seed, config.beside_chance
        self._applied: list[tuple[NetworkLora, float]] = []
        notes: list[str] = []
        try:
            for entry in entries:
                lora, skipped = _read_denoiser(backbone, entry)
                applied = use_lora({backbone.network_prefix: backbone.network}, lora, entry.strength)
                self._applied.append((applied, entry.strength))
                applied.move(backbone.device)
                notes.append(_describe(entry, applied, skipped, config))
        except BaseException:
            self.close()
            raise
        self.notes = tuple(notes)

    @contextmanager
    def at_step(self, step: int) -> Iterator[None]:
        """On in a share of the steps, the same ones whenever the run is resumed. The block covers the forward and the
        backward pass, because blocks may be computed again in the latter."""
        if not self._applied or random.Random(derived_seed(self._seed, "beside", step)).random() < self._chance:
            yield
            return
        with self.off():
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """The network computes without them while the block lasts."""
        for applied, _ in self._applied:
            applied.set_strength(0.0)
        try:
            yield
        finally:
            for applied, strength in self._applied:
                applied.set_strength(strength)

    def close(self) -> None:
        """Take them out of the network. Safe to call twice."""
        while self._applied:
            self._applied.pop()[0].detach()


def check_beside(entries: Sequence[StackEntry], config: TrainConfig) -> tuple[StackEntry, ...]:
    """Those that have a strength; () if they are on in no step.

    Raises UserError if there are some, and the run is a fine-tune.
    """
    found = tuple(entry for entry in entries if entry.strength) if config.beside_chance else ()
    if found and config.method == FULL:
        raise UserError(f"{found[0].name} cannot be beside a fine-tune, which trains the network's own weights. Train "
                        "a LoRA, or leave beside out.")
    return found


def describe_beside(entries: Sequence[StackEntry]) -> list[dict[str, Any]]:
    """What the lineage records of them. Raises UserError if a file cannot be read."""
    return [{"name": entry.name, "tensors": _hash(entry), "strength": entry.strength} for entry in entries]


def beside_key(entries: Sequence[StackEntry]) -> list[list[Any]]:
    """What they add to the identity of a run: their weights and strengths, whatever the files are called."""
    return [[_hash(entry), entry.strength] for entry in entries]


def _hash(entry: StackEntry) -> str:
    try:
        return tensor_hash(entry.path)
    except OSError as error:
        raise UserError(f"cannot read {entry.path}: {error.strerror}. Check the path of the LoRA to train "
                        "beside.") from error


def _read_denoiser(backbone: Backbone, entry: StackEntry) -> tuple[LoraWeights, int]:
    """(the LoRA's layers in the denoiser, the number of its other layers). Raises UserError without any of the
    former."""
    prefix = backbone.network_prefix
    names = [f"{prefix}.{name}" for name, _ in backbone.network.named_modules() if name]
    whole = load_lora(entry.path, module_names=names)
    kept = {key: factors for key, factors in whole.modules.items() if key.partition(".")[0] in (prefix, *DENOISERS)}
    if not kept:
        raise UserError(f"{entry.name} has no layer in the denoiser, so nothing of it can be beside a training. Choose "
                        "another LoRA.")
    return LoraWeights(kept, whole.metadata, whole.ignored), len(whole.modules) - len(kept)


def _describe(entry: StackEntry, applied: NetworkLora, skipped: int, config: TrainConfig) -> str:
    often = "" if config.beside_chance == 1 else f", in {config.beside_chance:.0%} of the steps"
    parts = [f"trained beside {entry.name} at strength {entry.strength:g}{often}, which is frozen and not saved"]
    if skipped:
        parts.append(f"its {skipped} layers in the text encoders are left out")
    if applied.unmatched:
        parts.append(f"{len(applied.unmatched)} of its layers are not in this model, such as {applied.unmatched[0]}")
    return "; ".join(parts) + "."
