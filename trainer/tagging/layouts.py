"""How each family of taggers takes its images, and what its outputs are: one table row each.

The row is chosen by the model's own input shape, output names and label file; a `layout.json` beside the model
({"layout": "wd"}, or single fields such as {"order": "RGB"}) overrides that. Source: the families' model cards.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..common.errors import UserError, unknown_name
from ..common.files import read_json
from ..common.schema import typed

LAYOUT_FILE = "layout.json"
_WHITE = (255, 255, 255)
_RESAMPLINGS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR,
                "lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}
_CHOICES = {"axes": ("NHWC", "NCHW"), "order": ("RGB", "BGR"), "fit": ("pad", "stretch"),
            "resample": tuple(_RESAMPLINGS), "activation": ("none", "sigmoid")}


@dataclass(frozen=True)
class TaggerLayout:
    """A family's conventions.

    Attributes:
        axes: order of the input's axes: NHWC or NCHW.
        order: order of the colour channels: RGB or BGR.
        fit: how an image becomes square: `pad` with white, centred, or `stretch`.
        resample: the kernel it is resized with.
        mean, std: values per channel, in 0..255; the model is given (value - mean) / std.
        side: side in pixels, if the model's input does not say.
        output: the output to read; "": the only one, or the first that is as long as the labels.
        activation: what turns the output into probabilities: none or sigmoid.
        general, character: thresholds that its makers or users recommend.
    """

    name: str
    axes: str = "NCHW"
    order: str = "RGB"
    fit: str = "stretch"
    resample: str = "bicubic"
    mean: float | tuple[float, float, float] = 127.5
    std: float | tuple[float, float, float] = 127.5
    side: int = 448
    output: str = ""
    activation: str = "none"
    general: float = 0.35
    character: float = 0.85

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise UserError(f"{name} {getattr(self, name)!r} of a tagger's layout must be {' or '.join(valid)}.")
        for name in ("mean", "std"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) and len(value) == 3 else (value,)
            if not all(isinstance(n, (int, float)) and (n or name == "mean") for n in numbers):
                raise UserError(f"{name} {value!r} of a tagger's layout must be a number, or three, such as 127.5.")
        if not isinstance(self.side, int) or self.side < 1:
            raise UserError(f"side {self.side!r} of a tagger's layout must be a whole number of pixels, such as 448.")

    def threshold(self, category: str) -> float:
        return self.character if category == "character" else self.general


LAYOUTS: Mapping[str, TaggerLayout] = {
    layout.name: layout
    for layout in (
        TaggerLayout("wd", axes="NHWC", order="BGR", fit="pad", mean=0.0, std=1.0),
        TaggerLayout("cl", order="BGR", fit="pad", activation="sigmoid", general=0.45, character=0.6),
        TaggerLayout("cl2", resample="bilinear", side=384, activation="sigmoid", general=0.55, character=0.55),
        TaggerLayout("pixai", resample="bilinear", output="prediction", general=0.30),
    )
}


@dataclass(frozen=True)
class ModelShape:
    """What a model's file says about the model.

    Attributes:
        input_shape: four axes; None for an axis of any length.
        outputs: name -> length of the last axis, None where the model does not say.
        labels_file: name of its label file; labels: how many tags it names.
    """

    input_shape: tuple[int | None, ...]
    outputs: Mapping[str, int | None] = field(default_factory=dict)
    labels_file: str = ""
    labels: int = 0

    @property
    def axes(self) -> str | None:
        """NHWC or NCHW, by the axis of length 3; None if that is not clear."""
        colours = [axis for axis in (1, 3) if self.input_shape[axis] == 3]
        names: Mapping[tuple[int, ...], str] = {(3,): "NHWC", (1,): "NCHW"}
        return names.get(tuple(colours))


def find_layout(shape: ModelShape, folder: Path) -> TaggerLayout:
    """The row that fits the model. Raises UserError, with the remedy, if none does."""
    written = folder / LAYOUT_FILE
    fields = read_json(written) if written.is_file() else {}
    if not isinstance(fields, Mapping):
        raise UserError(f"{written} must hold one JSON object, such as {json.dumps({'layout': 'wd'})}.")
    fields = dict(fields)
    given = fields.pop("layout", None)
    name = str(given) if given else _guess(shape)
    if name not in LAYOUTS and not (name is None and "axes" in fields):
        if name is None:
            raise UserError(f"cannot tell how {folder.name} takes its images (input {list(shape.input_shape)}, "
                            f"outputs {', '.join(shape.outputs)}). Write {written} with "
                            f"{json.dumps({'layout': 'wd'})}; valid: {', '.join(LAYOUTS)}.")
        raise unknown_name(f"layout in {written}", name, LAYOUTS)
    layout = _overrule(LAYOUTS.get(name or "", TaggerLayout("own")), fields, written)
    if shape.axes and layout.axes != shape.axes:
        raise UserError(f"the input of {folder.name} is {list(shape.input_shape)}, which is {shape.axes}, not "
                        f"{layout.axes} as {written if fields or written.is_file() else 'its layout'} says. Fix it.")
    return _with_output(layout, shape, folder)


def _guess(shape: ModelShape) -> str | None:
    """The layout's name by capabilities, not by the model's name: axes, kind of labels, names of outputs."""
    if shape.axes == "NHWC":
        return "wd"
    if shape.axes == "NCHW":
        if shape.labels_file == "model_vocabulary.json":
            return "cl2"
        if shape.labels_file.endswith(".json"):
            return "cl"
        if {"prediction", "logits"} & set(shape.outputs):
            return "pixai"
    return None


def _overrule(layout: TaggerLayout, fields: Mapping[str, Any], written: Path) -> TaggerLayout:
    known = {item.name for item in dataclasses.fields(TaggerLayout)} - {"name"}
    for name in fields:
        if name not in known:
            raise unknown_name(f"field in {written}", name, known)
    return typed({**vars(layout), **fields}, TaggerLayout, written)


def _with_output(layout: TaggerLayout, shape: ModelShape, folder: Path) -> TaggerLayout:
    """The layout with the output to read; if there is only `logits`, it replaces `prediction`, through a sigmoid."""
    if layout.output in shape.outputs:
        return layout
    if layout.output and "logits" in shape.outputs:
        return dataclasses.replace(layout, output="logits", activation="sigmoid")
    fitting = [name for name, length in shape.outputs.items() if length in (None, shape.labels)]
    if not fitting:
        found = ", ".join(f"{name} ({length})" for name, length in shape.outputs.items())
        raise UserError(f"{folder.name} has {shape.labels} labels in {shape.labels_file}, but no output of that "
                        f"length: {found}. The label file belongs to another model; get the two that belong together.")
    return dataclasses.replace(layout, output=fitting[0])


def prepare_pixels(image: Image.Image, layout: TaggerLayout, side: int) -> np.ndarray:
    """An RGB image as the model's input: [side, side, 3] or [3, side, side] float32."""
    image = image.convert("RGB")
    if layout.fit == "pad":
        image = _pad_square(image)
    if image.size != (side, side):
        image = image.resize((side, side), _RESAMPLINGS[layout.resample])
    pixels: NDArray[np.float32] = np.asarray(image, dtype=np.float32)
    mean, std = np.array(layout.mean, np.float32), np.array(layout.std, np.float32)
    if layout.order == "BGR":
        pixels = pixels[:, :, ::-1]
    pixels = (pixels - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if layout.axes == "NCHW" else pixels, dtype=np.float32)


def _pad_square(image: Image.Image) -> Image.Image:
    """The image in the middle of a white square; an odd pixel goes to the right and bottom."""
    side = max(image.size)
    if image.size == (side, side):
        return image
    square = Image.new("RGB", (side, side), _WHITE)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def pictures_side(shape: ModelShape, layout: TaggerLayout) -> int:
    """Pixels of the square the model is given."""
    height, width = (shape.input_shape[axis] for axis in ((1, 2) if layout.axes == "NHWC" else (2, 3)))
    if height and width and height != width:
        raise UserError(f"the model takes images of {width} x {height}; only square ones are supported. Choose another "
                        "model.")
    return height or width or layout.side


def lengths(values: Sequence[Any]) -> tuple[int | None, ...]:
    """Axis lengths as onnxruntime gives them (numbers, names, None), with None for each free one."""
    return tuple(value if isinstance(value, int) and value > 0 else None for value in values)
