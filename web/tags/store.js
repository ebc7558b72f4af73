/** What the tag editor knows about a dataset: its captions, the edits and undo, and saving. It needs neither a document
 * nor the host: the routes are passed in. */

import { Store } from "../common/store.js";
import { countTags, joinTags, listNames, oneLine, uniqueTags } from "../common/tags.js";
import { t, word } from "../common/words.js";

/** Edits are saved after this many milliseconds without another edit. */
const SAVE_MS = 300;

const byId = (pictures, value) => new Map(pictures.map((picture) => [picture.id, value(picture)]));
const textOf = (tags) => oneLine(joinTags(tags));

export class TagStore extends Store {
  /**
   * @param {object} routes
   * @param {(id: string) => Promise<object>} routes.fetch the answer of `GET /lora_bootstrap/dataset`
   * @param {(body: object, leaving: boolean) => Promise<{revision: number}>} routes.save
   * @param {() => void} changed called after every change of the store
   */
  constructor(routes, changed) {
    super(routes, changed, SAVE_MS);
  }

  /** Forget everything: there is no dataset. */
  forget() {
    super.forget();
    Object.assign(this, {
      id: null, name: "", editable: false, pictures: [], vocabulary: null,
      tags: new Map(), // image → its tags as shown
      saved: new Map(), // image → its caption on the server
      used: new Map(), // image → its caption in the last run
      stale: false, // whether captions were edited after the last run and before they were first read
    });
  }

  // -- reading ----------------------------------------------------------------------------------------------------

  get key() {
    return this.id === null ? null : [this.id];
  }

  /**
   * Show a dataset, or refresh the one shown. Unsaved changes stay. Never throws.
   * @param {string} id
   * @param {number|null} used the revision that the last run used, if known
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
    // a dataset that was never shown needs a run, as before the first run; that is not an error
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

  /** Take over the server's data and keep unsaved changes, unless the same image was changed there too. */
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

  /** Record that others' captions replaced unsaved edits, so that undo brings the edits back. */
  giveWay(lost) {
    this.past = [{ label: t("giving way"), changes: lost }];
    const names = this.pictures.filter(({ id }) => lost.has(id)).map(({ name }) => name);
    this.notice = t(names.length === 1
      ? word("{names} was changed elsewhere at the same time. Those captions are shown; Undo brings yours back.")
      : word("{names} were changed elsewhere at the same time. Those captions are shown; Undo brings yours back."),
    { names: listNames(names) });
  }

  // -- what it tells ----------------------------------------------------------------------------------------------

  tagsOf(id) {
    return this.tags.get(id) ?? [];
  }

  /** An image's caption. A caption that nobody edited stays exactly as written. */
  captionOf(picture) {
    const tags = this.tagsOf(picture.id);
    return tags === picture.tags || textOf(tags) === textOf(picture.tags) ? picture.caption : textOf(tags);
  }

  /** Ids of images whose caption differs from `captions`. */
  findDiffering(captions) {
    return this.pictures.filter((picture) => this.captionOf(picture) !== captions.get(picture.id)).map(({ id }) => id);
  }

  unsavedIds() {
    return this.findDiffering(this.saved);
  }

  /** Ids of images whose caption differs from the last run's. */
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
   * Change the tags of some images, as one undo step.
   * @param {string} label what was done, shown in undo
   * @param {Iterable<string>} ids
   * @param {(tags: string[]) => string[]} change
   * @returns {number} how many images it changed
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
    const { length: count } = this.unsavedIds();
    return t(count === 1 ? word("1 caption") : word("{count} captions"), { count });
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
    this.notice ??= t("The captions were changed elsewhere and have been reloaded. Your edits are still here.");
    return false; // what a run has just used may be read first
  }
}
