"""What the gallery and the project's panel show, and what the gallery saves. No host is needed here; the shapes are in
gallery.py. Everything is read from the project's folder, so it survives a restart of the server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from ....trainer.bootstrap.candidates import Lineage
from ....trainer.bootstrap.curation.curate import Decision
from ....trainer.bootstrap.notebook import Notebook
from ....trainer.bootstrap.picks import Picks
from ....trainer.bootstrap.repairs import Wish, change_wishes, list_wished
from ....trainer.bootstrap.rounds import Project, Round, SavedDecisions
from ....trainer.bootstrap.status import project_status
from ....trainer.common.errors import UserError
from ....trainer.common.files import file_hash
from ....trainer.common.revisions import save_change
from ....trainer.pictures.images import open_image
from ....trainer.pictures.small_copies import STYLE, small_version
from ....trainer.pictures.thumbnails import thumbnail
from ... import paths
from ...session import current_session
from .packed import VERSION_DIGITS, Candidate, describe, pack

_CANDIDATE = re.compile(r"r(\d{1,2})-[0-9a-f-]+")


def find_project(name: str) -> Project:
    """The project of that name. Raises UserError if there is none."""
    folder = paths.own_folder(paths.projects_root(), name)
    return Project.load(folder)


def find_round(project: str, number: int) -> Round:
    """The round of that number. Raises UserError if there is no such project or round."""
    round_ = find_project(project).round(number)
    if number < 1:
        raise UserError(f"round is {number}; it must be 1 or more.")
    return round_


# -- answers -----------------------------------------------------------------------------------------------------------


def project_view(name: str) -> dict[str, Any]:
    """The answer of the project route. Raises UserError."""
    folder = paths.own_folder(paths.projects_root(), name)
    status = project_status(folder, paths.loras_root())
    config, roles = status.project.config, status.project.roles
    return {
        "name": status.project.name, "trigger": config.trigger, "tags": list(config.tags), "base": config.base,
        "targets": list(config.targets), "stopped_because": status.record.stopped_because, "next": status.next,
        "warnings": list(roles.warnings), **_notes(status.project),
        "roles": {"identity": list(roles.identity), "view": list(roles.view), "dropped": list(roles.dropped)},
        "stages": [{"name": stage.name, "title": stage.title, "state": status.state(stage), "text": stage.text}
                   for stage in status.stages],
        "crops": _crops(status.project, 1), "rounds": [asdict(figures) for figures in status.record.rounds]}


def _notebook(project: Project) -> Notebook:
    """What a person wrote down; nothing where the file is damaged, which saving and the report say."""
    with suppress(UserError):
        return Notebook.of(project.folder)
    return Notebook()


def _notes(project: Project) -> dict[str, Any]:
    notebook = _notebook(project)
    return {"goal": notebook.goal, "round_notes": {str(number): notebook.round_note(number)
                                                   for number in range(1, project.depth + 1)},
            "notes_revision": notebook.revision}


def _aims(round_: Round) -> list[str]:
    """What a person wrote down about the project and the round."""
    notebook = _notebook(round_.project)
    texts = {"Goal": notebook.goal, f"Round {round_.number}": notebook.round_note(round_.number)}
    return [f"{title}: {text}" for title, text in texts.items() if text]


def round_view(round_: Round, packed: bool = False) -> dict[str, Any]:
    """The answer of the candidates route; `packed` as in packed.py."""
    project, found, picks = round_.project, round_.read_decisions(), round_.picks
    saved = found.values or SavedDecisions(())
    crops = _crops(project, round_.number)
    target = project.target(round_.number)
    drawn, unread = round_.read_lineages()
    lineages = {**{path: Lineage.read(path) for path in round_.carried}, **drawn}
    twins = {name: number for number, group in enumerate(saved.twins) for name in group}
    wishes, unreadable = wishes_view(round_)
    candidates = [_candidate(round_, path, lineage, found.decisions, picks, twins)
                  for path, lineage in lineages.items()]
    return {
        "project": project.name, "round": round_.number, "revision": picks.revision, "target": target,
        "eye": saved.eye or "",
        "notes": [*_aims(round_), *saved.notes, *unread, *unreadable],
        "figures": saved.figures, "measured": list(saved.measured), "again": wishes,
        "crops": crops, "quotas": round_.quotas(max(0, target - len(crops)), lineages.values()),
        **({"packed": pack(candidates)} if packed else
           {"candidates": [_with_addresses(round_, candidate) for candidate in candidates]}),
        "history": [asdict(step) for step in picks.history]}


def wishes_view(round_: Round) -> tuple[list[dict[str, Any]], list[str]]:
    """(the wishes that wait, why they cannot be read)."""
    try:
        return [{**asdict(wished.wish), "name": wished.name} for wished in list_wished(round_)], []
    except UserError as error:
        return [], [str(error)]


def _crops(project: Project, number: int) -> list[dict[str, Any]]:
    if not project.crops_folder.is_dir():
        return []
    rows = []
    for sample in project.crops():
        addresses = _addresses(project, number, sample.path.stem, file_hash(sample.path)[:VERSION_DIGITS])
        rows.append({"name": sample.path.stem, "caption": sample.caption, **addresses})
    return rows


def _candidate(round_: Round, path: Path, lineage: Lineage, decisions: Mapping[str, Decision], picks: Picks,
               twins: Mapping[str, int]) -> Candidate:
    facts, name = round_.read_facts(path, lineage), path.stem
    return Candidate(name, lineage, decisions.get(name), picks.of(name, facts), lineage.round < round_.number,
                     twins.get(name), facts.content)


def _with_addresses(round_: Round, candidate: Candidate) -> dict[str, Any]:
    fields = describe(candidate)
    version = fields.pop("version")
    return {**fields, **_addresses(round_.project, round_.number, candidate.name, version)}


def _addresses(project: Project, number: int, name: str, version: str) -> dict[str, str]:
    """Those of the thumbnail and of the whole image, which change with the image's content."""
    start = f"/lora_bootstrap/candidate?project={quote_plus(project.name)}&round={number}&name={quote_plus(name)}"
    return {"thumb": f"{start}&size=thumb&v={version}", "full": f"{start}&v={version}"}


