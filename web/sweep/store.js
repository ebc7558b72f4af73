/** What the viewer knows about a sweep: its cells, the marks by hand, undo, and saving. It needs neither a document nor
 * the host: the routes are passed in. */

import { Store } from "../common/store.js";
import { t, word } from "../common/words.js";
import { byPlace, recommendedRow, scoreOf, withoutLora } from "./axes.js";

/** What a person rates by eye, because no figure measures it. */
export const ASPECTS = [word("anatomy"), word("skin"), word("light")];
/** Rating → the one that the next press gives. */
const NEXT_RATING = { 0: 1, 1: -1, "-1": 0 };
const RATED = { 0: word("not rated"), 1: word("good"), "-1": word("bad") };

const marksOf = ({ marks }) => ({ best: marks.best?.key ?? null, hidden: new Set(marks.hidden),
  ratings: new Map(Object.entries(marks.ratings ?? {})) });
const copyOf = ({ best, hidden, ratings }) => ({ best, hidden: new Set(hidden), ratings: new Map(ratings) });

/** Kinds of steps: what each does to the marks, and how it is undone. */
const STEPS = {
  best: {
    perform: (marks, { to }) => Object.assign(marks, { best: to }),
    inverse: ({ from, to, ...step }) => ({ ...step, from: to, to: from }),
    changes: (marks, { to }) => marks.best !== to,
  },
  hidden: {
    perform: (marks, { key, to }) => marks.hidden[to ? "add" : "delete"](key),
    inverse: ({ to, ...step }) => ({ ...step, to: !to }),
    changes: (marks, { key, to }) => marks.hidden.has(key) !== to,
  },
  rating: {
    perform: (marks, { key, aspect, to }) => {
      const { [aspect]: _, ...others } = marks.ratings.get(key) ?? {};
      const rated = to ? { ...others, [aspect]: to } : others;
      if (Object.keys(rated).length) marks.ratings.set(key, rated);
      else marks.ratings.delete(key);
    },
    inverse: ({ from, to, ...step }) => ({ ...step, from: to, to: from }),
    changes: (marks, { key, aspect, to }) => (marks.ratings.get(key)?.[aspect] ?? 0) !== to,
  },
};

export class SweepStore extends Store {
  /**
   * @param {object} routes
   * @param {(name: string) => Promise<object|null>} routes.fetch the answer of `GET /lora_bootstrap/sweep`; null if
   *   there is none
   * @param {(body: object) => Promise<{revision: number}>} routes.save which outlives the page
   * @param {() => void} changed called after every change of the store
   */
  constructor(routes, changed) {
    super(routes, changed, 0);
  }

  forget() {
    super.forget();
    Object.assign(this, {
      name: null, sweep: null, places: new Map(),
      marks: { best: null, hidden: new Set(), ratings: new Map() }, saved: null, pending: [],
    });
  }

  // -- reading ------------------------------------------------------------------------------------------------------

  get key() {
    return this.sweep ? [this.name] : null;
  }

  reportReading(error, name) {
    this.problem = t("Cannot read sweep {name}: {problem}", { name, problem: error.message });
  }

  beginEmpty(name) {
    this.forget();
    this.problem = t("There is no sweep {name}.", { name });
  }

  begin(fresh, name) {
    this.forget();
    this.name = name;
    this.merge(fresh);
  }

  merge(fresh) {
    Object.assign(this, { sweep: fresh, places: byPlace(fresh.cells), saved: marksOf(fresh) });
    Object.assign(this, { revision: fresh.revision, scores: new Map() });
    this.restore();
  }

  /** The marks as shown: the server's, with unsaved changes. */
  restore() {
    this.marks = copyOf(this.saved);
    for (const step of this.pending) STEPS[step.kind].perform(this.marks, step);
    this.version += 1;
  }

  get cells() {
    return this.sweep?.cells ?? [];
  }

  /** {total, done, failed} of its images, each counted once. */
  get counts() {
    const states = new Map(this.cells.map(({ key, state }) => [key, state]));
    const of = (state) => [...states.values()].filter((one) => one === state).length;
    return { total: states.size, done: of("done"), failed: of("failed") };
  }

  /** The same image without the LoRA, or null. */
  bare(cell) {
    const found = this.sweep.without ? this.places.get(withoutLora(this.sweep.axes, cell.at).join()) : null;
    return found && found !== cell ? found : null;
  }

  score(cell) {
    const place = cell.at.join();
    if (!this.scores.has(place)) this.scores.set(place, scoreOf(this.sweep, cell));
    return this.scores.get(place);
  }

  isRecommended(cell) {
    const row = this.score(cell);
    return row !== null && row === recommendedRow(this.sweep);
  }

  isBest(cell) {
    return this.marks.best === cell.key;
  }

  isHidden(cell) {
    return this.marks.hidden.has(cell.key);
  }

  // -- marking ------------------------------------------------------------------------------------------------------

  /** Mark a cell as the best. If it already is, clear the mark. */
  toggleBest(cell, called) {
    const to = this.isBest(cell) ? null : cell.key;
    return this.mark({ kind: "best", from: this.marks.best, to,
      label: to ? t("marking {cell} as the best", { cell: called }) : t("clearing the best mark") });
  }

  toggleHidden(cell, called) {
    const to = !this.isHidden(cell);
    return this.mark({ kind: "hidden", key: cell.key, to,
      label: t(to ? word("hiding {cell}") : word("showing {cell}"), { cell: called }) });
  }

  /** 1 (good), -1 (bad) or 0 (not rated). */
  rating(cell, aspect) {
    return this.marks.ratings.get(cell.key)?.[aspect] ?? 0;
  }

  /** Rate an aspect of a cell: good, then bad, then not rated. */
  rateNext(cell, aspect, called) {
    const from = this.rating(cell, aspect);
    const to = NEXT_RATING[from];
    return this.mark({ kind: "rating", key: cell.key, aspect, from, to,
      label: t("rating the {aspect} of {cell}: {rating}", { aspect: t(aspect), cell: called, rating: t(RATED[to]) }) });
  }

  mark(step) {
    this.record(step);
    this.perform(step);
    return step;
  }

  /** Perform a step, and save it at once. */
  perform(step) {
    STEPS[step.kind].perform(this.marks, step);
    this.pending.push(step);
    this.notice = null;
    this.version += 1;
    this.flush();
    this.changed();
  }

  repeatStep(step, way) {
    const next = way === "undo" ? STEPS[step.kind].inverse(step) : step;
    if (!STEPS[step.kind].changes(this.marks, next)) return false;
    this.perform(next);
    return true;
  }

  // -- saving -------------------------------------------------------------------------------------------------------

  hasUnsaved() {
    return this.pending.length > 0;
  }

  unsavedText() {
    return t("Marks are");
  }

  /** All marks as they are now. */
  makeRequest() {
    const { name, revision } = this;
    const marks = copyOf(this.marks);
    const body = { name, revision, best: marks.best, hidden: [...marks.hidden],
      ratings: Object.fromEntries(marks.ratings) };
    return { steps: [...this.pending], marks, body };
  }

  acceptRequest({ steps, marks }) {
    this.saved = marks;
    this.pending = this.pending.filter((step) => !steps.includes(step));
    this.restore();
  }

  takeBack(request, error) {
    this.pending = [];
    this.restore();
    this.notice = t("Not saved, and taken back: {problem}", { problem: error.message });
    return true;
  }

  resolveConflict(fresh) {
    this.merge(fresh);
    this.notice = t("Marks were changed elsewhere. Your changes are still here.");
    return true;
  }
}
