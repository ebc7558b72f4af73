"""The ways to ask an edit model for a view, beside those in which captions are written (`models.families.WORDINGS`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..captions.roles import TagRoles
from ..captions.views import ViewPrompt
from ..captions.vocabulary import Vocabulary
from .cameras import camera_vocabulary, say_camera
from .instructions import instruction_vocabulary, say_instruction


@dataclass(frozen=True)
class EditWording:
    """Attributes:
        say: the prompt of a view. It has no trigger and none of the character's own tags.
        vocabulary: a base's words for views -> the words that this wording can say.
        end: what stands behind the whole prompt.
        keeps_rest: whether an edit changes nothing but what it says, so that it starts from the original in each round,
            and its caption names what the original shows beside it.
    """

    say: Callable[[ViewPrompt, TagRoles, Vocabulary], str]
    vocabulary: Callable[[Vocabulary], Vocabulary]
    end: str = ""
    keeps_rest: bool = False


EDIT_WORDINGS: Mapping[str, EditWording] = {
    "edit instruction": EditWording(say_instruction, instruction_vocabulary, "."),
    "camera angles": EditWording(say_camera, camera_vocabulary, keeps_rest=True),
}


def caption_wording(wording: str, base: str) -> str:
    """How an image that was asked for in `wording` is captioned: in the base's wording if that was an edit wording."""
    return base if wording in EDIT_WORDINGS else wording
