"""From a dataset to training batches: bucketed, cached latents, each with its own caption's conditioning.

Everything random is drawn from a generator seeded by (seed, purpose, batch index), so that a resumed run needs
only the step number to continue with the same images, captions, noise, and times.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..captions.tags import truncation_report
from ..common.cache_folder import SharedCache, folder_beside
from ..common.errors import UserError
from ..common.events import Events, Warned
from ..common.read_ahead import in_order
from ..common.tensor_cache import TensorCache, remove_entries
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
from .parallel.team import Share
from .preserving.regularisation import batch_weight
from .runs import run_folders

TEXT_BATCH = 16
HELD = {"disk": 512 * 2**20, "ram": None}
"""Bytes of the cache that are also held in memory, for each value of data.cache; None: all that is used."""
_LEAST_READERS, _MOST_READERS = 2, 3
"""Threads that decode images ahead of the VAE, or read what is cached: as many as there are processors, within these.
"""
_AHEAD = 2
"""Images decoded or waiting per thread; more would only fill memory."""


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, independent of the seeds for all other purposes."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def open_cache(root: Path, config: TrainConfig) -> SharedCache:
    """What the runs in the folder `root` share. Removes the folders in which earlier versions had a cache for each run:
    the keys there lack `Backbone.encoding`, so nothing in them is found any more."""
    for folder in run_folders(root):
        remove_entries(folder / "cache")
    return SharedCache(folder_beside(root), HELD[config.data.cache])


def tidy_cache(cache: SharedCache) -> Iterator[str]:
    """Keep the cache within its limit, when all that is in use has been read; yields what the user should know."""
    cache.trim()
    if cache.trouble:
        yield f"latents and text embeddings are held in memory, and encoded again in the next run: {cache.trouble}"


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
        weight: of the batch in the loss.
    """

    latents: Tensor
    captions: tuple[str, ...]
    conditioning: Conditioning | None
    masks: Tensor | None = None
    weight: float = 1.0


class Draw(NamedTuple):
    """One row of a batch: which sample, whether it is mirrored, and its caption ("" if that is dropped)."""

    sample: int
    flip: bool
    caption: str


class _Text(NamedTuple):
    """A caption, and the sample and mirroring of the control images that it is encoded with; None without any."""

    caption: str
    sample: int | None = None
    flip: bool = False


class _Image(NamedTuple):
    """The pixels [3, H, W] of an image, mirrored or not, as far as it is not cached yet, and why nothing can be seen in
    it, if so."""

    pixels: Mapping[bool, Tensor]
    hidden: str = ""


def _describe_hidden(sample: Sample, pixels: Tensor) -> str:
    low, high = torch.aminmax(pixels.flatten(1))
    return hidden_by_ground(sample) if high - low < 0.1 else ""


_HIDDEN = "hidden"
"""Name of the tensor beside an image's latents that says why nothing can be seen in it, as UTF-8."""


def _read_hidden(entry: Mapping[str, Tensor]) -> str:
    return bytes(entry[_HIDDEN].tolist()).decode() if _HIDDEN in entry else ""


_VAE_REMEDY = ("Load a VAE that works in fp16 (for SDXL: sdxl-vae-fp16-fix), or run it in bf16 or fp32 (in ComfyUI: "
               "--bf16-vae or --fp32-vae)")
_TEXT_REMEDY = "Run it in bf16 or fp32 (in ComfyUI: --bf16-text-enc or --fp32-text-enc)"


def _check_finite(made: Mapping[str, Tensor], source: str, encoder: str, remedy: str) -> None:
    """Raises UserError if an encoder overflowed, before that is saved for all later runs."""
    if not all(torch.isfinite(tensor).all() for tensor in made.values()):
        raise UserError(f"{source}: the {encoder} made values of it that are not finite, as happens if it overflows in "
                        f"fp16. {remedy}, or load the {encoder} from another file.")


