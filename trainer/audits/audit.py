"""What is wrong with a dataset, image by image and as a set, and what it lacks, before time is spent on training.

Each image is opened once; what was measured is saved on disk by content, so a second audit measures only what is new,
even if the first was stopped. No file is deleted: `DatasetAudit.without` gives the reason for each image it leaves out.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..captions.coverage import REGULARISATION, Coverage, coverage
from ..captions.kinds import KINDS
from ..captions.views import VOCABULARIES
from ..common.errors import UserError, unknown_name
from ..common.events import Event, Events, Interrupted, Progress
from ..common.read_ahead import in_order
from ..common.tensor_cache import TensorCache
from ..datasets.dataset import Dataset, Sample
from ..models.families import get_family
from ..pictures.duplicates import THUMB, Print, Search, best_of, find_duplicates, fingerprint_picture
from ..pictures.images import read_camera
from ..pictures.room import bytes_to_open, room_for
from .cameras import camera_findings
from .checks import (
    SEVERITIES,
    Finding,
    caption_findings,
    cast_findings,
    hidden_findings,
    pixel_findings,
    regularisation_findings,
    size_findings,
    unreadable,
)
from .config import AuditConfig
from .figures import FIGURES_VERSION, Figures, measure, trained_blocking
from .looks import Eye, LookReader, compares_looks, look_findings
from .people import people_findings

_FIELDS = tuple(figure.name for figure in dataclasses.fields(Figures))
_MAY_BE_NONE = ("edge_width", "lettering", "cast_a", "cast_b")
_AHEAD = 4
"""Images measured or waiting per worker; more would only fill memory."""


@dataclass(frozen=True)
class PictureAudit:
    """One image.

    Attributes:
        name: its path within the dataset's folder.
        figures: what was measured; None if it cannot be read, or if only copies were searched for.
        findings: what is wrong, the worst first; empty if nothing is.
    """

    sample: Sample
    name: str
    figures: Figures | None
    findings: tuple[Finding, ...]

    @property
    def severity(self) -> str:
        """Severity of the worst finding; "" if there is none."""
        return self.findings[0].severity if self.findings else ""


@dataclass(frozen=True)
class DatasetAudit:
    """A whole dataset.

    Attributes:
        pictures: in the dataset's order.
        duplicates: groups of indices into `pictures` that are copies of one another, the one worth keeping first.
        camera_advice: what the EXIF of the photographs says against the set.
        left_out: what is in the folder but not in the dataset, one line each with the reason.
        notes: other notes from reading the dataset.
        compared: number of pairs of hashes that were compared to find the duplicates.
    """

    config: AuditConfig
    pictures: tuple[PictureAudit, ...]
    duplicates: tuple[tuple[int, ...], ...]
    coverage: Coverage
    left_out: tuple[str, ...] = ()
    camera_advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    compared: int = field(default=0, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """Number of images with each code, most first."""
        codes = [code for picture in self.pictures for code in {finding.code for finding in picture.findings}]
        return dict(sorted(((code, codes.count(code)) for code in set(codes)), key=lambda item: (-item[1], item[0])))

    @property
    def advice(self) -> tuple[str, ...]:
        """What to add to the set, or to reduce."""
        return (*self.coverage.advice, *self.camera_advice)

    def with_severity(self, severity: str) -> tuple[PictureAudit, ...]:
        """The images whose worst finding has that severity."""
        return tuple(picture for picture in self.pictures if picture.severity == severity)

    def without(self, severity: str = "fault", codes: Sequence[str] = ()) -> tuple[Dataset, tuple[str, ...]]:
        """(the samples without findings of at least `severity` or with one of `codes`, one line for each image left out
        with the reason). With an empty severity, only the codes count. Raises UserError for an unknown severity."""
        if severity and severity not in SEVERITIES:
            raise unknown_name("severity", severity, SEVERITIES)
        bad = SEVERITIES[: SEVERITIES.index(severity) + 1] if severity else ()
        kept, reasons = [], []
        for picture in self.pictures:
            against = [f for f in picture.findings if f.severity in bad or f.code in codes]
            if against:
                reasons.append(f"left out {picture.name}: {' '.join(finding.text for finding in against)}")
            else:
                kept.append(picture.sample)
        return Dataset(tuple(kept), (*self.notes, *self.left_out, *reasons)), tuple(reasons)


@dataclass(frozen=True)
class AuditFinished(Event):
    """The last event of an audit that was not stopped."""

    audit: DatasetAudit


def audit(dataset: Dataset, config: AuditConfig | None = None, cache: str | os.PathLike[str] | None = None, *,
          eye: Eye | None = None, should_stop: Callable[[], bool] = lambda: False) -> Events:
    """Measure every image, look for copies, and report what is wrong and what is lacking.

    Args:
        cache: a folder where measurements are saved by content; None saves nothing.
        eye: what measures how alike images of one character look; None: that is not checked.
        should_stop: called after each image; if it returns true, the last event is Interrupted.

    Yields Progress for each image, again for the copies that must be told apart, and, last, AuditFinished. To cancel,
    close the iterator, or raise where it is consumed. An image that cannot be read is a finding. Raises UserError if
    the cache cannot be written.
    """
    config = config or AuditConfig()
    reader = _Reader(config, None if cache is None else TensorCache(Path(cache)))
    samples = dataset.samples
    figures: list[Figures | None] = []
    hashes: list[NDArray[np.uint64] | None] = []
    findings: list[list[Finding]] = []
    for done, (own, found) in enumerate(in_order(reader, samples, config.threads, _AHEAD * config.threads), 1):
        hashes.append(None if own is None else own[1])
        figures.append(None if own is None else own[0])
        findings.append(found)
        yield Progress("audit", done, len(samples))
        if should_stop():
            yield Interrupted("audit")
            return
    names = _names(samples)
    for found, cast in zip(findings, cast_findings(figures), strict=True):
        found.extend([cast] if cast else [])
    if eye is not None and compares_looks(config):
        looks: list[torch.Tensor | None] = []
        look_reader = LookReader(eye, config.side, reader.cache)
        for sample, measured_figures in zip(samples, figures, strict=True):
            looks.append(None if measured_figures is None else reader.look(sample, look_reader))
            yield Progress("looks", len(looks), len(samples))
            if should_stop():
                yield Interrupted("audit")
                return
        for found, look in zip(findings, look_findings(looks), strict=True):
            found.extend([look] if look else [])
    about_person = _shows_person(config.purpose) and not config.copies_only
    camera_advice = _add_person_findings(samples, findings) if about_person else ()
    search = Search()
    found_groups = _groups(samples, hashes, reader, search)
    blocking = {reader.content(sample): own.blocking for sample, own in zip(samples, figures, strict=True) if own}
    unknown = _to_measure(found_groups, samples, reader, blocking)
    measured = in_order(reader.blocking, unknown, config.threads, _AHEAD * config.threads)
    for done, (sample, value) in enumerate(zip(unknown, measured, strict=True), 1):
        blocking[reader.content(sample)] = value
        yield Progress("copies", done, len(unknown))
        if should_stop():
            yield Interrupted("audit")
            return
    groups = tuple(sorted(_best_first(members, samples, reader, blocking) for members in found_groups))
    for keep, *copies in groups:
        for index in copies:
            same = reader.content(samples[index]) == reader.content(samples[keep])
            findings[index].append(_copy_of(names[keep], same))
    yield AuditFinished(DatasetAudit(
        config, tuple(_picture(*parts) for parts in zip(samples, names, figures, findings, strict=True)), groups,
        _coverage(samples, config),
        tuple(note for note in dataset.notes if note.startswith("skipped")), camera_advice,
        tuple(note for note in dataset.notes if not note.startswith("skipped")), search.compared))


def _coverage(samples: Sequence[Sample], config: AuditConfig) -> Coverage:
    if config.copies_only:
        return Coverage(config.purpose, len(samples), (), "")
    return coverage([sample.caption for sample in samples], config.purpose, _known_words(config.family))


def _shows_person(purpose: str) -> bool:
    return purpose in KINDS and KINDS[purpose].person


def _add_person_findings(samples: Sequence[Sample], findings: Sequence[list[Finding]]) -> tuple[str, ...]:
    """Add what is in the way of a person to the findings; returns advice on the set."""
    of_cameras, advice = camera_findings([read_camera(sample.path) for sample in samples])
    for found, *more in zip(findings, people_findings([sample.caption for sample in samples]), of_cameras, strict=True):
        found.extend(finding for part in more for finding in part)
    return advice


_Measured = tuple[Figures | None, NDArray[np.uint64]]


class _Reader:
    """Opens images and measures them, or reads earlier measurements from the cache."""

    def __init__(self, config: AuditConfig, cache: TensorCache | None) -> None:
        self.config, self.cache = config, cache
        self.family = get_family(config.family)
        self._contents: dict[Sample, str] = {}
        self._of_caption = regularisation_findings if config.purpose == REGULARISATION else caption_findings
        self._recent = lru_cache(maxsize=256)(lambda sample: fingerprint_picture(sample.load()).thumb)

    def __call__(self, sample: Sample) -> tuple[_Measured | None, list[Finding]]:
        """(figures and hashes, findings that need no other image)."""
        found = [] if self.config.copies_only else [*size_findings(sample.size, self.family, self.config.side),
                                                    *self._of_caption(sample.caption, self.config.trigger)]
        try:
            tensors = self._tensors(sample)
        except UserError as error:
            return None, [unreadable(error), *found]
        hashes = tensors["hashes"].numpy().view(np.uint64)
        if self.config.copies_only:
            return (None, hashes), found
        figures = _figures(tensors["figures"])
        seen = hidden_findings(sample, figures) or pixel_findings(figures)
        return (figures, hashes), [*found, *seen]

    def thumb(self, sample: Sample) -> NDArray[np.uint8]:
        """The thumbnail to compare copies by. It is not held in memory, because few of many images need it. For an
        image that vanished meanwhile it is noise, which is like no other image."""
        try:
            return self._recent(sample) if self.cache is None else self._tensors(sample)["thumb"].numpy()
        except UserError:
            return np.random.default_rng().integers(0, 256, (THUMB, THUMB, 3), np.uint8)

    def content(self, sample: Sample) -> str:
        """The hash of what was measured, which may have vanished since. Raises UserError if it was not measured."""
        if sample not in self._contents:
            self._contents[sample] = sample.content_hash
        return self._contents[sample]

    def look(self, sample: Sample, look_reader: LookReader) -> torch.Tensor | None:
        """The embedding of an image; None if it vanished meanwhile."""
        try:
            with room_for(bytes_to_open(sample.size, "RGB", "PNG")):
                return look_reader.embed(sample, self.content(sample))
        except UserError:
            return None

    def blocking(self, sample: Sample) -> float:
        """How much JPEG blocks stand out in an image whose figures were not measured; 1, so that a copy of it is kept,
        if it vanished meanwhile."""
        parts = {"version": FIGURES_VERSION, "image": self.content(sample), "what": "blocking",
                 "resolution": self.config.side}
        known = None if self.cache is None else self.cache.find(parts)
        if known is not None:
            return known["blocking"].item()
        try:
            with room_for(bytes_to_open(sample.size, "RGB", "PNG")):
                value = trained_blocking(sample.load(), self.config.side)
        except UserError:
            return 1.0
        if self.cache is not None:
            self.cache.put(parts, {"blocking": torch.tensor(value, dtype=torch.float64)})
        return value

    def _tensors(self, sample: Sample) -> Mapping[str, torch.Tensor]:
        def compute() -> dict[str, torch.Tensor]:
            with room_for(bytes_to_open(sample.size, "RGB", "PNG")):
                image = sample.load()
                own = _print_tensors(fingerprint_picture(image))
                return own if self.config.copies_only else {
                    "figures": _as_tensor(measure(image, self.config.side)), **own}

        content = self.content(sample)
        if self.cache is None:
            return compute()
        what = {"what": "copies"} if self.config.copies_only else {"what": "audit", "resolution": self.config.side}
        return self.cache.get({"version": FIGURES_VERSION, "image": content, **what}, compute)


def _as_tensor(figures: Figures) -> torch.Tensor:
    values = [getattr(figures, name) for name in _FIELDS]
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)


def _figures(values: torch.Tensor) -> Figures:
    pairs = zip(_FIELDS, values.tolist(), strict=True)
    read: dict[str, Any] = {
        name: None if name in _MAY_BE_NONE and value != value else value for name, value in pairs}
    return Figures(**read)


def _print_tensors(own: Print) -> dict[str, torch.Tensor]:
    return {"hashes": torch.from_numpy(own.hashes.view(np.int64)), "thumb": torch.from_numpy(own.thumb)}


def _names(samples: Sequence[Sample]) -> list[str]:
    """Paths within the folder that holds them all."""
    if not samples:
        return []
    root = os.path.commonpath([sample.path.parent.absolute() for sample in samples])
    return [sample.path.absolute().relative_to(root).as_posix() for sample in samples]


def _groups(samples: Sequence[Sample], hashes: Sequence[NDArray[np.uint64] | None], reader: _Reader, search: Search
            ) -> list[list[int]]:
    """Groups of copies. Images with exactly the same content are searched only once."""
    same: dict[str, list[int]] = {}
    hashed: dict[int, NDArray[np.uint64]] = {}
    for index, (sample, own) in enumerate(zip(samples, hashes, strict=True)):
        if own is not None:
            hashed[index] = own
            same.setdefault(reader.content(sample), []).append(index)
    firsts = [members[0] for members in same.values()]
    near = find_duplicates(np.stack([hashed[index] for index in firsts]),
                           lambda place: reader.thumb(samples[firsts[place]]), search) if firsts else []
    alone = set(range(len(firsts))) - {place for group in near for place in group}
    exact = list(same.values())
    found = [[index for place in group for index in exact[place]] for group in (*near, *([place] for place in alone))]
    return [sorted(group) for group in found if len(group) > 1]


def _rivals(members: Sequence[int], samples: Sequence[Sample]) -> list[int]:
    """Those of a group that may be worth keeping: a caption counts most, and JPEG blocks take off at most half of an
    image's area."""
    captioned = [index for index in members if samples[index].caption] or list(members)
    most = max(_area(samples[index]) for index in captioned)
    return [index for index in captioned if 2 * _area(samples[index]) >= most]


