"""report.html: a whole bootstrap project in one self-contained file, with images, curves, figures and decisions."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import write_text
from ..common.schema import convert, read_record
from ..measures.figure_words import FIGURES
from ..pictures.curves import loss_curve
from ..pictures.thumbnails import data_uri
from ..statements.consent import read_statement
from ..statements.feedback import read_feedback
from ..statements.rights import NOT_STATED
from ..training.runs import read_losses, read_run
from .candidates import Lineage, lineage_problem
from .config import BootstrapConfig
from .curation.curate import Decision
from .notebook import Notebook
from .picks import Pick
from .project import ProjectRecord, crops_folder
from .rounds import Project, Round
from .status import project_runs

THUMB = 160
BY_HAND = {"keep": "kept by hand", "reject": "rejected by hand"}
"""State of a pick → reason."""
PATHS = ("picture", "base", "likeness")
"""Settings that may be paths of the machine: only the last part is shown."""
Shown = tuple[Path, str, str, str, str]
"""An image of a sheet: (path, reason, caption, class, hover text)."""

STYLE = """
:root{color-scheme:light dark;--fg:#1d2330;--soft:#667085;--bg:#fbfbfd;--card:#fff;--line:#e4e7ec;--accent:#6d4aff;
--ok:#137a4b;--no:#a33b2e}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ee;--soft:#98a1b3;--bg:#14161c;--card:#1c1f28;--line:#2d3240;
--accent:#a48bff;--ok:#5fd0a0;--no:#f0907f}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}h1{margin:0 0 4px;font-size:28px}
h2{margin:40px 0 12px;font-size:19px}p{margin:6px 0}.soft,figcaption,small{color:var(--soft)}
.goal{white-space:pre-line;font-size:17px}
code{font-size:.92em;background:var(--line);padding:1px 5px;border-radius:4px;overflow-wrap:anywhere}
.head{display:flex;gap:24px;align-items:center;flex-wrap:wrap}.head img{width:180px;border-radius:12px}
.head div{flex:1;min-width:280px}
.alert{border-left:4px solid var(--no);padding:8px 14px;background:var(--card);border-radius:6px;margin:14px 0}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(112px,1fr));gap:10px}
.sheet figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;overflow:hidden}
.sheet img{width:100%;display:block;aspect-ratio:1;object-fit:contain;background:#fff}
.sheet figcaption{padding:5px 7px;font-size:11px;line-height:1.35}.kept figcaption b{color:var(--ok)}
.refused{opacity:.62}.refused figcaption b{color:var(--no)}
table{border-collapse:collapse;width:100%;background:var(--card);border-radius:10px;overflow:hidden}
th,td{padding:6px 10px;text-align:left;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);font-size:13px}.wide{overflow-x:auto}
.grid img{width:100%;border-radius:10px;border:1px solid var(--line)}
.curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:14px}
.curve{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px}
svg{width:100%;display:block}svg text{fill:var(--soft);font-size:11px}polyline{fill:none;stroke:var(--accent);
stroke-width:2;stroke-linejoin:round}.axis{fill:none;stroke:var(--line)}details{margin:12px 0}
.said{white-space:pre-line;margin:0 0 6px 16px}summary{cursor:pointer;color:var(--soft)}
"""


def write_report(project: ProjectRecord, root: Path) -> Path:
    """Write report.html into the project's folder, from what is on disk. Returns its path.

    A part that cannot be made, because its files are damaged, says why; the others are made all the same.
    """
    parts = [_part(make, project, root) for make in (_head, _stated, _figures, _sheets, _grid, _sweeps, _feedback,
                                                     _curves, _stages, _settings)]
    page = (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{_text(project.folder.name)} · LoRA Bootstrap</title><style>{STYLE}</style>"
            f"<main>{''.join(parts)}</main></html>\n")
    path = project.folder / "report.html"
    for place in dict.fromkeys(map(str, (root, root.resolve()))):  # the page is shown to others
        paths = re.compile(rf'(="data:[^"]*")|(?<![\w/.-]){re.escape(_text(place) + os.sep)}')  # images are no texts
        page = paths.sub(lambda found: found[1] or "", page)
    write_text(path, page)
    return path


_MEASURED = ("likeness", "drift", "diversity", "base_diversity", "burn", "tag_recall", "mark",
             "real_share")
"""Figures of a round that the report shows, in their order."""


def _text(value: Any) -> str:
    return html.escape(str(value))


def _part(make: Callable[[ProjectRecord, Path], str], project: ProjectRecord, root: Path) -> str:
    try:
        return make(project, root)
    except (UserError, OSError) as error:
        return f'<p class="alert">{_text(error)}</p>'


def _fact(project: ProjectRecord, stage: str, name: str) -> str:
    """A fact of a stage as a text, such as a path; "" if it is not known."""
    record = project.stages.get(stage)
    found = record.facts.get(name) if record else None
    return found if isinstance(found, str) else ""


def _inside(root: Path, path: str) -> Path:
    """A path in project.json. Raises UserError if it leads out of the output folder."""
    if root.resolve() not in (root / path).resolve().parents:
        raise UserError(f"project.json names {path!r}, which is not in {root}. Repair it, or run the project again.")
    return root / path


def _find_lora(project: ProjectRecord, root: Path) -> str:
    """The LoRA of the character's latest run, relative to the output folder; "" if there is none. A workflow records no
    stage for its trainings."""
    found = Project.load(project.folder)
    runs = [(folder, read_run(folder)) for folder in project_runs(found, root / "loras")]
    files = [folder / run.final_path.name for folder, run in runs  # the folder of runs may be a link
             if run.facts["config"].get("name") == found.name and run.final_path.is_file()]
    latest = max(files, key=lambda file: file.stat().st_mtime, default=None)
    return latest.relative_to(root).as_posix() if latest else ""


def _head(project: ProjectRecord, root: Path) -> str:
    settings = BootstrapConfig.from_dict(project.settings)
    notebook = Notebook.of(project.folder)
    lora = _fact(project, "character", "lora") or _find_lora(project, root)
    crops = sorted(path for path in crops_folder(project.folder).glob("*.png") if not path.is_symlink())
    first = next(iter(crops), None)
    picture = f'<img src="{data_uri(first, 360)}" alt="The original image">' if first else ""
    alert = f'<p class="alert">{_text(project.stopped_because)}</p>' if project.stopped_because else ""
    notes = "".join(f"<li>{_text(note)}</li>" for note in project.notes if note != project.stopped_because)
    minutes = sum(record.seconds for record in project.stages.values()) / 60
    return (f'<div class="head">{picture}<div><h1>{_text(project.folder.name)}</h1>'
            + (f'<p class="goal">{_text(notebook.goal)}</p>' if notebook.goal else "")
            + f'<p>Prompt it with <code>{_text(settings.trigger)}</code> · base {_text(Path(settings.base).name)}'
            + (f" · {minutes:.1f} minutes" if minutes else "") + "</p>"
            f"<p>LoRA: <code>{_text(lora or 'not trained yet')}</code></p>"
            f'<p class="soft">{_text(", ".join(settings.tags))}</p></div></div>{alert}'
            + (f"<details open><summary>Notes</summary><ul>{notes}</ul></details>" if notes else ""))


def _stated(project: ProjectRecord, _root: Path) -> str:
    """What is stated about consent and rights; nothing if nothing is."""
    statement, problem = read_statement(project.folder)
    alerts = "".join(f'<p class="alert">{_text(line)}</p>' for line in (*statement.warnings, problem) if line)
    rows = [(name, value or NOT_STATED) for name, value in statement.rights.rows(statement.licence)]
    table = "" if statement.is_empty else f"<h2>Consent and rights</h2>{_table(('question', 'answer'), rows)}"
    return alerts + table


def _feedback(project: ProjectRecord, _root: Path) -> str:
    """What testers reported of the releases; nothing if nobody did."""
    answers = read_feedback(project.folder).answers
    if not answers:
        return ""
    parts = "".join(f"<h3>{_text(answer.title)}</h3><dl>"
                    + "".join(f'<dt>{_text(name)}</dt><dd class="said">{_text(value)}</dd>'
                              for name, value in answer.rows()) + "</dl>" for answer in answers)
    return f"<h2>Feedback of testers</h2>{parts}"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], words: Sequence[str] = ()) -> str:
    """A table; `words` say what each column means, where that is not plain."""
    def cell(value: Any) -> str:
        shown = "not measured" if value is None else f"{value:.3g}" if isinstance(value, float) else value
        return f"<td>{_text(shown)}</td>"

    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    heads = "".join(f'<th title="{_text(said)}">{_text(name)}</th>' if said else f"<th>{_text(name)}</th>"
                    for name, said in zip_longest(header, words, fillvalue=""))
    return f'<div class="wide"><table><tr>{heads}</tr>{body}</table></div>'


def _figures(project: ProjectRecord, _root: Path) -> str:
    if not project.rounds:
        return ""
    known = next((figures.known_before for figures in project.rounds if figures.known_before), "")
    names, words = zip(*(FIGURES[key] for key in _MEASURED), strict=True)
    rows = [(r.round, f"{r.kept} proposed" if r.proposed else r.kept, r.candidates,
             *(getattr(r, key) for key in _MEASURED)) for r in project.rounds]
    meanings = "".join(f"<dt>{_text(name)}</dt><dd>{_text(said)}</dd>" for name, said in zip(names, words, strict=True))
    return ("<h2>Rounds</h2>" + (f"<p>{_text(known)}</p>" if known else "")
            + _table(("round", "kept", "of", *names), rows, ("", "", "", *words))
            + f"<details><summary>What the figures mean</summary><dl>{meanings}</dl></details>"
            + '<p class="soft">Likeness and drift are measured against the original crops. The loop stops if burn '
              "exceeds 3, diversity falls below 0.7 of the base's, drift jumps, or too few images are good enough.</p>")


def _sheets(project: ProjectRecord, _root: Path) -> str:
    crops = sorted(crops_folder(project.folder).glob("*.png"))
    captions = map(_caption_of, crops)
    parts = ["<h2>Original crops</h2>",
             _sheet((crop, "", caption, "kept", caption) for crop, caption in zip(crops, captions, strict=True))]
    base = sorted(path for path in (project.folder / "reference").glob("r0-*.png") if not lineage_problem(path))
    parts.append("<h2>What the base knows of her</h2><p class=\"soft\">Her tags, drawn without a LoRA and without the "
                 f"trigger.</p>{_sheet(map(_of_the_base, base))}" if base else "")
    found, notebook = Project.load(project.folder), Notebook.of(project.folder)
    for number in range(1, found.depth + 1):
        parts.append(_round(found.round(number), notebook.round_note(number)))
    return "".join(parts)


def _round(round_: Round, note: str) -> str:
    """The images of a round: those kept, by hand or by curation, and the others with the reason."""
    decisions, picks = round_.read_decisions(), round_.picks
    pictures = round_.pictures()
    if not pictures and not note:
        return ""
    kept = {item.path: item for item in round_.list_kept(decisions)}
    shown: dict[str, list[Shown]] = {"kept": [], "refused": []}
    for path in pictures:
        pick, decision = picks.of(path.stem, round_.read_facts(path)), decisions.decisions.get(path.stem)
        kind = "kept" if path in kept else "refused"
        shown[kind].append(_candidate(path, pick, decision, kept[path].caption if path in kept else "", kind))
    return (f"<h2>Round {round_.number}: kept {len(kept)} of {len(pictures)}</h2>"
            + (f'<p class="goal">{_text(note)}</p>' if note else "") + _sheet(shown["kept"])
            + f"<details><summary>{len(shown['refused'])} not kept, with reasons</summary>"
            f"{_sheet(shown['refused'])}</details>")


def _candidate(path: Path, pick: Pick, decision: Decision | None, caption: str, kind: str) -> Shown:
    made = Lineage.read(path)
    scores = decision.scores if decision else {}
    reason = BY_HAND.get(pick.state) or (decision.reason if decision else "not measured")
    lines = (f"{path.stem} · round {made.round} · {made.parent_lora or 'no LoRA'} at {made.strength:g} · "
             f"seed {made.seed}", made.prompt, caption and f"caption: {caption}", pick.note and f"note: {pick.note}",
             " · ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in scores.items()))
    return path, reason, ", ".join(made.view.values()), kind, "\n".join(filter(None, lines))


def _of_the_base(path: Path) -> Shown:
    made = Lineage.read(path)
    return path, "", ", ".join(made.view.values()), "", made.prompt


def _caption_of(picture: Path) -> str:
    caption = picture.with_suffix(".txt")
    return caption.read_text("utf-8").strip() if caption.is_file() else ""


def _sheet(items: Iterable[Shown]) -> str:
    """A grid of images."""
    figures = [
        f'<figure class="{kind}" title="{_text(hover)}"><img src="{data_uri(path, THUMB)}" alt="{_text(hover)}" '
        f'loading="lazy"><figcaption>{f"<b>{_text(reason)}</b> " if reason else ""}{_text(below)}</figcaption></figure>'
        for path, reason, below, kind, hover in items if not path.is_symlink()  # which may lead to anybody's image
    ]
    return f'<div class="sheet">{"".join(figures)}</div>'


def _grid(project: ProjectRecord, root: Path) -> str:
    sheet = _fact(project, "grid", "sheet")
    if not sheet:
        return ""
    scores = convert(project.stages["grid"].facts.get("scores") or [], list[dict[str, Any]], "scores")
    names = list(scores[0]) if scores else []
    table = _table([name.replace("_", " ") for name in names], [[row.get(name) for name in names] for row in scores]
                   ) if names else ""
    return (f'<h2>Strength grid</h2><div class="grid"><img src="{data_uri(_inside(root, sheet), 1400)}" '
            f'alt="LoRA strengths side by side"></div>{table}')


def _curves(project: ProjectRecord, root: Path) -> str:
    runs = {_inside(root, place).resolve(): f"{record.title} ({record.summary})"
            for name, record in project.stages.items() if (place := _fact(project, name, "run"))}
    for folder in project_runs(Project.load(project.folder), root / "loras"):
        run = read_run(folder)
        runs.setdefault(folder.resolve(), f"{run.name} ({run.step} of {run.config.steps} steps)")
    curves = [loss_curve(read_losses(folder), title) for folder, title in runs.items()]
    return f'<h2>Training loss</h2><div class="curves">{"".join(curves)}</div>' if any(curves) else ""


def _sweeps(project: ProjectRecord, root: Path) -> str:
    """The sweeps that were drawn of the project's LoRAs, by the name under which the viewer finds them."""
    names = {folder.name for folder in project_runs(Project.load(project.folder), root / "loras")}
    rows = []
    for path in sorted((root / "sweeps").glob("*/manifest.json")):
        with suppress(UserError):  # a damaged sweep is its viewer's to report
            text = read_record(path, dict[str, Any])
            runs = {str(choice["facts"].get("run")) for axis in convert(text.get("axes"), list[dict[str, Any]], "axes")
                    for choice in convert(axis.get("choices"), list[dict[str, Any]], "choices")
                    if isinstance(choice.get("facts"), dict)} & names
            if runs:
                images = len(list((path.parent / "cells").glob("*.png")))
                rows.append((path.parent.name, ", ".join(sorted(runs)), images))
    return f"<h2>Sweeps</h2>{_table(('sweep', 'runs', 'images'), rows)}" if rows else ""


def _stages(project: ProjectRecord, _root: Path) -> str:
    rows = [(record.title, record.summary, f"{record.seconds:.1f} s" if record.seconds else "", record.finished)
            for record in project.stages.values()]
    return "<h2>Stages</h2>" + _table(("stage", "outcome", "time", "finished"), rows)


def _settings(project: ProjectRecord, _root: Path) -> str:
    rows = [(name, Path(value).name if name in PATHS else value) for name, value in project.settings.items()]
    return f"<details><summary>All settings</summary>{_table(('setting', 'value'), rows)}</details>"
