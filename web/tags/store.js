/** What the tag editor knows of a dataset: its captions, the edits and their undoing, and saving them. No document
 * and no host: the routes are given to it. */

import { Store } from "../common/store.js";
import { countTags, countText, joinTags, listNames, oneLine, uniqueTags } from "../common/tags.js";

/** Milliseconds without another edit after which the edits are saved. */
const SAVE_MS = 300;

const byId = (pictures, value) => new Map(pictures.map((picture) => [picture.id, value(picture)]));
const textOf = (tags) => oneLine(joinTags(tags));

export class TagStore extends Store {
  /**
   * @param {object} routes
   * @param {(id: string) => Promise<object>} routes.fetch the dataset as `GET /lora_bootstrap/dataset` tells it
   * @param {(body: object, leaving: boolean) => Promise<{revision: number}>} routes.save
   * @param {() => void} changed called after every change of what the store tells
   */
  constructor(routes, changed) {
    super(routes, changed, SAVE_MS);
  }

  /** Know nothing: no dataset. */
  forget() {
    super.forget();
    Object.assign(this, {
      id: null, name: "", editable: false, pictures: [], vocabulary: null,
      tags: new Map(), // picture → its tags as they are shown
      saved: new Map(), // picture → its caption as the server has it
      used: new Map(), // picture → its caption as the last run used it
      stale: false, // whether captions were edited between the last run and the moment they were first read
    });
  }

  // -- reading ----------------------------------------------------------------------------------------------------

  get key() {
    return this.id === null ? null : [this.id];
  }

  /**
   * Show a dataset, or what became of the one that is shown. What is not saved yet stays. Never throws.
   * @param {string} id
   * @param {number|null} used the revision that the last run used, where that is known
   */
  load(id, used = null) {
    return super.load(id, used);
  }

  receive(fresh, id, used) {
    super.receive(fresh, id, used);
    if (used === fresh.revision) [this.used, this.stale] = [new Map(this.saved), false];
  }

  reportReading(error, id) {
    const unknown = id !== this.id;
    if (unknown) this.forget();
    // one that was never shown needs a run, as before the first one: nothing is wrong
    this.problem = unknown && error.status === 404 ? null : error.message;
  }

  begin(fresh, id, used) {
    this.forget();
    this.id = id;
    this.take(fresh);
    this.tags = byId(this.pictures, (picture) => picture.tags);
    this.used = new Map(this.saved);
    this.stale = used !== null && used !== fresh.revision;
  }

  take(fresh) {
    const unique = new Map(fresh.pictures.map((picture) => [picture.id, picture]));
    this.name = fresh.name;
    this.editable = fresh.editable;
    this.revision = fresh.revision;
    this.pictures = [...unique.values()];
    this.saved = byId(this.pictures, (picture) => picture.caption);
    this.vocabulary = null;
  }

  /** Take over what the server has, and keep what is not saved unless that very picture was changed there too. */
  merge(fresh) {
    const [before, shown] = [this.saved, this.tags];
    const unsaved = new Set(this.unsavedIds());
    this.take(fresh);
    const [tags, lost] = [new Map(), new Map()];
    for (const picture of this.pictures) {
      const same = before.get(picture.id) === picture.caption;
      const mine = unsaved.has(picture.id) ? shown.get(picture.id) : null;
      tags.set(picture.id, mine && same ? mine : picture.tags);
      if (mine && !same && textOf(mine) !== picture.caption) lost.set(picture.id, [mine, picture.tags]);
    }
    const otherwise = this.pictures.some(({ id }) => before.get(id) !== this.saved.get(id));
    this.tags = tags;
    if (otherwise || before.size !== this.saved.size) [this.past, this.future] = [[], []];
    if (lost.size) this.giveWay(lost);
    if (this.unsavedIds().length) this.saveSoon();
  }

  /** Record that others' captions took the place of edits that were not saved, so that undoing brings those back. */
  giveWay(lost) {
    this.past = [{ label: "giving way", changes: lost }];
    const names = this.pictures.filter(({ id }) => lost.has(id)).map(({ name }) => name);
    this.notice = `${listNames(names)} ${names.length === 1 ? "was" : "were"} changed elsewhere at the same time. ` +
      "Those captions are shown; Undo brings yours back.";
  }

  // -- what it tells ----------------------------------------------------------------------------------------------

  tagsOf(id) {
    return this.tags.get(id) ?? [];
  }

  /** A picture's caption. One that nobody touched stays as it was written, to the blank. */
  captionOf(picture) {
    const tags = this.tagsOf(picture.id);
    return tags === picture.tags || textOf(tags) === textOf(picture.tags) ? picture.caption : textOf(tags);
  }

  /** Ids of pictures whose caption is not as `captions` has it. */
  findDiffering(captions) {
    return this.pictures.filter((picture) => this.captionOf(picture) !== captions.get(picture.id)).map(({ id }) => id);
  }

  unsavedIds() {
    return this.findDiffering(this.saved);
  }

  /** Ids of pictures whose caption is not the one that the last run used. */
  changedIds() {
    return this.findDiffering(this.used);
  }

  /** All tags by frequency. */
  counts() {
    this.vocabulary ??= countTags(this.tags.values());
    return this.vocabulary;
  }

  // -- editing ----------------------------------------------------------------------------------------------------

  /**
   * Change the tags of some pictures, as one step of undoing.
   * @param {string} label what was done, for whoever undoes it
   * @param {Iterable<string>} ids
   * @param {(tags: string[]) => string[]} change
   * @returns {number} how many pictures it changed
   */
  edit(label, ids, change) {
    const changes = new Map();
    for (const id of this.editable ? ids : []) {
      const before = this.tagsOf(id);
      const after = change(before);
      if (joinTags(after) !== joinTags(before)) changes.set(id, [before, uniqueTags(after)]);
    }
    if (!changes.size) return 0;
    this.record({ label, changes });
    this.apply(changes, 1);
    return changes.size;
  }

  repeatStep({ changes }, way) {
    this.apply(changes, way === "undo" ? 0 : 1);
    return true;
  }

  apply(changes, side) {
    this.notice = null;
    for (const [id, sides] of changes) if (this.tags.has(id)) this.tags.set(id, sides[side]);
    this.vocabulary = null;
    this.saveSoon();
    this.changed();
  }

  // -- saving -----------------------------------------------------------------------------------------------------

  hasUnsaved() {
    return this.unsavedIds().length > 0;
  }

  unsavedText() {
    return countText(this.unsavedIds().length, "caption");
  }

  makeRequest() {
    const { id, revision } = this;
    const wanted = new Set(this.unsavedIds());
    const changes = this.pictures.filter((picture) => wanted.has(picture.id))
      .map((picture) => ({ picture: picture.id, caption: this.captionOf(picture) }));
    return { changes, body: { id, revision, changes } };
  }

  acceptRequest({ changes }) {
    for (const { picture, caption } of changes) this.saved.set(picture, caption);
  }

  resolveConflict(fresh) {
    this.merge(fresh);
    this.notice ??= "The captions were changed elsewhere, and are loaded anew. Your edits are kept.";
    return false; // what a run has just used may be read first
  }
}
