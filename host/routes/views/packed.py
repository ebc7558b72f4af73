"""What the gallery shows of a round's candidates: each by itself, or all of them in columns, for a page that shows ten
thousand. web/gallery/packed.js reads the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ....trainer.bootstrap.candidates import Lineage
from ....trainer.bootstrap.curation.curate import Decision
from ....trainer.bootstrap.picks import Pick

VERSION_DIGITS = 10
"""How much of the hash of an image's content stands in its addresses."""
BETWEEN = ", "
"""Stands between the phrases of a prompt."""
Words = dict[str, int]
"""Text → its place in the list of all texts."""


class Candidate(NamedTuple):
    """What is known of one candidate.

    Attributes:
        carried: whether it was kept in an earlier round.
        twins: number of its group of near copies; None if it has none.
        content: hash of the image.
    """

    name: str
    lineage: Lineage
    decision: Decision | None
    pick: Pick
    carried: bool
    twins: int | None
    content: str


FIELDS: Mapping[str, Callable[[Candidate], Any]] = {
    "name": lambda one: one.name,
    "round": lambda one: one.lineage.round,
    "carried": lambda one: one.carried,
    "proposed": lambda one: bool(one.decision and one.decision.kept),
    "reason": lambda one: one.decision.reason if one.decision else "not measured yet",
    "scores": lambda one: dict(one.decision.scores) if one.decision else {},
    "twins": lambda one: one.twins,
    "view": lambda one: one.lineage.view,
    "prompt": lambda one: one.lineage.prompt,
    "tags": lambda one: one.lineage.tags,
    "seed": lambda one: one.lineage.seed,
    "lora": lambda one: one.lineage.parent_lora,
    "strength": lambda one: one.lineage.strength,
    "curve": lambda one: one.lineage.curve,
    "generator": lambda one: one.lineage.generator,
    "reference": lambda one: one.lineage.reference,
    "width": lambda one: one.lineage.width,
    "height": lambda one: one.lineage.height,
    "again_of": lambda one: one.lineage.again_of,
    "repaired_from": lambda one: one.lineage.repaired_from,
    "version": lambda one: one.content[:VERSION_DIGITS],
    "pick": lambda one: vars(one.pick),
}
"""What is shown of a candidate. `version` stands in the addresses of its image."""


def describe(candidate: Candidate) -> dict[str, Any]:
    """All FIELDS of a candidate."""
    return {name: read(candidate) for name, read in FIELDS.items()}


def pack(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """{"count": int, "words": [str, ...], "columns": {field: column}} of all FIELDS.

    A column is {"each": [value, ...]}, or {"usual": value, "rows": {index: value}} where most have the same value. In
    the columns of `prompt` (cut at each BETWEEN) and `tags` a value is a list of places in `words`, in that of `reason`
    a place, and in that of `view` {axis: place}.
    """
    words: Words = {}
    columns = {name: _column([read(one) for one in candidates], _IN_WORDS.get(name), words)
               for name, read in FIELDS.items()} if candidates else {}
    return {"count": len(candidates), "words": list(words), "columns": columns}


def _column(values: list[Any], in_words: Callable[[Any, Words], Any] | None, words: Words) -> dict[str, Any]:
    usual = values[0]
    others = [index for index, value in enumerate(values) if value != usual]
    write = _writer(in_words, words) if in_words else _unchanged
    if 2 * len(others) > len(values):
        return {"each": [write(value) for value in values]}
    return {"usual": write(usual), "rows": {index: write(values[index]) for index in others}}


def _unchanged(value: Any) -> Any:
    return value


def _writer(in_words: Callable[[Any, Words], Any], words: Words) -> Callable[[Any], Any]:
    """`in_words` that looks at each value once: many candidates share a prompt, tags and a view."""
    written: dict[Any, Any] = {}

    def write(value: Any) -> Any:
        key = value if isinstance(value, str) else tuple(value.items() if isinstance(value, dict) else value)
        if key not in written:
            written[key] = in_words(value, words)
        return written[key]

    return write


def _places(texts: Iterable[str], words: Words) -> list[int]:
    return [words.setdefault(text, len(words)) for text in texts]


_IN_WORDS: Mapping[str, Callable[[Any, Words], Any]] = {
    "prompt": lambda prompt, words: _places(prompt.split(BETWEEN), words),
    "tags": _places,
    "reason": lambda reason, words: words.setdefault(reason, len(words)),
    "view": lambda view, words: dict(zip(view, _places(view.values(), words), strict=True)),
}
