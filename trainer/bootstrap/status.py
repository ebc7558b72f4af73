"""Where a bootstrap project stands, read from its folder: what is done, and what the next Run will do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from ..common.errors import UserError
from ..common.names import with_ending
from ..training.runs import read_run, run_folders
from .candidates import Lineage
from .marked import style_round
from .project import ProjectRecord
from .repairs import list_wished
from .rounds import REFERENCE, Project, Round
from .stages import STAGES

DONE, NEXT, LATER = "done", "next", "later"


@dataclass(frozen=True)
class StageStatus:
    """How far a stage is: `text` says what exists of it, `todo` what the next Run (or a person before it) has to do."""

    name: str
    title: str
    done: bool
    text: str
    todo: str


@dataclass(frozen=True)
class ProjectStatus:
    """All stages in order."""

    project: Project
    record: ProjectRecord
    stages: tuple[StageStatus, ...]

    @property
    def next(self) -> str:
        """What the next Run will do, in one line."""
        first = next((stage for stage in self.stages if not stage.done), None)
        if first is None:
            return f"All done: prompt the LoRA with {self.project.config.trigger!r}."
        return first.todo

    def state(self, stage: StageStatus) -> str:
        first = next((each for each in self.stages if not each.done), None)
        return DONE if stage.done else NEXT if stage is first else LATER


def project_status(folder: Path, loras: Path) -> ProjectStatus:
    """Where the project in `folder` stands. Raises UserError if there is no project.

    Args:
        loras: the folder of runs. What a project's runs are named says `run_names`.
    """
    project, record = Project.load(folder), ProjectRecord.load(folder)
    return ProjectStatus(project, record, tuple(_stages(project, record, loras)))


def style_run(project: str, number: int) -> str:
    """Name of the run that trains the style LoRA for round `number` of the project of that name."""
    return with_ending(project, f"-style-{number}")


def marks_run(project: str) -> str:
    """Name of the run that trains a LoRA of the marks for the project of that name."""
    return with_ending(project, "-marks")


def run_names(project: str, depth: int) -> tuple[str, ...]:
    """What the runs of a project of that name, with that many rounds, may be named; its character LoRA's first."""
    return (project, *(style_run(project, number) for number in range(1, depth + 1)), marks_run(project))


def project_runs(project: Project, loras: Path) -> list[Path]:
    """The folders of a project's runs, under whatever name they are now."""
    names, found = run_names(project.name, project.depth), []
    for folder in run_folders(loras):
        with suppress(UserError):  # somebody else's, or damaged
            if read_run(folder).facts["config"].get("name") in names:
                found.append(folder)
    return found


def _stages(project: Project, record: ProjectRecord, loras: Path) -> Iterator[StageStatus]:
    crops = len(list(project.crops_folder.glob("*.png")))
    yield _stage("crops", 0, crops > 0, f"{crops} crops", "Run cuts the image into crops.")
    for number in range(1, project.depth + 1):
        round_ = project.round(number)
        yield _lora(loras, style_run(project.name, style_round(project, number)), "style", number,
                    f"Run trains a style LoRA on the images so far, which then draws the candidates of round {number}.")
        yield _candidates(round_)
        yield _picks(round_, record)
    yield _lora(loras, project.name, "character", 0,
                f"Run trains the character LoRA on {project.config.targets[-1]} images.")


def _stage(key: str, number: int, done: bool, text: str, todo: str) -> StageStatus:
    """The status of that row of STAGES in round `number`; 0 outside the rounds."""
    stage = STAGES[key]
    return StageStatus(stage.name(number), stage.label.format(round=number), done, text, todo)


def _lora(loras: Path, name: str, key: str, number: int, todo: str) -> StageStatus:
    """The status of the run with this name, or with a number after it where an earlier run had other images or
    settings."""
    trained, text = False, "not trained yet"
    for folder in sorted(path.parent for path in loras.glob(f"{escape(name)}*/run.json")):
        try:
            run = read_run(folder)
        except UserError:
            continue
        if run.facts["config"].get("name") == name:
            trained = trained or run.finished or run.facts["status"] == "stopped"
            text = f"{run.step} of {run.config.steps} steps"
    return _stage(key, number, trained, text, todo)


def _candidates(round_: Round) -> StageStatus:
    there = round_.list_candidates()
    asked = sum(Lineage.read(path).asked_for for path in there)
    with suppress(UserError):  # a damaged again.json, which the gallery names
        asked += len(list_wished(round_))
    made, wanted = len(there), round_.project.config.candidates[round_.number - 1] + asked
    reference = len(round_.project.round(REFERENCE).list_candidates())
    more = "1 more candidate" if wanted - made == 1 else f"{wanted - made} more candidates"
    return _stage("candidates", round_.number, made >= wanted, f"{made} of {wanted}",
                  f"Run draws {more} of round {round_.number} with the style LoRA."
                  if made or reference else f"Run draws the candidates of round {round_.number}.")


def _picks(round_: Round, record: ProjectRecord) -> StageStatus:
    """Done when enough are kept, by a person in the gallery or by curation."""
    kept = len(round_.list_kept()) if round_.list_candidates() else 0
    kept += len(list(round_.project.crops_folder.glob("*.png")))
    target = round_.project.target(round_.number)
    missing = target - kept
    return _stage("curate", round_.number, missing <= 0, f"{min(kept, target)} of {target} kept",
                  f"Pick {missing} more in the gallery of round {round_.number}, then press Run.")
