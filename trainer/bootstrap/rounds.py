"""A bootstrap project's rounds on disk: candidates, what curation and people decided of them, and the datasets made.

`round_<k>/candidates/` holds the pictures with their lineage, `decisions.json` what curation proposes, `picks.json`
what was decided by hand (see picks.py), `dataset/` what is trained on. The command line and the nodes work on the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..captions.tags import absorb, join_tags, split_tags
from ..captions.views import TagRoles, Vocabulary, tag_roles, vocabulary_for
from ..common.errors import UserError
from ..common.files import file_hash, read_json, write_json
from ..datasets.dataset import Dataset, load_folder, save_samples
from ..measures.eyes import Likeness
from ..measures.likeness import anchor_pixels
from ..pictures.images import load_pixels, open_image, pixel_hash
from . import originals
from .candidates import Lineage
from .config import BootstrapConfig
from .curate import Curation, CurationSettings, Decision, RoundFigures, curate, quotas, round_figures
from .picks import CandidateFacts, Pick, Picks
from .project import ProjectRecord, fill_folder, is_filled, key_of

MANUAL, AUTO = "manual", "auto"
REFERENCE = 0
"""The number of the round that holds the base model's own pictures."""


@dataclass(frozen=True)
class Project:
    """One project: `output/bootstrap/<name>` and what it is made from.

    Attributes:
        family: of the loaded base, where it is known better than by `config.base`, which may be a folder.
    """

    folder: Path
    config: BootstrapConfig
    family: str = ""

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Raises UserError if project.json is not there, or is none."""
        if not (folder / "project.json").is_file():
            raise UserError(f"there is no project {folder.name!r}; run its Project node, or lora-bootstrap bootstrap.")
        return cls(folder, BootstrapConfig.from_dict(ProjectRecord.load(folder).settings))

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_for(self.family or self.config.base)

    @property
    def roles(self) -> TagRoles:
        return tag_roles(self.config.tags, self.vocabulary)

    @property
    def depth(self) -> int:
        """How many rounds there are."""
        return len(self.config.targets) - 1

    @property
    def crops_folder(self) -> Path:
        return self.folder / "crops"

    def crops(self) -> Dataset:
        """What the original was cut into. Raises UserError if it is not there."""
        return load_folder(self.crops_folder)

    def round(self, number: int) -> Round:
        return Round(self, number)

    def target(self, number: int) -> int:
        """Pictures to train on after a round, the crops among them."""
        return self.config.targets[number]


@dataclass(frozen=True)
class BuiltDataset:
    """A dataset on disk, and what there is to say of it."""

    dataset: Dataset
    summary: str
    reused: bool


def make_crops(project: Project, picture: Image.Image, stem: str, own: Dataset | None = None) -> BuiltDataset:
    """Cut the original into the crops of the first round, captioned with what each shows.

    Args:
        stem: what the crops are said to descend from.
        own: pictures with captions to take as they are instead.
    """
    config, count = project.config, project.config.targets[0]
    key = key_of(pixel_hash(picture), config.tags, config.trigger, count, own.fingerprint if own else None)
    reused = is_filled(project.crops_folder, key)
    if not reused:
        items = originals.own_crops(own, config.trigger) if own else []  # they may lie where the crops are to be
        with fill_folder(project.crops_folder, key):
            if own is None:
                originals.save_crops(project.crops_folder, picture, count, stem, project.roles, project.vocabulary,
                                     config.trigger)
            else:
                save_samples(project.crops_folder, items)
    dataset = project.crops()
    enough = own is not None or len(dataset) == count
    summary = f"{len(dataset)} {'pictures of your own' if own else 'crops'}" if enough else (
        f"The picture gave only {len(dataset)} distinct crops of the {count} wanted.")
    return BuiltDataset(dataset, summary, reused)


@dataclass(frozen=True)
class Decisions:
    """What curation decided of a round's candidates.

    Attributes:
        decisions: by candidate; empty before the round was curated.
        mode: manual: only what was kept by hand counts; auto: also what curation picked.
        values: decisions.json as it was read, if it was.
    """

    decisions: Mapping[str, Decision]
    mode: str = MANUAL
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class KeptCandidate:
    """A picture that is kept, and what was decided on it by hand."""

    path: Path
    lineage: Lineage
    pick: Pick

    @property
    def caption(self) -> str:
        return join_tags(self.lineage.tags if self.pick.tags is None else self.pick.tags)


@dataclass(frozen=True)
class Round:
    """Round `number` of a project; REFERENCE is the base's own pictures, which nobody chooses from."""

    project: Project
    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number <= self.project.depth:
            raise UserError(f"round is {self.number}; project {self.project.name!r} has rounds 1 to "
                            f"{self.project.depth}.")

    @property
    def folder(self) -> Path:
        return self.project.folder / f"round_{self.number}"

    @property
    def candidates_folder(self) -> Path:
        return self.project.folder / "reference" if self.number == REFERENCE else self.folder / "candidates"

    @property
    def dataset_folder(self) -> Path:
        return self.folder / "dataset"

    @property
    def decisions_file(self) -> Path:
        return self.folder / "decisions.json"

    @property
    def picks_file(self) -> Path:
        return self.folder / "picks.json"

    @property
    def picks(self) -> Picks:
        return Picks.load(self.picks_file)

    def list_candidates(self) -> list[Path]:
        """The pictures made for this round, by name; those without lineage are none of ours."""
        found = self.candidates_folder.glob(f"r{self.number}-*.png")
        return sorted(path for path in found if path.with_suffix(".json").is_file())

    @cached_property
    def _earlier(self) -> dict[Path, KeptCandidate]:
        if self.number <= 1:
            return {}
        return {kept.path: kept for kept in self.project.round(self.number - 1).list_kept()}

    @property
    def carried(self) -> list[Path]:
        """The pictures kept in the round before; they are chosen from again."""
        return list(self._earlier)

    def pictures(self) -> list[Path]:
        return [*self.carried, *self.list_candidates()]

    def collect_facts(self, names: Collection[str] | None = None) -> dict[str, CandidateFacts]:
        """What a pick must know of each candidate, or of those of these names that there are."""
        return {path.stem: self.read_facts(path) for path in self.pictures() if names is None or path.stem in names}

    def read_facts(self, path: Path) -> CandidateFacts:
        lineage = Lineage.read(path)
        earlier = replace(self._earlier[path].pick, state="") if path in self._earlier else Pick()
        return CandidateFacts(file_hash(path), (lineage.width, lineage.height), earlier)

    def read_decisions(self) -> Decisions:
        """What decisions.json says. Raises UserError if it cannot be read."""
        if not self.decisions_file.is_file():
            return Decisions({})
        values = read_json(self.decisions_file)
        try:
            decisions = [Decision(**decision) for decision in values["decisions"]]
            return Decisions({decision.candidate: decision for decision in decisions}, values.get("mode", AUTO), values)
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.decisions_file} holds no decisions ({error}). Mend it, or delete it to curate "
                            "anew.") from error

    def list_kept(self, found: Decisions | None = None) -> list[KeptCandidate]:
        """The pictures that are kept by these decisions, else by those on disk; what was decided by hand comes first in
        any case."""
        found, picks, kept = found or self.read_decisions(), self.picks, []
        for path in self.pictures():
            pick, decision = picks.of(path.stem, self.read_facts(path)), found.decisions.get(path.stem)
            undecided = path in self._earlier if found.mode == MANUAL else decision is not None and decision.kept
            if pick.state == "keep" or (not pick.state and undecided):
                kept.append(KeptCandidate(path, Lineage.read(path), pick))
        return kept

    def quotas(self, count: int) -> dict[str, dict[str, int]]:
        """Axis → tag → how many of `count` pictures should show it, as the views that were asked for share it."""
        views = [Lineage.read(path).view for path in self.pictures()]
        table: dict[str, dict[str, int]] = {}
        for (axis, tag), wanted in quotas(views, count).items() if views else ():
            table.setdefault(axis, {})[tag] = wanted
        return table


