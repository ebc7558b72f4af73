"""grid.html: a sweep's sheets as a page that opens from disk and needs nothing but the cells beside it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.files import write_text
from ..pictures.sheet import Page, SheetStyle
from .axis_text import MOST_SEED
from .cells import NO_LORA as WITHOUT_LORA, Cell, Sweep
from .sheets import NO_LORA, NOT_MADE, cell_box, cell_problem, choose_axes, plan_pages

LONGEST_NAME = 80
"""Most characters of a label in an image's alternative text."""

STYLE = """
:root{color-scheme:light dark;--fg:#1d2330;--soft:#5b6577;--bg:#fbfbfd;--line:#e4e7ec;--accent:#6d4aff;--no:#8c1d18;
--nobg:#fdeceb}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8ee;--soft:#98a1b3;--bg:#14161c;--line:#2d3240;--accent:#a48bff;
--no:#f5b5ae;--nobg:#3a1f1e}}
*{box-sizing:border-box}body{margin:0;padding:16px;width:max-content;min-width:100%;background:var(--bg);
color:var(--fg);font:15px/1.4 system-ui,sans-serif}
header,h2,nav{position:sticky;left:16px;width:fit-content;max-width:calc(100vw - 48px);overflow-wrap:anywhere}
h1{margin:0 0 4px;font-size:24px}h2{margin:28px 0 8px;font-size:16px;font-weight:600}
nav{display:flex;flex-wrap:wrap;gap:4px 8px;margin:8px 0}a{color:var(--accent)}
nav a{border:1px solid var(--line);border-radius:6px;padding:2px 8px;text-decoration:none;max-width:40ch;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.soft,summary{color:var(--soft)}table{border-spacing:8px;border-collapse:separate}
th{font-weight:400;background:var(--bg);z-index:1}th div{max-height:var(--h);overflow:auto;overflow-wrap:anywhere}
thead th{position:sticky;top:0;vertical-align:bottom;padding:4px 0}thead th div{max-width:var(--w);max-height:6.5em;
margin:auto}thead tr:first-child th.name{position:static}tbody th,thead th:first-child{position:sticky;left:0;
text-align:left;padding:0 8px}thead th:first-child{z-index:2}
tbody th div{width:max-content;max-width:min(20rem,30vw)}
td{width:var(--w);height:var(--h);padding:0;text-align:center;font-size:13px}td>*{width:var(--w);height:var(--h);
display:flex;align-items:center;justify-content:center;overflow:auto;overflow-wrap:anywhere}
td img{width:100%;height:100%;object-fit:contain;display:block;cursor:zoom-in}
.missing{color:var(--soft);border:1px solid var(--line);
background:repeating-linear-gradient(135deg,transparent 0 8px,var(--line) 8px 9px)}
.failed{color:var(--no);background:var(--nobg);padding:6px}
dialog{border:1px solid var(--line);border-radius:10px;padding:12px;max-width:96vw;max-height:96vh;background:var(--bg);
color:var(--fg)}dialog::backdrop{background:#000a}dialog form{display:flex;gap:8px;justify-content:space-between}
dialog img{display:block;max-width:90vw;max-height:72vh;margin:8px auto}dl{display:grid;
grid-template-columns:max-content minmax(0,1fr);gap:2px 12px;margin:8px 0;font-size:13px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
"""

SCRIPT = """
const plan = JSON.parse(document.getElementById("plan").textContent);
const dialog = document.querySelector("dialog");
const links = [...document.querySelectorAll("td a")];
let shown = 0;
function factsOf(at) {
  const facts = Object.assign({}, plan.shared, ...plan.axes.map((axis, i) => at[i] === null ? {} : axis[at[i]]));
  return !facts.strength && "strength" in facts || at.includes(null) ? Object.assign(facts, plan.without) : facts;
}
function show(number) {
  shown = (number + links.length) % links.length;
  const link = links[shown];
  dialog.querySelector("img").src = link.href;
  dialog.querySelector("p a").href = link.href;
  const facts = Object.entries(factsOf(JSON.parse(link.dataset.at)));
  const rows = facts.filter(([, value]) => value !== null && value !== "");
  dialog.querySelector("dl").replaceChildren(...rows.flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name.replaceAll("_", " ");
    text.textContent = typeof value === "object" ? JSON.stringify(value) : value;
    return [term, text];
  }));
  if (!dialog.open) dialog.showModal();
}
links.forEach((link, number) => link.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(number);
}));
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
  if (event.target.dataset.by) show(shown + Number(event.target.dataset.by));
});
dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) { event.preventDefault(); show(shown + by); }
});
"""

DIALOG = ('<dialog><form method="dialog"><span><button type="button" data-by="-1">← previous</button> '
          '<button type="button" data-by="1">next →</button></span><button autofocus>close</button></form>'
          '<img alt=""><p><a target="_blank">open the file</a></p><dl></dl></dialog>')


