"""Texts that a stranger's file or a widget holds, made safe for Markdown, HTML and YAML, and free of this machine's
folders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from ..statements.plain_text import one_line

_START = r"(?:~?/(?!/)|[A-Za-z]:[\\/]|\\\\)"
_WHOLE = re.compile(rf"{_START}.*[\\/].*", re.DOTALL)
_INNER = re.compile(rf"(?<![\w:/.\\]){_START}(?:[^\s\"'<>|,;]*[\\/])+")


def fold_prompt(text: object) -> str:
    """Equal for texts that are the same prompt."""
    return one_line(text).casefold()


def escaped(text: object) -> str:
    """One line of Markdown that shows the text as it is, also in a table and where HTML is allowed."""
    plain = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)


def as_code(text: object) -> str:
    """The text as code in Markdown; "" for an empty one."""
    plain = one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain else ""


def yaml_lines(values: Mapping[str, Any]) -> list[str]:
    """Lines of YAML: JSON's texts and numbers are YAML too, and lists and objects are indented. Empty values are left
    out."""
    lines: list[str] = []
    for name, value in values.items():
        if value not in (None, "", [], ()):
            lines += _yaml(f"{name}:", value)
    return lines


def _yaml(head: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [head, *(f"  {line}" for line in yaml_lines(value))]
    if isinstance(value, (list, tuple)):
        return [head, *(line for item in value for line in _item(item))]
    return [f"{head} {json.dumps(value, ensure_ascii=False)}"]


def _item(value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"  - {json.dumps(value, ensure_ascii=False)}"]
    first, *others = yaml_lines(value)
    return [f"  - {first}", *(f"    {line}" for line in others)]


def without_folders(value: Any) -> Any:
    """A JSON value in which every absolute path is only its last part."""
    if isinstance(value, str):
        if _WHOLE.fullmatch(value) and "\n" not in value and "://" not in value:
            return PureWindowsPath(value).name
        return _INNER.sub("", value)
    if isinstance(value, Mapping):
        return {without_folders(name): without_folders(inner) for name, inner in value.items()}
    return [without_folders(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def json_without_folders(text: str) -> str:
    """As `without_folders`, also within a text that is JSON, whose writer may have escaped the slashes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return str(without_folders(text))
    if not isinstance(value, (dict, list)):
        return str(without_folders(text))
    cleaned = without_folders(value)
    return text if cleaned == value else json.dumps(cleaned, ensure_ascii=False)
