"""Nodes that prepare a dataset for training, and that save it for any trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui
from PIL import ImageColor
from torch import Tensor

from ..host import menu, paths
from ..host.drawing.pictures import first_of_batch, samples_sheet, short_pixel_hash, to_pictures
from ..host.drawing.sampling_figures import DrawnModel
from ..host.working import Work, follow, problem, show_report
from ..trainer.common.errors import UserError
from ..trainer.common.files import atomic_path
from ..trainer.datasets.dataset import Dataset
from ..trainer.datasets.given_folder import name_by_folder
from ..trainer.datasets.kohya_folder import DatasetSaved, save_dataset
from ..trainer.datasets.prepare import PrepareFinished, prepare
from ..trainer.datasets.prepared_folder import CROPS, FLIPS, SHAPES, PrepareConfig
from ..trainer.models.families import FAMILIES, get_family
from .schema import node_schema
from .sockets import LoraDataset

SHOWN = 64
"""Maximum number of images on the sheet."""


def _choices(table: dict[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in table.items()) + "."


class PrepareDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_PrepareDataset", display_name="Prepare Dataset", category=menu.DATASET,
            description="Prepares a dataset for training: crops each image to its subject, resizes it to the model's "
                        "sizes and, if asked, matches colours and replaces the background. The results are saved "
                        "with captions and masks; the source files are left unchanged.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[LoraDataset.Input("dataset"), *_prepare_widgets(),
                    io.Image.Input("reference", optional=True, tooltip=(
                        "An image whose colours all others are matched to.")),
                    io.Image.Input("background_image", optional=True, tooltip=(
                        "An image to put behind masked subjects, instead of a colour."))],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The prepared images."),
                io.Image.Output(display_name="sheet"),
                io.String.Output(display_name="report", tooltip="What was done to each image, or why it was left out."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, resolution, subject_least, subject_most, background) -> bool | str:
        checks = ((_check_name, (name,)), (colour, (background,)), (_subject, (subject_least, subject_most)),
                  (lambda side: side and PrepareConfig(resolution=side), (resolution,)))
        return next((found for check, values in checks if (found := problem(check, *values)) is not True), True)

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: Any) -> str:
        """For the route `plan`: the resolution that 0 stands for."""
        if "resolution" not in values or "family" not in values:
            return ""
        side = values["resolution"] or get_family(values["family"]).resolution
        return f"will prepare: images of about {side} x {side} px"

    @classmethod
    def execute(cls, dataset, name, resolution, subject_least, subject_most, background, reference=None,
                background_image=None, **widgets) -> io.NodeOutput:
        node_id, name = cls.hidden.unique_id, _name(name, dataset)
        config = PrepareConfig(
            resolution=resolution or None, subject=_subject(subject_least, subject_most),
            reference=save_input_image(reference), background=save_input_image(background_image) or colour(background),
            name=name, **widgets)
        done = follow(prepare(dataset, config, _home(name)), Work(node_id))
        notes = (*first_of_batch(reference, "reference"), *first_of_batch(background_image, "background_image"))
        report, sheet = prepare_report(done), samples_sheet(done.dataset.samples[:SHOWN])
        show_report("\n".join((prepare_summary(done), *notes)), node_id)
        return io.NodeOutput(done.dataset, sheet, "\n".join((report, *notes)), ui=ui.PreviewImage(sheet, cls=cls))


def _prepare_widgets() -> list[Any]:
    return [
        io.String.Input("name", default="prepared", tooltip=(
            "Name of the folder output/bootstrap/datasets/<name>. Leave empty to name it after the folder that the "
            "images come from. The same images with the same settings are not prepared twice. Images from another "
            "source need another name.")),
        io.Combo.Input("family", options=list(FAMILIES), default="sdxl", tooltip="The model family you will train."),
        io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
            "Training resolution: the side of the square, in pixels. 0 uses the family's own.")),
        io.Combo.Input("crop", options=list(CROPS), default="subject", tooltip=(
            f"{_choices(CROPS)} The subject is where the mask is, or else what stands out.")),
        io.Float.Input("subject_least", default=0.4, min=0.01, max=1.0, step=0.01, tooltip=(
            "Smallest share of the frame that the subject should fill.")),
        io.Float.Input("subject_most", default=0.6, min=0.01, max=1.0, step=0.01, tooltip=(
            "Largest share of the frame that the subject should fill.")),
        io.Combo.Input("shape", options=list(SHAPES), default="bucket", tooltip=_choices(SHAPES)),
        io.Boolean.Input("upscale", default=False, tooltip=(
            "Enlarge images below the resolution. Otherwise they are trained at their own size.")),
        io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=(
            "How far colours are matched to the reference, if one is linked. 0 leaves them unchanged.")),
        io.String.Input("background", default="", tooltip=(
            "A colour to put behind masked subjects: white, #808080. Leave empty to keep the background.")),
        io.String.Input("background_tag", default="simple background", tooltip=(
            "Tag that replaces the captions' background and lighting tags when the background changes.")),
        io.Combo.Input("flip", options=list(FLIPS), default="never", tooltip=_choices(FLIPS)),
        io.Boolean.Input("alpha_masks", default=True, tooltip=(
            "Use transparency as the mask of images that have no mask.")),
    ]


class SaveDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SaveDataset", display_name="Save Dataset", category=menu.DATASET,
            description="Saves a dataset as a kohya folder, <repeats>_<concept> with PNG files, captions and masks, "
                        "for this trainer or any other.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.String.Input("name", default="my_dataset", tooltip=(
                    "Name of the folder in output/datasets. Leave empty to name it after the folder that the images "
                    "come from. Files from an earlier save of this dataset that are no longer in it are deleted. A "
                    "folder with images from another source, or with files that you edited, is refused.")),
                io.String.Input("concept", default="character", tooltip=(
                    "Second half of the subfolder's name, 10_<concept>. Kohya uses it as the caption of images that "
                    "have none.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The images as they are saved now."),
                io.String.Output(display_name="path", tooltip="The folder, for another trainer."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, concept) -> bool | str:
        found = problem(_check_name, name)
        return found if found is not True else problem(_saved_home, concept)

    @classmethod
    def execute(cls, dataset, name, concept) -> io.NodeOutput:
        folder, work = _saved_home(_name(name, dataset)), Work(cls.hidden.unique_id)
        done = follow(save_dataset(dataset, folder, concept.strip()), work)
        place = f"output/{folder.relative_to(paths.output_root()).as_posix()}"
        show_report("\n".join((save_summary(done, place), *work.notes)), cls.hidden.unique_id)
        return io.NodeOutput(done.dataset, str(folder))


# -- what the nodes are made of ----------------------------------------------------------------------------------------


def _name(name: str, dataset: Dataset) -> str:
    """The widget's name, or that of the folder which the images come from."""
    return name.strip() or name_by_folder(sample.path for sample in dataset)


