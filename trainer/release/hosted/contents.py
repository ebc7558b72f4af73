"""What goes into such a zip: the images of a run as it trained on them, of a project, or of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...bootstrap.rounds import Project
from ...bootstrap.training_sets import for_character
from ...captions.tags import add_trigger, join_tags, split_tags
from ...common.counts import count_noun
from ...common.errors import UserError
from ...datasets.dataset import GROUND, Dataset, Sample, load_folder
from ...datasets.recorded import RecordedImage, read_images
from ...lora.layers import read_header
from ...models.families import FAMILIES, Family
from ...statements.consent import find_warnings
from ...training.config import TrainConfig
from ...training.runs import Run, latest_checkpoint, read_run
from ..origin import find_project, list_images

_NO_PLACE = "Left out, because a plain zip has no place for it"


@dataclass(frozen=True)
class Contents:
    """Attributes:
        samples: the images to train on, with the captions that they were or would be trained with: the trigger first.
        config: settings of the run; None for a folder and a project.
        trained: steps of the run so far, if it was stopped before its last; 0 for others.
        family: of the run's base; None if that is not known.
        notes: what is left out or not found.
        warnings: what is open about the consent of a real person whom the project shows.
    """

    samples: tuple[Sample, ...]
    trigger: str
    config: TrainConfig | None = None
    trained: int = 0
    family: Family | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def open_contents(path: Path, *, dataset: Path | None = None, projects: Path | None = None, trigger: str = "",
                  background: str = GROUND) -> Contents:
    """What a run, a bootstrap project or a folder of images holds.

    Args:
        path: a run's folder, a project's, or one of images with captions.
        dataset: the folder of images that the run was trained on; None for those of its project. A run knows its images
            by their content, so the folder may have moved.
        projects: the folder of all projects.
        trigger: "" for that of the run or project.
        background: the colour behind transparent parts.

    Raises UserError if there is no image to pack.
    """
    if (path / "run.json").is_file():
        found = _of_run(read_run(path), dataset, projects, background)
    elif (path / "project.json").is_file():
        found = _of_project(Project.load(path))
    else:
        images = load_folder(path, background=background)
        found = Contents(images.samples, "", notes=images.notes)
    trigger = trigger or found.trigger
    samples = [replace(sample, caption=join_tags(add_trigger(split_tags(sample.caption), trigger)))
               for sample in found.samples if not sample.regularisation]
    if not samples:
        raise UserError(f"{path} has no image to pack: all of its images are for regularisation. Give the folder that "
                        "holds the subject's images.")
    return replace(found, samples=tuple(samples), trigger=trigger, notes=(*found.notes, *_left_out(found.samples)))


def _left_out(samples: Sequence[Sample]) -> Iterator[str]:
    counts = {"regularisation image": sum(sample.regularisation for sample in samples),
              "mask": sum(sample.mask is not None for sample in samples),
              "control image": sum(len(sample.controls) for sample in samples)}
    for noun, count in counts.items():
        if count:
            yield f"{_NO_PLACE}: {count_noun(count, noun)}."


def _of_project(project: Project) -> Contents:
    """The images of the project's last round that has a dataset, as its character LoRA is trained on them."""
    for number in range(project.depth, 0, -1):
        with suppress(UserError):  # no dataset yet
            images = for_character(load_folder(project.round(number).dataset_folder), project)
            return Contents(images.samples, project.config.trigger, notes=images.notes,
                            warnings=find_warnings(project.folder))
    crops = project.crops()
    return Contents(crops.samples, project.config.trigger, notes=(*crops.notes, "The project has its crops only."),
                    warnings=find_warnings(project.folder))


def _of_run(run: Run, dataset: Path | None, projects: Path | None, background: str) -> Contents:
    recorded = read_images(run.folder)
    if recorded is None:
        raise UserError(f"run {run.name!r} did not record its images, as those of earlier versions. Give the folder of "
                        "its images in place of the run.")
    wanted = [image for image in recorded if not image.validation and not image.regularisation]
    project = find_project(run, projects)
    samples = list(_match(wanted, _list_images(project, dataset, background)))
    if not samples:
        raise UserError(f"no image of run {run.name!r} was found. Give the folder that it was trained on: "
                        "--dataset FOLDER.")
    trained = run.step if 0 < run.step < run.config.steps else 0
    return Contents(tuple(samples), run.config.data.trigger, run.config, trained, _family_of(run),
                    tuple(_missing(recorded, len(wanted), len(samples))),
                    () if project is None else find_warnings(project.folder))


def _missing(recorded: Sequence[RecordedImage], wanted: int, found: int) -> Iterator[str]:
    if found < wanted:
        yield (f"⚠ {wanted - found} of {count_noun(wanted, 'image')} were not found, so the zip is not what the run "
               "was trained on.")
    if held_back := sum(image.validation for image in recorded):
        yield f"Left out, because the run held it back for validation: {count_noun(held_back, 'image')}."
    if others := sum(image.regularisation for image in recorded):
        yield f"{_NO_PLACE}: {count_noun(others, 'regularisation image')}."


def _list_images(project: Project | None, dataset: Path | None, background: str) -> Iterable[Sample]:
    if dataset is not None:
        images: Dataset = load_folder(dataset, background=background)
        return images
    return () if project is None else list_images(project)


def _match(wanted: Sequence[RecordedImage], images: Iterable[Sample]) -> Iterator[Sample]:
    """The image of the same content as each recorded one, with what was recorded; nothing where there is none."""
    there: dict[str, Sample] = {}
    for sample in images:
        with suppress(UserError):  # a file that cannot be read is not found
            there.setdefault(sample.content_hash, sample)
    for image in wanted:
        if found := there.get(image.content):
            yield replace(found, caption=image.caption, repeats=image.repeats)


def _family_of(run: Run) -> Family | None:
    with suppress(UserError):  # no LoRA file yet
        _, file = latest_checkpoint(run)
        header = read_header(file)
        header.tensors.close()
        return FAMILIES.get(header.metadata.get("lora_bootstrap.family", ""))
    return None
