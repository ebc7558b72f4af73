/** What stands behind a panel: steps and their undoing; and, for what the server keeps, reading it, changing it before
 * the server has, and saving by revision until that succeeds. No document and no host: the routes are given to it.
 * Loaded alone, it does nothing. */

import { Conflict, Refused } from "./errors.js";

/** Milliseconds after which a failed saving is tried again. */
const RETRY_MS = 5000;
/** How often an answer that is older than what was saved meanwhile is asked for again. */
const STALE_TRIES = 3;
/** Steps that can be undone at most. */
const UNDONE = 200;

/** Steps that can be undone and done again. The next one is the last of its stack. */
export class StepStore {
  past = [];

  future = [];

  /** Record a step that is done now: nothing can be done again any more. */
  record(step) {
    this.past = [...this.past, step].slice(-UNDONE);
    this.future = [];
  }

  /** @returns {object|null} the step that was undone */
  undo() {
    return this.travel("past", "future", "undo");
  }

  /** @returns {object|null} the step that was done again */
  redo() {
    return this.travel("future", "past", "redo");
  }

  /** Go the last step of a stack that still changes something. */
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
 * Something that the server keeps under a key, shown with changes that are on their way there. A store of this kind has
 *   to read: `key` (its parts, or null), `begin(fresh, ...key)` for what was not shown before, `beginEmpty(...key)` for
 *     what is not there, `merge(fresh)` for what is shown already, `reportReading(error, ...key)`;
 *   to save: `hasUnsaved()`, `unsavedText()`, `makeRequest()`, `acceptRequest(request)`, `takeBack(request, error)`,
 *     and `resolveConflict(fresh)`, which tells whether to go on saving at once;
 *   to undo: `repeatStep(step, way)`, which tells whether it changed anything.
 */
export class Store extends StepStore {
  /**
   * @param {object} routes
   * @param {(...key: *[]) => Promise<{revision: number}|null>} routes.fetch what the server has under a key
   * @param {(body: object, leaving: boolean) => Promise<{revision: number}>} routes.save throws a Conflict or Refused
   * @param {() => void} changed called after every change of what the store tells
   * @param {number} delay milliseconds without another change after which the changes are saved
   */
  constructor(routes, changed, delay) {
    super();
    Object.assign(this, { routes, changed, delay, turn: 0, version: 0 });
    this.forget();
  }

  /** Know nothing. */
  forget() {
    clearTimeout(this.timer);
    this.subject = {}; // by which answers to savings of what was shown before are known
    this.turn += 1; // answers to earlier questions are of no use any more
    this.version += 1; // counts changes of what is told, for whoever keeps what follows from it
    Object.assign(this, {
      revision: null, problem: null, notice: null, saving: null, failing: false, past: [], future: [],
    });
  }

  // -- reading ------------------------------------------------------------------------------------------------------

  /** Show what is under a key, or what became of it. What is not saved yet stays. Never throws. */
  async load(...key) {
    await this.flush();
    await this.read(...key);
    this.changed();
  }

  async read(...key) {
    const turn = ++this.turn;
    const isLate = () => turn !== this.turn; // a later question's answer counts
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
    await this.saving; // which may be in this answer, or not
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
   * Save now what is not saved. Never throws: what goes wrong is told as `problem`, and tried again.
   * @param {boolean} leaving whether the page may be going away, with no time for an answer
   */
  async flush(leaving = false) {
    clearTimeout(this.timer);
    // what has just failed is tried again later, but now where there is no later
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

  /** @returns {Promise<boolean>} whether to go on saving */
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
    this.problem = `${this.unsavedText()} not saved: ${error.message} Trying again.`;
    this.failing = true;
    this.saveSoon(RETRY_MS);
    return false;
  }

  /** What the server will never take is taken back, where that is better than to keep it in hand.
   * @returns {boolean} whether it was */
  takeBack() {
    return false;
  }
}
