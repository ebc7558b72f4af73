/** What the gallery knows about a round: its candidates, the picks by hand, undo, and saving. It needs neither a
 * document nor the host: the routes are passed in. */

import { Store } from "../common/store.js";
import { countTags, joinTags, listNames } from "../common/tags.js";
import { t, word } from "../common/words.js";
import { moveUp, noteReplaced, rankCandidates } from "./order.js";
import { UNTOUCHED, WAYS, difference, isEmpty, isKept, isSame, joinSteps, stackSteps, stepOf, waysOf } from
  "./picks.js";

/** Changes are saved after this many milliseconds without another change. */
const SAVE_MS = 200;
const NO_SHELF = { put() {}, take: () => null };

/** A sentence about candidates, for one and for several. */
const about = (names, one, many) => t(names.length === 1 ? one : many, { names: listNames(names) });

export class GalleryStore extends Store {
  /**
   * @param {object} routes
   * @param {(project: string, round: number) => Promise<object|null>} routes.fetch the answer of `GET
   *   /lora_bootstrap/candidates`; null if there is no such project or round
   * @param {(body: object) => Promise<{revision: number}>} routes.save which outlives the page
   * @param {(body: object) => Promise<{again: object[]}>} [routes.wish]
   * @param {() => void} changed called after every change of the store
   * @param {object} shelf stores what a closing page had no time to save, as in `routes.js`
   */
  constructor(routes, changed, shelf = NO_SHELF) {
    super(routes, changed, SAVE_MS);
    this.shelf = shelf;
    this.wish = routes.wish;
  }

  /** Forget everything: there is no project. */
  forget() {
    super.forget();
    Object.assign(this, {
      project: null, round: null, there: false, target: 0, eye: "", notes: [], figures: null, measured: [],
      crops: [], quotas: {}, candidates: [], byName: new Map(),
      ranking: { ranked: [], count: 0 }, // the proposed candidates and, after them, the reserve
      picks: new Map(), // candidate → its pick as shown
      saved: new Map(), // candidate → its pick on the server
      history: [], // the history on the server, oldest first
      yielded: [], // steps that gave way to someone else's; only this page has them
      again: [], // what the next Run draws again, oldest first
      pending: [], // steps that are not saved yet
      onShelf: false, // whether the browser stores those too
    });
  }

  // -- reading ----------------------------------------------------------------------------------------------------

  get key() {
    return this.there ? [this.project, this.round] : null;
  }

  reportReading(error, project, round) {
    this.problem = t("Cannot read round {round} of {project}: {problem}", { round, project, problem: error.message });
  }

  /** There is nothing to choose from yet. */
  beginEmpty(project, round) {
    this.forget();
    [this.project, this.round] = [project, round];
  }

  begin(fresh, project, round) {
    this.forget();
    [this.project, this.round, this.there] = [project, round, true];
    this.take(fresh);
    this.settle();
    this.unshelve();
  }

  take(fresh) {
    const {
      revision, target, eye = "", notes = [], figures = null, measured = [], crops = [], quotas = {}, again = [],
      candidates,
    } = fresh;
    Object.assign(this, { revision, target, eye, notes, figures, measured, crops, quotas, again, candidates });
    this.ranking = rankCandidates(candidates);
    this.byName = new Map(candidates.map((candidate) => [candidate.name, candidate]));
    this.saved = new Map(candidates.map(({ name, pick }) => [name, { ...UNTOUCHED, ...pick }]));
    this.history = (fresh.history ?? []).map(stepOf);
    this.counts = null;
  }

  /**
   * Take over the server's data and keep unsaved changes, unless the same fields were changed there too.
   * @returns {string[]} the candidates that were changed elsewhere
   */
  merge(fresh) {
    const [before, shown] = [this.saved, this.picks];
    this.take(fresh);
    const ways = waysOf(this.pending);
    const theirs = new Map(); // candidate → its fields that were changed elsewhere
    for (const [name, pick] of this.saved) {
      const fields = difference(before.get(name) ?? pick, pick);
      for (const [field, values] of Object.entries(ways[name] ?? {})) {
        const passed = values.slice(1, -1); // our own, whose answer never came: an earlier page's, or a lost one
        if (passed.some((value) => isSame(value, pick[field]))) delete fields[field];
      }
      if (!isEmpty(fields)) theirs.set(name, fields);
    }
    const lost = this.rebase(theirs, shown);
    if (lost.size) this.giveWay(lost);
    this.settle();
    if (this.pending.length) this.saveSoon();
    return [...theirs.keys()];
  }

