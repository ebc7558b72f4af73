"""What a panel shows of a release: the card in short, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common.files import file_hash
from ...statements.plain_text import one_line, printable
from ..facts import Facts
from ..limits import describe_limits
from .sections import strength_lines


def describe_card(facts: Facts, folder: Path, notes: Sequence[str]) -> dict[str, Any]:
    """The card's title, warnings, facts, previews and limits.

    Args:
        folder: of the written release.
        notes: for the author alone.
    """
    rights = facts.settings.rights.rows(facts.settings.licence)
    rows = (("version", facts.settings.version), ("trigger", facts.trigger or "none recorded"),
            *(("strength", line) for line in strength_lines(facts)), *rights, ("file", facts.file))
    about = printable(facts.settings.description)
    return {"title": one_line(facts.title), "what": "\n".join(filter(None, (about, facts.what))),
            "warnings": list(facts.warnings), "notes": list(notes),
            "rows": [(name, one_line(value) or "not stated") for name, value in rows],
            "limits": describe_limits(facts.source, facts.measured),
            "previews": [{"place": preview.place, "hash": file_hash(folder / preview.place)[:12],
                          "width": preview.width, "height": preview.height,
                          "text": ", ".join(filter(None, (preview.prompt, preview.drawn)))}
                         for preview in facts.previews]}