# -- pictures ----------------------------------------------------------------------------------------------------------


def picture_path(round_: Round, name: str) -> Path:
    """A candidate's or crop's file. Raises UserError if there is none of that name."""
    made = _CANDIDATE.fullmatch(name)
    if made and 1 <= int(made[1]) <= round_.number:
        path = round_.project.round(int(made[1])).candidates_folder / f"{name}.png"
        if path.is_file() and paths.inside(round_.project.folder, path):
            return path
    for path in round_.project.crops_folder.glob("*.png"):
        if path.stem == name:
            return path
    raise UserError(f"round {round_.number} of {round_.project.name!r} has no image {name!r}; reload the gallery.")


def candidate_image(round_: Round, name: str, thumb: bool) -> tuple[bytes, str]:
    """(bytes, content type) of an image. Raises UserError if it does not exist or cannot be read."""
    path = picture_path(round_, name)
    if not thumb:
        open_image(path)  # a file that is not an image is an error, and is not sent
        return path.read_bytes(), "image/png"
    if path.parent == round_.project.crops_folder:  # it is replaced as a whole, and is to hold no other files
        return thumbnail(path, STYLE, path.stat().st_mtime_ns), "image/jpeg"
    return small_version(path), "image/jpeg"


# -- what is saved -----------------------------------------------------------------------------------------------------


def save_wishes(round_: Round, add: Sequence[Mapping[str, Any]], remove: Sequence[str]) -> list[dict[str, Any]]:
    """Save and take back wishes, and return those that wait. Raises UserError for an unknown candidate or an invalid
    value."""
    change_wishes(round_, [Wish.of(values) for values in add], remove)
    current_session().candidates.note_wish(round_.number)
    return wishes_view(round_)[0]


def save_picks(round_: Round, revision: int, label: str, changes: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
    """Save decisions, and return the new revision.

    Raises UserError for an unknown candidate or an invalid value, StaleRevision if `revision` is not the latest.
    """
    def change(picks: Picks) -> Picks:
        return picks.changed(label, changes, round_.collect_facts({name for name, _ in changes}))

    return save_change(round_.picks_file, Picks, change, revision).revision