def _ahead(read: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Any, None, None]:
    threads = max(_LEAST_READERS, min(_MOST_READERS, os.cpu_count() or 1))
    return in_order(read, items, threads, _AHEAD * threads)


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
        self._encoding = dict(backbone.encoding)
        self._latent_keys: dict[tuple[int, bool], Mapping[str, Any]] = {}
        self._controls_hashes: dict[int, str] = {}
        self._masks: dict[tuple[int, bool], Tensor] = {}
        self._aside: dict[int, int] = {}
        self.masked = data.masked_loss and any(sample.mask for sample in self.samples)
        self.variants = [
            CaptionPolicy.of(sample, data).variants(sample.caption, data.caption_variants,
                                                    derived_seed(config.seed, "captions", index))
            for index, sample in enumerate(self.samples)
        ]

    @property
    def trains_text(self) -> bool:
        return self.config.adapter.text_encoder

    def prepare(self, batches: range | None = None) -> Events:
        """Fill the caches with what those batches (None: all of the run) and the proofs take, and report images left
        out and captions cut. A cache entry that is lost later, or was not asked for, is made when it is read."""
        yield from map(Warned, self._notes())
        every = range(self.config.steps * self.config.accumulation_steps)
        draws = self.draws_of(every if batches is None else batches)
        yield from self._prepare_latents([self.draws(0)[0], *draws])
        if not self.trains_text:
            yield from self.prepare_texts([*(Draw(self.first, False, text) for text in self.proof_captions), *draws])

    def _notes(self) -> Iterator[str]:
        yield from self.left_out
        if self.config.data.masked_loss and not self.masked:
            yield ("data.masked_loss is on, but no image has a mask, so all are trained whole. Put the mask of a.png "
                   "into masks/a.png or a_mask.png.")
        if self.edit_form:
            yield self._edit_note()
        yield from truncation_report(self._whole_captions(), self.backbone.token_count)

    def _whole_captions(self) -> list[str]:
        """The captions with all of their tags: what is shuffled or left out later hardly changes their length."""
        data = dataclasses.replace(self.config.data, shuffle_captions=False, tag_dropout=0.0)
        return list(dict.fromkeys(CaptionPolicy.of(sample, data).apply(sample.caption, random.Random())
                                  for sample in self.samples))

    def draws_of(self, batches: Iterable[int]) -> list[Draw]:
        """What those batches are made of, each once, in the order of its first use."""
        data, found = self.config.data, dict[Draw, None]()
        ways = (1 + data.flip) * sum(len(own) + (data.caption_dropout > 0)
                                     for own, sample in zip(self.variants, self.samples, strict=True) if sample.repeats)
        for index in batches:
            found.update(dict.fromkeys(self.draws(index)))
            if len(found) >= ways:
                break
        return list(found)

    def _prepare_latents(self, draws: Iterable[Draw]) -> Events:
        """Images are read in threads, ahead of the VAE, and once for both ways in which they are trained."""
        wanted: dict[int, set[bool]] = {}
        for draw in draws:
            wanted.setdefault(draw.sample, set()).add(draw.flip)
        images = [(index, tuple(sorted(flips))) for index, flips in sorted(wanted.items())]
        done, total, hidden = 0, sum(len(flips) for _, flips in images), dict[str, None]()
        with closing(_ahead(self._read_missing, images)) as found:
            for (index, flips), image in zip(images, found, strict=True):
                if image.hidden:
                    hidden[f"{self.samples[index].path.name}: {image.hidden}"] = None
                for flip in flips:
                    if flip in image.pixels:
                        self.cache.put(self._latent_key(index, flip), self._encode_image(index, image, flip))
                    done += 1
                    yield Caching("latents", done, total)
        yield from map(Warned, hidden)

    def _read_missing(self, image: tuple[int, tuple[bool, ...]]) -> _Image:
        index, flips = image
        found = [self.cache.find(self._latent_key(index, flip)) for flip in flips]
        missing = [flip for flip, entry in zip(flips, found, strict=True) if entry is None]
        return self._read(index, missing) if missing else _Image({}, _read_hidden(found[0] or {}))

    def _read(self, index: int, flips: Iterable[bool]) -> _Image:
        sample = self.samples[index]
        pixels = to_tensor(fit_to_bucket(sample.load(), self.buckets[index]))
        return _Image({flip: pixels.flip(-1) if flip else pixels for flip in flips}, _describe_hidden(sample, pixels))

    def prepare_texts(self, draws: Iterable[Draw]) -> Events:
        """Captions are encoded together, the longest first, so that memory runs out at once if ever."""
        wanted = list(dict.fromkeys(map(self._text, draws)))
        with closing(_ahead(lambda text: self.cache.find(self._text_key(text)), wanted)) as found:
            missing = [text for text, entry in zip(wanted, found, strict=True) if entry is None]
        done = len(wanted) - len(missing)
        if done:
            yield Caching("text", done, len(wanted))
        for texts in self._text_batches(missing):
            for text, row in zip(texts, self._encode_texts(texts), strict=True):
                self.cache.put(self._text_key(text), row)
            done += len(texts)
            yield Caching("text", done, len(wanted))

    def _text_batches(self, texts: Sequence[_Text]) -> Iterator[list[_Text]]:
        """The longest captions first, so that those of equal length, as the variants of one are, mostly come together;
        those with control images alone."""
        together = [text for text in texts if text.sample is None]
        together.sort(key=lambda text: -len(text.caption))
        for start in range(0, len(together), TEXT_BATCH):
            yield together[start : start + TEXT_BATCH]
        yield from ([text] for text in texts if text.sample is not None)

    def _edit_note(self) -> str:
        count, form = sum(bool(sample.controls) for sample in self.samples), EDIT_FORMS[self.edit_form]
        rest = len(self.samples) - count
        alone = f"; {rest} without one are trained as text-to-image" if rest else ""
        return (f"{count} of {len(self.samples)} images have a control image, given to the model as for {form.title}"
                f"{alone}. For another model, set edit_form in Train Settings.")

    def draws(self, index: int) -> list[Draw]:
        """What the index-th batch is made of, counted from 0 over all epochs."""
        rng = random.Random(derived_seed(self.config.seed, "batch", index))
        data, draws = self.config.data, []
        for row, sample in enumerate(self.plan.batch(index)):
            sample = self._stand_in(sample, index, row)
            flip = data.flip and rng.random() < 0.5
            dropped = rng.random() < data.caption_dropout
            draws.append(Draw(sample, flip, "" if dropped else rng.choice(self.variants[sample])))
        return draws

    def set_aside(self, sample: int, first: int) -> None:
        """From the batch of that index on, another sample of the same bucket takes this one's place, if there is one.
        """
        self._aside[sample] = first

    def _stand_in(self, sample: int, index: int, row: int) -> int:
        """The sample itself, or the one in its place if it is set aside."""
        if index < self._aside.get(sample, index + 1):
            return sample
        kind = self.samples[sample].regularisation
        others = [other for other, bucket in enumerate(self.buckets) if bucket == self.buckets[sample]
                  and self.samples[other].regularisation is kind and self.samples[other].repeats
                  and index < self._aside.get(other, index + 1)]
        return random.Random(derived_seed(self.config.seed, "aside", index, row)).choice(others or [sample])

    def batch(self, index: int, share: Share | None = None) -> Batch:
        """The index-th batch, counted from 0 over all epochs; with a share, those rows of it."""
        draws = share.of(self.draws(index)) if share else self.draws(index)
        latents = torch.stack([self._latents(draw.sample, draw.flip) for draw in draws])
        size = (latents.shape[-2], latents.shape[-1])
        masks = [self._mask(draw.sample, draw.flip, size) for draw in draws] if self.masked else []
        rows = [] if self.trains_text else [self.row(draw.caption, draw.sample, draw.flip) for draw in draws]
        return Batch(latents, tuple(draw.caption for draw in draws), Conditioning.cat(rows) if rows else None,
                     torch.stack(masks) if masks else None,
                     batch_weight(self.config.data, (self.samples[draw.sample] for draw in draws)))

    @property
    def proof_captions(self) -> list[str]:
        """The captions, of the first sample, that the proof before the first step compares."""
        dropped = [""] if self.config.data.caption_dropout else []
        return list(dict.fromkeys([self.variants[self.first][0], *dropped]))

    @property
    def proof_latents(self) -> Tensor:
        """[1, C, ...], those of the first row of the first batch."""
        first = self.draws(0)[0]
        return self._latents(first.sample, first.flip)[None]

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

    def _latents(self, index: int, flip: bool) -> Tensor:
        return self.cache.get(self._latent_key(index, flip),
                              lambda: self._encode_image(index, self._read(index, [flip]), flip))["latents"]

    def _encode_image(self, index: int, image: _Image, flip: bool) -> dict[str, Tensor]:
        with torch.no_grad():
            latents = self.backbone.encode_images(image.pixels[flip][None])[0].float().cpu()
        _check_finite({"latents": latents}, self.samples[index].path.name, "VAE", _VAE_REMEDY)
        hidden = {_HIDDEN: torch.tensor(list(image.hidden.encode()), dtype=torch.uint8)} if image.hidden else {}
        return {"latents": latents, **hidden}

    def _latent_key(self, index: int, flip: bool) -> Mapping[str, Any]:
        if (index, flip) not in self._latent_keys:  # checking at every step whether a file has changed costs time
            sample = self.samples[index]
            self._latent_keys[index, flip] = self._key(
                {"what": "latents", "image": sample.content_hash, "crop": sample.crop, "bucket": self.buckets[index],
                 "flip": flip})
        return self._latent_keys[index, flip]

    def _mask(self, index: int, flip: bool, size: tuple[int, int]) -> Tensor:
        """[1, h, w]; all ones for an image without a mask."""
        sample, bucket = self.samples[index], self.buckets[index]
        if (index, flip) not in self._masks:
            mask = bucket_mask(sample, bucket, flip)
            self._masks[index, flip] = torch.ones(1, *size) if mask is None else latent_mask(mask, size)
        return self._masks[index, flip]

    def row(self, caption: str, index: int, flip: bool = False) -> Conditioning:
        """The cached conditioning of a sample with that caption, on the CPU."""
        text = self._text(Draw(index, flip, caption))
        return Conditioning(self.cache.get(self._text_key(text), lambda: self._encode_texts([text])[0]))

    def _text(self, draw: Draw) -> _Text:
        paired = self.samples[draw.sample].controls
        return _Text(draw.caption, draw.sample, draw.flip) if paired else _Text(draw.caption)

    def _encode_texts(self, texts: Sequence[_Text]) -> list[dict[str, Tensor]]:
        """The rows of a batch of `_text_batches`."""
        captions, (_, sample, flip) = [text.caption for text in texts], texts[0]
        with torch.no_grad():
            encoded = (self.backbone.encode_text(captions) if sample is None
                       else self.backbone.encode_text(captions, self.controls(sample, flip))).to("cpu")
        rows = [encoded.row(row) for row in range(len(texts))]
        for caption, row in zip(captions, rows, strict=True):
            name = f"{caption[:57]}..." if len(caption) > 60 else caption
            _check_finite(row, f"the caption {name!r}", "text encoder", _TEXT_REMEDY)
        return rows

    def _text_key(self, text: _Text) -> Mapping[str, Any]:
        # Earlier versions read the backslashes of escaped brackets, and dropped tensors without a batch dimension: what
        # they cached is not used.
        parts = {"what": "text", "caption": text.caption, "form": 2}
        return self._key(parts if text.sample is None else {**parts, **self._controls_parts(text.sample, text.flip)})

    def _controls_parts(self, index: int, flip: bool) -> Mapping[str, Any]:
        sample = self.samples[index]
        if index not in self._controls_hashes:
            self._controls_hashes[index] = sample.controls_hash
        return {"controls": self._controls_hashes[index], "ground": sample.ground,
                "crop": sample.crop and [*sample.crop, sample.content_hash], "edit_form": self.edit_form, "flip": flip}

    def _key(self, parts: dict[str, Any]) -> Mapping[str, Any]:
        return {**parts, "model": self.backbone.fingerprint, "encoding": self._encoding}
