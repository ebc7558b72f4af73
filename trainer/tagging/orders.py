"""The orders in which a caption's tags can be written, by name, and the tags that say nothing worth training."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from ..captions.classes import ORDER, tag_class
from ..captions.names import is_character, series_of
from ..captions.tags import same_tag

USUAL, COMPOSITION_LAST, ANIMA = "usual", "composition last", "anima"
_COMPOSITION_LAST = ("class", "count", "identity", "other", "pose", "object", "expression", "lighting", "outfit",
                     "background", "view", "style", "quality")
"""Seed guide 003: subject, pose, expression, light, clothes, background, composition."""
_ANIMA = ("quality", "class", "count", "character", "series", "artist", *(name for name in ORDER if name not in (
    "class", "count", "quality")))
"""The model card of Anima (huggingface.co/circlestone-labs/Anima): quality, count, character, series, artist, general
tags."""
_ARTIST = ("@", "by ", "art by ", "artist:", "drawn by ")
NOISE = ("solo", "solo focus", "nose", "*watermark*", "signature", "artist name", "*username*", "web address", "dated",
         "logo", "artist logo", "copyright name", "copyright notice", "character name", "*commentary*", "translated",
         "translation request", "bad id", "bad * id", "md5 mismatch", "highres", "absurdres", "incredibly absurdres",
         "lowres", "jpeg artifacts", "masterpiece", "* quality", "very aesthetic", "aesthetic", "score *", "rating:*",
         "general", "sensitive", "questionable", "explicit", "official art", "scan", "tagme", "virtual youtuber")
"""Tags that say nothing about what is shown, with * for anything: words for quality and lettering, and what taggers add
to nearly every image (seed guide 003)."""


ORDERS: Mapping[str, Sequence[str]] = {USUAL: ORDER, COMPOSITION_LAST: _COMPOSITION_LAST, ANIMA: _ANIMA}
"""Name -> classes of tags. The usual order is this pack's own, for every base but Anima."""


def places(name: str, tags: Sequence[str]) -> Callable[[str], int]:
    """For a caption of these tags: tag → its place in the order of that name."""
    classes, series = ORDERS[name], {series_of(tag) for tag in tags if is_character(tag)}

    def place(tag: str) -> int:
        kind = _name_kind(tag, series)
        return classes.index(kind if kind in classes else tag_class(tag))

    return place


def _name_kind(tag: str, series: Collection[str]) -> str:
    """Whose name the tag is, by its form: `saber (fate)` a character's of the series `fate`, `@name` an artist's; ""
    for other tags."""
    text = same_tag(tag)
    if text.startswith(_ARTIST):
        return "artist"
    if text.endswith("(series)") or text in series:
        return "series"
    return "character" if is_character(tag) else ""
