"""CCIP (deepghs/ccip_onnx) as an eye for drawn characters: an ONNX model that embeds who is shown, if it is there.

Pictures are stretched to 384 pixels, bilinear, RGB, with CLIP's mean and deviation, NCHW; the embedding has 768
numbers. Nothing is downloaded: the folder `models/ccip/<name>/` holds `model_feat.onnx`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import UserError

SIDE = 384
FEATURES_FILE = "model_feat.onnx"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 16


def find_ccip(roots: Iterable[Path]) -> Path | None:
    """The first folder below these that holds a CCIP model, by name; None if there is none."""
    return next((path.parent for root in roots if root.is_dir() for path in sorted(root.glob(f"*/{FEATURES_FILE}"))),
                None)


class CcipEye:
    """Reads likeness with a CCIP model; it reads no tags.

    Raises UserError if onnxruntime is not installed or the file is no such model.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"CCIP {folder.name}"
        path = folder / FEATURES_FILE
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("CCIP needs onnxruntime: pip install onnxruntime, or move models/ccip away.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own for each failure
            raise UserError(f"{path} cannot be loaded ({str(error).splitlines()[0][:160]}). Download it again.") \
                from error
        entry = self._session.get_inputs()[0]
        if len(entry.shape) != 4 or entry.shape[1] not in (3, "3"):
            raise UserError(f"{path} takes {entry.shape}, not pictures [N, 3, {SIDE}, {SIDE}]; it is no CCIP model.")
        self._input = entry.name
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, D], rows L2-normalised, of pictures [B, 3, H, W] in 0..1."""
        rows = []
        for batch in pixels.float().cpu().split(BATCH):
            square = F.interpolate(batch, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
            ready = (square.clamp(0, 1) - self._mean) / self._std
            rows.append(torch.from_numpy(self._session.run(None, {self._input: ready.numpy()})[0]))
        return F.normalize(torch.cat(rows).flatten(1).float(), dim=1)

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> None:
        return None
