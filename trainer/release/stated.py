"""What a release states about consent and rights: its author's answers, and those that its project started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..bootstrap.rounds import Project
from ..statements.consent import Statement, complete_rights, list_differences, read_statement
from ..statements.rights import INVENTED, REAL
from .settings import ReleaseSettings


@dataclass(frozen=True)
class Stated:
    """Attributes:
        settings: the release's, with the project's answers where its author left them open.
        warnings: what contradicts the project's answers, for everybody.
        notes: where answers come from, and how they differ, for the author.
    """

    settings: ReleaseSettings
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def complete_settings(settings: ReleaseSettings, project: Project | None) -> Stated:
    """The settings of a release, with what its project states. Nothing changes without a project, or if it states
    nothing."""
    before, problem = (Statement(), "") if project is None else read_statement(project.folder)
    if project is None or before.is_empty:
        return Stated(settings, notes=[problem] if problem else [])
    own = Statement(settings.rights, settings.licence)
    whole = Statement(complete_rights(own.rights, before.rights), own.licence or before.licence)
    taken = [f"What was left open about consent and rights is taken from project {project.folder.name!r}."]
    return Stated(replace(settings, rights=whole.rights, licence=whole.licence),
                  [*_contradictions(own, before)], [*taken * (whole != own), *list_differences(own, before)])


def _contradictions(own: Statement, before: Statement) -> Sequence[str]:
    if own.rights.person == INVENTED and before.rights.person == REAL:
        return ["The person is stated to be invented here, but was stated to be real before the training."]
    return []
