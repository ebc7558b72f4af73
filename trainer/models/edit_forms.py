"""How edit models are given the control image that they turn into another: the forms that the host's own nodes have.

A form belongs to a class of the host's models. Qwen-Image-Edit has three, and its network does not tell which: the
file's name does, or the user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..common.errors import UserError, unknown_name

AUTO = "auto"


@dataclass(frozen=True)
class EditForm:
    """One way to give control images to a model.

    Attributes:
        title: the models it is for.
        model: the class of their host models.
        named: matches the names of their files; "" for the form of whatever has another name.
        most: most control images of one image.
    """

    title: str
    model: str
    named: str = ""
    most: int = 3


EDIT_FORMS = {
    "qwen edit 2511": EditForm("Qwen-Image-Edit-2511", "QwenImage", r"2511"),
    "qwen edit": EditForm("Qwen-Image-Edit (of August 2025)", "QwenImage",
                          r"qwen[-_. ]?image[-_. ]?edit(?![-_. ]?(v?\d|plus))", most=1),
    "qwen edit 2509": EditForm("Qwen-Image-Edit-2509", "QwenImage"),
    "kontext": EditForm("Flux.1 Kontext", "Flux"),
    "flux2": EditForm("Flux.2", "Flux2"),
    "krea2": EditForm("Krea 2", "Krea2"),
}
_EDIT_NAME = re.compile(r"edit|kontext")
_BOTH = ("Flux2", "Krea2")
"""Classes of models that draw both with and without control images, from the same file."""


def choose_form(wanted: str, model: str, title: str, file: str = "", zero_time: bool = False) -> str:
    """The name of the form for a model.

    Args:
        wanted: a form's name, or AUTO.
        model: the class of the host's model.
        title: what the model is called in messages.
        file: the name of its file, if that is known.
        zero_time: whether the model says of itself that control images are at time 0, as only 2511's files do.

    Raises UserError if the model takes no control images, or not in the wanted form.
    """
    forms = {name: form for name, form in EDIT_FORMS.items() if form.model == model}
    if not forms:
        titles = ", ".join(dict.fromkeys(form.title for form in EDIT_FORMS.values()))
        raise UserError(f"the dataset has control images, but {title} cannot be trained with them here. Load one of "
                        f"{titles} in ComfyUI, or use images without a folder of control images.")
    if wanted != AUTO:
        if wanted not in forms:
            raise unknown_name(f"edit_form for {title}", wanted, [AUTO, *forms])
        return wanted
    if zero_time and "qwen edit 2511" in forms:
        return "qwen edit 2511"
    return next(name for name, form in forms.items() if re.search(form.named, file.casefold()))


def is_edit_name(file: str, model: str) -> bool | None:
    """Whether a model's file is called an edit model's; None if its class or an unknown name does not tell."""
    if not file or model in _BOTH or all(form.model != model for form in EDIT_FORMS.values()):
        return None
    return bool(_EDIT_NAME.search(file.casefold()))