@dataclass(frozen=True)
class CuratedRound:
    """How a round was curated.

    Attributes:
        kept: what is kept now, by curation and by hand.
        reused: the decisions were there already.
    """

    curation: Curation
    figures: RoundFigures
    kept: tuple[KeptCandidate, ...]
    reused: bool


def curate_round(round_: Round, *, wanted: int, size: tuple[int, int], reference: Tensor | None, eye: Likeness | None,
                 settings: CurationSettings | None = None, mode: str = AUTO) -> CuratedRound:
    """Decide on a round's candidates, write decisions.json, and measure what is kept.

    Decisions that were made from the same pictures and picks are kept as they are in the file, where somebody may have
    changed them.

    Args:
        wanted: how many to keep beside the crops.
        size: (width, height) at which pictures are compared.
        reference: the base's own pictures [R, 3, H, W] in 0..1 at that size; None: what they tell is not measured.
    """
    settings = settings or CurationSettings()
    paths, crops, picks = round_.pictures(), round_.project.crops(), round_.picks
    pixels, anchors = load_pixels(paths, size), anchor_pixels(crops, size)
    lineage = [Lineage.read(path) for path in paths]
    states = [picks.of(path.stem, round_.read_facts(path)).state for path in paths]
    if mode == MANUAL:
        carried = set(round_.carried)
        states = [state or ("keep" if path in carried else "") for path, state in zip(paths, states, strict=True)]
    key = key_of([asdict(item) for item in lineage], [file_hash(path) for path in paths], crops.fingerprint, wanted,
                 asdict(settings), eye.name if eye else None, reference is not None, states)
    found = round_.read_decisions()
    recorded = found.values or {}
    reused = recorded.get("key") == key
    if reused:
        curation = Curation(tuple(found.decisions[path.stem] for path in paths), (), tuple(recorded["notes"]))
    else:
        curation = curate([item.candidate for item in lineage], pixels, anchors, count=wanted, reference=reference,
                          eye=eye, settings=settings,
                          by_hand={index: state == "keep" for index, state in enumerate(states) if state})
    kept = round_.list_kept(Decisions({decision.candidate: decision for decision in curation.decisions}, mode))
    rows = [paths.index(item.path) for item in kept]
    figures = round_figures(round_.number, [curation.decisions[row] for row in rows], len(paths), pixels[rows], anchors,
                            reference, eye, originals.real_share(len(crops), len(rows)))
    write_json(round_.decisions_file, {
        "key": key, "round": round_.number, "wanted": wanted, "mode": mode, "eye": eye.name if eye else "",
        "notes": curation.notes, "figures": asdict(figures),
        "decisions": [asdict(decision) for decision in curation.decisions],
        "twins": recorded.get("twins", ()) if reused else [
            [paths[index].stem for index in group] for group in curation.copies]})
    return CuratedRound(curation, figures, tuple(kept), reused)


