"""Eyes read likeness and tags from images. Without an eye these are "not measured", never invented.

`SandboxEye` reads the drawn world; `TransformersEye` reads with a local CLIP or DINOv2 folder. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..captions.tags import same_tag, unescape_brackets
from ..common.errors import UserError
from ..pictures.images import to_image

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger

TAGGED_AT_ONCE = 8


class Likeness(Protocol):
    """An eye. It reads images [B, 3, H, W] in 0..1."""

    name: str

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, D], rows L2-normalised. The cosine of two rows says how alike the subjects of the images are."""

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> Tensor | None:
        """[B, len(tags)] probability of each tag, NaN where this eye does not know it; None if it reads no tags."""


class SandboxEye:
    """The sandbox judge as an eye: its likeness embedding, and its readings of requested tags.

    It reports nothing that a user could not know: the signature is not a tag, and the true facts of a drawing are not
    looked up.
    """

    name = "sandbox judge"

    def __init__(self) -> None:
        from ...sandbox.judge import load_judge
        from ...sandbox.world import ATTRIBUTES

        self._judge = load_judge()
        self._places = {tag: (name, tags.index(tag)) for name, tags in ATTRIBUTES.items() for tag in tags}

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        return self._judge.embed(pixels)

    @torch.no_grad()
    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> Tensor:
        read = self._judge.read(pixels)
        result = torch.full((len(pixels), len(tags)), float("nan"))
        for column, tag in enumerate(tags):
            if tag in self._places:
                attribute, place = self._places[tag]
                result[:, column] = read[attribute][:, place]
        return result


class TransformersEye:
    """A CLIP or DINOv2 folder (as saved by transformers). CLIP with its text tower also reads tags, zero-shot.

    Zero-shot readings are weak for small details; they compare "a picture of <tag>" with "a picture of <class>".

    Raises UserError if the folder does not contain such a model.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu") -> None:
        self.name = Path(folder).name
        self._device = torch.device(device)
        self._load(Path(folder))

    def _load(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} has no config.json; give a CLIP or DINOv2 folder saved by transformers.")
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

        options = {"local_files_only": True}
        try:
            kind = AutoConfig.from_pretrained(folder, **options).model_type
            self._model = AutoModel.from_pretrained(folder, use_safetensors=True, **options).eval().to(self._device)
            processor = AutoImageProcessor.from_pretrained(folder, **options)
            reads_tags = hasattr(self._model, "get_text_features")
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **options) if reads_tags else None
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} cannot be loaded as a likeness model ({str(error).splitlines()[0]}); "
                            "give a CLIP or DINOv2 folder with safetensors weights.") from error
        if not (hasattr(self._model, "get_image_features") or kind.startswith("dinov2") or "vision" in kind):
            raise UserError(f"{folder} contains a {kind!r} model, which has no image embedding; use CLIP or DINOv2.")
        size = getattr(processor, "crop_size", None) or processor.size
        self._side = int(size.get("height") or size.get("shortest_edge"))
        self._mean = torch.tensor(processor.image_mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(processor.image_std, device=self._device).view(1, 3, 1, 1)

    def _prepared(self, pixels: Tensor) -> Tensor:
        square = F.interpolate(pixels.to(self._device), size=(self._side, self._side), mode="bicubic", antialias=True,
                               align_corners=False).clamp(0, 1)
        return (square - self._mean) / self._std

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        rows = []
        for batch in pixels.split(16):
            if hasattr(self._model, "get_image_features"):
                rows.append(_tensor(self._model.get_image_features(pixel_values=self._prepared(batch))))
            else:
                output = self._model(pixel_values=self._prepared(batch))
                rows.append(output.last_hidden_state[:, 0])
        return F.normalize(torch.cat(rows).float().cpu(), dim=1)

    @torch.no_grad()
    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> Tensor | None:
        if self._tokenizer is None:
            return None
        texts = ["a picture", *(f"a picture of {unescape_brackets(tag)}" for tag in tags)]
        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self._device)
        words = F.normalize(_tensor(self._model.get_text_features(**tokens)).float().cpu(), dim=1)
        logits = self.embed(pixels) @ words.T * self._model.logit_scale.exp().item()
        return torch.sigmoid(logits[:, 1:] - logits[:, :1])


def _tensor(features) -> Tensor:
    """transformers 4 returns the projected features, transformers 5 an output that holds them as `pooler_output`."""
    return features if isinstance(features, Tensor) else features.pooler_output


class TaggerEye:
    """Reads tags with an auto-tagger, for an eye that reads only likeness."""

    def __init__(self, likeness: Likeness, tagger: Tagger) -> None:
        self.name = f"{likeness.name} and tagger {tagger.name}"
        self._likeness, self._tagger = likeness, tagger
        self._places = {same_tag(label.name): place for place, label in enumerate(tagger.labels)}

    def embed(self, pixels: Tensor) -> Tensor:
        return self._likeness.embed(pixels)

    def read_tags(self, pixels: Tensor, tags: Sequence[str]) -> Tensor:
        """As `Likeness.read_tags`; NaN for tags that the tagger has no label for."""
        result = torch.full((len(pixels), len(tags)), float("nan"))
        places = [self._places.get(same_tag(tag)) for tag in tags]
        known = {column: place for column, place in enumerate(places) if place is not None}
        for start in range(0, len(pixels), TAGGED_AT_ONCE):
            batch = [to_image(picture) for picture in pixels[start : start + TAGGED_AT_ONCE]]
            scores = torch.from_numpy(self._tagger.scores(batch))
            for column, place in known.items():
                result[start : start + len(batch), column] = scores[:, place]
        return result


def open_eye(base: str, folder: str | Path | None = None, device: torch.device | str = "cpu") -> Likeness | None:
    """The eye for a base: the model in the given folder, or the judge for the sandbox, or else None (not measured)."""
    if folder:
        return TransformersEye(folder, device)
    return SandboxEye() if base == "sandbox" else None
