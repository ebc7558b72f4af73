/** The state behind a panel: steps with undo and redo. For data on the server it also reads, shows changes before they
 * are saved, and saves by revision until that succeeds. It needs neither a document nor the host: the routes are passed
 * in. Loading this module has no effect. */

import { Conflict, Refused } from "./errors.js";
import { t } from "./words.js";

/** Milliseconds after which a failed save is tried again. */
const RETRY_MS = 5000;
/** How often to ask again if an answer is older than what has been saved in the meantime. */
const STALE_TRIES = 3;
/** The largest number of steps that can be undone. */
const UNDONE = 200;

/** Steps that can be undone and redone. The next one is the last of its stack. */
export class StepStore {
  past = [];

  future = [];

  /** Record a step that was just done. Nothing can be redone after it. */
  record(step) {
    this.past = [...this.past, step].slice(-UNDONE);
    this.future = [];
  }

  /** @returns {object|null} the step that was undone */
  undo() {
    return this.travel("past", "future", "undo");
  }

  /** @returns {object|null} the step that was redone */
  redo() {
    return this.travel("future", "past", "redo");
  }

  /** Perform the last step of a stack that still changes something. */
  travel(from, to, way) {
    for (const step of [...this[from]].reverse()) {
      this.moveStep(step, from, to);
      if (this.repeatStep(step, way)) return step;
    }
    return null;
  }

  moveStep(step, from, to) {
    this[from] = this[from].slice(0, -1);
    this[to] = [...this[to], step];
  }
}

/**
 * Data that the server stores under a key, shown with the changes that are not saved yet. A subclass needs
 *   for reading: `key` (its parts, or null), `begin(fresh, ...key)` for data not shown before, `beginEmpty(...key)` for
 *   missing data, `merge(fresh)` for data already shown, `reportReading(error, ...key)`; for saving: `hasUnsaved()`,
 *   `unsavedText()`, `makeRequest()`, `acceptRequest(request)`, `takeBack(request, error)`, and
 *   `resolveConflict(fresh)`, which returns whether to continue saving at once; for undo: `repeatStep(step, way)`,
 *   which returns whether it changed anything.
 */
export class Store extends StepStore {
  /**
   * @param {object} routes
   * @param {(...key: *[]) => Promise<{revision: number}|null>} routes.fetch the server's data under a key
   * @param {(body: object, leaving: boolean) => Promise<{revision: number}>} routes.save throws a Conflict or Refused
   * @param {() => void} changed called after every change of the store
   * @param {number} delay changes are saved after this many milliseconds without another change
   */
  constructor(routes, changed, delay) {
    super();
    Object.assign(this, { routes, changed, delay, turn: 0, version: 0 });
    this.forget();
  }

  /** Forget everything. */
  forget() {
    clearTimeout(this.timer);
    this.subject = {}; // identifies late answers to saves of what was shown before
    this.turn += 1; // answers to earlier questions no longer count
    this.version += 1; // counts changes, for whoever caches results
    Object.assign(this, {
      revision: null, problem: null, notice: null, saving: null, failing: false, past: [], future: [],
    });
  }

  // -- reading ------------------------------------------------------------------------------------------------------

  /** Show the data under a key, or refresh it. Unsaved changes stay. Never throws. */
  async load(...key) {
    await this.flush();
    await this.read(...key);
    this.changed();
  }

  async read(...key) {
    const turn = ++this.turn;
    const isLate = () => turn !== this.turn; // the answer to a later question counts
    try {
      let fresh = await this.fetchSettled(key);
      for (let again = 0; again < STALE_TRIES && !isLate() && this.isStale(fresh, key); again += 1) {
        fresh = await this.fetchSettled(key);
      }
      if (isLate()) return;
      this.problem = null;
      this.receive(fresh, ...key);
    } catch (error) {
      if (!isLate()) this.reportReading(error, ...key);
    }
  }

  async fetchSettled(key) {
    const fresh = await this.routes.fetch(...key);
    await this.saving; // which this answer may or may not include
    return fresh;
  }

  isAbout(key) {
    return this.key?.every((part, index) => part === key[index]) ?? false;
  }

  isStale(fresh, key) {
    return this.isAbout(key) && fresh?.revision < this.revision;
  }

  receive(fresh, ...key) {
    if (!fresh) this.beginEmpty(...key);
    else if (this.isAbout(key)) this.merge(fresh);
    else this.begin(fresh, ...key);
  }

  // -- saving -------------------------------------------------------------------------------------------------------

  saveSoon(delay = this.delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), delay);
  }

  /**
   * Save unsaved changes now. Never throws: errors are shown as `problem`, and saving is tried again.
   * @param {boolean} leaving whether the page may be closing, with no time for an answer
   */
  async flush(leaving = false) {
    clearTimeout(this.timer);
    // what has just failed is tried again later, or now if the page is closing
    if (this.saving) return this.saving.then(() => (this.failing && !leaving ? undefined : this.flush(leaving)));
    if (!this.hasUnsaved()) return undefined;
    const saving = this.save(leaving);
    this.saving = saving;
    this.changed();
    try {
      await saving;
    } finally {
      if (this.saving === saving) this.saving = null;
    }
    this.changed();
    return undefined;
  }

  /** Save unsaved changes now, for a run that reads them. Throws an Error if that fails. */
  async flushForRun() {
    await this.flush(true);
    if (this.hasUnsaved()) await this.flush(true); // after someone else's changes, ours are saved on top of them
    if (!this.hasUnsaved()) return;
    throw new Error(this.problem ?? this.notice ?? t("{changes} not saved.", { changes: this.unsavedText() }));
  }

  async save(leaving) {
    const { subject } = this;
    const isGone = () => subject !== this.subject;
    this.failing = false;
    while (this.hasUnsaved()) {
      const request = this.makeRequest();
      try {
        const { revision } = await this.routes.save(request.body, leaving);
        if (isGone()) return;
        Object.assign(this, { revision, problem: null });
        this.acceptRequest(request);
      } catch (error) {
        if (isGone() || !(await this.recover(error, request, isGone))) return;
      }
    }
  }

  /** @returns {Promise<boolean>} whether to continue saving */
  async recover(error, request, isGone) {
    if (error instanceof Conflict) {
      const fresh = error.fresh ?? await this.routes.fetch(...this.key).catch(() => null);
      if (isGone()) return false;
      if (fresh) {
        this.problem = null;
        return this.resolveConflict(fresh);
      }
    }
    if (error instanceof Refused && this.takeBack(request, error)) return true;
    this.problem = t("{changes} not saved: {problem} Trying again.",
      { changes: this.unsavedText(), problem: error.message });
    this.failing = true;
    this.saveSoon(RETRY_MS);
    return false;
  }

  /** Take back what the server will never accept, if that is better than keeping it unsaved.
   * @returns {boolean} whether it was taken back */
  takeBack() {
    return false;
  }
}
