"""A log of how each run looked: every finished sheet and scoring matrix of its sweeps, in order of time.

    output/sweeps/log/<run>/<time>-<sweep>.webp    a sheet as it was then
                     /<run>/log.json               what they are, oldest first
                     /index.html                   all runs, with any two entries side by side

The guides call it a visual regression log. A sweep may be drawn again under the same name; the log keeps the old
sheets.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from ..common.errors import UserError
from ..common.files import file_hash, read_json, write_json, write_text
from ..common.leftovers import remove_leftovers
from ..common.locks import locked
from ..common.names import name_from
from ..common.new_files import write_new
from ..common.schema import convert
from ..pictures.images import open_image
from .cells import CHECKPOINT, Sweep

LOG = "log"
"""Name of the log's folder among the sweeps. No sweep may have this name."""
ENTRIES, PAGE = "log.json", "index.html"
LONGEST_SIDE = 4096
SHEET, SCORES = "sheet", "scores"

logger = logging.getLogger(__name__)


def refuse_name_of_the_log(name: str) -> None:
    """Raises UserError if a sweep of that name would be in the log's folder."""
    if name.casefold() == LOG:
        raise UserError(f"a sweep cannot be called {name!r}, because that folder holds the log of all sweeps. Choose "
                        "another name.")


@dataclass(frozen=True)
class LogEntry:
    """A sheet or scoring matrix in log.json.

    Attributes:
        file: its name in the run's folder.
        at: when it was finished, in ISO 8601.
    """

    file: str
    at: str
    sweep: str
    kind: str
    sha256: str
    cells: int = 0
    line: str = ""


def add_to_log(sweep: Sweep, picture: Path, kind: str, line: str = "") -> str:
    """Add a sweep's sheet or scoring matrix to its run's log, as `log_picture` does. Returns "", or why it could not be
    added: a sweep does not fail because its log cannot be written."""
    try:
        log_picture(sweep, picture, kind, line)
    except Exception as error:
        logger.warning("the log of sweeps", exc_info=error)
        return f"The log of sweeps was not written: {error}"
    return ""


def log_picture(sweep: Sweep, picture: Path, kind: str, line: str = "") -> Path | None:
    """Add a sweep's sheet or scoring matrix to its run's log, unless it equals the one before.

    Args:
        picture: the file to copy, as WebP with no side longer than LONGEST_SIDE.
        kind: SHEET or SCORES.
        line: a remark shown with it, such as the recommendation.

    Returns the copy's path, or None if nothing is new. Raises UserError if the folder cannot be written to.
    """
    root = sweep.folder.parent / LOG
    folder = root / run_of(sweep)
    with locked(folder / ENTRIES):
        path = _add(sweep, folder, picture, kind, line)
    with locked(root / PAGE):
        remove_leftovers(root)
        if path or _is_older(root / PAGE, folder / ENTRIES):
            write_text(root / PAGE, page(read_log(root)))
    return path


