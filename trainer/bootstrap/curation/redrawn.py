"""Kept images, drawn again with the marks of the original, which candidates seldom show.

Each is drawn as it was, with a LoRA of the marks that counts where it changes the image most (stacks/local_lora.py),
and the new image is laid over the old one in these places alone. It is taken if that makes it more like the original.
A mark where it does not belong, such as the other eye's colour in profile, makes it less so.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ...captions.axes import usual_view
from ...common.events import Event, Progress
from ...common.files import file_hash, remove_file
from ...measures.eyes import Likeness
from ...measures.likeness import likeness_to
from ...pictures.images import open_image, to_image, to_tensor
from ...stacks.local_lora import Local
from ...stacks.time_split import Curve
from ..candidates import Lineage, PictureMaker, Stopped, is_there, save_candidate
from ..rounds import KeptCandidate

LEAST_GAIN = 0.02
"""By how much the likeness to the original must grow. Where the marks change nothing it moves by less."""


@dataclass(frozen=True)
class MarksLora:
    """A LoRA of the marks.

    Attributes:
        hidden: the framings, by their usual tags, that do not show the marks; images of these stay as they are.
    """

    path: Path
    hidden: frozenset[str] = frozenset()
    local: Local = Local()

    @property
    def text(self) -> str:
        """For people, and for telling one from another."""
        return f"{self.path.stem} {file_hash(self.path)[:12]}, {self.local.text}"


@dataclass(frozen=True)
class Redrawn:
    """All kept images.

    Attributes:
        drawn: how many were drawn again; taken: how many of these are in place of what they were.
        reused: whether all of them were there already.
    """

    images: tuple[KeptCandidate, ...]
    drawn: int
    taken: int
    reused: bool


@dataclass(frozen=True)
class MarksPainter:
    """Draws the marks into kept images.

    Attributes:
        folder: where the images that are drawn again are kept.
        loras: hash → file of each style LoRA that drew candidates.
        curve: the factor on their strengths over the steps.
        anchors: the crops [A, 3, H, W] in 0..1, at the size at which images are compared.
    """

    pictures: PictureMaker
    folder: Path
    loras: Mapping[str, Path]
    curve: Curve | None
    marks: MarksLora
    eye: Likeness
    anchors: Tensor

    def redraw(self, kept: Sequence[KeptCandidate]) -> Generator[Event, None, Redrawn]:
        """Draw again what the loop itself drew and can draw alike. Yields progress."""
        plan = {item.lineage.name: replace(item.lineage, marks=self.marks.text) for item in kept
                if self._can_redraw(item.lineage)}
        paths = {item.lineage.name: item.path for item in kept}
        missing = [lineage for name, lineage in plan.items() if not is_there(self.folder, lineage)]
        done = len(plan) - len(missing)
        for way in dict.fromkeys((lineage.parent_lora_sha256, lineage.strength) for lineage in missing):
            group = [lineage for lineage in missing if (lineage.parent_lora_sha256, lineage.strength) == way]
            for start in range(0, len(group), self.pictures.sampler.batch):
                if self.pictures.should_stop():
                    raise Stopped
                batch = group[start : start + self.pictures.sampler.batch]
                self._make(batch, [paths[lineage.name] for lineage in batch])
                done += len(batch)
                yield Progress("marks", done, len(plan))
        self._remove_others(plan)
        better = self._find_better([paths[name] for name in plan], list(plan))
        images = tuple(replace(item, path=self._file(item.lineage.name), lineage=plan[item.lineage.name])
                       if item.lineage.name in better else item for item in kept)
        return Redrawn(images, len(plan), len(better), not missing)

    def _can_redraw(self, lineage: Lineage) -> bool:
        sampler = self.pictures.sampler
        return (not lineage.recipe and not lineage.edits and not lineage.repaired_from
                and lineage.base == self.pictures.backbone.fingerprint and lineage.parent_lora_sha256 in self.loras
                and lineage.curve == (self.curve.text if self.curve else "")
                and (lineage.width, lineage.height, lineage.steps, lineage.cfg) == (
                    sampler.width, sampler.height, sampler.steps, sampler.cfg)
                and self.marks.hidden.isdisjoint(map(usual_view, lineage.tags)))

    def _make(self, batch: Sequence[Lineage], paths: Sequence[Path]) -> None:
        drawn, places = self.pictures.redraw(batch, self.loras[batch[0].parent_lora_sha256], self.curve,
                                             self.marks.path, self.marks.local)
        for lineage, path, pixels, place in zip(batch, paths, drawn, places, strict=True):
            before = to_tensor(open_image(path))
            save_candidate(self.folder, to_image(before + place * (pixels - before)), lineage)

    def _find_better(self, before: Sequence[Path], names: Sequence[str]) -> set[str]:
        """Those that became more like the original."""
        if not names:
            return set()
        anchors = self.eye.embed(self.anchors)
        old, new = (likeness_to(self.eye.embed(self.pictures.pixels(paths)), anchors)
                    for paths in (before, [self._file(name) for name in names]))
        return {name for name, gain in zip(names, (new - old).tolist(), strict=True) if gain >= LEAST_GAIN}

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.png"

    def _remove_others(self, plan: Mapping[str, Lineage]) -> None:
        """Remove images that are not in the plan."""
        for sidecar in self.folder.glob("r*-*.json"):
            if sidecar.stem not in plan:
                remove_file(sidecar.with_suffix(".png"))
                remove_file(sidecar)
