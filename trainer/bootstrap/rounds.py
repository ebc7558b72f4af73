"""A bootstrap project's rounds on disk: candidates, and the decisions of curation and of people.

`round_<k>/candidates/` holds the images with their lineage, `decisions.json` what curation proposes, `picks.json` what
was decided by hand (see picks.py), and `dataset/` what is trained on. The command line and the nodes use the same
files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..captions.earlier_views import earlier_roles, earlier_vocabulary
from ..captions.roles import TagRoles, tag_roles
from ..captions.sentences import TAGS, worded
from ..captions.views import ViewPrompt, mirrored, vocabulary_for
from ..captions.vocabulary import Vocabulary
from ..common.errors import UserError
from ..common.files import file_hash
from ..common.schema import read_record
from ..datasets.dataset import Dataset, load_folder
from ..models.families import FAMILIES
from ..views.shown import with_rest
from ..views.wordings import EDIT_WORDINGS, caption_wording
from .candidates import Lineage
from .config import BootstrapConfig
from .curation.curate import Decision, quotas
from .picks import CandidateFacts, Pick, Picks
from .project import ProjectRecord, crops_folder

MANUAL, AUTO = "manual", "auto"
UNDECIDED = Pick()
REFERENCE = 0
"""Number of the round that holds the base model's own images."""


@dataclass(frozen=True)
class Project:
    """One project: `output/bootstrap/<name>` and its settings.

    Attributes:
        family: family of the loaded base, where that is known; `config.base` may be a folder.
    """

    folder: Path
    config: BootstrapConfig
    family: str = ""

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Raises UserError if project.json is missing or is not a project."""
        if not (folder / "project.json").is_file():
            raise UserError(f"there is no project {folder.name!r}; run its Bootstrap Project node, or lora-bootstrap "
                            "bootstrap.")
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
    def wording(self) -> str:
        """How the base's captions and prompts are worded, one of `models.families.WORDINGS`."""
        family = FAMILIES.get(self.family or self.config.base)
        return family.wording if family else TAGS

    @property
    def depth(self) -> int:
        """How many rounds there are."""
        return len(self.config.targets) - 1

    @property
    def crops_folder(self) -> Path:
        return crops_folder(self.folder)

    def crops(self) -> Dataset:
        """The crops of the original. Raises UserError if there are none."""
        return load_folder(self.crops_folder)

    def round(self, number: int) -> Round:
        return Round(self, number)

    def target(self, number: int) -> int:
        """Number of images to train on after a round, including the crops."""
        return self.config.targets[number]


@dataclass(frozen=True)
class Decisions:
    """What curation decided on a round's candidates.

    Attributes:
        decisions: by candidate; empty until the round is curated.
        mode: manual counts only what was kept by hand; auto also counts what curation picked.
        values: decisions.json, if it was read.
    """

    decisions: Mapping[str, Decision]
    mode: str = MANUAL
    values: SavedDecisions | None = None


@dataclass(frozen=True)
class SavedDecisions:
    """What decisions.json holds.

    Attributes:
        key: hash of what the decisions were made from.
        twins: groups of candidates that are near copies of each other.
        match_colours: whether the dataset's edited images are matched to the crops' colours.
    """

    decisions: tuple[Decision, ...]
    key: str = ""
    mode: str = AUTO
    eye: str | None = ""
    notes: tuple[str, ...] = ()
    figures: Mapping[str, Any] | None = None
    twins: tuple[tuple[str, ...], ...] = ()
    measured: tuple[str, ...] = ()
    match_colours: bool = False


@dataclass(frozen=True)
class RoundWords:
    """How the prompts and captions of a round are worded.

    Attributes:
        wording: one of `models.families.WORDINGS` or of EDIT_WORDINGS; "" where an earlier version began the round.
    """

    vocabulary: Vocabulary
    roles: TagRoles
    wording: str

    def prompt(self, view: ViewPrompt, trigger: str) -> str:
        """What the view is drawn with. An edit wording has neither the trigger nor the character's own tags."""
        if edit := EDIT_WORDINGS.get(self.wording):
            return edit.say(view, self.roles, self.vocabulary)
        return view.prompt(self.wording, trigger) if self.wording else view.text

    def complete(self, view: ViewPrompt) -> ViewPrompt:
        """The view with all that its caption must say."""
        edit = EDIT_WORDINGS.get(self.wording)
        return with_rest(view, self.roles, self.vocabulary) if edit and edit.keeps_rest else view

    @property
    def end(self) -> str:
        """What stands behind the whole prompt."""
        return EDIT_WORDINGS[self.wording].end if self.wording in EDIT_WORDINGS else ""

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self.wording else (
            "an earlier version began this round; it goes on with the same prompts. Choose a wording, or remove its "
            "candidates, for prompts in the words of this version.",)


@dataclass(frozen=True)
class KeptCandidate:
    """A kept image, and the decision made on it by hand.

    Attributes:
        base_wording: how the project's captions are worded, for an image that was asked for in an edit wording.
    """

    path: Path
    lineage: Lineage
    pick: Pick
    trigger: str = ""
    base_wording: str = TAGS

    @property
    def caption(self) -> str:
        """What the image shows, worded as its prompt was, or as the base reads it if an edit model was asked for it.
        Tags given by hand are worded likewise."""
        wording = caption_wording(self.lineage.wording, self.base_wording)
        return worded(self.tags, wording, self.trigger, self.lineage.view)

    @property
    def tags(self) -> Sequence[str]:
        if self.pick.tags is not None:
            return self.pick.tags
        return mirrored(self.lineage.tags) if self.pick.flip else self.lineage.tags