  /** Remove from the unsaved steps what was changed elsewhere; returns the removed changes. */
  rebase(theirs, shown) {
    const lost = new Map();
    for (const step of this.pending) {
      for (const [name, { before, after }] of step.changes) {
        const mine = difference(before, after);
        for (const field of Object.keys(mine).filter((key) => key in (theirs.get(name) ?? {}))) {
          const now = this.saved.get(name);
          const wanted = { [field]: shown.get(name)[field] };
          if (!isEmpty(difference(now, wanted))) {
            lost.set(name, { before: { ...(lost.get(name)?.before ?? now), ...wanted }, after: now });
          }
          delete mine[field];
        }
        if (isEmpty(mine) || !this.byName.has(name)) step.changes.delete(name);
        else step.changes.set(name, { before, after: { ...before, ...mine } });
      }
    }
    this.pending = this.pending.filter(({ changes }) => changes.size);
    return lost;
  }

  /** Record that others' picks replaced unsaved ones, so that undo brings the unsaved ones back. */
  giveWay(lost) {
    const last = this.history[this.history.length - 1];
    this.yielded.push({ at: last?.at ?? "", label: "giving way", changes: lost });
    this.notice = about([...lost.keys()],
      word("{names} was changed elsewhere at the same time. The other change is shown; Undo brings yours back."),
      word("{names} were changed elsewhere at the same time. The other change is shown; Undo brings yours back."));
  }

  /** Compute what is shown and what can be undone, from the saved data and the unsaved steps. */
  settle() {
    this.picks = new Map(this.saved);
    for (const { changes } of this.pending) {
      for (const [name, { before, after }] of changes) {
        this.picks.set(name, { ...this.picks.get(name), ...difference(before, after) });
      }
    }
    this.restack();
  }

  restack() {
    const isRejected = ({ name }) => this.pickOf(name).state === "reject";
    moveUp(this.ranking, isRejected);
    noteReplaced(this.candidates, isRejected);
    const time = ({ at }) => Date.parse(at) || 0;
    const steps = [...this.history];
    for (const step of this.yielded) {
      const after = steps.findLastIndex((other) => time(other) <= time(step));
      steps.splice(after + 1, 0, step);
    }
    Object.assign(this, stackSteps([...steps, ...this.pending]));
    this.version += 1;
  }

  // -- what it tells ----------------------------------------------------------------------------------------------

  pickOf(name) {
    return this.picks.get(name) ?? UNTOUCHED;
  }

  /** A candidate's tags: as changed by hand, or else those it was drawn with. */
  tagsOf(name) {
    return this.pickOf(name).tags ?? this.byName.get(name)?.tags ?? [];
  }

  keptCandidates(mode) {
    return this.candidates.filter((candidate) => isKept(candidate, this.pickOf(candidate.name), mode));
  }

  /** The number of images to train on. */
  keptCount(mode) {
    return this.crops.length + this.keptCandidates(mode).length;
  }

  /** The proposed candidates that are undecided. */
  openProposals() {
    return this.candidates.filter(({ name, proposed }) => proposed && !this.pickOf(name).state);
  }

  /** Whether the figures are of what is picked now; those of a proposal are until something is picked. */
  isMeasured(mode) {
    const kept = this.keptCandidates(mode).map(({ name }) => name);
    if (this.figures?.proposed) return !kept.length;
    const measured = new Set(this.measured);
    return kept.length === this.figures?.kept && (!measured.size || kept.every((name) => measured.has(name)));
  }

  /** All tags of the candidates by frequency, to complete what is typed. */
  vocabulary() {
    this.counts ??= countTags(this.candidates.map(({ name }) => this.tagsOf(name)));
    return this.counts;
  }

  /** The history, latest first. */
  doneSteps() {
    return [...this.history, ...this.pending].reverse();
  }

  // -- editing ----------------------------------------------------------------------------------------------------

  /**
   * Change the picks of some candidates, as one undo step.
   * @param {string} label what is done, shown in undo and history
   * @param {Iterable<string>} names
   * @param {(pick: object, candidate: object) => object} change returns the fields to change
   * @param {object} ways the values that the fields went through before, if more than these, as from `waysOf`
   * @returns {number} how many picks it changed
   */
  edit(label, names, change, ways = {}) {
    const changes = new Map();
    for (const name of names) {
      if (!this.byName.has(name)) continue;
      const before = this.pickOf(name);
      const fields = difference(before, { ...before, ...change(before, this.byName.get(name)) });
      if (!isEmpty(fields)) changes.set(name, { before, after: { ...before, ...fields } });
    }
    if (changes.size) this.perform({ at: null, label, changes, ways });
    return changes.size;
  }

