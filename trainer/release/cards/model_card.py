"""README.md: the model card as Hugging Face reads it, a front matter in YAML and sections in Markdown.

Facts from Hugging Face's documentation of model cards (huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re

from ...statements.plain_text import one_line, printable
from ..bases import DIFFUSERS, DIFFUSERS_ADAPTERS
from ..facts import Facts
from ..limits import describe_limits
from ..texts import as_code, escaped, yaml_lines
from .sections import (
    bullets,
    dataset_lines,
    drawing_rows,
    history_lines,
    score_rows,
    strength_lines,
    table,
    training_rows,
    warning_lines,
)

LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigscience-openrail-m", "bsd-3-clause", "cc", "cc-by-2.0",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "creativeml-openrail-m", "gpl-3.0", "lgpl-3.0", "mit",
    "openrail", "openrail++", "unknown", "unlicense")
"""Licences that Hugging Face knows by these names; any other is `other`, with its name."""
OTHER = "other"


def write_card(facts: Facts) -> str:
    """The text of README.md."""
    parts = (
        ["---", *yaml_lines(front_matter(facts)), "---", "", f"# {escaped(facts.title)}"],
        warning_lines(facts.warnings),
        *([f"## {title}", "", *lines] for title, lines in _sections(facts) if lines))
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def front_matter(facts: Facts) -> dict[str, object]:
    """The card's data, by Hugging Face's names. What is not known is "" or []."""
    licence = facts.settings.licence.strip()
    known = licence.casefold() in LICENCES
    family, adapter = facts.source.family, facts.source.adapter
    diffusers = ["diffusers"] if family and family.name in DIFFUSERS and adapter in DIFFUSERS_ADAPTERS else []
    return {
        "license": (licence.casefold() if known else OTHER) if licence else "",
        "license_name": _licence_name(licence) if licence and not known else "",
        "base_model": facts.settings.base_model.strip(),
        "base_model_relation": "adapter" if facts.settings.base_model.strip() else "",
        "library_name": "diffusers" if diffusers else "",
        "pipeline_tag": "text-to-image",
        "tags": list(dict.fromkeys(["lora", "text-to-image", *diffusers, *map(one_line, facts.tags)])),
        "instance_prompt": one_line(facts.trigger),
        "widget": [{"text": preview.prompt or " ", "output": {"url": preview.place}} for preview in facts.previews]}


def _licence_name(licence: str) -> str:
    return re.sub(r"[^a-z0-9.+]+", "-", one_line(licence).casefold()).strip("-")[:80] or OTHER


def _sections(facts: Facts) -> list[tuple[str, list[str]]]:
    return [
        ("What it is", _what(facts)),
        ("Trigger", [f"Write {as_code(facts.trigger)} in the prompt." if facts.trigger else
                     "The file records no trigger."]),
        ("Strength", bullets(strength_lines(facts))),
        ("Settings", table(("as tested with", ""), drawing_rows(facts))),
        ("Previews", _gallery(facts)),
        ("Use", _use(facts)),
        ("Training", table(("setting", "value"), training_rows(facts))),
        ("Dataset", bullets(dataset_lines(facts))),
        ("Scores", _scores(facts)),
        ("Limits", bullets(describe_limits(facts.source, facts.measured))),
        ("Consent and rights", table(("question", "answer"), [
            (name, escaped(value) or "not stated") for name, value in
            facts.settings.rights.rows(facts.settings.licence)])),
        ("Licence", [escaped(facts.settings.licence) or "Not stated."]),
        ("Versions", history_lines(facts)),
        ("File", table(("hash", as_code(facts.file)), [(name, as_code(text)) for name, text in facts.hashes.items()])),
    ]


def _what(facts: Facts) -> list[str]:
    author = f"By {escaped(facts.settings.author)}. " if facts.settings.author else ""
    about = printable(facts.settings.description)
    return [*([about, ""] if about else []),
            f"{facts.what} {author}Version {escaped(facts.settings.version)}."]


def _gallery(facts: Facts) -> list[str]:
    lines = []
    for preview in facts.previews:
        seed = "" if preview.seed is None else f"seed {preview.seed}"
        told = filter(None, (as_code(preview.prompt), f"strength {preview.strength:g}", seed, preview.drawn))
        lines += [f"![{escaped(preview.prompt)}]({preview.place})", "", ", ".join(told), ""]
    return lines[:-1] or ["No previews."]


def _use(facts: Facts) -> list[str]:
    at = facts.measured.strength
    strength = "" if at is None else f" Set its strength to {at:g}."
    return [f"ComfyUI: put {as_code(facts.file)} into `models/loras`, and load it with Load LoRA.{strength}", "",
            f"A1111 and Forge: put it and {as_code(facts.name + '.json')} into `models/Lora`, and write "
            f"{as_code(f'<lora:{facts.name}:{1.0 if at is None else at:g}>')} in the prompt."]


def _scores(facts: Facts) -> list[str]:
    row = facts.measured.row
    if row is None:
        return []
    verdict = f" Verdict: {escaped(row.verdict)}." if row.verdict else ""
    eye = f" Measured by {escaped(facts.measured.eye)}." if facts.measured.eye else ""
    return [f"{escaped(row.label)}, {row.cells} images.{verdict}{eye}", "",
            *table(("figure", "value"), score_rows(facts))]
