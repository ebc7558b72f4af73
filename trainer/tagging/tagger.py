"""Auto-tagging: images → tags with scores, by ONNX taggers of the WD, cl_tagger and PixAI families.

A tagger is loaded once, stays in memory, and is given several images at a time. The name "sandbox" is the drawn
world's judge, which needs no download.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..captions.tags import distinct_tags, join_tags, split_tags
from ..common.errors import UserError, unknown_name
from ..common.events import Event, Events, Progress, Warned
from ..datasets.dataset import Dataset, Sample
from .choice import Chooser, PictureTags, TagChoice
from .files import find_tagger, model_file, verify
from .labels import CATEGORIES, Label, find_labels, read_labels
from .layouts import ModelShape, find_layout, lengths, pictures_side, prepare_pixels

SANDBOX = "sandbox"
BATCH = 8
_THREADS = min(4, os.cpu_count() or 1)
PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider",
             "CoreMLExecutionProvider", "CPUExecutionProvider")
"""Providers that may compute, first choice first. Not TensorRT: it spends minutes building an engine first."""


class Tagger(Protocol):
    """Reads tags from images.

    Attributes:
        name: its name in files and messages.
        labels: the label of each of its scores.
        thresholds: lowest score of each category that its makers recommend.
        notes: what the user should know, such as that a GPU could not be used.
    """

    name: str
    labels: tuple[Label, ...]
    thresholds: Mapping[str, float]

    @property
    def notes(self) -> Sequence[str]: ...

    def scores(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """[B, len(labels)] float32 in 0..1 for RGB images of any size; row i depends on image i alone."""

    def familiarity(self, pictures: Sequence[Image.Image]) -> Sequence[float]:
        """How much each image is like those that the tagger was made for: below 1 for most others. Empty if it was made
        for any image."""


class OnnxTagger:
    """A tagger in a folder: `model.onnx` and its label file. See `layouts` for the models it supports.

    Args:
        providers: onnxruntime's providers, first choice first; None uses those that exist, a GPU before the CPU.
        threads: number of threads; 0 leaves it to onnxruntime.

    Raises:
        UserError: no onnxruntime, missing or damaged files, files that do not belong together, an unknown model.
    """

    def __init__(self, folder: str | Path, providers: Sequence[str] | None = None, threads: int = 0) -> None:
        folder = Path(folder)
        self.name = folder.name
        self.notes: list[str] = []
        path = model_file(folder)
        labels_file = find_labels(folder)
        self.labels = read_labels(labels_file)
        if nameless := sum(not label.name for label in self.labels):
            self.notes.append(f"{labels_file.name} has {nameless} rows without a tag; they are never written.")
        verify(folder, (path, labels_file))
        self._session = self._open(path, providers, threads)
        source = self._session.get_inputs()
        if len(source) != 1 or len(source[0].shape) != 4:
            shapes = ", ".join(str(entry.shape) for entry in source)
            raise UserError(f"{path} takes {shapes}; a tagger takes one batch of images, such as [N, 448, 448, 3].")
        self._input, self._dtype = source[0].name, _numpy_type(source[0].type, path)
        shape = ModelShape(lengths(source[0].shape),
                           {out.name: lengths(out.shape)[-1] if out.shape else None
                            for out in self._session.get_outputs()}, labels_file.name, len(self.labels))
        self.layout = find_layout(shape, folder)
        self.side, self.fixed_batch = pictures_side(shape, self.layout), shape.input_shape[0]
        self.thresholds: Mapping[str, float] = {
            category: self.layout.threshold(category) for category in CATEGORIES}

    def _open(self, path: Path, providers: Sequence[str] | None, threads: int) -> Any:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, threads
        wanted = _providers(providers, runtime.get_available_providers())
        try:
            return runtime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # onnxruntime raises types of its own for each failure
            if wanted == [PROVIDERS[-1]]:
                raise _unusable(path, error) from error
            first = str(error).splitlines()[0][:160]
        try:
            session = runtime.InferenceSession(str(path), options, providers=[PROVIDERS[-1]])
        except Exception as error:
            raise _unusable(path, error) from error
        self.notes.append(f"{wanted[0]} could not be used ({first}); tagging on the CPU.")
        return session

    @property
    def provider(self) -> str:
        """The onnxruntime provider that computes."""
        return self._session.get_providers()[0]

    def familiarity(self, pictures: Sequence[Image.Image]) -> Sequence[float]:
        return ()

    def scores(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """See `Tagger.scores`. Raises UserError if the model's outputs are not probabilities."""
        if not pictures:
            return np.zeros((0, len(self.labels)), np.float32)
        with ThreadPoolExecutor(_THREADS) as pool:  # Pillow resizes outside Python's lock
            ready = list(pool.map(lambda picture: prepare_pixels(picture, self.layout, self.side), pictures))
        batch: np.ndarray = np.stack(ready).astype(self._dtype)
        size = self.fixed_batch or len(batch)
        rows = [self._run(batch[start : start + size], size) for start in range(0, len(batch), size)]
        return self._probabilities(np.concatenate(rows).astype(np.float32))

    def _run(self, batch: np.ndarray, size: int) -> np.ndarray:
        count = len(batch)
        if count < size:  # a model with a fixed batch size must be given a full batch
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
        try:
            return self._session.run([self.layout.output], {self._input: batch})[0].reshape(size, -1)[:count]
        except Exception as error:  # onnxruntime raises types of its own for each failure
            raise UserError(f"tagger {self.name} failed on {size} images: {str(error).splitlines()[0][:160]}. "
                            "Try a smaller batch.") from error

    def _probabilities(self, rows: np.ndarray) -> np.ndarray:
        if rows.shape[1] != len(self.labels):
            raise UserError(f"tagger {self.name} gives {rows.shape[1]} scores, but its label file names "
                            f"{len(self.labels)} tags. Get the model and the label file that belong together.")
        if self.layout.activation == "sigmoid":
            rows = 1 / (1 + np.exp(-np.clip(rows, -60, 60)))
        if not (np.isfinite(rows).all() and rows.min() >= -1e-3 and rows.max() <= 1 + 1e-3):
            raise UserError(f"tagger {self.name} gives values from {rows.min():.3g} to {rows.max():.3g}, not "
                            'probabilities. If they are logits, write layout.json with {"activation": "sigmoid"}.')
        return rows.clip(0, 1)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("tagging needs the onnxruntime library; install it with `pip install onnxruntime` (or "
                        "onnxruntime-gpu), or use the tagger 'sandbox'.") from error
    return onnxruntime


