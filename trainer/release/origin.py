"""The bootstrap project that a run belongs to, by what the run records and by its images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..bootstrap.rounds import Project
from ..bootstrap.status import run_names
from ..common.errors import UserError
from ..datasets.dataset import Sample, load_folder
from ..datasets.recorded import read_images
from ..training.runs import Run


def find_project(run: Run | None, projects: Path | None) -> Project | None:
    """The project whose images the run was trained on; None if there is none.

    A run names its project in its lineage, or is named as the project's runs are. As another project may have had that
    name before, at least one image of the run must still be the project's. A run that did not record its images is
    believed what its lineage says.

    Args:
        projects: the folder of all projects.
    """
    if run is None or projects is None:
        return None
    named = str(run.lineage.get("project") or "")
    trained = {image.content for image in read_images(run.folder) or ()}
    for project in _list_projects(projects):
        if project.name != named and (
                named or run.facts["config"].get("name") not in run_names(project.name, project.depth)):
            continue
        if any(sample.content_hash in trained for sample in list_images(project)) or named and not trained:
            return project
    return None


def _list_projects(projects: Path) -> Iterator[Project]:
    for file in sorted(projects.glob("*/project.json")):
        with suppress(UserError):  # somebody else's, or damaged
            yield Project.load(file.parent)


def list_images(project: Project) -> Iterator[Sample]:
    """What the project's runs are trained on: its crops, and the dataset of each round."""
    folders = (project.crops_folder, *(project.round(number).dataset_folder for number in range(1, project.depth + 1)))
    for folder in folders:
        if folder.is_dir():
            with suppress(UserError):  # an empty folder
                yield from load_folder(folder)

