"""From a dataset to training batches: bucketed, cached latents, each with its own caption's conditioning.

Everything random is drawn from a generator seeded by (seed, purpose, batch index), so that a resumed run needs
only the step number to continue with the same images, captions, noise, and times.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..captions.tags import truncation_report
from ..common.errors import UserError
from ..common.events import Events, Warned
from ..common.tensor_cache import TensorCache
from ..datasets.buckets import Size, fit_to_bucket
from ..datasets.dataset import Dataset, Sample, bucket_mask, hidden_by_ground
from ..models.backbone import Backbone, Conditioning, Controls
from ..models.edit_forms import EDIT_FORMS
from ..pictures.images import to_tensor
from .caption_policy import CaptionPolicy
from .config import TrainConfig
from .epochs import Epoch
from .events import Caching
from .masked_loss import latent_mask

TEXT_BATCH = 16


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, independent of the seeds for all other purposes."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def edit_form(backbone: Backbone, config: TrainConfig, *datasets: Dataset) -> str:
    """How the model is given the images' control images, a key of EDIT_FORMS; "" if there are none.

    Raises UserError if the model cannot be given them.
    """
    paired = [sample for dataset in datasets for sample in dataset if sample.controls]
    if not paired:
        return ""
    form = backbone.edit_form(config.data.edit_form)
    most = EDIT_FORMS[form].most
    if crowded := next((sample for sample in paired if len(sample.controls) > most), None):
        raise UserError(f"{crowded.path.name} has {len(crowded.controls)} control images, but {EDIT_FORMS[form].title} "
                        f"takes {most} at most. Remove some, or set edit_form in Train Settings for another model.")
    if config.adapter.text_encoder:
        raise UserError("adapter.text_encoder is on, but the text encoder cannot be trained with control images. Turn "
                        "it off.")
    return form


@dataclass(frozen=True)
class Batch:
    """B samples of one bucket.

    Attributes:
        latents: [B, C, ...] in the model's own scale, on the CPU.
        captions: the caption of each row in this batch ("" where it was dropped).
        conditioning: the cached conditioning of those captions, or None if the text encoder is being trained.
        masks: [B, 1, h, w] in 0..1, the part of each latent to train on, or None if all images are trained whole.
    """

    latents: Tensor
    captions: tuple[str, ...]
    conditioning: Conditioning | None
    masks: Tensor | None = None


class Feed:
    """Batches of one dataset for one backbone.

    `prepare()` fills the caches; `batch(index)` is then a pure function of the index.
    """

    def __init__(self, backbone: Backbone, dataset: Dataset, config: TrainConfig, cache: TensorCache) -> None:
        self.backbone, self.dataset, self.config, self.cache = backbone, dataset, config, cache
        data = config.data
        self.edit_form = edit_form(backbone, config, dataset)
        epoch = Epoch.of(dataset, config, backbone.family.bucket_step)
        self.samples, self.buckets, self.left_out, self.plan = epoch.samples, epoch.buckets, epoch.left_out, epoch.plan
        self._latent_keys: dict[tuple[int, bool], Mapping[str, Any]] = {}
        self._controls_hashes: dict[int, str] = {}
        self._masks: dict[tuple[int, bool], Tensor] = {}
        self._hidden: dict[str, None] = {}
        self.masked = data.masked_loss and any(sample.mask for sample in self.samples)
        policy = CaptionPolicy.from_config(data)
        self.variants = [
            policy.variants(sample.caption, data.caption_variants, derived_seed(config.seed, "captions", index))
            for index, sample in enumerate(self.samples)
        ]

    @property
    def trains_text(self) -> bool:
        return self.config.adapter.text_encoder

    def prepare(self) -> Events:
        """Fill the caches, and report images left out and captions cut. A cache entry that is lost later is made again
        when it is read."""
        for line in self.left_out:
            yield Warned(line)
        if self.config.data.masked_loss and not self.masked:
            yield Warned("data.masked_loss is on, but no image has a mask, so all are trained whole. Put the mask of "
                         "a.png into masks/a.png or a_mask.png.")
        if self.edit_form:
            yield Warned(self._edit_note())
        for line in truncation_report(self._all_captions(), self.backbone.token_count):
            yield Warned(line)
        flips = (False, True) if self.config.data.flip else (False,)
        total = len(self.samples) * len(flips)
        for done, (index, flip) in enumerate(((i, f) for i in range(len(self.samples)) for f in flips), 1):
            self._latents(index, flip)
            yield Caching("latents", done, total)
        for line in self._hidden:
            yield Warned(line)
        if not self.trains_text:
            captions, pairs = self._all_captions(paired=False), list(self._pairs(flips))
            total = len(captions) + len(pairs)
            for start in range(0, len(captions), TEXT_BATCH):
                self._encode_captions(captions[start : start + TEXT_BATCH])
                yield Caching("text", min(start + TEXT_BATCH, len(captions)), total)
            for done, (caption, index, flip) in enumerate(pairs, len(captions) + 1):
                self.row(caption, index, flip)
                yield Caching("text", done, total)

    def _edit_note(self) -> str:
        count, form = sum(bool(sample.controls) for sample in self.samples), EDIT_FORMS[self.edit_form]
        rest = len(self.samples) - count
        alone = f"; {rest} without one are trained as text-to-image" if rest else ""
        return (f"{count} of {len(self.samples)} images have a control image, given to the model as for {form.title}"
                f"{alone}. For another model, set edit_form in Train Settings.")

    def batch(self, index: int) -> Batch:
        """The index-th batch, counted from 0 over all epochs."""
        rng = random.Random(derived_seed(self.config.seed, "batch", index))
        data = self.config.data
        latents, captions, rows, masks = [], [], [], []
        for sample in self.plan.batch(index):
            flip = data.flip and rng.random() < 0.5
            latents.append(self._latents(sample, flip))
            if self.masked:
                height, width = latents[-1].shape[-2:]
                masks.append(self._mask(sample, flip, (height, width)))
            dropped = rng.random() < data.caption_dropout
            captions.append("" if dropped else rng.choice(self.variants[sample]))
            if not self.trains_text:
                rows.append(self.row(captions[-1], sample, flip))
        conditioning = Conditioning.cat(rows) if rows else None
        return Batch(torch.stack(latents), tuple(captions), conditioning, torch.stack(masks) if masks else None)

    def controls(self, index: int, flip: bool = False) -> Controls | None:
        """The control images of a sample, mirrored as the sample is; None if it has none. Raises UserError."""
        images = [to_tensor(image) for image in self.samples[index].load_controls()]
        return Controls(self.edit_form, [[image.flip(-1) if flip else image for image in images]]) if images else None

    @property
    def first(self) -> int:
        """The first sample that has control images, or else the first: what previews and proofs are made of."""
        return next((index for index, sample in enumerate(self.samples) if sample.controls), 0)

    def preview(self, count: int) -> tuple[Size, Controls | None]:
        """(size of `count` previews, what they are given beside their prompts): the size and the control images of the
        first image that has any; else a square."""
        if controls := self.controls(self.first):
            return self.buckets[self.first], Controls(controls.form, [*controls.rows] * count)
        step = self.backbone.family.bucket_step
        side = self.config.data.resolution // step * step
        return (side, side), None

    def _all_captions(self, paired: bool = True) -> list[str]:
        """Every caption; without `paired` only those of images that have no control images."""
        samples = [index for index, sample in enumerate(self.samples) if paired or not sample.controls]
        captions = dict.fromkeys(caption for index in samples for caption in self.variants[index])
        if samples and self.config.data.caption_dropout:
            captions[""] = None
        return list(captions)

    def _pairs(self, flips: Sequence[bool]) -> Iterator[tuple[str, int, bool]]:
        """(caption, sample, whether mirrored) for each way in which an image with control images is trained."""
        dropped = ("",) if self.config.data.caption_dropout else ()
        for index, sample in enumerate(self.samples):
            if sample.controls:
                captions = dict.fromkeys((*self.variants[index], *dropped))
                yield from itertools.product(captions, (index,), flips)

    def _latents(self, index: int, flip: bool) -> Tensor:
        sample, bucket = self.samples[index], self.buckets[index]

        def encode() -> dict[str, Tensor]:
            pixels = to_tensor(fit_to_bucket(sample.load(), bucket))
            self._look(sample, pixels)
            pixels = pixels.flip(-1) if flip else pixels
            with torch.no_grad():
                return {"latents": self.backbone.encode_images(pixels[None])[0].float().cpu()}

        if (index, flip) not in self._latent_keys:  # checking at every step whether a file has changed costs time
            self._latent_keys[index, flip] = self._key(
                {"what": "latents", "image": sample.content_hash, "crop": sample.crop, "bucket": bucket, "flip": flip})
        return self.cache.get(self._latent_keys[index, flip], encode)["latents"]

    def _look(self, sample: Sample, pixels: Tensor) -> None:
        """Note if nothing can be seen in an image."""
        low, high = torch.aminmax(pixels.flatten(1))
        if high - low < 0.1 and (why := hidden_by_ground(sample)):
            self._hidden[f"{sample.path.name}: {why}"] = None

    def _mask(self, index: int, flip: bool, size: tuple[int, int]) -> Tensor:
        """[1, h, w]; all ones for an image without a mask."""
        sample, bucket = self.samples[index], self.buckets[index]
        if (index, flip) not in self._masks:
            mask = bucket_mask(sample, bucket, flip)
            self._masks[index, flip] = torch.ones(1, *size) if mask is None else latent_mask(mask, size)
        return self._masks[index, flip]

    def row(self, caption: str, index: int, flip: bool = False) -> Conditioning:
        """The cached conditioning of a sample with that caption, on the CPU."""
        def encode() -> dict[str, Tensor]:
            with torch.no_grad():
                return self.backbone.encode_text([caption], self.controls(index, flip)).to("cpu").row(0)

        return Conditioning(self.cache.get(self._row_key(caption, index, flip), encode))

    def _row_key(self, caption: str, index: int, flip: bool) -> Mapping[str, Any]:
        sample = self.samples[index]
        if not sample.controls:
            return self._text_key(caption)
        if index not in self._controls_hashes:
            self._controls_hashes[index] = sample.controls_hash
        return {**self._text_key(caption), "controls": self._controls_hashes[index], "ground": sample.ground,
                "crop": sample.crop and [*sample.crop, sample.content_hash], "edit_form": self.edit_form, "flip": flip}

    def _encode_captions(self, captions: list[str]) -> None:
        """Encode captions together, then store each row by itself; captions already cached are skipped."""
        rows: dict[str, Conditioning] = {}

        def encode(caption: str) -> dict[str, Tensor]:
            if not rows:
                with torch.no_grad():
                    encoded = self.backbone.encode_text(captions).to("cpu")
                rows.update({text: encoded.rows([row]) for row, text in enumerate(captions)})
            return rows[caption].row(0)

        for caption in captions:
            self.cache.get(self._text_key(caption), partial(encode, caption))

    def _text_key(self, caption: str) -> Mapping[str, Any]:
        # Earlier versions read the backslashes of escaped brackets, and dropped tensors without a batch dimension: what
        # they cached is not used.
        return self._key({"what": "text", "caption": caption, "form": 2})

    def _key(self, parts: dict[str, Any]) -> Mapping[str, Any]:
        return {**parts, "model": self.backbone.fingerprint}
