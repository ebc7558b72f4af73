/** One cell on the viewer's plane: its image, score and marks. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { t, word } from "../common/words.js";
import { nameOf } from "./axes.js";

/** Text of a cell without an image. */
const STATES = { failed: word("failed"), missing: word("not made yet"), done: "" };
/** Mark → its name for people. */
const MARKS = { best: word("best"), recommended: word("recommended"), hidden: word("hidden") };

/** A short text for a score, with the number first, which is never cut. */
function scoreText(row) {
  if (!row) return "";
  const score = typeof row.score === "number" ? row.score.toFixed(2) : "";
  return [score, row.verdict].filter(Boolean).join(" · ");
}

export class SweepTile {
  /** @param {object} grid `store`, `picture(address)`, `openAt(row, column)`, `pointTo(row, column)` */
  constructor(grid) {
    Object.assign(this, { grid, cell: null, row: 0, column: 0, drawn: "" });
    this.element = element("div", "lb-sweep-tile");
    this.image = element("img", "lb-sweep-picture", { decoding: "async", draggable: false, alt: "" });
    this.face = element("input", "lb-sweep-face", { type: "button", value: "", tabIndex: -1 });
    this.word = element("span", "lb-sweep-word");
    this.badges = element("span", "lb-sweep-badges");
    this.caption = element("span", "lb-sweep-caption");
    for (const part of [this.word, this.badges, this.caption]) part.setAttribute("aria-hidden", "true");
    this.element.append(this.image, this.word, this.face, this.badges, this.caption);
    this.face.addEventListener("click", () => this.grid.openAt(this.row, this.column));
    this.face.addEventListener("focus", () => this.grid.pointTo(this.row, this.column));
  }

  /** Show this cell, which may be another than before. */
  show(cell, row, column) {
    const other = cell.key !== this.cell?.key;
    Object.assign(this, { cell, row, column });
    if (other) {
      this.image.removeAttribute("src");
      this.filled = null;
      this.element.dataset.key = cell.key;
    }
    this.update();
  }

  /** Draw what has changed since the last drawing. */
  update() {
    const { cell, grid: { store } } = this;
    const score = store.score(cell);
    const marks = [store.isBest(cell) && "best", store.isRecommended(cell) && "recommended",
      store.isHidden(cell) && "hidden"].filter(Boolean);
    const key = [cell.at, cell.state, score?.verdict, score?.score, marks].join("|");
    if (key === this.drawn) return;
    this.drawn = key;
    const { dataset } = this.element;
    dataset.state = cell.state;
    dataset.verdict = score?.verdict ?? "";
    dataset.marks = marks.join(" ");
    const state = t(STATES[cell.state]);
    this.word.textContent = state;
    this.badges.replaceChildren(...marks.map((mark) => element("span", "", { textContent: t(MARKS[mark]) })));
    this.caption.textContent = scoreText(score);
    const told = [nameOf(store.sweep, cell), state, cell.error, scoreText(score),
      ...marks.map((mark) => t(MARKS[mark]))];
    this.face.setAttribute("aria-label", told.filter(Boolean).join("; "));
    this.face.title = [nameOf(store.sweep, cell), cell.error].filter(Boolean).join(": ");
  }

  /** Load its image. The smaller one stays until the larger one is loaded. @param {boolean} full */
  fill(full) {
    const address = full ? this.cell.full : this.cell.thumb;
    if (this.filled === address || (this.filled === this.cell.full && address)) return;
    this.filled = address;
    if (address) this.image.src = this.grid.picture(address);
    else this.image.removeAttribute("src");
  }
}
