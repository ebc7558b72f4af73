"""ONNX models as eyes, if installed: CCIP for who is drawn (deepghs/ccip_onnx), SSCD for copies.

Nothing is downloaded: the folder `models/ccip/<name>/` holds `model_feat.onnx`, `models/sscd/<name>/` an export of
facebookresearch/sscd-copy-detection called `sscd.onnx`. Its TorchScript files are not read, because they are pickles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.errors import UserError

BATCH = 16


class OnnxEye:
    """Reads an embedding with an ONNX model. It does not read tags.

    Images are stretched to a square of SIDE pixels, bilinear, RGB, normalised by MEAN and STD, NCHW.

    Raises UserError if onnxruntime is not installed or the file is not such a model.
    """

    TITLE: ClassVar[str]
    FILE: ClassVar[str]
    SIDE: ClassVar[int]
    MEAN: ClassVar[tuple[float, ...]]
    STD: ClassVar[tuple[float, ...]]

    def __init__(self, folder: Path) -> None:
        self.name = f"{self.TITLE} {folder.name}"
        path = folder / self.FILE
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{self.TITLE} needs onnxruntime: pip install onnxruntime, or move "
                            f"models/{self.TITLE.lower()} away.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own type for each failure
            raise UserError(f"{path} cannot be loaded ({str(error).splitlines()[0][:160]}). Download it again.") \
                from error
        entry = self._session.get_inputs()[0]
        if len(entry.shape) != 4 or entry.shape[1] not in (3, "3"):
            raise UserError(f"{path} takes {entry.shape}, not images [N, 3, {self.SIDE}, {self.SIDE}]; it is not the "
                            f"{self.TITLE} model.")
        self._input = entry.name
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.MEAN, self.STD))

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, D], rows L2-normalised, of images [B, 3, H, W] in 0..1."""
        rows = []
        for batch in pixels.float().cpu().split(BATCH):
            square = F.interpolate(batch, size=(self.SIDE, self.SIDE), mode="bilinear", antialias=True,
                                   align_corners=False)
            ready = (square.clamp(0, 1) - self._mean) / self._std
            rows.append(torch.from_numpy(self._session.run(None, {self._input: ready.numpy()})[0]))
        return F.normalize(torch.cat(rows).flatten(1).float(), dim=1)

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> None:
        return None


class CcipEye(OnnxEye):
    """Who is drawn: 768 numbers."""

    TITLE, FILE, SIDE = "CCIP", "model_feat.onnx", 384
    MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class SscdEye(OnnxEye):
    """Which image it is: 512 numbers; copies have a cosine above 0.5 (Pizzi et al. 2022, arXiv:2202.10261)."""

    TITLE, FILE, SIDE = "SSCD", "sscd.onnx", 288
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def find_onnx(kind: type[OnnxEye], roots: Iterable[Path]) -> Path | None:
    """The first folder below these, by name, that contains such a model; None if there is none."""
    return next((path.parent for root in roots if root.is_dir() for path in sorted(root.glob(f"*/{kind.FILE}"))), None)
