/** What the gallery knows of a round: its candidates, the picks by hand, their undoing, and saving them. No document
 * and no host: the routes are given to it. */

import { Store } from "../common/store.js";
import { countTags, countText, joinTags, listNames } from "../common/tags.js";
import { UNTOUCHED, WAYS, difference, isEmpty, isKept, isSame, joinSteps, stackSteps, stepOf, waysOf } from
  "./picks.js";

/** Milliseconds without another change after which the changes are saved. */
const SAVE_MS = 200;
const NO_SHELF = { put() {}, take: () => null };

const were = (names) => `${listNames(names)} ${names.length === 1 ? "was" : "were"}`;

export class GalleryStore extends Store {
  /**
   * @param {object} routes
   * @param {(project: string, round: number) => Promise<object|null>} routes.fetch as `GET /lora_bootstrap/candidates`
   *   tells it; null where there is no such project or round
   * @param {(body: object) => Promise<{revision: number}>} routes.save which outlives the page
   * @param {() => void} changed called after every change of what the store tells
   * @param {object} shelf keeps what a page that goes away had no time to save, as `routes.js` has one
   */
  constructor(routes, changed, shelf = NO_SHELF) {
    super(routes, changed, SAVE_MS);
    this.shelf = shelf;
  }

  /** Know nothing: no project. */
  forget() {
    super.forget();
    Object.assign(this, {
      project: null, round: null, there: false, target: 0, eye: "", notes: [], figures: null,
      crops: [], quotas: {}, candidates: [], byName: new Map(),
      picks: new Map(), // candidate → its pick as it is shown
      saved: new Map(), // candidate → its pick as the server has it
      history: [], // what the server has of what was done, the oldest first
      yielded: [], // steps that gave way to someone else's; only this page knows of them
      pending: [], // steps that are not saved yet
      onShelf: false, // whether the browser keeps those too
    });
  }

  // -- reading ----------------------------------------------------------------------------------------------------

  get key() {
    return this.there ? [this.project, this.round] : null;
  }

  reportReading(error, project, round) {
    this.problem = `Cannot read round ${round} of ${project}: ${error.message}`;
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
    const { revision, target, eye = "", notes = [], figures = null, crops = [], quotas = {}, candidates } = fresh;
    Object.assign(this, { revision, target, eye, notes, figures, crops, quotas, candidates });
    this.byName = new Map(candidates.map((candidate) => [candidate.name, candidate]));
    this.saved = new Map(candidates.map(({ name, pick }) => [name, { ...UNTOUCHED, ...pick }]));
    this.history = (fresh.history ?? []).map(stepOf);
    this.counts = null;
  }

  /**
   * Take over what the server has, and keep what is not saved, unless the very same was changed there too.
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
        const passed = values.slice(1, -1); // mine, of which no answer came: an earlier page's, or a lost one
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

  /** Take out of the steps that are not saved what was changed elsewhere; returns those changes of mine. */
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

  /** Record that others' picks took the place of those not saved, so that undoing brings those back. */
  giveWay(lost) {
    const last = this.history[this.history.length - 1];
    this.yielded.push({ at: last?.at ?? "", label: "giving way", changes: lost });
    this.notice = `${were([...lost.keys()])} changed elsewhere at the same time. That is shown; ` +
      "Undo brings yours back.";
  }

  /** Work out what is shown and what can be undone, from what is saved and the steps that are not. */
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

  /** A candidate's tags: as changed by hand, or else those that it was made with. */
  tagsOf(name) {
    return this.pickOf(name).tags ?? this.byName.get(name)?.tags ?? [];
  }

  keptCandidates(mode) {
    return this.candidates.filter((candidate) => isKept(candidate, this.pickOf(candidate.name), mode));
  }

  /** How many pictures there are to train on. */
  keptCount(mode) {
    return this.crops.length + this.keptCandidates(mode).length;
  }

  /** The proposed candidates that nobody has decided on. */
  openProposals() {
    return this.candidates.filter(({ name, proposed }) => proposed && !this.pickOf(name).state);
  }

  /** All tags of the candidates by frequency, to complete what is typed. */
  vocabulary() {
    this.counts ??= countTags(this.candidates.map(({ name }) => this.tagsOf(name)));
    return this.counts;
  }

  /** What was done, the latest first. */
  doneSteps() {
    return [...this.history, ...this.pending].reverse();
  }

  // -- editing ----------------------------------------------------------------------------------------------------

  /**
   * Change the picks of some candidates, as one step of undoing.
   * @param {string} label what is done, for whoever undoes it
   * @param {Iterable<string>} names
   * @param {(pick: object, candidate: object) => object} change gives the fields that are to be otherwise
   * @param {object} ways what the fields went through before, where it was more than this, as `waysOf` tells it
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

  /** Change a candidate's tags; back to those that it was made with, nothing is changed any more. */
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

  /** The stacks follow from the steps: undoing is a step like any other. */
  moveStep() {}

  repeatStep(step, way) {
    const { label, back } = WAYS[way];
    const changes = new Map();
    for (const [name, sides] of step.changes) {
      const before = this.pickOf(name);
      const fields = difference(before, { ...before, ...back(sides) });
      // one that is as wanted already stays in the step, by which the step is known again
      if (this.byName.has(name)) changes.set(name, { before, after: { ...before, ...fields } });
    }
    if (![...changes.values()].some(({ before, after }) => !isEmpty(difference(before, after)))) return false;
    this.perform({ at: null, label: label(step.label), changes });
    return true;
  }

  // -- saving -----------------------------------------------------------------------------------------------------

  hasUnsaved() {
    return this.pending.length > 0;
  }

  unsavedText() {
    return countText(this.pending.length, "change");
  }

  async flush(leaving = false) {
    if (leaving) this.putOnShelf();
    return super.flush(leaving);
  }

  /** Save step by step, so that each can be undone after a reload; all in one request where the page goes away. */
  async save(leaving) {
    if (leaving) this.pending = [joinSteps(this.pending)];
    return super.save(leaving);
  }

  /** Keep what is not saved in the browser too: the page may be going away, with no time for an answer. */
  putOnShelf() {
    const kept = this.pending.length ? joinSteps(this.pending) : null;
    this.shelf.put(this.project, this.round, kept && { label: kept.label, values: kept.ways });
    this.onShelf = kept !== null;
  }

  /** Take up what a page that went away had no time to save: of each pick what nobody has changed since. */
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
    this.notice = `Not saved, and taken back: ${step.label}. ${error.message}`;
    return true;
  }

  resolveConflict(fresh) {
    const elsewhere = this.merge(fresh);
    if (elsewhere.length) this.notice ??= `${were(elsewhere)} changed elsewhere. Your changes are kept.`;
    return true;
  }
}