def _providers(wanted: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    for name in wanted or ():
        if name not in available:
            raise unknown_name("onnxruntime provider", name, available)
    return list(wanted or [name for name in PROVIDERS if name in available])


def _unusable(path: Path, error: Exception) -> UserError:
    line = " ".join(str(error).split())[:200]
    return UserError(f"{path} cannot be loaded ({line}). It is damaged, not an ONNX model, or lacks its .data file; "
                     "get it again from where it came.")


def _numpy_type(name: str, path: Path) -> type:
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
             "tensor(uint8)": np.uint8}
    if name not in types:
        raise UserError(f"{path} takes {name}; supported are {', '.join(types)}. Choose another model.")
    return types[name]


# -- opening ---------------------------------------------------------------------------------------------------------

_kept: dict[tuple, Tagger] = {}
_kept_lock = threading.Lock()


def open_tagger(name: str | Path, root: str | Path | None = None, providers: Sequence[str] | None = None,
                threads: int = 0) -> Tagger:
    """The tagger of that name, "sandbox" or one in a folder under `root` (`models/taggers`); or the one in a Path.

    A name (a str) never leads out of `root`. The last one opened stays in memory, and is returned again as long as its
    files are the same. Raises UserError.
    """
    folder = None if str(name) == SANDBOX else find_tagger(name, root)
    key = (str(folder or name), _stamp(folder), tuple(providers or ()), threads)
    with _kept_lock:
        if key not in _kept:
            _kept.clear()  # before the next is loaded: two large ones may not fit into memory
            _kept[key] = OnnxTagger(folder, providers, threads) if folder else _sandbox_tagger()
        return _kept[key]


def release_tagger() -> None:
    """Drop the tagger that was opened last, so that its memory is free once nothing else holds it."""
    with _kept_lock:
        _kept.clear()


def _stamp(folder: Path | None) -> tuple:
    files = sorted(folder.iterdir()) if folder else ()
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files
                 if path.is_file() and path.name != "hashes.json")


def _sandbox_tagger() -> Tagger:
    from .sandbox import SandboxTagger

    return SandboxTagger()


