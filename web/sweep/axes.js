/** A sweep as a table: which axes are rows and columns, what the others show, and the cell at each position. Pure
 * functions. Loading this module has no effect. */

import { t, word } from "../common/words.js";

const OF_THE_LORA = ["checkpoint", "strength"];
/** Axes for columns and rows if nobody has chosen, most suitable first. */
const COLUMNS = ["strength", "seed", "prompt", "checkpoint", "base", "stack"];
const ROWS = ["stack", "checkpoint", "prompt", "seed", "base", "strength"];
const noLora = () => t("no LoRA");

const TITLES = {
  base: word("Base model"), checkpoint: word("Checkpoint"), stack: word("The other LoRA"), strength: word("Strength"),
  prompt: word("Prompt"), seed: word("Seed"),
};
/** An axis's name for people. */
export const titleOf = (axis) => (TITLES[axis] ? t(TITLES[axis]) : axis);

const isOfLora = (name) => OF_THE_LORA.includes(name);

/**
 * What is shown if nobody has chosen: rows, columns, and the first choice of every other axis.
 * @param {{name: string, choices: string[]}[]} axes
 * @param {object} [wanted] a view whose axes and choices are used where they exist
 */
export function viewOf(axes, wanted = {}) {
  const long = (name) => axes.some((axis) => axis.name === name && axis.choices.length > 1);
  const there = (name) => axes.some((axis) => axis.name === name);
  const first = (names, not) => names.find((name) => long(name) && name !== not) ??
    names.find((name) => there(name) && name !== not) ?? null;
  const columns = there(wanted.columns) ? wanted.columns : first(COLUMNS, there(wanted.rows) ? wanted.rows : null);
  const rows = there(wanted.rows) && wanted.rows !== columns ? wanted.rows : first(ROWS, columns);
  const page = ({ name, choices }) => {
    const place = wanted.pages?.[name];
    return place === null ? null : Math.min(place ?? 0, choices.length - 1);
  };
  return { rows, columns, pages: Object.fromEntries(axes.map((axis) => [axis.name, page(axis)])) };
}

/**
 * What the viewer opens with: the axes that the node names, or else those of the sheet, so that both are read alike.
 * @param {{axes: object[], sheet?: {rows: string, columns: string}}} sweep
 * @param {{rows?: string, columns?: string}} chosen values of the node's widgets; auto and none name no axis
 */
export function openingView({ axes, sheet = {} }, chosen = {}) {
  const named = (side) => (axes.some(({ name }) => name === chosen[side]) ? chosen[side] : null);
  const own = { rows: named("rows"), columns: named("columns") };
  const side = (one, other) => own[one] ?? (sheet[one] && sheet[one] !== own[other] ? sheet[one] : sheet[other]);
  return viewOf(axes, { rows: side("rows", "columns"), columns: side("columns", "rows") });
}

/** The view with another axis for a side ("rows" or "columns"). If the other side had that axis, the two swap. */
export function turnView(view, side, name) {
  const other = side === "rows" ? "columns" : "rows";
  return { ...view, [other]: view[other] === name ? view[side] : view[other], [side]: name };
}

/** The axis whose lines begin with the images without the LoRA: one of the LoRA's axes, preferably the columns. */
function noLoraAxis(sweep, { rows, columns }) {
  if (!sweep.without || !sweep.axes.some(({ name }) => isOfLora(name))) return null;
  return [columns, rows].find(isOfLora) ?? sweep.axes.find(({ name }) => isOfLora(name)).name;
}

/** What can be chosen on an axis: [{choice: number|null (without the LoRA), label}]. */
export function choicesOn(sweep, view, name) {
  const axis = sweep.axes.find((one) => one.name === name);
  if (!axis) return [{ choice: 0, label: "" }];
  const all = axis.choices.map((label, choice) => ({ choice, label }));
  return noLoraAxis(sweep, view) === name ? [{ choice: null, label: noLora() }, ...all] : all;
}

/** A sweep's cells by position. */
export function byPlace(cells) {
  return new Map(cells.map((cell) => [cell.at.join(), cell]));
}

/** The position of the same image without the LoRA. */
export const withoutLora = (axes, at) => at.map((place, index) => (isOfLora(axes[index].name) ? null : place));

/** A sweep as rows and columns. */
export class Table {
  /**
   * @param {object} sweep as from the route
   * @param {Map<string, object>} places its cells, as from `byPlace`
   * @param {{rows: string|null, columns: string|null, pages: Object<string, number|null>}} view
   * @param {((cell: object) => boolean)|null} fits which cells are shown; null for all. Lines without any are left out
   */
  constructor(sweep, places, view, fits = null) {
    Object.assign(this, { sweep, places, view, fits, none: noLoraAxis(sweep, view) });
    this.rows = choicesOn(sweep, view, view.rows);
    this.columns = choicesOn(sweep, view, view.columns);
    if (fits) this.leaveOut();
    this.known = new Map(); // a cell's position on the axes → {row, column}
    this.rows.forEach((_, row) => this.columns.forEach((__, column) => {
      const place = this.cell(row, column)?.at.join();
      if (place !== undefined && !this.known.has(place)) this.known.set(place, { row, column });
    }));
  }