def round_dataset(round_: Round, kept: Sequence[KeptCandidate]) -> BuiltDataset:
    """Write what is trained on after a round: the crops so often that they are a third of the samples, and each kept
    picture once, cropped, flipped and captioned as was decided by hand."""
    crops = round_.project.crops()
    key = key_of(crops.fingerprint, [(file_hash(item.path), item.caption, item.pick.recipe[2:]) for item in kept],
                 round_.project.config.trigger)
    reused = is_filled(round_.dataset_folder, key)
    if not reused:
        with fill_folder(round_.dataset_folder, key):
            originals.save_round(round_.dataset_folder, crops, [
                (item.pick.apply_to(open_image(item.path)), item.caption, asdict(item.lineage)) for item in kept])
    repeats, share = originals.crop_repeats(len(crops), len(kept)), originals.real_share(len(crops), len(kept))
    return BuiltDataset(load_folder(round_.dataset_folder),
                        f"{len(crops)} crops x {repeats} and {len(kept)} generated ({share:.0%} real)", reused)


def for_character(dataset: Dataset, roles: TagRoles) -> Dataset:
    """The same pictures without the character's own tags in the captions: the trigger comes to mean them."""
    return dataset.with_captions(lambda caption: join_tags(absorb(split_tags(caption), roles.identity)))
