"""The proof after saving: the file, read back by the loader that its users have, does what the training did.

A LoRA that changes nothing, layers that a loader does not know, and a wrong alpha are faults that no loss shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..lora.file import Factors, KindWeights, ModuleWeights, load_lora
from ..lora.layers import Entry, LoraFile, read_header
from ..lora.names import key_layer
from ..models.backbone import Backbone, LoadedLora
from ..models.out_of_memory import is_out_of_memory
from .proof import EXACT, FILE_WORKS, Proof, relative_difference, same_chance, size, tolerance
from .same_text import Probe

NO_EFFECT = 1e-4
"""A LoRA that changes the base's prediction by less than this share has no effect: one step at a preset's rate has
more."""
LEAST_SCALE = 1e-2
"""Differences are measured against the LoRA's effect, but at least against this share of the prediction: below it, they
are rounding."""
MOST_LOST = 0.25
"""Weights of less than 32 bits round what a loader adds to them, so there only the share of the effect that is kept
says whether it is the trained one."""
_BROKEN = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OSError)


@dataclass(frozen=True)
class _Outputs:
    """Predictions [1, ...] for one probe.

    Attributes:
        base, trained: the training step without the adapters, and with them.
        sampled, loaded: the sampling path without the file, and with it.
    """

    base: Tensor
    trained: Tensor
    sampled: Tensor
    loaded: Tensor

    @property
    def effect(self) -> float:
        """How much the file changes the prediction, as a share of it."""
        return min(relative_difference(self.trained, self.base), relative_difference(self.loaded, self.sampled))

    @property
    def error(self) -> float:
        """The distance between file and training, relative to the effect."""
        scale = max(size(self.trained - self.base), LEAST_SCALE * size(self.base))
        return size(self.loaded - self.trained) / scale

    @property
    def kept(self) -> float:
        """The share of the trained effect that the file has: 1 if they are the same, 0 if they are unrelated."""
        wanted, found = ((one - other).double().flatten() for one, other in (
            (self.trained, self.base), (self.loaded, self.sampled)))
        return (found @ wanted / (wanted @ wanted).clamp_min(1e-30)).item()

    def agree(self, limit: float) -> bool:
        if limit <= EXACT:
            return self.error <= limit
        return relative_difference(self.loaded, self.trained) <= limit or abs(self.kept - 1) <= MOST_LOST


@torch.no_grad()
def prove_file(backbone: Backbone, path: Path, weights: Mapping[str, ModuleWeights], probe: Probe, trained: Tensor
               ) -> Proof:
    """Read a LoRA file back by the sampling path's own loader. The network must be without adapters.

    Args:
        weights: what was trained, by the names of the modules in a LoRA file.
        trained: the prediction for the probe with the adapters, while they were in the network.
    """
    return _prove(backbone, path, len(weights), probe, trained, "layers", tolerance(backbone.network),
                  lambda: _wrong_factors(path, weights))


@torch.no_grad()
def prove_difference(backbone: Backbone, path: Path, count: int, probe: Probe, trained: Tensor,
                     limit: float) -> Proof:
    """Read the difference that a fine-tune saved by the sampling path's own loader. The network must have its own
    weights back.

    Args:
        count: number of the weights that were trained.
        trained: the prediction for the probe with them.
        limit: the `tolerance` of the network with them: they may be of fewer bits than its own.
    """
    return _prove(backbone, path, count, probe, trained, "weights", limit, list)


def _prove(backbone: Backbone, path: Path, count: int, probe: Probe, trained: Tensor, noun: str,
           limit: float, find_wrong: Callable[[], list[str]]) -> Proof:
    try:
        wrong = find_wrong()
        with backbone.sampling_lora(path) as loaded, same_chance(backbone.device):
            prediction = backbone.sampling_prediction(probe.noisy, probe.t, probe.caption, probe.controls).float()
            wrong += _wrong_layers(loaded, count, noun)
    except _BROKEN as error:  # the file is kept, whatever a loader raises
        return unproved(path, error)
    outputs = _Outputs(probe.trained, trained.float(), probe.sampled, prediction)
    wrong += _wrong_output(outputs, limit)
    if wrong:
        words = f"{path.name} does not do what was trained: {'; '.join(wrong)}."
    else:
        words = (f"{count} of {count} {noun} are read back and do what was trained; they change the "
                 f"prediction by {100 * outputs.effect:.2g} %")
    return Proof(FILE_WORKS, not wrong, words, outputs.error)


def unproved(path: Path, error: Exception) -> Proof:
    """The proof of a file that was saved, but not compared."""
    if is_out_of_memory(error):
        return Proof(FILE_WORKS, False, f"{path.name} was saved, but not compared with the training: memory ran out. "
                                        "Try it with Load LoRA.")
    return Proof(FILE_WORKS, False, f"{path.name} cannot be read back: {error}")


def _wrong_factors(path: Path, weights: Mapping[str, ModuleWeights]) -> list[str]:
    """What the file holds beside what was trained. Raises UserError if it cannot be read."""
    found = _read_weights(path, weights)
    read = {name: found.get(key_layer(name).key) for name in weights}
    missing = [name for name, values in read.items() if values is None]
    changed = [name for name, values in read.items() if values is not None and not _equal(values, weights[name])]
    return [f"{len(names)} of {len(weights)} layers {what}, such as {names[0]}"
            for names, what in ((missing, "are not in it"), (changed, "have other weights or another alpha")) if names]


def _read_weights(path: Path, weights: Mapping[str, ModuleWeights]) -> Mapping[str, ModuleWeights]:
    """The file's layers by the keys of their names, in the kind that was trained."""
    if not any(isinstance(value, KindWeights) for value in weights.values()):
        return {key_layer(name).key: factors for name, factors in load_lora(path, module_names=weights).modules.items()}
    file = read_header(path, weights)
    try:
        return {key_layer(entry.name.key).key: _own_weights(file, entry) for entry in file.entries}
    finally:
        file.tensors.close()


