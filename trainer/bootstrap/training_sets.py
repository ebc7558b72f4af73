"""What a project trains on: the crops of the original, and each round's crops and kept images, as datasets on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..captions.sentences import SENTENCES, TAGS
from ..captions.tags import absorb, join_tags, split_tags
from ..common.files import file_hash
from ..common.folders import empty_folder, fill_folder, is_filled
from ..datasets.dataset import Dataset, load_folder, save_samples
from ..measures.subject import Subject, read_subject
from ..pictures.images import open_image, pixel_hash
from . import originals
from .curation.gates import is_edited, keeps_colours, match_to_crops
from .project import CROPS, OWN, key_of
from .rounds import KeptCandidate, Project, Round


@dataclass(frozen=True)
class BuiltDataset:
    """A dataset on disk, with a summary."""

    dataset: Dataset
    summary: str
    reused: bool


def make_crops(project: Project, picture: Image.Image, stem: str, own: Dataset | None = None) -> BuiltDataset:
    """Cut the original into the crops of the first round. Each caption names what its crop shows.

    Args:
        stem: the parent that the crops name in their lineage.
        own: captioned images to use unchanged instead. They are copied to a folder of their own: what a person put
            among the crops stays as it is.
    """
    config, count = project.config, project.config.targets[0]
    key = key_of(pixel_hash(picture), config.tags, config.trigger, count, own.fingerprint if own else None,
                 *[project.wording] * (project.wording != TAGS))
    folder = project.folder / (CROPS if own is None else OWN)
    reused = is_filled(folder, key)
    if not reused:
        items = originals.cut_crops(picture, count, stem, project.roles, project.vocabulary, config.trigger,
                                    project.wording) if own is None else originals.own_crops(own, config.trigger)
        with fill_folder(folder, key) as new:
            save_samples(new, items)
    if own is None:
        empty_folder(project.folder / OWN)
    dataset = project.crops()
    if own is None and len(dataset) < count:
        summary = f"The image gave only {len(dataset)} distinct crops; {count} were wanted."
    else:
        made = count if own is None else min(len(own), len(dataset))
        summary = f"{made} {'crops' if own is None else 'images of your own'}{_extra(dataset, made, folder)}"
    return BuiltDataset(dataset, summary, reused)


def _extra(dataset: Dataset, made: int, folder: Path) -> str:
    """A remark about images that somebody put into a folder of `made` images."""
    more = len(dataset) - made
    return f" and {more} more that {'was' if more == 1 else 'were'} put into {folder.name}/" if more > 0 else ""


def round_dataset(round_: Round, kept: Sequence[KeptCandidate]) -> BuiltDataset:
    """Write the training set of a round: the crops, repeated until they are at least a third of the samples, and each
    kept image once, cropped, flipped and captioned as decided by hand."""
    crops, saved = round_.project.crops(), round_.read_decisions().values
    matched = [item for item in kept if saved and saved.match_colours and _is_edited(item, round_.project)]
    key = key_of(crops.fingerprint, [(file_hash(item.path), item.caption, item.pick.recipe[2:]) for item in kept],
                 round_.project.config.trigger, *["match colours"] * bool(matched))
    reused = is_filled(round_.dataset_folder, key)
    if not reused:
        subjects = [read_subject(crop.load()) for crop in crops] if matched else []
        with fill_folder(round_.dataset_folder, key) as new:
            originals.save_round(new, crops, [
                (_finish_image(item, subjects if item in matched else ()), item.caption,
                 item.lineage.to_dict() | {"tags": list(item.tags)}) for item in kept])
    repeats, share = originals.crop_repeats(len(crops), len(kept)), originals.real_share(len(crops), len(kept))
    dataset = load_folder(round_.dataset_folder)
    more = _extra(dataset, len(crops) + len(kept), round_.dataset_folder)
    colours = f", colours of {len(matched)} matched to the crops" if matched else ""
    return BuiltDataset(
        dataset, f"{len(crops)} crops x {repeats} and {len(kept)} generated{more} ({share:.0%} real){colours}", reused)


def _is_edited(item: KeptCandidate, project: Project) -> bool:
    """Whether an image was drawn from another, and should have the colours of the original."""
    candidate = item.lineage.candidate
    return is_edited(candidate) and keeps_colours(candidate.prompt.view, project.roles.view)


def _finish_image(item: KeptCandidate, originals: Sequence[Subject]) -> Image.Image:
    """The image as it is trained on; its colours are matched to those of the originals, if there are any."""
    picture = item.pick.apply_to(open_image(item.path))
    return match_to_crops(picture, originals) if originals else picture


def for_character(dataset: Dataset, project: Project) -> Dataset:
    """The same images without the character's own tags in their captions, so that the trigger comes to mean them.

    A sentence is written anew from the tags that are saved beside it, unless it was changed by hand.
    """
    saved = {folder: originals.read_saved(folder) for folder in {sample.path.parent for sample in dataset}}
    samples, own = [], 0
    for sample in dataset:
        caption = originals.absorbed_sentence(sample, saved[sample.path.parent], project.roles.identity,
                                              project.config.trigger)
        own += caption is None and project.wording == SENTENCES
        samples.append(replace(sample, caption=join_tags(
            absorb(split_tags(sample.caption), project.roles.identity)) if caption is None else caption))
    written = "1 caption was" if own == 1 else f"{own} captions were"
    notes = [f"{written} written by hand: what a sentence of yours says of the character is not left to the "
             "trigger."] if own else []
    return Dataset(tuple(samples), (*dataset.notes, *notes))
