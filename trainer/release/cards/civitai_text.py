"""civitai.md: the description to paste into Civitai's editor, which takes headings, lists and bold text, but no tables.
"""

from __future__ import annotations

from ...statements.plain_text import printable
from ..facts import Facts
from ..limits import describe_limits
from ..texts import as_code, escaped
from .sections import (
    bullets,
    dataset_lines,
    drawing_rows,
    history_lines,
    strength_lines,
    training_rows,
    warning_lines,
)


def write_civitai(facts: Facts) -> str:
    """The text of civitai.md."""
    rights = [f"{name}: {escaped(value) or 'not stated'}"
              for name, value in facts.settings.rights.rows(facts.settings.licence)]
    sections = (
        ("", [printable(facts.settings.description), "", facts.what] if facts.settings.description else [facts.what]),
        ("", warning_lines(facts.warnings)),
        ("How to use it", bullets([
            *([f"Trigger: {as_code(facts.trigger)}"] if facts.trigger else ["The file records no trigger."]),
            *(f"Strength: {line}" for line in strength_lines(facts)),
            *(f"{name}: {value}" for name, value in drawing_rows(facts))])),
        ("Limits", bullets(describe_limits(facts.source, facts.measured))),
        ("How it was made", bullets([*(f"{name}: {value}" for name, value in training_rows(facts)),
                                     *(f"Dataset: {line}" for line in dataset_lines(facts))])),
        ("Consent and rights", bullets(rights)),
        ("Versions", history_lines(facts)))
    texts = [[f"# {escaped(facts.title)}"], *(
        [*([f"## {title}", ""] if title else []), *lines] for title, lines in sections if lines)]
    return "\n\n".join("\n".join(lines) for lines in texts) + "\n"
