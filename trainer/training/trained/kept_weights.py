"""The weights that a network had before a fine-tune, in a file instead of RAM.

The file lies in the run's folder under a temporary name, so that the next start of the run removes it after a process
that was killed: each start loads the base anew. Weights are read one by one, and each is checked by a digest.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError
from ...common.files import make_folder
from ...common.leftovers import temporary_path
from ...lora.hashes import write_hashed
from ...lora.tensors import Source, TensorFile, tensor_bytes
from ...models.ram import GIB

NAME = "weights-of-before.safetensors"


class KeptWeights(Mapping[str, Tensor]):
    """Weights in a file, by name. Each use reads one into memory of its own.

    Raises UserError for one that is no longer what was written.
    """

    def __init__(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the weights. Raises UserError if the system refuses, as where the disk is full."""
        self._digests: dict[str, bytes] = {}
        make_folder(path.parent)
        write_hashed(path, {name: Source(weight.dtype, tuple(weight.shape), partial(self._digested, name, weight))
                            for name, weight in weights.items()}, {})
        self._file = TensorFile(path, "weights")
        self._file.hold()

    def _digested(self, name: str, weight: Tensor) -> Tensor:
        weight = weight.detach().to("cpu").contiguous()
        self._digests[name] = hashlib.sha256(tensor_bytes(weight)).digest()
        return weight

    def __getitem__(self, name: str) -> Tensor:
        weight = self._file.read(name)
        if hashlib.sha256(tensor_bytes(weight)).digest() != self._digests[name]:
            raise UserError(f"the base's weight {name} in {self._file.path} is not what was written there: the file "
                            "was damaged, or another program changed it. Load the base again before you use it; "
                            "checkpoints and training state of the run are not affected.")
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def close(self) -> None:
        """Delete the file. One that cannot be deleted now is deleted by the next start of the run."""
        self._file.close()
        with suppress(OSError):
            self._file.path.unlink(missing_ok=True)


@contextmanager
def kept_in(folder: Path) -> Iterator[Callable[[Mapping[str, Tensor]], KeptWeights]]:
    """`own_weights.Keep`: what keeps weights in a file in this folder while the block lasts."""
    kept: list[KeptWeights] = []

    def keep(weights: Mapping[str, Tensor]) -> KeptWeights:
        kept.append(KeptWeights(temporary_path(folder / NAME), weights))
        return kept[-1]

    try:
        yield keep
    finally:
        for weights in kept:
            weights.close()


def check_disk(folder: Path, size: int) -> None:
    """Raises UserError if the disk has no room for the file."""
    make_folder(folder)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"RAM has no room for the base's own weights beside those that are trained, so they would be "
                        f"kept in {folder}, but they take {size / GIB:.1f} GiB, and the disk has {free / GIB:.1f} GiB "
                        "free. Free some of either, choose precision bf16, or train a LoRA.")