def _check_name(name: str) -> None:
    """Raises UserError for a name that no folder can have; an empty one is found once the images are known."""
    if name.strip():
        _home(name)


def _home(name: str) -> Path:
    return paths.own_folder(paths.datasets_root(), name)


def _saved_home(name: str) -> Path:
    return paths.own_folder(paths.saved_root(), name)


def _subject(least: float, most: float) -> tuple[float, float]:
    return PrepareConfig(subject=(least, most)).subject


def colour(text: str) -> str:
    """The widget's colour, "" for none. Raises UserError for anything else: a path from a workflow is never opened."""
    plain = text.strip()
    try:
        if plain:
            ImageColor.getrgb(plain)
    except ValueError:
        raise UserError(f"background {text!r} is not a colour; use a name such as white, or #rrggbb. To use an image, "
                        "link background_image.") from None
    return plain


def save_input_image(image: Tensor | None) -> str:
    """The path of a file with the first image of an IMAGE, named by its pixels; "" for none."""
    if image is None:
        return ""
    picture = to_pictures(image[:1])[0]
    path = paths.temp_root() / f"{short_pixel_hash(picture)}.png"
    if not path.is_file():
        with atomic_path(path) as temp:
            picture.save(temp, format="PNG")
    return str(path)


def prepare_report(done: PrepareFinished) -> str:
    """A line for each image, after what applies to all."""
    return "\n".join((*_for_all(done), *(picture.text for picture in done.pictures)))


def prepare_summary(done: PrepareFinished) -> str:
    """What was done, and to how many images."""
    counts = Counter("; ".join(picture.done) or "unchanged" for picture in done.pictures if picture.path is not None)
    return "\n".join((*_for_all(done), *(f"{count} x {what}" for what, count in counts.most_common())))


def _for_all(done: PrepareFinished) -> Sequence[str]:
    head = f"{len(done.dataset)} images" + (", already prepared" if done.reused else "")
    return (head, *done.notes, *done.dataset.notes)


def save_summary(done: DatasetSaved, place: str) -> str:
    """`place`: the folder, as a person finds it."""
    gone = f", {done.removed} of an earlier save removed" if done.removed else ""
    return f"{len(done.dataset)} images in {place}: {done.written} written{gone}"