def write_html(sweep: Sweep, style: SheetStyle | None = None, rows: str = "", columns: str = "",
               title: str | None = None, with_facts: bool = True) -> Path:
    """Write grid.html into the sweep's folder, with the cells made so far; returns its path.

    It shows the files in cells/, so it works only beside them. A click opens an image in full size, with its facts.

    Args:
        rows, columns: as in `plan_pages`; if both are "", those of `choose_axes`.
        title: None uses the sweep's own.
        with_facts: whether the page holds the facts of every cell, which a click shows, besides the labels.

    Raises UserError as `plan_pages` does, or if the folder cannot be written to.
    """
    style = style or SheetStyle()
    rows, columns = (rows, columns) if rows or columns else choose_axes(sweep)
    pages, states, (width, height) = plan_pages(sweep, rows, columns), sweep.states(), cell_box(sweep, style)
    title = sweep.title if title is None else title
    done = sum(state == "done" for state in states.values())
    sections = "".join(_section(sweep, states, page, number) for number, page in enumerate(pages, 1))
    page = (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{_text(title or 'Sweep')}</title><style>{STYLE}:root{{--w:{width}px;--h:{height}px}}</style>"
            f'<header><h1>{_text(title)}</h1><span class="soft">{done} of {len(states)} images</span></header>'
            f'{_selector(pages)}{sections}{DIALOG}'
            f'<script type="application/json" id="plan">{_plan(sweep, with_facts)}</script>'
            f"<script>{SCRIPT}</script></html>\n")
    path = sweep.folder / "grid.html"
    write_text(path, page)
    return path


def _text(value: Any) -> str:
    return html.escape(str(value))


def _plan(sweep: Sweep, with_facts: bool) -> str:
    """The facts of all cells, for the dialog. "<" is escaped so that it cannot end the script."""
    told = for_browser if with_facts else lambda facts: {}
    plan = {"shared": told(sweep.shared), "without": told(WITHOUT_LORA),
            "axes": [[told(choice.facts) for choice in axis.choices] for axis in sweep.axes]}
    return json.dumps(plan, ensure_ascii=False).replace("<", "\\u003c")


def for_browser(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a cell in which whole numbers that a browser would round are text: seeds of older sweeps."""
    return {name: str(value) if isinstance(value, int) and abs(value) > MOST_SEED else value
            for name, value in facts.items()}


def _selector(pages: Sequence[Page]) -> str:
    if len(pages) < 2:
        return ""
    links = (f'<a href="#page-{number}" title="{_text(page.caption)}">{_text(page.caption)}</a>'
             for number, page in enumerate(pages, 1))
    return f"<nav>{''.join(links)}</nav>"


def _section(sweep: Sweep, states: Mapping[str, str], page: Page, number: int) -> str:
    corner = f"{_text(page.row_axis)} ↓" if page.row_axis else ""
    side = "<th></th>" if page.row_labels else ""
    head = ""
    if page.column_axis:
        head = f'<tr>{side}<th class="name soft" style="text-align:left">{_text(page.column_axis)} →</th></tr>'
    if page.column_labels or corner:
        labels = "".join(f"<th><div>{_text(label)}</div></th>" for label in page.column_labels)
        head += f'<tr>{f"""<th class="soft">{corner}</th>""" if page.row_labels else ""}{labels}</tr>'
    body = ""
    for row, cells in enumerate(page.cells):
        label = f"<th><div>{_text(page.row_labels[row])}</div></th>" if page.row_labels else ""
        body += f"<tr>{label}{''.join(_cell(sweep, states, cell) for cell in cells)}</tr>"
    caption = f"<h2>{_text(page.caption)}</h2>" if page.caption else ""
    return f'<section id="page-{number}">{caption}<table><thead>{head}</thead><tbody>{body}</tbody></table></section>'


def _cell(sweep: Sweep, states: Mapping[str, str], cell: Cell | None) -> str:
    if cell is None:
        return "<td></td>"
    if states[cell.key] == "missing":
        return f'<td><div class="missing">{NOT_MADE}</div></td>'
    if states[cell.key] == "failed":
        return f'<td><div class="failed">{_text(cell_problem(sweep, cell))}</div></td>'
    names = [NO_LORA if place is None else axis.choices[place].label[:LONGEST_NAME]
             for axis, place in zip(sweep.axes, cell.at, strict=True)]
    link = sweep.picture(cell).relative_to(sweep.folder).as_posix()
    return (f'<td><a href="{_text(link)}" data-at="{_text(json.dumps(cell.at))}" target="_blank">'
            f'<img src="{_text(link)}" alt="{_text(" · ".join(dict.fromkeys(names)))}" loading="lazy"></a></td>')
