"""Nodes that make a dataset fit to be trained on, and that save it for any trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui
from PIL import ImageColor
from torch import Tensor

from ..host import menu, paths
from ..host.drawing.pictures import pixel_hash, samples_sheet, to_pictures
from ..host.working import Work, follow, problem, show_report
from ..trainer.common.errors import UserError
from ..trainer.common.files import atomic_path
from ..trainer.datasets.kohya_folder import DatasetSaved, save_dataset
from ..trainer.datasets.prepare import PrepareFinished, prepare
from ..trainer.datasets.prepared_folder import CROPS, FLIPS, SHAPES, PrepareConfig
from ..trainer.models.families import FAMILIES
from .sockets import LoraDataset

SHOWN = 64
"""Pictures on the sheet at most."""


def _choices(table: dict[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in table.items()) + "."


class PrepareDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_PrepareDataset", display_name="Prepare Dataset", category=menu.DATASET,
            description="A dataset cropped to its subject, in the model's buckets, with matched colours and another "
                        "background if asked, as pictures on disk with captions and masks. The sources stay as "
                        "they are.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[LoraDataset.Input("dataset"), *_prepare_widgets(),
                    io.Image.Input("reference", optional=True, tooltip="A picture whose colours all are matched to."),
                    io.Image.Input("background_image", optional=True, tooltip=(
                        "A picture to put behind masked subjects, instead of a colour."))],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The prepared pictures."),
                io.Image.Output(display_name="sheet"),
                io.String.Output(display_name="report", tooltip="What was done to each picture."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, resolution, subject_least, subject_most, background) -> bool | str:
        checks = ((_home, (name,)), (colour, (background,)), (_subject, (subject_least, subject_most)),
                  (lambda side: side and PrepareConfig(resolution=side), (resolution,)))
        return next((found for check, values in checks if (found := problem(check, *values)) is not True), True)

    @classmethod
    def execute(cls, dataset, name, resolution, subject_least, subject_most, background, reference=None,
                background_image=None, **widgets) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        config = PrepareConfig(
            resolution=resolution or None, subject=_subject(subject_least, subject_most),
            reference=save_input_image(reference), background=save_input_image(background_image) or colour(background),
            name=name.strip(), **widgets)
        done = follow(prepare(dataset, config, _home(name)), Work(node_id))
        report, sheet = prepare_report(done), samples_sheet(done.dataset.samples[:SHOWN])
        show_report(prepare_summary(done), node_id)
        return io.NodeOutput(done.dataset, sheet, report, ui=ui.PreviewImage(sheet, cls=cls))


def _prepare_widgets() -> list[Any]:
    return [
        io.String.Input("name", default="prepared", tooltip=(
            "The pictures are kept in output/bootstrap/datasets/<name>. The same pictures and settings are not "
            "prepared again.")),
        io.Combo.Input("family", options=list(FAMILIES), default="sdxl", tooltip="The model family to be trained."),
        io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
            "Side in pixels of the square it is trained at; 0 is the family's own.")),
        io.Combo.Input("crop", options=list(CROPS), default="subject", tooltip=(
            f"{_choices(CROPS)} The subject is where the mask is, else what stands out.")),
        io.Float.Input("subject_least", default=0.4, min=0.01, max=1.0, step=0.01, tooltip=(
            "Least share of the frame that the subject shall fill.")),
        io.Float.Input("subject_most", default=0.6, min=0.01, max=1.0, step=0.01, tooltip=(
            "Most share of the frame that the subject shall fill.")),
        io.Combo.Input("shape", options=list(SHAPES), default="bucket", tooltip=_choices(SHAPES)),
        io.Boolean.Input("upscale", default=False, tooltip=(
            "Enlarge pictures below the resolution; else they keep their pixels, in a smaller bucket.")),
        io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=(
            "How far colours are matched to the reference, if one is linked.")),
        io.String.Input("background", default="", tooltip=(
            "A colour to put behind masked subjects: white, #808080. Empty: what is there stays.")),
        io.String.Input("background_tag", default="simple background", tooltip=(
            "What captions then say of the background instead.")),
        io.Combo.Input("flip", options=list(FLIPS), default="never", tooltip=_choices(FLIPS)),
        io.Boolean.Input("alpha_masks", default=True, tooltip=(
            "Transparent pictures without a mask take their transparency for one.")),
    ]


class SaveDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_SaveDataset", display_name="Save Dataset", category=menu.DATASET,
            description="A dataset as a kohya folder, <repeats>_<concept> with PNG, captions and masks, as this and "
                        "other trainers read it.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.String.Input("name", default="my_dataset", tooltip=(
                    "It is saved in output/datasets/<name>. What an earlier save put there and is not in the dataset "
                    "any more is removed; a folder with pictures from elsewhere is refused.")),
                io.String.Input("concept", default="character", tooltip=(
                    "Of the folder's name, 10_<concept>: kohya takes it for the caption of pictures that have none.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The pictures as they lie there now."),
                io.String.Output(display_name="path", tooltip="The folder to give another trainer."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, concept) -> bool | str:
        found = problem(_saved_home, name)
        return found if found is not True else problem(_saved_home, concept)

    @classmethod
    def execute(cls, dataset, name, concept) -> io.NodeOutput:
        folder, work = _saved_home(name), Work(cls.hidden.unique_id)
        done = follow(save_dataset(dataset, folder, concept.strip()), work)
        show_report("\n".join((save_summary(done, folder), *work.notes)), cls.hidden.unique_id)
        return io.NodeOutput(done.dataset, str(folder))


# -- what the nodes are made of ----------------------------------------------------------------------------------------


def _home(name: str) -> Path:
    return paths.own_folder(paths.datasets_root(), name)


def _saved_home(name: str) -> Path:
    return paths.own_folder(paths.saved_root(), name)


def _subject(least: float, most: float) -> tuple[float, float]:
    return PrepareConfig(subject=(least, most)).subject


def colour(text: str) -> str:
    """The widget's colour, "" for none. Raises UserError for anything else: a path in a workflow leads nowhere."""
    plain = text.strip()
    try:
        if plain:
            ImageColor.getrgb(plain)
    except ValueError:
        raise UserError(f"background {text!r} is no colour; use a name such as white, or #rrggbb. For a picture, link "
                        "background_image.") from None
    return plain


def save_input_image(image: Tensor | None) -> str:
    """The path of a file with the first picture of an IMAGE, named by its pixels; "" for none."""
    if image is None:
        return ""
    picture = to_pictures(image[:1])[0]
    path = paths.temp_root() / f"{pixel_hash(picture)}.png"
    if not path.is_file():
        with atomic_path(path) as temp:
            picture.save(temp, format="PNG")
    return str(path)


def prepare_report(done: PrepareFinished) -> str:
    """A line for each picture, after what holds for all."""
    return "\n".join((*_for_all(done), *(picture.text for picture in done.pictures)))


def prepare_summary(done: PrepareFinished) -> str:
    """What was done, and to how many pictures."""
    counts = Counter("; ".join(picture.done) or "as it was" for picture in done.pictures if picture.path is not None)
    return "\n".join((*_for_all(done), *(f"{count} x {what}" for what, count in counts.most_common())))


def _for_all(done: PrepareFinished) -> Sequence[str]:
    head = f"{len(done.dataset)} pictures" + (", prepared before" if done.reused else "")
    return (head, *done.notes, *done.dataset.notes)


def save_summary(done: DatasetSaved, folder: Path) -> str:
    gone = f", {done.removed} of an earlier save removed" if done.removed else ""
    return f"{len(done.dataset)} pictures in {folder}: {done.written} written{gone}"
