"""Nodes that make and show datasets: from a folder, an image's crops, images in the workflow, or other datasets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from ..host import menu, paths
from ..host.drawing.pictures import samples_sheet, short_pixel_hash, to_batch, to_masks, to_pictures
from ..host.shown_text import show_beside_panel, show_text
from ..host.working import problem, show_report
from ..trainer.bootstrap.originals import crop_tags, square_box
from ..trainer.captions.roles import tag_roles
from ..trainer.captions.tags import add_trigger, join_tags, split_tags, tag_frequency
from ..trainer.captions.views import VOCABULARIES
from ..trainer.common.errors import UserError
from ..trainer.datasets.controls import control_paths, is_beside
from ..trainer.datasets.dataset import Dataset, Sample, load_folder, save_samples, split_validation
from ..trainer.datasets.masks import MASKS_FOLDER, scaled_mask
from ..trainer.datasets.saved_files import caption_hash, refuse_edited_captions
from ..trainer.pictures.crops import MAX_CROPS, Crop, suggest_crops
from ..trainer.pictures.flatten import parse_colour
from ..trainer.pictures.images import GROUND
from ..trainer.sweeps.axis_text import MOST_SEED
from .schema import node_schema
from .sockets import LoraDataset

SHOWN_NOTES = 8
"""Maximum number of notes that Load Dataset shows in the node."""


class LoadDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_LoadDataset", display_name="Load Dataset", category=menu.DATASET,
            description="Loads the images of a folder with their captions (a.txt or a.caption beside a.png).",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input("folder", default="sandbox/dataset/akane", tooltip=(
                    "A folder inside ComfyUI's input or output folder, such as my_pictures. sandbox/dataset/akane is a "
                    "drawn character that comes with the pack.")),
                io.Int.Input("repeats", default=1, min=1, max=1000, tooltip=(
                    "How often each image appears in an epoch. Subfolders named like 10_name set this themselves.")),
                io.Boolean.Input("recursive", default=True, tooltip="Include images in subfolders."),
                io.String.Input("trigger", default="", tooltip=(
                    "A word to put first in every caption. Leave empty to keep the captions unchanged.")),
                io.String.Input("class_word", default="", tooltip=(
                    "Caption for images that have none, such as 1girl.")),
                io.String.Input("background", default=GROUND, optional=True, tooltip=(
                    "Colour behind transparent parts, such as black or #808080. Choose one on which the drawing can be "
                    "seen.")),
                io.String.Input("controls", default="", optional=True, tooltip=(
                    "For edit models: folder of the images to edit, each named like the image it is turned into. Leave "
                    "empty to use the folder controls beside the images, if there is one.")),
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def validate_inputs(cls, folder, background=GROUND, controls="") -> bool | str:
        checks = ((paths.dataset_folder, folder), (parse_colour, background), (_controls_folder, controls))
        return next((found for check, value in checks if (found := problem(check, value)) is not True), True)

    @classmethod
    def fingerprint_inputs(cls, folder, recursive, controls="", **_) -> str | float:
        if folder is None or controls is None:  # linked: the folder is known only when the node runs
            return float("nan")
        home = _controls_folder(controls)
        return (folder_fingerprint(paths.dataset_folder(folder), recursive)
                + (folder_fingerprint(home, True) if home else ""))

    @classmethod
    def execute(cls, folder, repeats, recursive, trigger, class_word, background=GROUND, controls="") -> io.NodeOutput:
        dataset = load_folder(paths.dataset_folder(folder), recursive=recursive, default_repeats=repeats,
                              background=background, controls=_controls_folder(controls))
        notes = first_notes(dataset)
        show_beside_panel(f"{len(dataset)} images\n{notes}".strip(), cls.hidden.unique_id, notes)
        return io.NodeOutput(dataset.with_captions(lambda caption: _add_caption(caption or class_word, trigger)))


class CropPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_CropPicture", display_name="Crop Picture", category=menu.DATASET,
            description="Turns one image into several training images: the whole, the upper body, the face, and "
                        "details. Each is captioned with what it still shows.",
            inputs=[
                io.Image.Input("image", tooltip="One image. In a batch, every image is cropped."),
                io.String.Input("tags", default="", multiline=True, tooltip=(
                    "Tags for everything the image shows, separated by commas. For a batch: one line per image, or one "
                    "line for all.")),
                io.Int.Input("count", default=4, min=1, max=MAX_CROPS, tooltip=(
                    "Crops per image. A small image may give fewer.")),
                io.Combo.Input("vocabulary", options=list(VOCABULARIES), default="booru", tooltip=(
                    "Words used to name a crop's view (upper body, close-up): booru tags, or the sandbox's own.")),
                io.String.Input("name", default="crops", tooltip=(
                    "Name of the folder output/bootstrap/datasets/<name>. Each crop is saved there once, however often "
                    "you run.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset"),
                io.Image.Output(display_name="crops", is_output_list=True, tooltip="The crops, one by one."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return problem(_dataset_home, name)

    @classmethod
    def execute(cls, image, tags, count, vocabulary, name) -> io.NodeOutput:
        pictures = _some_pictures([image])
        items = [item for picture, line in zip(pictures, captions_for([tags], len(pictures)), strict=True)
                 for item in _crops(picture, split_tags(line), count, vocabulary)]
        dataset = save_dataset_folder(_dataset_home(name), items)
        return io.NodeOutput(dataset, [to_batch(item.picture) for item in items])


class DatasetFromImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_DatasetFromImages", display_name="Dataset From Images", category=menu.DATASET,
            description="Makes a dataset from images that were made or loaded in the workflow, and saves it on disk.",
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="A batch, or a list of images of any size."),
                io.String.Input("captions", default="", multiline=True, tooltip=(
                    "One caption per image (a list, or one per line), or one for all.")),
                io.String.Input("name", default="pictures", tooltip=(
                    "Name of the folder output/bootstrap/datasets/<name>. Each image is saved there once, however "
                    "often you run.")),
                io.Mask.Input("masks", optional=True, tooltip=(
                    "One mask per image: white marks the subject, as background removers give it. The mask from Load "
                    "Image is the other way round, so put Invert Mask in between. An all-black mask counts as no "
                    "mask.")),
                io.Image.Input("controls", optional=True, tooltip=(
                    "For edit models: the image to edit for each image, in the same order, of any size.")),
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return problem(_dataset_home, *name)

    @classmethod
    def execute(cls, images, captions, name, masks=(), controls=()) -> io.NodeOutput:
        pictures = _some_pictures(images)
        shapes = masks_for([mask for batch in masks or () for mask in to_masks(batch)], pictures)
        edited = controls_for([picture for batch in controls or () for picture in to_pictures(batch)], len(pictures))
        columns = zip(pictures, captions_for(captions, len(pictures)), shapes, edited, strict=True)
        items = [Item(picture, caption, mask=mask, control=control) for picture, caption, mask, control in columns]
        return io.NodeOutput(save_dataset_folder(_dataset_home(name[0]), items))


class MergeDatasets(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        more = [LoraDataset.Input(name, optional=True) for name in ("third", "fourth", "fifth", "sixth")]
        return node_schema(
            node_id="LoraBootstrap_MergeDatasets", display_name="Merge Datasets", category=menu.DATASET,
            description="Joins several datasets into one, in the order of the inputs.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("first"), LoraDataset.Input("second"),
                io.Boolean.Input("once", default=True, tooltip=(
                    "Use an image that is in several datasets only once, from the first dataset that has it.")),
                *more,
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def execute(cls, first, second, once, third=None, fourth=None, fifth=None, sixth=None) -> io.NodeOutput:
        parts = [part for part in (first, second, third, fourth, fifth, sixth) if part is not None]
        merged = merge(parts, once)
        show_text(f"{' + '.join(str(len(part)) for part in parts)} images make {len(merged)}", cls.hidden.unique_id)
        return io.NodeOutput(merged)


class SplitDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SplitDataset", display_name="Split Dataset", category=menu.DATASET,
            description="Holds back some images of a dataset, to measure the training on. Crops of one image stay "
                        "together.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Float.Input("fraction", default=0.1, min=0.01, max=0.9, step=0.01, tooltip=(
                    "Share of the images to hold back.")),
                io.Int.Input("seed", default=0, min=0, max=MOST_SEED, control_after_generate=False, tooltip=(
                    "Another seed holds back other images.")),
            ],
            outputs=[LoraDataset.Output(display_name="training"),
                     LoraDataset.Output(display_name="validation", tooltip=(
                         "The images held back, for Train LoRA's input of that name."))],
        )

    @classmethod
    def execute(cls, dataset, fraction, seed) -> io.NodeOutput:
        training, validation = split_validation(dataset, fraction, seed)
        text = f"{len(training)} to train on, {len(validation)} held back"
        show_text("\n".join((text, *training.notes)), cls.hidden.unique_id)
        return io.NodeOutput(training, validation)


class PreviewDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_PreviewDataset", display_name="Preview Dataset", category=menu.DATASET,
            description="Shows a contact sheet of a dataset with the first words of each caption, and a short report.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Int.Input("shown", default=32, min=1, max=256, tooltip="Maximum number of images on the sheet."),
                io.Int.Input("columns", default=4, min=1, max=16, tooltip="Images per row of the sheet."),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The same dataset."),
                io.Image.Output(display_name="sheet"),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(cls, dataset, shown, columns) -> io.NodeOutput:
        sheet = samples_sheet(dataset.samples[:shown], columns)
        report = dataset_report(dataset)
        show_report(report, cls.hidden.unique_id)
        return io.NodeOutput(dataset, sheet, report, ui=ui.PreviewImage(sheet, cls=cls))


def _some_pictures(batches: Sequence[Tensor]) -> list[Image.Image]:
    """The images of all batches. Raises UserError if there is none."""
    pictures = [picture for batch in batches for picture in to_pictures(batch)]
    if not pictures:
        raise UserError("there are 0 images to make a dataset of; at least 1 is needed. Link a node that gives images.")
    return pictures


# -- what the nodes are made of ----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Item:
    """An image to save.

    Attributes:
        label: the last part of the file's name.
        parent: the image it was made from; "" if it was made from no other.
        mask: in mode L, with the image's size.
        control: the image that an edit model turns into it.
    """

    picture: Image.Image
    caption: str
    label: str = ""
    parent: str = ""
    mask: Image.Image | None = None
    control: Image.Image | None = None

    @property
    def name(self) -> str:
        """The name of its file, made from the pixels of the image, the mask and the control image, so that an existing
        file need not be written again."""
        parts = (short_pixel_hash(self.picture), self.mask and f"m{short_pixel_hash(self.mask)[:6]}",
                 self.control and f"c{short_pixel_hash(self.control)[:6]}", self.label)
        return "-".join(part for part in parts if part)

    @property
    def controls(self) -> tuple[Image.Image, ...]:
        return () if self.control is None else (self.control,)


def save_dataset_folder(folder: Path, items: Sequence[Item]) -> Dataset:
    """The items as a dataset whose files are in `folder`. Existing files are not written again. Raises UserError if
    somebody edited a caption that would be overwritten."""
    samples, missing = [], {}
    for item in items:
        path = folder / f"{item.name}.png"
        mask = path.parent / MASKS_FOLDER / path.name if item.mask else None
        controls = control_paths(path, len(item.controls))
        samples.append(Sample(path, item.picture.size, item.caption, parent=item.parent, mask=mask, controls=controls))
        files = (path, *controls, *((mask,) if mask else ()))
        if not all(file.exists() for file in files) or _caption_of(path) != item.caption:
            missing[item.name] = item
    if missing:
        refuse_edited_captions(folder, {f"{name}.png": item.caption for name, item in missing.items()})
        metas = [{"name": sample.path.stem, "parent": sample.parent, "caption_hash": caption_hash(sample.caption)}
                 for sample in samples]
        by_name = {meta["name"]: meta for meta in metas}
        save_samples(folder, [(item.picture, item.caption, by_name[name]) for name, item in missing.items()],
                     [item.mask for item in missing.values()], [item.controls for item in missing.values()])
    return Dataset(tuple(samples))


def _caption_of(path: Path) -> str | None:
    file = path.with_suffix(".txt")
    return file.read_text("utf-8", errors="replace").strip() if file.is_file() else None


def _crops(picture: Image.Image, tags: Sequence[str], count: int, vocabulary: str) -> list[Item]:
    words, parent = VOCABULARIES[vocabulary], short_pixel_hash(picture)
    roles, crops = tag_roles(tags, words), suggest_crops(picture, count)
    face = next((crop.box for crop in crops if crop.name == "face"), None)
    items = []
    for crop in crops:
        box = square_box(crop.box, picture.size)
        shown = crop_tags(Crop(crop.name, box), picture.size, roles, words, "", face)
        items.append(Item(picture.crop(box), join_tags(shown), crop.name.replace("_", "-"), parent))
    return items


def captions_for(texts: Sequence[str], count: int) -> list[str]:
    """A caption for each of `count` images: one text each if there are that many texts, one line each of a single text,
    or a single text for all. Raises UserError for any other number."""
    lines = [line.strip() for line in texts[0].splitlines() if line.strip()] if len(texts) == 1 else []
    if len(texts) == count:
        return [" ".join(text.split()) for text in texts]
    if len(lines) == count:
        return lines
    if len(texts) == 1 and len(lines) <= 1:
        return [" ".join(lines)] * count
    raise UserError(f"there are {len(lines) or len(texts)} captions for {count} images; give one for each, or one for "
                    "all.")


def masks_for(masks: Sequence[Image.Image], pictures: Sequence[Image.Image]) -> list[Image.Image | None]:
    """A mask for each image; None where it is all black. Raises UserError if the number or a shape does not match.

    A mask of the same shape but another size is scaled.
    """
    if not masks:
        return [None] * len(pictures)
    if len(masks) != len(pictures):
        raise UserError(f"there are {len(masks)} masks for {len(pictures)} images; give one for each.")
    return [scaled_mask(mask, picture.size, f"mask {number}") if mask.getextrema()[1] else None
            for number, (mask, picture) in enumerate(zip(masks, pictures, strict=True), 1)]


def controls_for(controls: Sequence[Image.Image], count: int) -> list[Image.Image | None]:
    """A control image for each of `count` images, if there are any. Raises UserError for any other number."""
    if controls and len(controls) != count:
        raise UserError(f"there are {len(controls)} control images for {count} images; give one for each.")
    return list(controls) or [None] * count


def merge(parts: Sequence[Dataset], once: bool) -> Dataset:
    """The datasets one after the other. With `once`, an image that an earlier dataset has, with the same control
    images, is left out."""
    whole = parts[0].concat(*parts[1:])
    if not once:
        return whole
    known: set[tuple[str, str]] = set()
    samples: list[Sample] = []
    for part in parts:
        keyed = [((sample.content_hash, sample.controls_hash), sample) for sample in part]
        samples += [sample for key, sample in keyed if key not in known]
        known |= {key for key, _ in keyed}
    doubles = len(whole) - len(samples)
    note = (f"Images in more than one of the merged datasets, used only once: {doubles}.",) if doubles else ()
    return Dataset(tuple(samples), (*whole.notes, *note))


def dataset_report(dataset: Dataset) -> str:
    """A few lines of text: the number and sizes of the images, the captions, the most frequent tags, and the notes."""
    if not len(dataset):
        return "no images"
    widths, heights = zip(*(sample.size for sample in dataset), strict=True)
    epoch = sum(sample.repeats for sample in dataset)
    repeated = f" ({epoch} in an epoch)" if epoch != len(dataset) else ""
    bare = sum(not sample.caption for sample in dataset)
    least, most = f"{min(widths)} x {min(heights)}", f"{max(widths)} x {max(heights)}"
    tags = list(tag_frequency(sample.caption for sample in dataset).items())[:8]
    lines = [f"{len(dataset)} images{repeated}, {least if least == most else f'{least} to {most}'} pixels",
             f"{bare} without a caption" if bare else "all have captions",
             ", ".join(f"{tag} ({count})" for tag, count in tags)]
    return "\n".join(line for line in (*lines, *dataset.notes) if line)


def first_notes(dataset: Dataset) -> str:
    more = len(dataset.notes) - SHOWN_NOTES
    rest = (f"… {more} more notes: Preview Dataset shows them.",) if more > 0 else ()
    return "\n".join((*dataset.notes[:SHOWN_NOTES], *rest))


def folder_fingerprint(folder: Path, recursive: bool) -> str:
    """A hash of the files' names, sizes and times of change. It differs as soon as an image or a caption changes.
    Hidden files and folders, such as those of small copies, are not part of a dataset."""
    digest = hashlib.sha256()
    inside = folder.rglob("*") if recursive else (path for pattern in ("*", "*/*") for path in folder.glob(pattern)
                                                  if path.parent == folder or is_beside(path.parent.name))
    for path in sorted(inside):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            status = path.stat()
            digest.update(repr((name.as_posix(), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _controls_folder(folder: str) -> Path | None:
    """The folder of control images; None for an empty text. Raises UserError."""
    return paths.dataset_folder(folder) if folder.strip() else None


def _dataset_home(name: str) -> Path:
    return paths.own_folder(paths.datasets_root(), name)


def _add_caption(caption: str, trigger: str) -> str:
    return join_tags(add_trigger(split_tags(caption), trigger)) if trigger.strip() else caption
