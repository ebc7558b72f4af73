"""What measures likeness and tags in a workflow: a linked CLIP Vision model, the sandbox's judge, CCIP, or a tagger. If
there is none, that is reported; nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trainer.measures.eyes import Likeness, SandboxEye, TaggerEye
from ..trainer.measures.onnx import CcipEye, SscdEye, find_onnx
from ..trainer.tagging.tagger import Tagger
from . import paths
from .taggers import open_listed_tagger
from .working import Work

NO_TAGGER = "none"


BATCH = 16


def tag_reader(tagger: str, node_id: str | None) -> Tagger | None:
    """The tagger that a widget names; None for "none"."""
    return None if tagger == NO_TAGGER else open_listed_tagger(tagger, False, Work(node_id))


class ClipVisionEye:
    """ComfyUI's CLIP_VISION (CLIP, SigLIP or DINOv2) as an eye. It reads no tags."""

    def __init__(self, model: Any) -> None:
        self._model = model
        config = getattr(model, "config", None) or {}
        self.name = " ".join(["CLIP Vision", *(str(config[key]) for key in ("model_type", "hidden_size", "image_size")
                                               if key in config)])

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, D], rows L2-normalised: each image's embedding; for DINOv2, its first token."""
        rows = []
        for batch in pixels.split(BATCH):
            output = self._model.encode_image(batch.movedim(1, -1), crop=False)
            embeds = output["image_embeds"]
            if embeds is None or embeds.dim() != 2:
                embeds = output["last_hidden_state"][:, 0]
            rows.append(embeds.float().cpu())
        return F.normalize(torch.cat(rows), dim=1)

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> None:
        return None


def choose_eye(sandbox: bool, clip_vision: Any = None, tagger: Tagger | None = None) -> Likeness | None:
    """What measures likeness: the linked model; for the sandbox, its judge; CCIP if it is in models/ccip; else None.

    A tagger then reads the tags, unless the sandbox's judge does.
    """
    if clip_vision is not None:
        eye: Likeness | None = ClipVisionEye(clip_vision)
    elif sandbox:
        return SandboxEye()
    else:
        folder = find_onnx(CcipEye, paths.model_roots("ccip"))
        eye = CcipEye(folder) if folder else None
    return TaggerEye(eye, tagger) if eye and tagger else eye


def copy_eye() -> Likeness | None:
    """What recognizes copies: SSCD if it is in models/sscd; else None."""
    folder = find_onnx(SscdEye, paths.model_roots("sscd"))
    return SscdEye(folder) if folder else None