  leaveOut() {
    const { rows, columns } = this;
    const shown = rows.map((_, row) => columns.map((__, column) => Boolean(this.cell(row, column))));
    this.rows = rows.filter((_, row) => shown[row].some(Boolean));
    this.columns = columns.filter((_, column) => shown.some((line) => line[column]));
  }

  /** The cell to show at a position of the table, or null. */
  cell(row, column) {
    const cell = this.any(this.rows[row], this.columns[column]);
    return cell && (!this.fits || this.fits(cell)) ? cell : null;
  }

  any(row, column) {
    if (!row || !column) return null;
    const { axes } = this.sweep;
    const { rows, columns, pages } = this.view;
    let bare = false;
    const at = axes.map(({ name }) => {
      const place = name === rows ? row.choice : name === columns ? column.choice : pages[name] ?? null;
      if (place === null && name === this.none) bare = true;
      return place ?? 0;
    });
    return this.places.get((bare ? withoutLora(axes, at) : at).join()) ?? null;
  }

  /** The number of cells shown. */
  get count() {
    return this.known.size;
  }

  /** {row, column} of a cell, the first if it is shown more than once; null if it is not shown. */
  find(cell) {
    return this.known.get(cell.at.join()) ?? null;
  }

  /** The next position with a cell in a direction, or null. */
  next({ row, column }, down, across) {
    for (let r = row + down, c = column + across; this.rows[r] && this.columns[c]; r += down, c += across) {
      if (this.cell(r, c)) return { row: r, column: c };
    }
    return null;
  }
}

/** The view that shows a cell, with the other axes set to the cell's choices. */
export function viewShowing(sweep, view, cell) {
  const pages = { ...view.pages };
  const shown = [view.rows, view.columns];
  sweep.axes.forEach(({ name }, index) => {
    if (shown.includes(name)) return;
    const none = noLoraAxis(sweep, view) === name;
    if (cell.at[index] !== null || none) pages[name] = cell.at[index];
  });
  return { ...view, pages };
}

/** The cell of another sweep at the same position, by the labels of its axes or else by their order. */
export function sameIn(other, places, sweep, cell) {
  const at = other.axes.map(({ name, choices }) => {
    const index = sweep.axes.findIndex((axis) => axis.name === name);
    const place = index < 0 ? 0 : cell.at[index];
    if (place === null) return null;
    const found = index < 0 ? 0 : choices.indexOf(sweep.axes[index].choices[place]);
    return found >= 0 ? found : Math.min(place, choices.length - 1);
  });
  const bare = other.axes.some(({ name }, index) => isOfLora(name) && at[index] === null) || (cell.lora === "" &&
    other.without);
  return places.get((bare ? withoutLora(other.axes, at) : at).join()) ?? null;
}

/** Names of the filters, for people: `t` shows them. */
export const SHOWN_WORDS = { all: word("all"), "not hidden": word("not hidden"), failed: word("failed") };
const SHOWN = {
  all: () => true,
  "not hidden": (cell, marks) => !marks.hidden.has(cell.key),
  failed: (cell) => cell.state === "failed",
};
/** Name of a filter → whether it shows a cell. */
export const SHOWN_NAMES = Object.keys(SHOWN);

/** A test for the cells that match the filter and the words typed; null if all do. */
export function makeFilter(shown, typed, marks) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (shown === "all" && !words.length) return null;
  return (cell) => SHOWN[shown](cell, marks) && words.every((word) => (cell.prompt ?? "").toLowerCase().includes(word));
}

/** A score row of a sweep for a cell, or null. */
export function scoreOf(sweep, cell) {
  const at = (name) => {
    const index = sweep.axes.findIndex((axis) => axis.name === name);
    return index < 0 ? 0 : cell.at[index];
  };
  const [base, checkpoint, strength] = ["base", "checkpoint", "strength"].map(at);
  return sweep.scores?.rows?.find((row) =>
    row.base === base && row.checkpoint === checkpoint && row.strength === strength) ?? null;
}

/** The row that is recommended, or null. */
export function recommendedRow(sweep) {
  const index = sweep.scores?.recommended;
  return Number.isInteger(index) ? sweep.scores.rows[index] ?? null : null;
}

const IN_NAMES = { base: word("base"), stack: word("stack"), strength: word("strength"), seed: word("seed") };
const inSentence = (axis) => (IN_NAMES[axis] ? t(IN_NAMES[axis]) : axis);

/** A cell in words: its label on each axis with more than one choice. */
export function nameOf(sweep, cell) {
  const bare = cell.at.includes(null);
  const words = sweep.axes.map(({ name, choices }, index) => {
    if (bare && isOfLora(name)) return "";
    if (choices.length === 1) return "";
    const label = choices[cell.at[index]];
    return name === "checkpoint" || name === "prompt" ? label : `${inSentence(name)} ${label}`;
  });
  return [bare ? noLora() : "", ...words].filter(Boolean).join(" · ") || cell.prompt || cell.key;
}
