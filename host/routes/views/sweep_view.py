"""What the sweep viewer shows, what it marks, and how the LoRA of a cell is copied for use. Only the host's folders are
needed; the shapes are in sweeps.py. Everything is read from the sweep's folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import folder_paths
from PIL import Image

from ....trainer.common.errors import UserError
from ....trainer.common.files import file_hash, read_json, write_json
from ....trainer.common.leftovers import remove_leftovers
from ....trainer.common.names import name_from
from ....trainer.common.new_files import give_name, numbered, unnamed_file
from ....trainer.common.revisions import save_change
from ....trainer.common.schema import read_record, typed
from ....trainer.pictures.images import image_size
from ....trainer.pictures.small_copies import small_version
from ....trainer.pictures.thumbnails import ThumbnailStyle, thumbnail
from ....trainer.sweeps.cells import CHECKPOINT, STACK, STRENGTH, Axis, Cell, Sweep
from ....trainer.sweeps.html import for_browser
from ....trainer.sweeps.marks import Marks, Ratings
from ....trainer.sweeps.sheets import choose_axes
from ... import paths

NAMED = ("lora", "step", "epoch", "run", "strength", "prompt", "seed", "base")
"""Facts that are sent with every cell, whether shared or not."""
UNTOLD = ("lora_sha256", "lora_tensors")
SMALL_SHEET = ThumbnailStyle(side=768, resample=Image.Resampling.BICUBIC)
LATEST = 8
"""Number of thumbnails in a summary."""
_KEY = re.compile(r"[0-9a-f]{16}")
_SHEET = re.compile(r"grid(-\d{1,4})?\.(png|webp)")
_TYPES = {".png": "image/png", ".webp": "image/webp"}


class LoraChanged(Exception):
    """The cell's LoRA is gone, or no longer the file that the cell was drawn with."""


def find_sweep(name: str) -> Sweep:
    """The sweep of that name. Raises UserError if there is none."""
    folder = _folder(name)
    if not (folder / "manifest.json").is_file():
        raise UserError(f"there is no sweep {name!r} in output/sweeps; draw it, or choose another.")
    return Sweep.load(folder)


def _folder(name: str) -> Path:
    return paths.own_folder(paths.sweeps_root(), name)


# -- answers -----------------------------------------------------------------------------------------------------------


def archive() -> list[dict[str, Any]]:
    """All sweeps, most recently changed first. Folders that are not sweeps are left out."""
    root = paths.sweeps_root()
    told = []
    for folder in root.iterdir() if root.is_dir() else ():
        try:
            told.append(_entry(_folder(folder.name)))
        except (UserError, OSError):
            continue
    return sorted(told, key=lambda entry: -entry["changed"])


def _entry(folder: Path) -> dict[str, Any]:
    title, runs, keys = _outline(folder, (folder / "manifest.json").stat().st_mtime_ns)
    files = _files(folder)
    done = sum(f"{key}.png" in files and f"{key}.json" in files for key in keys)
    failed = sum(f"{key}.json" in files and f"{key}.png" not in files for key in keys)
    written = [path.stat().st_mtime for path in (folder / "manifest.json", folder / "cells", folder / "scores.json")
               if path.exists()]
    return {"name": folder.name, "title": title, "cells": len(keys), "done": done, "failed": failed,
            "changed": max(written), "runs": list(runs)}