def _add(sweep: Sweep, folder: Path, picture: Path, kind: str, line: str) -> Path | None:
    remove_leftovers(folder)
    entries, digest = _entries(folder), file_hash(picture)
    mine = [entry for entry in entries if (entry.sweep, entry.kind) == (sweep.folder.name, kind)]
    if mine and mine[-1].sha256 == digest:
        return None
    now = datetime.now().astimezone()
    image = open_image(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    path = write_new(folder / f"{now:%Y%m%d-%H%M%S}-{sweep.folder.name}-{kind}.webp",
                     lambda temp: image.save(temp, format="WEBP", quality=88))
    entries.append(LogEntry(path.name, now.isoformat(timespec="seconds"), sweep.folder.name, kind, digest, len(sweep),
                            line))
    try:
        write_json(folder / ENTRIES, [asdict(entry) for entry in entries])
    except UserError:
        with suppress(OSError):
            path.unlink()  # without an entry it would never be shown
        raise
    return path


def _is_older(path: Path, other: Path) -> bool:
    """Whether it is missing, or was written before the other: a process may have ended between the two."""
    return not path.is_file() or path.stat().st_mtime_ns < other.stat().st_mtime_ns


def run_of(sweep: Sweep) -> str:
    """The name of a sweep's run in the log: the run of its first LoRA, in characters that any system allows in a
    folder."""
    axis = sweep.axis(CHECKPOINT)
    name = str(axis.choices[0].facts.get("run", "")) if axis else ""
    return name_from(re.sub(r'[\\/:*?"<>|\x00-\x1f]+|^\.+', "-", name), sweep.folder.name)


def read_log(root: Path) -> dict[str, list[LogEntry]]:
    """All entries by run, oldest first; `root` is the log's folder."""
    folders = sorted(path.parent for path in root.glob(f"*/{ENTRIES}"))
    return {folder.name: found for folder in folders if (found := _entries(folder))}


def _entries(folder: Path) -> list[LogEntry]:
    """The entries that can be read. A damaged log is started again; its images stay."""
    found = []
    with suppress(UserError):
        values = read_json(folder / ENTRIES) if (folder / ENTRIES).is_file() else []
        for value in values if isinstance(values, list) else ():
            with suppress(UserError):
                entry = convert(value, LogEntry)
                found.append(replace(entry, file=Path(entry.file).name))
    return found


STYLE = """
:root{color-scheme:light dark;--fg:#1d2330;--soft:#5b6577;--bg:#fbfbfd;--line:#e4e7ec}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ee;--soft:#98a1b3;--bg:#14161c;--line:#2d3240}}
body{margin:0;padding:16px;background:var(--bg);color:var(--fg);font:15px/1.4 system-ui,sans-serif}
h1{margin:0 0 12px;font-size:24px}h2{margin:28px 0 8px;font-size:17px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:12px}.pair img{width:100%}
select{max-width:100%;font:inherit}p{margin:6px 0;color:var(--soft)}
.row{display:flex;gap:12px;overflow-x:auto;padding-bottom:8px}figure{margin:0;flex:none;width:320px}
figure img{width:100%;border:1px solid var(--line);border-radius:6px}figcaption{color:var(--soft);font-size:13px}
"""
SCRIPT = """
for (const pane of document.querySelectorAll(".pair > div")) {
  const [select, image, line] = [pane.querySelector("select"), pane.querySelector("img"), pane.querySelector("p")];
  const show = () => {
    const option = select.selectedOptions[0];
    image.src = option.value;
    image.alt = option.textContent;
    line.textContent = option.dataset.line;
  };
  select.addEventListener("change", show);
  show();
}
"""


def page(log: Mapping[str, list[LogEntry]]) -> str:
    """The page of a log: any two entries side by side, then each run's entries in order of time."""
    newest = sorted(((entry.at, f"{run}/{entry.file}") for run, entries in log.items() for entry in entries),
                    reverse=True)
    left, right = (newest[min(place, len(newest) - 1)][1] if newest else "" for place in (1, 0))
    panes = "".join(f'<div><select aria-label="{side}">{_options(log, chosen)}</select><p></p><img alt=""></div>'
                    for side, chosen in (("left", left), ("right", right)))
    runs = "".join(f'<h2>{_text(run)}</h2><div class="row">{"".join(_figure(run, entry) for entry in entries)}</div>'
                   for run, entries in log.items())
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Log of sweeps</title><style>{STYLE}</style>'
            f'<h1>Log of sweeps</h1><div class="pair">{panes}</div>{runs}<script>{SCRIPT}</script></html>\n')


def _options(log: Mapping[str, list[LogEntry]], chosen: str) -> str:
    def option(run: str, entry: LogEntry) -> str:
        address = f"{run}/{entry.file}"
        mark = " selected" if address == chosen else ""
        return (f'<option value="{_address(address)}" data-line="{_text(entry.line)}"{mark}>'
                f"{_text(_name(entry))}</option>")

    return "".join(f'<optgroup label="{_text(run)}">{"".join(option(run, entry) for entry in entries[::-1])}</optgroup>'
                   for run, entries in log.items())


def _figure(run: str, entry: LogEntry) -> str:
    address = _address(f"{run}/{entry.file}")
    return (f'<figure><a href="{address}"><img src="{address}" alt="" loading="lazy"></a>'
            f"<figcaption>{_text(_name(entry))}<br>{_text(entry.line)}</figcaption></figure>")


def _name(entry: LogEntry) -> str:
    return f"{entry.at[:16].replace('T', ' ')} {entry.sweep} ({entry.kind})"


def _address(path: str) -> str:
    return _text(quote(path))


def _text(value: object) -> str:
    return html.escape(str(value))
