"""The ceiling of the bootstrap loop: the same character stage on true drawings, and how near the loop came to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from ..sandbox import world
from ..trainer.bootstrap.originals import save_round
from ..trainer.bootstrap.planning.view_plan import PlannedView, plan_views
from ..trainer.bootstrap.project import key_of
from ..trainer.bootstrap.rounds import Project
from ..trainer.common.folders import fill_folder, is_filled
from ..trainer.datasets.dataset import Dataset, load_folder

WANTED = {"identity": 97, "signature": 80, "prompt": 98}
"""Wanted share of the ceiling, trigger alone, in percent."""


def planned_views(project: Project) -> tuple[PlannedView, ...]:
    """As many views as the last round keeps, dealt by the plan that its candidates follow."""
    return plan_views(project, project.depth, count=project.target(project.depth) - project.target(0)).views


def drawn_dataset(project: Project, character: world.Character, side: int) -> Dataset:
    """What the last round would hold if every view had come out true: the crops as often as `round_dataset` takes
    them, and drawings of `side` pixels, captioned as the loop captions what it keeps."""
    crops, views, folder = project.crops(), planned_views(project), project.folder / "drawn"
    key = key_of(crops.fingerprint, [(view.text, view.prompt.view) for view in views], side, repr(character))
    if not is_filled(folder, key):
        with fill_folder(folder, key) as new:
            save_round(new, crops, [
                (world.draw(world.Scene(character, **dict(view.prompt.view)), side),
                 view.prompt.caption(project.wording, project.config.trigger),
                 {"name": f"drawn-{view.index:03d}", "view": dict(view.prompt.view), "tags": list(view.prompt.tags)})
                for view in views])
    return load_folder(folder)


def share_table(measured: Sequence[Mapping[str, Any]]) -> str:
    """For each figure: "40" as a share of "40 drawn" by the trigger alone, over all cases and for single characters.

    A share is a mean over a mean. Single cases of a mark that few views show would be shares of nearly nothing.
    """
    lines = ["## Shares of the ceiling, 40 over 40 drawn, prompted by the trigger alone", "",
             "| | 40 | 40 drawn | share % | least character | most | wanted |", "|" + " --- |" * 7]
    for name, wanted in WANTED.items():
        pairs = {case: (loop[name], drawn[name]) for case, loop, drawn in _pairs(measured)}
        if not pairs:
            return f"{lines[0]}\n\nNo case has both arms yet."
        single = list(_by_character(pairs))
        lines.append(f"| {name} | {100 * mean(loop for loop, _ in pairs.values()):.1f} | "
                     f"{100 * mean(drawn for _, drawn in pairs.values()):.1f} | {_share(list(pairs.values())):.1f} | "
                     f"{min(single):.1f} | {max(single):.1f} | {wanted} |")
    return "\n".join(lines)


def _pairs(measured: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, int], Mapping[str, Any],
                                                                     Mapping[str, Any]]]:
    """((character, seed), what "40" drew, what "40 drawn" drew) of every case that has both."""
    arms: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for row in measured:
        if row["prompts"] == "trigger":
            arms.setdefault((row["case"]["character"], row["case"]["seed"]), {})[row["arm"]] = row
    for case, rows in arms.items():
        if {"40", "40 drawn"} <= rows.keys():
            yield case, rows["40"], rows["40 drawn"]


def _by_character(pairs: Mapping[tuple[str, int], tuple[float, float]]) -> Iterator[float]:
    for character in dict.fromkeys(character for character, _ in pairs):
        yield _share([values for (name, _), values in pairs.items() if name == character])


def _share(values: Sequence[tuple[float, float]]) -> float:
    """Percent; NaN where nothing was reached on true drawings either."""
    ceiling = sum(drawn for _, drawn in values)
    return 100 * sum(loop for loop, _ in values) / ceiling if ceiling else float("nan")