@lru_cache(maxsize=1024)
def _outline(folder: Path, mtime_ns: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(title, runs, keys of the images) from the manifest, without making its cells."""
    saved = read_record(folder / "manifest.json", _Outline)
    choices = [choice.facts for axis in saved.axes if axis.name == CHECKPOINT for choice in axis.choices]
    runs = dict.fromkeys(str(facts["run"]) for facts in choices or [saved.shared] if facts.get("run"))
    return saved.title, tuple(runs), tuple(dict.fromkeys(row.key for row in saved.cells))


@dataclass(frozen=True)
class _KeyOfCell:
    key: str


@dataclass(frozen=True)
class _Outline:
    title: str
    axes: tuple[Axis, ...]
    shared: Mapping[str, Any]
    cells: tuple[_KeyOfCell, ...]


def _files(folder: Path) -> dict[str, int]:
    """Name → modification time in ns of each file of the cells; 0 for files of settings."""
    try:
        with os.scandir(folder / "cells") as entries:
            return {entry.name: entry.stat().st_mtime_ns if entry.name.endswith(".png") else 0 for entry in entries}
    except FileNotFoundError:
        return {}


def summary(name: str) -> dict[str, Any]:
    """The answer of the summary route. Raises UserError."""
    sweep = find_sweep(name)
    entry = _entry(sweep.folder)
    known = set(_outline(sweep.folder, (sweep.folder / "manifest.json").stat().st_mtime_ns)[2])
    made = sorted(((time, file[:-4]) for file, time in _files(sweep.folder).items()
                   if file.endswith(".png") and file[:-4] in known), reverse=True)
    scores = _scores(sweep)
    return {**entry, "latest": [_address(name, key, time, True) for time, key in made[:LATEST]],
            "sheets": _sheets(sweep, small=True), "recommended": _recommended(scores),
            "why": str((scores or {}).get("why") or "")}


def sweep_view(name: str) -> dict[str, Any]:
    """The answer of the sweep route. Raises UserError."""
    sweep = find_sweep(name)
    states, files = sweep.states(), _files(sweep.folder)
    marks = Marks.load(_marks_file(sweep)).among(states)
    cells = {cell.at: cell for cell in sweep.everything}  # if no axis belongs to the LoRA, references are cells
    return {
        "name": sweep.folder.name, "title": sweep.title, "revision": marks.revision,
        "axes": [{"name": axis.name, "choices": [choice.label for choice in axis.choices]} for axis in sweep.axes],
        "without": sweep.without, "sheet": dict(zip(("rows", "columns"), _sheet_axes(sweep), strict=True)),
        "shared": {fact: value for fact, value in for_browser(sweep.shared).items() if fact not in UNTOLD},
        "cells": [_told(sweep, cell, states[cell.key], files) for cell in cells.values()], "scores": _scores(sweep),
        "marks": {"best": marks.best and {"key": marks.best}, "hidden": list(marks.hidden),
                  "ratings": {key: dict(own) for key, own in marks.ratings.items()}},
        "sheets": _sheets(sweep)}


def _sheet_axes(sweep: Sweep) -> tuple[str, str]:
    """(rows, columns) of the sweep's sheet where nobody has chosen; "" for none. A pair of LoRAs is a table of both."""
    both = all((axis := sweep.axis(name)) and len(axis.choices) > 1 for name in (STACK, STRENGTH))
    return (STACK, STRENGTH) if both else choose_axes(sweep)


def _told(sweep: Sweep, cell: Cell, state: str, files: Mapping[str, int]) -> dict[str, Any]:
    name, time = sweep.folder.name, files.get(f"{cell.key}.png", 0)
    more = {fact: value for fact, value in for_browser(cell.facts).items()
            if fact not in NAMED and fact not in UNTOLD and value != sweep.shared.get(fact, "")}
    done = state == "done"
    return {"key": cell.key, "at": list(cell.at), "state": state,
            "error": sweep.problem(cell) if state == "failed" else "",
            **for_browser({fact: cell.facts.get(fact) for fact in NAMED}), "more": more,
            "full": _address(name, cell.key, time, False) if done else None,
            "thumb": _address(name, cell.key, time, True) if done else None}


def _address(name: str, key: str, mtime_ns: int, thumb: bool) -> str:
    query = {"name": name, "key": key} | ({"size": "thumb"} if thumb else {})
    return f"/lora_bootstrap/sweep/cell?{urlencode({**query, 'v': mtime_ns})}"


def _sheets(sweep: Sweep, small: bool = False) -> list[str]:
    found = sorted((len(path.stem), path.name, path) for path in sweep.folder.glob("grid*")
                   if _SHEET.fullmatch(path.name))
    more = {"size": "thumb"} if small else {}
    return ["/lora_bootstrap/sweep/sheet?" + urlencode(
        {"name": sweep.folder.name, "file": name, **more, "v": path.stat().st_mtime_ns}) for _, name, path in found]


def _scores(sweep: Sweep) -> dict[str, Any] | None:
    """What scores.json holds; None if there is none, or it can only be measured again."""
    path = sweep.folder / "scores.json"
    with suppress(UserError):
        values: dict[str, Any] = read_json(path) if path.is_file() else {}
        if set(typed(values, _Scores, path).cells) <= set(sweep.states()):
            return {name: value for name, value in values.items() if name != "cells"}
    return None


@dataclass(frozen=True)
class _Scores:
    rows: list[dict[str, Any]]
    recommended: int | None = None
    why: str = ""
    cells: tuple[str, ...] = ()


def _recommended(scores: Mapping[str, Any] | None) -> str:
    rows, index = (scores or {}).get("rows", ()), (scores or {}).get("recommended")
    return str(rows[index].get("label", "")) if index is not None and 0 <= index < len(rows) else ""


# -- pictures ----------------------------------------------------------------------------------------------------------


def cell_image(name: str, key: str, thumb: bool) -> tuple[bytes, str]:
    """(bytes, content type) of a cell's image. Raises UserError if it does not exist or cannot be read."""
    folder = _folder(name)
    path = folder / "cells" / f"{key}.png"
    if not _KEY.fullmatch(key) or not path.is_file() or not paths.inside(folder, path):
        raise UserError(f"sweep {name!r} has no image of a cell {key!r}; reload the viewer.")
    return (small_version(path), "image/jpeg") if thumb else _sent(path)


def sheet(name: str, file: str, thumb: bool) -> tuple[bytes, str]:
    """(bytes, content type) of a labelled sheet. Raises UserError if it does not exist or cannot be read."""
    folder = _folder(name)
    path = folder / file
    if not _SHEET.fullmatch(file) or not path.is_file() or not paths.inside(folder, path):
        raise UserError(f"sweep {name!r} has no sheet {file!r}; reload the viewer.")
    return (thumbnail(path, SMALL_SHEET, path.stat().st_mtime_ns), "image/jpeg") if thumb else _sent(path)


def _sent(path: Path) -> tuple[bytes, str]:
    image_size(path)  # a file that is not an image is an error, and is not sent
    return path.read_bytes(), _TYPES[path.suffix]


# -- marks -------------------------------------------------------------------------------------------------------------


def _marks_file(sweep: Sweep) -> Path:
    return sweep.folder / "marks.json"


def save_marks(sweep: Sweep, revision: int, best: str | None, hidden: Sequence[str],
               ratings: Ratings | None = None) -> int:
    """Save marks, and return the new revision. Without ratings, those that are saved stay.

    Raises UserError for an unknown cell, StaleRevision if `revision` is not the latest.
    """
    unknown = sorted({*hidden, *(ratings or ()), *([best] if best else ())} - set(sweep.states()))
    if unknown:
        raise UserError(f"sweep {sweep.folder.name!r} has no cell {unknown[0]!r}; reload the viewer.")

    def change(marks: Marks) -> Marks:  # marks on cells of an earlier plan stay until these are drawn
        known = set(sweep.states())
        earlier = marks.best if marks.best not in known else None
        kept = {key: own for key, own in marks.ratings.items() if key not in known}
        return marks.changed(best or earlier, (*hidden, *(key for key in marks.hidden if key not in known)),
                             None if ratings is None else {**kept, **ratings})

    return save_change(_marks_file(sweep), Marks, change, revision).revision


def _mark_best(sweep: Sweep, key: str) -> int:
    """Mark a cell as the best, and return the new revision."""
    def change(marks: Marks) -> Marks:
        return marks.changed(key, (other for other in marks.hidden if other != key))

    return save_change(_marks_file(sweep), Marks, change).revision


# -- using a cell's LoRA -----------------------------------------------------------------------------------------------


def find_cell(sweep: Sweep, key: str) -> Cell:
    """The cell of that key. Raises UserError if there is none."""
    for cell in sweep.everything:
        if cell.key == key:
            return cell
    raise UserError(f"sweep {sweep.folder.name!r} has no cell {key!r}; reload the viewer.")


def promote(sweep: Sweep, cell: Cell, wanted: str) -> dict[str, Any]:
    """Copy the LoRA of a cell to the host's LoRAs under its own name, and record the choice in its run.

    Raises UserError for a cell without a LoRA or an invalid name, LoraChanged if the file is gone or has changed.
    """
    if not cell.facts.get("lora"):
        raise UserError("this cell was drawn without a LoRA; choose one that was drawn with one.")
    source = _source(cell)
    own = name_from(str(cell.facts.get("run") or ""), name_from(source.stem, "lora"))
    name = _placed(source, cell.facts["lora"], cell.facts["lora_sha256"], wanted or own, keep=not wanted)
    strength = float(cell.facts.get("strength") or 0.0)
    _note_in_run(sweep, cell, source, strength)
    revision = _mark_best(sweep, cell.key)
    return {"lora": name, "strength": strength, "revision": revision,
            "message": f"{name} at strength {strength:g} is now among ComfyUI's LoRAs; press R if a loader does not "
                       "list it yet."}


def _source(cell: Cell) -> Path:
    name = cell.facts["lora"]
    try:
        path = paths.lora_of_hash(name, str(cell.facts.get("lora_sha256")))
        if path is None:
            paths.lora_file(name)
    except (UserError, OSError) as error:
        raise LoraChanged(f"the LoRA {name!r} of this cell is gone; train it again, or put the file back.") from error
    if path is None:
        raise LoraChanged(f"the LoRA {name!r} has changed since this cell was drawn; run the sweep again, then choose.")
    return path


def _lora_folders() -> list[Path]:
    """The host's LoRA folders that are not in its output folder. Raises UserError if there are none."""
    folders = [Path(folder) for folder in folder_paths.get_folder_paths("loras")]
    own = [folder for folder in folders if not paths.inside(paths.output_root(), folder)]
    if not own:
        raise UserError("ComfyUI has no LoRA folder besides its output folder; create models/loras, and restart "
                        "ComfyUI.")
    return own


def _placed(source: Path, listed: str, sha256: str, wanted: str, keep: bool) -> str:
    """The name, as loaders list it, of a file with the same content under the wanted name, or that name with a number.

    Args:
        listed: the name under which loaders list the source.
        keep: whether to use what loaders find under that name, if it already is such a file.
    """
    folders = _lora_folders()
    found = folder_paths.get_full_path("loras", listed)
    if keep and found and any(paths.inside(folder, Path(found)) for folder in folders) and file_hash(found) == sha256:
        return listed
    stem = _stem(folders[0], wanted)
    for target in numbered(folders[0] / f"{stem}.safetensors"):
        taken = folder_paths.get_full_path("loras", target.name)  # also a file that would hide it from the loaders
        if taken is None and _copy(source, target, sha256):
            return target.name
        there = Path(taken or target)
        if there.is_file() and file_hash(there) == sha256:
            return target.name
    raise AssertionError("numbers do not end")


def _stem(folder: Path, wanted: str) -> str:
    return paths.own_folder(folder, wanted.strip().removesuffix(".safetensors")).name


def _copy(source: Path, target: Path, sha256: str) -> bool:
    """Copy the file, unless something has that name; returns whether it was copied."""
    remove_leftovers(target.parent)
    if os.path.lexists(target):
        return False
    with unnamed_file(target) as temp:
        shutil.copyfile(source, temp)
        if file_hash(temp) != sha256:
            raise LoraChanged(f"{source.name} changed while it was being copied; sweep again, then choose.")
        return give_name(temp, target)


def _note_in_run(sweep: Sweep, cell: Cell, source: Path, strength: float) -> None:
    run = source.parent
    if (run / "run.json").is_file() and paths.inside(paths.loras_root(), run):
        write_json(run / "picked.json", {
            "step": cell.facts.get("step"), "strength": strength, "lora": source.name, "sweep": sweep.folder.name,
            "cell": cell.key, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")})
