"""What the author of a release decides and states. Whatever is left empty is not in the release, or is marked there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..common.checks import check
from ..common.names import checked_name
from ..statements.rights import Rights

FIRST_VERSION = "1.0"
MOST_PREVIEWS = 12
MOST_TEXT = 20_000
"""Letters of a text."""
MOST_STRENGTH = 10.0
_TEXTS = ("title", "author", "changes", "description", "licence", "base_model", "civitai_base", "trigger", "negative")


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """Raises UserError for a name or version that cannot be a file's, and for values that are out of range.

    Attributes:
        name: of the folder and the file; "" for the run's or file's.
        changes: what changed since the last release, in the author's words.
        licence: as Hugging Face spells it (`cc-by-4.0`), or in words.
        base_model: the base's name on Hugging Face, as `owner/name`.
        civitai_base: the base's name on Civitai; "" for that of the LoRA's family.
        trigger: "" for the one that the file records.
        negative: a negative prompt to recommend; "" for that of the sweep.
        strength: to recommend; None for what was measured.
        step: the run's checkpoint to release; None for the one that the sweep's scores recommend, or else the last.
        strip: leave out what the file says about its training, but for what decides its strength.
        captions: keep captions, names of folders and prompts in the metadata, and captions as prompts of previews,
            which are left out otherwise.
        workflow: keep workflows in the previews.
        previews: number of previews at most.
    """

    name: str = ""
    title: str = ""
    author: str = ""
    version: str = FIRST_VERSION
    changes: str = ""
    description: str = ""
    licence: str = ""
    tags: tuple[str, ...] = ()
    base_model: str = ""
    civitai_base: str = ""
    trigger: str = ""
    negative: str = ""
    strength: float | None = None
    step: int | None = None
    strip: bool = False
    captions: bool = False
    workflow: bool = False
    previews: int = 6
    rights: Rights = field(default_factory=Rights)

    def __post_init__(self) -> None:
        if self.name:
            checked_name(self.name, "name of the release")
        checked_name(self.version, "version")
        check(0 <= self.previews <= MOST_PREVIEWS, "previews", self.previews, f"from 0 to {MOST_PREVIEWS}")
        if self.strength is not None:
            check(math.isfinite(self.strength) and abs(self.strength) <= MOST_STRENGTH, "strength", self.strength,
                  f"a number from -{MOST_STRENGTH:g} to {MOST_STRENGTH:g}")
        for name in _TEXTS:
            length = len(getattr(self, name))
            check(length <= MOST_TEXT, f"length of {name}", length, f"at most {MOST_TEXT} letters")
