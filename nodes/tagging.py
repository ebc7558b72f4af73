"""Nodes that caption images: tags by a tagger, sentences by a captioner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image
from torch import Tensor

from ..host import menu, paths
from ..host.drawing.pictures import to_pictures
from ..host.shown_text import menu_choices
from ..host.taggers import check_tagger, open_listed_tagger, tagger_names
from ..host.working import Work, follow, problem, show_report
from ..trainer.captions.tags import escape_brackets, split_tags
from ..trainer.common.errors import UserError, unknown_name
from ..trainer.common.events import Progress, Warned
from ..trainer.datasets.dataset import Dataset
from ..trainer.tagging import captioner as prose, tagger as tags
from ..trainer.tagging.choice import RATINGS, PictureTags, TagChoice
from .schema import node_schema
from .sockets import LoraDataset

NO_CAPTIONER = "no captioner yet"
NOTHING = "there is nothing to {}; link images or a dataset."
KEEP = "keep"
"""The way to merge captions that tags only images without one."""
SHOWN = 3
"""Number of captions shown in the node."""
ABSENT = "{} has no dataset to give, because none is linked to it; Dataset From Images makes one from images and tags"


class TagImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_TagImages", display_name="Tag Images", category=menu.CAPTIONS,
            description="Writes booru tags for images or a dataset, with a tagger in models/taggers (WD v3, cl_tagger, "
                        "PixAI) or with the sandbox's own.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("tagger", options=tagger_names(), default=tags.SANDBOX, tooltip=(
                    "The tagger. sandbox knows only the drawn world that comes with the pack. The others are in "
                    "models/taggers/<name>/ as model.onnx and a label file, or are downloaded with download.")),
                io.Boolean.Input("download", default=False, tooltip=(
                    "Download a published tagger if it is missing (0.4 to 1.4 GB, once). Off: nothing is downloaded.")),
                io.Float.Input("general", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=(
                    "Lowest score of a tag to keep, such as 0.35. 0 uses what the model's makers recommend.")),
                io.Float.Input("character", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=(
                    "Lowest score of a character's name to keep, such as 0.85. 0 uses what the model's makers "
                    "recommend.")),
                io.Boolean.Input("mcut", default=False, tooltip=(
                    "Cut each image's tags at the widest gap between two scores, instead of using thresholds.")),
                io.String.Input("exclude", default="", multiline=True, tooltip=(
                    "Tags that are never written, separated by commas.")),
                io.Int.Input("most", default=0, min=0, max=1000, tooltip=(
                    "Maximum number of tags; the most certain ones are kept. 0: no limit.")),
                io.Combo.Input("rating", options=list(RATINGS), default="none", tooltip=(
                    "Place of the rating (general, sensitive, ...) among the tags; none leaves it out.")),
                io.Boolean.Input("underscores", default=False, tooltip="Write long_hair instead of long hair."),
                io.Combo.Input("merge", options=list(tags.MERGES), default="replace", tooltip=(
                    "What happens to the captions a dataset already has: replace them, append or prepend the tags, or "
                    "keep them and tag only images without one.")),
                io.Int.Input("batch", default=tags.BATCH, min=1, max=256, tooltip=(
                    "Images per batch. More is faster on a GPU and takes more memory.")),
                io.Boolean.Input("keep_loaded", default=True, tooltip=(
                    "Keep the tagger in memory for the next run. Turn this off to free its memory for training.")),
                io.Image.Input("images", optional=True),
                LoraDataset.Input("dataset", optional=True),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The dataset with its new captions."),
                io.String.Output(display_name="tags", is_output_list=True, tooltip=(
                    "The tags of each image: first of the images, then of the dataset. Brackets have a backslash, so "
                    "that a prompt does not read them as weights.")),
                io.String.Output(display_name="scores", tooltip=(
                    "How certain each tag is, as JSON by image, for Edit Tags.")),
            ],
        )

    @classmethod
    def validate_inputs(cls, tagger, download, merge="replace") -> bool | str:
        if merge not in (None, *tags.MERGES):  # the host leaves the list of what is taken here to us
            return str(unknown_name("way to merge captions", merge, tags.MERGES))
        # whether captions that are kept leave anything to tag is known only when the node runs
        return problem(check_tagger, tagger, download or merge == KEEP)

    @classmethod
    def execute(cls, tagger, download, general, character, mcut, exclude, most, rating, underscores, merge, batch,
                keep_loaded, images=None, dataset=None) -> io.NodeOutput:
        choice = TagChoice(general=general or None, character=character or None, mcut=mcut, rating=rating, most=most,
                           underscores=underscores, blacklist=tuple(split_tags(exclude.replace("\n", ","))))
        work = Work(cls.hidden.unique_id)
        if images is None and dataset is not None and merge == KEEP and not untagged(dataset):
            show_report(f"all {len(dataset)} images have a caption, which is kept", cls.hidden.unique_id)
            return io.NodeOutput(dataset, [escape_brackets(sample.caption) for sample in dataset], "{}")
        model = open_tagger_for(tagger, download, dataset if merge == KEEP else None, work)
        try:
            told = tag_inputs(model, choice, images, dataset, merge, batch, work)
        finally:
            if not keep_loaded:
                tags.release_tagger()
        show_report("\n".join((*model.notes, *work.notes, *told.texts[:SHOWN])), cls.hidden.unique_id)
        return io.NodeOutput(_dataset_or_blocker(told.dataset, "Tag Images"), list(map(escape_brackets, told.texts)),
                             told.scores)


class CaptionImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_CaptionImages", display_name="Caption Images", category=menu.CAPTIONS,
            description="Describes images or a dataset in sentences, for base models that read them (such as Flux), "
                        "with an image-to-text model in models/captioners: Florence-2, BLIP, or one that follows "
                        "instructions.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("captioner", options=captioner_names() or [NO_CAPTIONER], tooltip=(
                    "A transformers folder in models/captioners. Nothing is downloaded: put one there and press R.")),
                io.Combo.Input("detail", options=list(prose.DETAILS), default="normal", tooltip=(
                    "Length of the description.")),
                io.String.Input("prompt", default="", multiline=True, tooltip=(
                    "A question of your own, for models that take one. BLIP uses it as the beginning of the caption.")),
                io.Combo.Input("merge", options=list(prose.MERGES), default="replace", tooltip=(
                    "What happens to the captions a dataset already has: replace them, keep both with tags first or "
                    "prose first, or keep them and describe only images without one.")),
                io.String.Input("trigger", default="", tooltip="A word to put before each new caption."),
                io.Int.Input("most_tokens", default=120, min=1, max=2000, tooltip=(
                    "Maximum length of a caption, in tokens.")),
                io.Int.Input("beams", default=1, min=1, max=16, tooltip=(
                    "1 takes the likeliest word each time. More beams search for the likeliest sentence, which is "
                    "slower.")),
                io.Boolean.Input("tidy", default=True, tooltip="Remove openings such as: The image shows."),
                io.Int.Input("batch", default=prose.BATCH, min=1, max=256, tooltip="Images per batch."),
                io.Boolean.Input("keep_loaded", default=True, tooltip=(
                    "Keep the model in memory for the next run. Turn this off to free its memory for training.")),
                io.Image.Input("images", optional=True),
                LoraDataset.Input("dataset", optional=True),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The dataset with its new captions."),
                io.String.Output(display_name="captions", is_output_list=True, tooltip=(
                    "The sentence for each image: first of the images, then of the dataset. Brackets have a backslash, "
                    "so that a prompt does not read them as weights.")),
            ],
        )

    @classmethod
    def validate_inputs(cls, captioner) -> bool | str:
        return problem(captioner_root, captioner)

    @classmethod
    def execute(cls, captioner, detail, prompt, merge, trigger, most_tokens, beams, tidy, batch, keep_loaded,
                images=None, dataset=None) -> io.NodeOutput:
        choice = prose.ProseChoice(detail=detail, prompt=prompt.strip(), most_tokens=most_tokens, beams=beams,
                                   tidy=tidy)
        work = Work(cls.hidden.unique_id)
        try:
            model = prose.open_captioner(captioner, captioner_root(captioner))
            texts, after = caption_inputs(model, choice, images, dataset, merge, trigger, batch, work)
        finally:
            if not keep_loaded:
                prose.release_captioner()
        show_report("\n".join((*work.notes, *texts[:SHOWN])), cls.hidden.unique_id)
        return io.NodeOutput(_dataset_or_blocker(after, "Caption Images"), list(map(escape_brackets, texts)))


def _dataset_or_blocker(dataset: Dataset | None, node: str) -> Any:
    return ExecutionBlocker(ABSENT.format(node)) if dataset is None else dataset


# -- taggers -----------------------------------------------------------------------------------------------------------


@dataclass
class TaggedImages:
    """The tags that a tagger gave to images and to a dataset.

    Attributes:
        dataset: with its new captions; None if none was given.
        texts: the tags of each image, the images of the workflow first.
        found: tags by the image's content, or by its number for an image of the workflow.
    """

    dataset: Dataset | None = None
    texts: list[str] = field(default_factory=list)
    found: dict[str, PictureTags] = field(default_factory=dict)

    @property
    def scores(self) -> str:
        return json.dumps({picture: {tag.name: round(tag.score, 4) for tag in found.tags}
                           for picture, found in self.found.items()}, ensure_ascii=False)


def untagged(dataset: Dataset) -> int:
    """How many images have no caption."""
    return sum(not sample.caption for sample in dataset)


def open_tagger_for(name: str, download: bool, kept: Dataset | None, work: Work) -> tags.Tagger:
    """The tagger of that name. Raises UserError if it is not there.

    Args:
        kept: the dataset whose captions are kept, so that a caption for each image would do as well.
    """
    try:
        return open_listed_tagger(name, download, work)
    except UserError as error:
        if kept is None:
            raise
        raise UserError(f"{untagged(kept)} of {len(kept)} images have no caption, and {error} Or put a .txt with its "
                        "tags beside each image (a.txt for a.png).") from error


def tag_inputs(model: tags.Tagger, choice: TagChoice, images: Tensor | None, dataset: Dataset | None, merge: str,
           batch: int, work: Work) -> TaggedImages:
    """Tag the images and the dataset. Raises UserError if there are neither."""
    if images is None and dataset is None:
        raise UserError(NOTHING.format("tag"))
    told = TaggedImages()
    if images is not None:
        pictures = to_pictures(images)
        for number, found in enumerate(tags.tag_pictures(model, pictures, choice, batch)):
            work(Progress("tagging", number + 1, len(pictures)))
            told.found[str(number)] = found
            told.texts.append(found.caption)
        if warning := tags.warn_of_strangers(model, model.familiarity(pictures)):
            work(Warned(warning))
    if dataset is not None:
        done = follow(tags.tag_dataset(dataset, model, choice, merge, batch), work)
        told.dataset = done.dataset
        for sample, found in zip(done.dataset, done.tags, strict=True):
            told.texts.append(found.caption if found else sample.caption)
            if found:
                told.found[sample.content_hash] = found
    return told


# -- captioners --------------------------------------------------------------------------------------------------------


def captioner_names() -> list[str]:
    return menu_choices(name for root in paths.model_roots("captioners") for name in prose.installed_captioners(root))


def captioner_root(name: str) -> Path:
    """The folder of models that has the captioner. Raises UserError if none has it."""
    roots = paths.model_roots("captioners")
    found = next((root for root in roots if name in prose.installed_captioners(root)), None)
    if found is None:
        raise UserError(f"there is no captioner {name!r} in {roots[0]}. Put a transformers image-to-text folder there, "
                        "such as Florence-2 or BLIP, and press R.")
    return found


def caption_inputs(model: prose.Captioner, choice: prose.ProseChoice, images: Tensor | None, dataset: Dataset | None,
              merge: str, trigger: str, batch: int, work: Work) -> tuple[list[str], Dataset | None]:
    """(a sentence for each image, the dataset). Raises UserError if there is nothing to describe."""
    if images is None and dataset is None:
        raise UserError(NOTHING.format("describe"))
    texts, after = [], None
    if images is not None:
        pictures = to_pictures(images)
        for group in _groups(pictures, batch):
            texts += [prose.with_trigger(text, trigger) for text in model.captions(group, choice)]
            work(Progress("captioning", len(texts), len(pictures)))
    if dataset is not None:
        done = follow(prose.caption_dataset(dataset, model, choice, merge, trigger, batch), work)
        texts += [text or "" for text in done.prose]
        after = done.dataset
    return texts, after


def _groups(pictures: Sequence[Image.Image], size: int) -> Iterator[Sequence[Image.Image]]:
    return (pictures[start : start + size] for start in range(0, len(pictures), size))
