"""Nodes that make and show datasets: from a folder, from one picture's crops, from pictures of the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from comfy_api.latest import io, ui
from PIL import Image

from ..trainer.captions import add_trigger, join_tags, split_tags, tag_frequency
from ..trainer.crops import MAX_CROPS, Crop, suggest_crops
from ..trainer.dataset import Dataset, Sample, load_folder, save_samples
from ..trainer.errors import UserError
from ..trainer.originals import crop_tags, squared
from ..trainer.sweep import contact_sheet
from ..trainer.views import VOCABULARIES, tag_roles
from . import paths
from .pictures import pixel_hash, to_batch, to_pictures, with_caption
from .progress import show_text
from .sockets import LoraDataset

CATEGORY = "LoRA Bootstrap/dataset"
CELL = 176


class LoadDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_LoadDataset", display_name="Load Dataset", category=CATEGORY,
            description="Pictures of a folder with their captions (a.txt or a.caption beside a.png).",
            inputs=[
                io.String.Input("folder", default="sandbox/dataset/akane", tooltip=(
                    "A folder below ComfyUI's input or output folder, such as my_pictures. "
                    "sandbox/dataset/akane is a drawn character that comes with the pack.")),
                io.Int.Input("repeats", default=1, min=1, max=1000, tooltip=(
                    "How often each picture comes in an epoch. Subfolders named 10_name say it for themselves.")),
                io.Boolean.Input("recursive", default=True, tooltip="Also take the pictures of subfolders."),
                io.String.Input("trigger", default="", tooltip=(
                    "A word to put first in every caption; leave empty to keep the captions as they are.")),
                io.String.Input("class_word", default="", tooltip=(
                    "The caption of pictures that have none, such as 1girl.")),
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def validate_inputs(cls, folder) -> bool | str:
        return _problem(paths.dataset_folder, folder)

    @classmethod
    def fingerprint_inputs(cls, folder, recursive, **_) -> str | float:
        if folder is None:  # linked: what it is shows only when the node runs
            return float("nan")
        return folder_fingerprint(paths.dataset_folder(folder), recursive)

    @classmethod
    def execute(cls, folder, repeats, recursive, trigger, class_word) -> io.NodeOutput:
        dataset = load_folder(paths.dataset_folder(folder), recursive=recursive, default_repeats=repeats)
        return io.NodeOutput(dataset.with_captions(lambda caption: _captioned(caption or class_word, trigger)))


class CropPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_CropPicture", display_name="Crop Picture", category=CATEGORY,
            description="One picture as several training pictures: the whole, the upper body, the face, and details, "
                        "each captioned with what it still shows.",
            inputs=[
                io.Image.Input("image", tooltip="One picture; of a batch, each is cropped."),
                io.String.Input("tags", default="", multiline=True, tooltip=(
                    "Everything the picture shows, between commas. One line for each picture of a batch, or one for "
                    "all.")),
                io.Int.Input("count", default=4, min=1, max=MAX_CROPS, tooltip=(
                    "Crops of each picture. A small picture may give fewer.")),
                io.Combo.Input("vocabulary", options=list(VOCABULARIES), default="booru", tooltip=(
                    "By whose words a crop's view is named (upper body, close-up): booru tags, or the sandbox's own.")),
                io.String.Input("name", default="crops", tooltip=(
                    "The crops are kept in output/bootstrap/datasets/<name>; the same crop is kept once.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset"),
                io.Image.Output(display_name="crops", is_output_list=True, tooltip="The crops, one by one."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return _problem(_dataset_home, name)

    @classmethod
    def execute(cls, image, tags, count, vocabulary, name) -> io.NodeOutput:
        pictures = to_pictures(image)
        items = [item for picture, line in zip(pictures, captions_for([tags], len(pictures)), strict=True)
                 for item in _crops(picture, split_tags(line), count, vocabulary)]
        dataset = keep(_dataset_home(name), items)
        return io.NodeOutput(dataset, [to_batch(picture) for picture, _, _, _ in items])


class DatasetFromImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_DatasetFromImages", display_name="Dataset From Images", category=CATEGORY,
            description="Pictures made or loaded in the graph, as a dataset that is also kept on disk.",
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="A batch, or a list of pictures of any sizes."),
                io.String.Input("captions", default="", multiline=True, tooltip=(
                    "A caption for each picture (a list, or one line for each), or one for all.")),
                io.String.Input("name", default="pictures", tooltip=(
                    "They are kept in output/bootstrap/datasets/<name>; the same picture is kept once.")),
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def validate_inputs(cls, name) -> bool | str:
        return _problem(_dataset_home, *name)

    @classmethod
    def execute(cls, images, captions, name) -> io.NodeOutput:
        pictures = [picture for batch in images for picture in to_pictures(batch)]
        lines = captions_for(captions, len(pictures))
        return io.NodeOutput(keep(_dataset_home(name[0]), [
            (picture, caption, "", "") for picture, caption in zip(pictures, lines, strict=True)]))


class PreviewDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_PreviewDataset", display_name="Preview Dataset", category=CATEGORY,
            description="A contact sheet of a dataset with the captions' first words, and what there is to say of it.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Int.Input("shown", default=32, min=1, max=256, tooltip="At most so many pictures are shown."),
                io.Int.Input("columns", default=4, min=1, max=16, tooltip="Pictures in a row of the sheet."),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The same dataset."),
                io.Image.Output(display_name="sheet"),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def execute(cls, dataset, shown, columns) -> io.NodeOutput:
        cells = [with_caption(sample.load(), sample.caption, CELL) for sample in dataset.samples[:shown]]
        sheet = to_batch(contact_sheet(cells, min(columns, max(1, len(cells))), cell=CELL))
        report = dataset_report(dataset)
        show_text(report, cls.hidden.unique_id)
        return io.NodeOutput(dataset, sheet, report, ui=ui.PreviewImage(sheet, cls=cls))


# -- what the nodes are made of ----------------------------------------------------------------------------------------

Item = tuple[Image.Image, str, str, str]
"""(picture, caption, label that its file's name ends in, the picture it descends from)."""


def keep(folder: Path, items: Sequence[Item]) -> Dataset:
    """The items as a dataset whose files lie in `folder`, named by their pixels: what is there is not written again."""
    samples, missing = [], {}
    for picture, caption, label, parent in items:
        name = pixel_hash(picture) + (f"-{label}" if label else "")
        path = folder / f"{name}.png"
        samples.append(Sample(path, picture.size, caption, parent=parent))
        if not path.exists() or _caption_of(path) != caption:
            missing[name] = (picture, caption, {"name": name, "parent": samples[-1].parent})
    if missing:
        save_samples(folder, list(missing.values()))
    return Dataset(tuple(samples))


def _caption_of(path: Path) -> str | None:
    file = path.with_suffix(".txt")
    return file.read_text("utf-8").strip() if file.is_file() else None


def _crops(picture: Image.Image, tags: Sequence[str], count: int, vocabulary: str) -> list[Item]:
    words, parent = VOCABULARIES[vocabulary], pixel_hash(picture)
    roles, crops = tag_roles(tags, words), suggest_crops(picture, count)
    face = next((crop.box for crop in crops if crop.name == "face"), None)
    items = []
    for crop in crops:
        box = squared(crop.box, picture.size)
        shown = crop_tags(Crop(crop.name, box), picture.size, roles, words, "", face)
        items.append((picture.crop(box), join_tags(shown), crop.name.replace("_", "-"), parent))
    return items


def captions_for(texts: Sequence[str], count: int) -> list[str]:
    """A caption for each of `count` pictures: the texts if they are as many, the lines of a single text, or that text
    for all. Raises UserError for any other number."""
    lines = [line.strip() for line in texts[0].splitlines() if line.strip()] if len(texts) == 1 else []
    if len(texts) == count:
        return [" ".join(text.split()) for text in texts]
    if len(lines) == count:
        return lines
    if len(texts) == 1 and len(lines) <= 1:
        return [" ".join(lines)] * count
    raise UserError(f"there are {len(lines) or len(texts)} captions for {count} pictures; give one for each, "
                    "or one for all.")


def dataset_report(dataset: Dataset) -> str:
    """A few lines of text: how many pictures of which sizes, captions, the most frequent tags, and the notes."""
    if not len(dataset):
        return "no pictures"
    widths, heights = zip(*(sample.size for sample in dataset), strict=True)
    epoch = sum(sample.repeats for sample in dataset)
    repeated = f" ({epoch} in an epoch)" if epoch != len(dataset) else ""
    bare = sum(not sample.caption for sample in dataset)
    least, most = f"{min(widths)} x {min(heights)}", f"{max(widths)} x {max(heights)}"
    tags = list(tag_frequency(sample.caption for sample in dataset).items())[:8]
    lines = [f"{len(dataset)} pictures{repeated}, {least if least == most else f'{least} to {most}'} pixels",
             f"{bare} without a caption" if bare else "all have captions",
             ", ".join(f"{tag} ({count})" for tag, count in tags)]
    return "\n".join(line for line in (*lines, *dataset.notes) if line)


def folder_fingerprint(folder: Path, recursive: bool) -> str:
    """A hash of the files' names, sizes and times of change: another one as soon as a picture or caption changes."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*") if recursive else folder.glob("*")):
        if path.is_file():
            status = path.stat()
            digest.update(repr((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _dataset_home(name: str) -> Path:
    return paths.own_folder(paths.datasets_root(), name)


def _captioned(caption: str, trigger: str) -> str:
    return join_tags(add_trigger(split_tags(caption), trigger)) if trigger.strip() else caption


def _problem(check, value: str | None) -> bool | str:
    """True, or what is wrong with the value; one that comes over a link is not known yet."""
    try:
        if value is not None:
            check(value)
    except UserError as error:
        return str(error)
    return True