def _own_weights(file: LoraFile, entry: Entry) -> KindWeights:
    alpha = file.alpha(entry)
    return KindWeights(entry.kind, file.read(entry, None), 1.0 if alpha is None else alpha)


def _equal(found: ModuleWeights, wanted: ModuleWeights) -> bool:
    """Whether they are the same; up to their last digits if another alpha is multiplied into them."""
    if isinstance(found, Factors) and isinstance(wanted, Factors) and found.rank > wanted.rank:
        wanted = wanted.padded(found.rank)  # where a style has no alphas, all layers are written with one rank
    roles = found.rescaled(wanted.alpha).roles
    rounding = 0.0 if found.alpha == wanted.alpha else 1e-5
    return type(found) is type(wanted) and roles.keys() == wanted.roles.keys() and all(
        roles[role].shape == tensor.shape and torch.allclose(roles[role].float(), tensor.float(), rtol=rounding, atol=0)
        for role, tensor in wanted.roles.items())


def _wrong_layers(loaded: LoadedLora, wanted: int, noun: str) -> list[str]:
    if loaded.unmatched:
        return [f"the loader does not find {len(loaded.unmatched)} of its {noun} in the model, such as "
                f"{loaded.unmatched[0]}"]
    return [] if loaded.layers == wanted else [f"the loader changes {loaded.layers} of {wanted} {noun}"]


def _wrong_output(outputs: _Outputs, limit: float) -> list[str]:
    if outputs.effect < NO_EFFECT:
        return [f"it has no effect: it changes the prediction by {100 * outputs.effect:.1g} %. Train longer or at a "
                "higher learning rate"]
    if outputs.agree(limit):
        return []
    return [f"its output differs from that of the training by {100 * outputs.error:.2g} % of its effect"]