# -- tagging ---------------------------------------------------------------------------------------------------------


def tag_pictures(tagger: Tagger, pictures: Iterable[Image.Image], choice: TagChoice | None = None,
                 batch: int = BATCH) -> Iterator[PictureTags]:
    """The tags of each RGB image, in order; only `batch` of them are in memory at a time."""
    _check_batch(batch)
    chooser = Chooser(tagger.labels, choice or TagChoice(), tagger.thresholds)
    source = iter(pictures)
    while group := list(islice(source, batch)):
        yield from (chooser.choose(row) for row in tagger.scores(group))


def warn_of_strangers(tagger: Tagger, familiarity: Sequence[float]) -> str:
    """What to say if these images are not what the tagger was made for, or "". They are judged together, because a
    single one of either kind may look like the other."""
    if not familiarity or median(familiarity) >= 1:
        return ""
    count = sum(value < 1 for value in familiarity)
    return (f"{count} of {len(familiarity)} images do not look like those that the tagger {tagger.name!r} knows; its "
            "tags for them mean little. Choose another tagger.")


@dataclass(frozen=True)
class DatasetTagged(Event):
    """The last event of `tag_dataset`.

    Attributes:
        dataset: the samples with their new captions.
        tags: the tagger's result for each sample; None if it was not asked, or the image could not be read.
    """

    dataset: Dataset
    tags: tuple[PictureTags | None, ...]


def _join_captions(first: str, second: str) -> str:
    """Both captions' tags, each once."""
    return join_tags(distinct_tags(split_tags(first) + split_tags(second)))


MERGES: Mapping[str, Callable[[str, str], str]] = {
    "replace": lambda old, new: new,
    "append": _join_captions,
    "prepend": lambda old, new: _join_captions(new, old),
    "keep": lambda old, new: old or new,
}
"""What happens to an existing caption, by name."""


def tag_dataset(dataset: Dataset, tagger: Tagger, choice: TagChoice | None = None, merge: str = "replace",
                batch: int = BATCH) -> Events:
    """Tag every sample, yielding Progress after each batch; the last event is DatasetTagged.

    Closing the iterator cancels. An image that cannot be read keeps its caption, and a Warned names it. Images that the
    tagger was not made for are warned of, also in the dataset's notes.

    Args:
        merge: a key of MERGES: the tags `replace` the caption, are put behind it (`append`) or before it (`prepend`),
            or are only for images without one (`keep`), in which case the others are not tagged at all.
    """
    if merge not in MERGES:
        raise unknown_name("way to merge captions", merge, MERGES)
    _check_batch(batch)
    chooser = Chooser(tagger.labels, choice or TagChoice(), tagger.thresholds)
    found: list[PictureTags | None] = [None] * len(dataset)
    familiarity: list[float] = []
    wanted = [i for i, sample in enumerate(dataset) if merge != "keep" or not sample.caption]
    for start in range(0, len(wanted), batch):
        group = wanted[start : start + batch]
        with ThreadPoolExecutor(_THREADS) as pool:
            loaded = dict(zip(group, pool.map(_load_picture, [dataset.samples[place] for place in group]), strict=True))
        yield from (Warned(f"not tagged: {error}") for error in loaded.values() if isinstance(error, UserError))
        pictures = {place: image for place, image in loaded.items() if not isinstance(image, UserError)}
        familiarity += tagger.familiarity(list(pictures.values()))
        for place, row in zip(pictures, tagger.scores(list(pictures.values())), strict=True):
            found[place] = chooser.choose(row)
        yield Progress("tagging", min(start + batch, len(wanted)), len(wanted))
    samples = tuple(_caption_sample(sample, tags, merge) for sample, tags in zip(dataset, found, strict=True))
    if warning := warn_of_strangers(tagger, familiarity):
        yield Warned(warning)
    yield DatasetTagged(Dataset(samples, (*dataset.notes, *filter(None, [warning]))), tuple(found))


def _load_picture(sample: Sample) -> Image.Image | UserError:
    try:
        return sample.load()
    except UserError as error:
        return error


def _caption_sample(sample: Sample, tags: PictureTags | None, merge: str) -> Sample:
    return sample if tags is None else replace(sample, caption=MERGES[merge](sample.caption, tags.caption))


def _check_batch(batch: int) -> None:
    if batch < 1:
        raise UserError(f"batch is {batch}; it must be 1 or more.")
