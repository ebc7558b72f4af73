/** What the viewer knows of a sweep: its cells, the marks by hand, their undoing, and saving them. No document and no
 * host: the routes are given to it. */

import { Conflict, Refused } from "../common/errors.js";
import { byPlace, recommended, scoreOf, withoutLora } from "./axes.js";

/** Milliseconds after which a failed saving is tried again. */
const RETRY_MS = 5000;

const marksOf = ({ marks }) => ({ best: marks.best?.key ?? null, hidden: new Set(marks.hidden) });
const copyOf = ({ best, hidden }) => ({ best, hidden: new Set(hidden) });

/** Steps: what each kind does to marks, and how it is taken back. */
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
};

export class SweepStore {
  /**
   * @param {object} routes
   * @param {(name: string) => Promise<object|null>} routes.fetch as `GET /lora_bootstrap/sweep` tells it; null where
   *   there is none
   * @param {(body: object) => Promise<{revision: number}>} routes.save throws a Conflict or Refused
   * @param {() => void} changed called after every change of what the store tells
   */
  constructor(routes, changed) {
    Object.assign(this, { routes, changed, turn: 0 });
    this.forget();
  }

  forget() {
    clearTimeout(this.timer);
    this.turn += 1; // answers to earlier questions are of no use any more
    Object.assign(this, {
      name: null, sweep: null, places: new Map(), marks: { best: null, hidden: new Set() }, saved: null, revision: null,
      pending: [], past: [], future: [], problem: null, notice: null, saving: null, version: (this.version ?? 0) + 1,
    });
  }

  // -- reading ------------------------------------------------------------------------------------------------------

  /** Show a sweep, or what became of the one that is shown. Never throws. */
  async load(name) {
    const turn = ++this.turn;
    try {
      const fresh = await this.routes.fetch(name);
      await this.saving; // which may be in this answer, or not
      if (turn !== this.turn) return;
      const late = fresh && name === this.name && fresh.revision < this.revision;
      if (late) return void await this.load(name);
      if (!fresh || name !== this.name) this.forget();
      if (fresh) this.take(name, fresh);
      else this.problem = `There is no sweep ${name}.`;
      if (fresh) this.problem = null;
    } catch (error) {
      if (turn === this.turn) this.problem = `Cannot read sweep ${name}: ${error.message}`;
    }
    this.changed();
  }

  take(name, fresh) {
    Object.assign(this, { name, sweep: fresh, places: byPlace(fresh.cells), saved: marksOf(fresh) });
    Object.assign(this, { revision: fresh.revision, scores: new Map() });
    this.restore();
  }

  /** What is shown: what the server has, and what is not saved yet. */
  restore() {
    this.marks = copyOf(this.saved);
    for (const step of this.pending) STEPS[step.kind].perform(this.marks, step);
    this.version += 1;
  }

  get cells() {
    return this.sweep?.cells ?? [];
  }

  /** {total, done, failed} of its pictures, each counted once. */
  get counts() {
    const states = new Map(this.cells.map(({ key, state }) => [key, state]));
    const of = (state) => [...states.values()].filter((one) => one === state).length;
    return { total: states.size, done: of("done"), failed: of("failed") };
  }

  cellOf(key) {
    return this.cells.find((cell) => cell.key === key) ?? null;
  }

  /** The same picture without the LoRA, or null. */
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
    return row !== null && row === recommended(this.sweep);
  }

  isBest(cell) {
    return this.marks.best === cell.key;
  }

  isHidden(cell) {
    return this.marks.hidden.has(cell.key);
  }

  // -- marking ------------------------------------------------------------------------------------------------------

  /** Mark a cell as the best; the best one is so no more. */
  toggleBest(cell, called) {
    const to = this.isBest(cell) ? null : cell.key;
    return this.mark({ kind: "best", from: this.marks.best, to, label: to ? `${called} as the best` : "no best" });
  }

  toggleHidden(cell, called) {
    const to = !this.isHidden(cell);
    return this.mark({ kind: "hidden", key: cell.key, to, label: `${to ? "hiding" : "showing"} ${called}` });
  }

  mark(step) {
    this.past.push(step);
    this.future = [];
    this.perform(step);
    return step;
  }

  perform(step) {
    STEPS[step.kind].perform(this.marks, step);
    this.pending.push(step);
    this.notice = null;
    this.version += 1;
    this.flush();
    this.changed();
  }

  /** @returns {object|null} the step that was undone */
  undo() {
    return this.go(this.past, this.future, (step) => STEPS[step.kind].inverse(step));
  }

  redo() {
    return this.go(this.future, this.past, (step) => step);
  }

  /** Go the last step of a stack that still changes something. */
  go(from, to, way) {
    while (from.length) {
      const step = from.pop();
      const taken = way(step);
      to.push(step);
      if (!STEPS[step.kind].changes(this.marks, taken)) continue;
      this.perform(taken);
      return step;
    }
    return null;
  }

  // -- saving -------------------------------------------------------------------------------------------------------

  /** Save what is not saved. Never throws: what goes wrong is told as `problem`, and tried again. */
  async flush() {
    clearTimeout(this.timer);
    if (this.saving) return this.saving;
    this.saving = this.save();
    await this.saving;
    this.saving = null;
    this.changed();
    return undefined;
  }

  async save() {
    const { name } = this;
    while (this.pending.length && name === this.name) {
      const steps = [...this.pending];
      const { best, hidden } = copyOf(this.marks);
      try {
        const { revision } = await this.routes.save({ name, revision: this.revision, best, hidden: [...hidden] });
        if (name !== this.name) return;
        Object.assign(this, { revision, saved: { best, hidden }, problem: null });
        this.pending = this.pending.filter((step) => !steps.includes(step));
        this.restore();
      } catch (error) {
        if (name !== this.name || !(await this.failed(error))) return;
      }
    }
  }

  /** @returns {Promise<boolean>} whether to go on saving */
  async failed(error) {
    if (error instanceof Conflict) {
      const fresh = error.fresh ?? await this.routes.fetch(this.name).catch(() => null);
      if (fresh) {
        this.take(this.name, fresh);
        this.notice = "Marks were changed elsewhere. Yours are kept.";
        return true;
      }
    }
    if (error instanceof Refused) {
      this.pending = [];
      this.restore();
      this.notice = `Not saved, and taken back: ${error.message}`;
      return false;
    }
    this.problem = `Marks are not saved: ${error.message} Trying again.`;
    this.timer = setTimeout(() => this.flush(), RETRY_MS);
    return false;
  }
}