@dataclass(frozen=True)
class Round:
    """Round `number` of a project. REFERENCE holds the base's own images, which nobody chooses from."""

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
    def words(self) -> RoundWords:
        """How its prompts are worded: by the base, unless an earlier version began it."""
        project = self.project
        if any(not Lineage.read(path).wording for path in self.list_candidates()):
            words = earlier_vocabulary(project.vocabulary)
            return RoundWords(words, earlier_roles(project.config.tags, words), "")
        return self.words_in(project.wording)

    def words_in(self, wording: str) -> RoundWords:
        """Its prompts in the words of this version, worded in this way; "" leaves the choice to `words`."""
        if not wording:
            return self.words
        vocabulary = self.project.vocabulary
        if edit := EDIT_WORDINGS.get(wording):
            vocabulary = edit.vocabulary(vocabulary)
        return RoundWords(vocabulary, self.project.roles, wording)

    @property
    def picks_file(self) -> Path:
        return self.folder / "picks.json"

    @property
    def picks(self) -> Picks:
        return Picks.load(self.picks_file)

    def list_candidates(self) -> list[Path]:
        """The images generated for this round, by name. Images without a lineage that can be read are not ours."""
        return self.find_candidates()[0]

    def list_problems(self) -> list[str]:
        """Why candidates are left out, one line each."""
        return self.find_candidates()[1]

    def find_candidates(self) -> tuple[list[Path], list[str]]:
        """Both lists at once: there may be ten thousand images."""
        lineages, problems = self.read_lineages()
        return list(lineages), problems

    def read_lineages(self) -> tuple[dict[Path, Lineage], list[str]]:
        """(the lineage of each candidate, the problems): one look at each file."""
        lineages, problems = {}, []
        for path in self._with_lineage():
            try:
                lineages[path] = Lineage.read(path)
            except UserError as error:
                problems.append(str(error))
        return lineages, problems

    def _with_lineage(self) -> list[Path]:
        folder, start = self.candidates_folder, f"r{self.number}-"
        names = set(os.listdir(folder)) if folder.is_dir() else set()
        return [_file_in(folder, name) for name in sorted(names)
                if name.startswith(start) and name.endswith(".png") and f"{name[:-4]}.json" in names]

    @cached_property
    def _earlier(self) -> dict[Path, KeptCandidate]:
        if self.number <= 1:
            return {}
        return {kept.path: kept for kept in self.project.round(self.number - 1).list_kept()}

    @property
    def carried(self) -> list[Path]:
        """The images kept in the round before. They are candidates again."""
        return list(self._earlier)

    def pictures(self) -> list[Path]:
        return [*self.carried, *self.list_candidates()]

    def collect_facts(self, names: Collection[str] | None = None) -> dict[str, CandidateFacts]:
        """What a pick must know about each candidate, or about those of these names that exist."""
        return {path.stem: self.read_facts(path) for path in self.pictures() if names is None or path.stem in names}

    def read_facts(self, path: Path, lineage: Lineage | None = None) -> CandidateFacts:
        lineage = lineage or Lineage.read(path)
        earlier = replace(self._earlier[path].pick, state="") if path in self._earlier else UNDECIDED
        return CandidateFacts(file_hash(path), (lineage.width, lineage.height), earlier)

    def read_decisions(self) -> Decisions:
        """What decisions.json says. Raises UserError if it cannot be read."""
        if not self.decisions_file.is_file():
            return Decisions({})
        status = self.decisions_file.stat()
        saved = _read_decisions(self.decisions_file, status.st_mtime_ns, status.st_ino)
        return Decisions({decision.candidate: decision for decision in saved.decisions}, saved.mode, saved)

    def list_kept(self, found: Decisions | None = None) -> list[KeptCandidate]:
        """The images kept by these decisions, or by those on disk if not given. Decisions made by hand always take
        precedence."""
        found, picks, kept = found or self.read_decisions(), self.picks, []
        for path in self.pictures():
            pick, decision = picks.of(path.stem, self.read_facts(path)), found.decisions.get(path.stem)
            undecided = path in self._earlier if found.mode == MANUAL else decision is not None and decision.kept
            if pick.state == "keep" or (not pick.state and undecided):
                kept.append(KeptCandidate(path, Lineage.read(path), pick, self.project.config.trigger,
                                          self.project.wording))
        return kept

    def quotas(self, count: int, lineages: Iterable[Lineage] | None = None) -> dict[str, dict[str, int]]:
        """Axis → tag → how many of `count` images should show it, in proportion to the views that were asked for.

        Args:
            lineages: of all its pictures, if they were read already.
        """
        views = [lineage.view for lineage in lineages or map(Lineage.read, self.pictures())]
        table: dict[str, dict[str, int]] = {}
        for (axis, tag), wanted in quotas(views, count).items() if views else ():
            table.setdefault(axis, {})[tag] = wanted
        return table


@lru_cache(maxsize=65536)
def _file_in(folder: Path, name: str) -> Path:
    """The path of a file. It is the same object each time, which knows its parts and its hash already."""
    return folder / name


@lru_cache(maxsize=8)
def _read_decisions(path: Path, mtime_ns: int, inode: int) -> SavedDecisions:
    """The file as it was at that time. It may hold ten thousand decisions, and the gallery reads it at each look."""
    return read_record(path, SavedDecisions, "does not contain decisions", "Repair it, or delete it to curate again.")