  /** Change a candidate's tags. If they are back to those it was drawn with, they count as unchanged. */
  editTags(label, name, change) {
    return this.edit(label, [name], (_, candidate) => {
      const tags = change(this.tagsOf(name));
      return { tags: joinTags(tags) === joinTags(candidate.tags) ? null : tags };
    });
  }

  perform(step) {
    this.pending.push(step);
    for (const [name, { after }] of step.changes) this.picks.set(name, after);
    if ([...step.changes.values()].some(({ before, after }) => before.tags !== after.tags)) this.counts = null;
    this.notice = null;
    this.restack();
    this.saveSoon();
    this.changed();
  }

  /** The undo stacks follow from the steps, because undo is a step like any other. */
  moveStep() {}

  repeatStep(step, way) {
    const { label, back } = WAYS[way];
    const changes = new Map();
    for (const [name, sides] of step.changes) {
      const before = this.pickOf(name);
      const fields = difference(before, { ...before, ...back(sides) });
      // candidates that need no change stay in the step, so that the step can be recognized again
      if (this.byName.has(name)) changes.set(name, { before, after: { ...before, ...fields } });
    }
    if (![...changes.values()].some(({ before, after }) => !isEmpty(difference(before, after)))) return false;
    this.perform({ at: null, label: label(step.label), changes });
    return true;
  }

  /** Save what is to be drawn again, and take back what is not. @returns {Promise<boolean>} whether it is saved */
  async changeWishes({ add = [], remove = [] }) {
    const { project, round } = this;
    try {
      const { again } = await this.wish({ project, round, add, remove });
      if (project === this.project && round === this.round) Object.assign(this, { again, notice: null });
    } catch (error) {
      this.notice = t("Not saved: {problem}", { problem: error.message });
      return false;
    } finally {
      this.version += 1;
      this.changed();
    }
    return true;
  }

  // -- saving -----------------------------------------------------------------------------------------------------

  hasUnsaved() {
    return this.pending.length > 0;
  }

  unsavedText() {
    return this.pending.length === 1 ? t("1 change") : t("{count} changes", { count: this.pending.length });
  }

  async flush(leaving = false) {
    if (leaving) this.putOnShelf();
    return super.flush(leaving);
  }

  /** Save step by step, so that each can be undone after a reload; all in one request if the page is closing. */
  async save(leaving) {
    if (leaving) this.pending = [joinSteps(this.pending)];
    return super.save(leaving);
  }

  /** Store unsaved changes in the browser too, because the page may be closing with no time for an answer. */
  putOnShelf() {
    const kept = this.pending.length ? joinSteps(this.pending) : null;
    this.shelf.put(this.project, this.round, kept && { label: kept.label, values: kept.ways });
    this.onShelf = kept !== null;
  }

  /** Restore what a closed page had no time to save, except picks that somebody has changed since. */
  unshelve() {
    const kept = this.shelf.take(this.project, this.round);
    if (!kept) return;
    this.edit(kept.label, Object.keys(kept.values), (pick, { name }) => {
      const fields = Object.entries(kept.values[name]);
      const mine = fields.filter(([field, values]) => values.some((value) => isSame(value, pick[field])));
      return Object.fromEntries(mine.map(([field, values]) => [field, values[values.length - 1]]));
    }, kept.values);
  }

  makeRequest() {
    const { project, round, revision, pending: [step] } = this;
    const changes = [...step.changes].map(([name, { before, after }]) =>
      ({ candidate: name, pick: difference(before, after) }));
    return { step, body: { project, round, revision, label: step.label, changes } };
  }

  acceptRequest({ step }) {
    this.pending.shift();
    if (this.onShelf) this.putOnShelf();
    this.history.push({ ...step, at: new Date().toISOString() });
    for (const [name, { before, after }] of step.changes) {
      this.saved.set(name, { ...this.saved.get(name), ...difference(before, after) });
    }
    this.restack();
  }

  takeBack({ step }, error) {
    this.pending = this.pending.filter((other) => other !== step);
    if (this.onShelf) this.putOnShelf();
    this.settle();
    this.notice = t("Not saved, and taken back: {problem}", { problem: `${step.label}. ${error.message}` });
    return true;
  }

  resolveConflict(fresh) {
    const elsewhere = this.merge(fresh);
    if (elsewhere.length) this.notice ??= about(elsewhere,
      word("{names} was changed elsewhere. Your changes are still here."),
      word("{names} were changed elsewhere. Your changes are still here."));
    return true;
  }
}
