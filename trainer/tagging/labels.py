"""Label files of taggers: the tag that each output stands for, and its category.

WD and PixAI have a CSV with the columns `name` and `category` (Danbooru's numbers), cl_tagger a JSON file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import parse_json

CATEGORIES = ("general", "character", "copyright", "artist", "meta", "quality", "model", "rating")
_DANBOORU = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}
_NOT_LABELS = frozenset(("layout.json", "hashes.json", "config.json", "preprocess.json", "categories.json",
                         "thresholds.csv"))


@dataclass(frozen=True)
class Label:
    """One output of a tagger.

    Attributes:
        name: the tag as the file spells it, usually with underscores; "" for a blank row, which is never written.
        category: one of CATEGORIES.
    """

    name: str
    category: str = "general"


def find_labels(folder: Path) -> Path:
    """The label file of a tagger's folder. Raises UserError if there is none, or if it is not clear which one it is."""
    for name in READERS:
        if (folder / name).is_file():
            return folder / name
    others = [path for path in sorted(folder.glob("*.csv")) + sorted(folder.glob("*.json"))
              if path.name not in _NOT_LABELS]
    if len(others) != 1:
        found = f"found {', '.join(path.name for path in others)}" if others else "found none"
        raise UserError(f"{folder} has no clear label file ({found}). Put the model's own there, named as one of: "
                        f"{', '.join(READERS)}.")
    return others[0]


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels in the order of the outputs. Raises UserError if the file is not a label file, or damaged."""
    reader = READERS.get(path.name) or (_read_csv if path.suffix == ".csv" else _read_json)
    try:
        labels = reader(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise _damaged_error(path, str(error) or type(error).__name__) from error
    if not labels:
        raise _damaged_error(path, "it has no tags")
    return labels


def _damaged_error(path: Path, why: str) -> UserError:
    line = why.splitlines()[0][:120]
    return UserError(f"{path} is not a tagger's label file ({line}). Get the whole file from where the model came.")


def _category(value: Any) -> str:
    """A category by its name or Danbooru's number; an unknown one counts as general."""
    name = str(value).strip().lower()
    name = _DANBOORU.get(name, name)
    return name if name in CATEGORIES else "general"


def _read_csv(text: str) -> tuple[Label, ...]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"name", "category"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    labels = []
    for row in rows:
        name = (row["name"] or "").strip()
        if row["category"] is None:
            raise ValueError(f"line {rows.line_num} is cut short")
        labels.append(Label(name, _category(row["category"])))
    return tuple(labels)


def _read_json(text: str) -> tuple[Label, ...]:
    """cl_tagger's two forms: {"0": {"tag", "category"}}, and {"idx_to_tag": {"0": …}, "tag_to_category": {…}}."""
    table = parse_json(text, "the table")
    if not isinstance(table, Mapping):
        raise ValueError("it is not a table")
    if "idx_to_tag" in table:
        categories = table["tag_to_category"]
        pairs = {number: (tag, categories.get(tag, "general")) for number, tag in table["idx_to_tag"].items()}
    else:
        pairs = {number: (entry["tag"], entry["category"]) for number, entry in table.items()
                 if re.fullmatch(r"\d+", number)}
    places = {int(number): Label(str(tag).strip(), _category(category)) for number, (tag, category) in pairs.items()}
    if sorted(places) != list(range(len(places))):
        raise ValueError("its numbers have gaps")
    return tuple(places[number] for number in range(len(places)))


READERS: Mapping[str, Callable[[str], tuple[Label, ...]]] = {
    "selected_tags.csv": _read_csv, "tag_mapping.json": _read_json, "model_vocabulary.json": _read_json,
}
"""What reads the published models' label files, by their names."""