def _area(sample: Sample) -> int:
    return sample.size[0] * sample.size[1]


def _to_measure(groups: Sequence[Sequence[int]], samples: Sequence[Sample], reader: _Reader,
                blocking: Mapping[str, float]) -> list[Sample]:
    """The images, one of each content, whose JPEG blocks decide which of a group to keep and are not known yet."""
    wanted: dict[str, Sample] = {}
    for group in groups:
        rivals = {reader.content(samples[index]): samples[index] for index in _rivals(group, samples)}
        if len(rivals) > 1:
            wanted |= {content: sample for content, sample in rivals.items() if content not in blocking}
    return list(wanted.values())


def _best_first(members: Sequence[int], samples: Sequence[Sample], reader: _Reader, blocking: Mapping[str, float]
                ) -> tuple[int, ...]:
    """A group of copies, the one worth keeping first."""
    def worth(index: int) -> float:
        blocks = blocking.get(reader.content(samples[index]), 0.0)
        return _area(samples[index]) * (1 - 0.5 * min(1.0, blocks))

    keep = best_of(_rivals(members, samples), worth)
    return (keep, *(index for index in members if index != keep))


def _copy_of(kept: str, same: bool) -> Finding:
    """`same`: whether it is the same file as the one that is kept."""
    if same:
        return Finding("duplicate", "fault", None, None, f"the same file as {kept}; leave one out.")
    return Finding("duplicate", "fault", None, None, f"a copy of {kept} (saved again, resized, cropped or mirrored); "
                   "leave it out.")


def _picture(sample: Sample, name: str, figures: Figures | None, findings: Sequence[Finding]) -> PictureAudit:
    return PictureAudit(sample, name, figures,
                        tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))))


def _known_words(family: str) -> frozenset[str] | None:
    if family not in VOCABULARIES:
        return None
    return frozenset(word for words in VOCABULARIES[family].axes.values() for word in words)
