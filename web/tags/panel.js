/** The tag editor: the images of a dataset with their tags, a filter, changes to many at once, undo. It knows captions,
 * not the host's workflow; extension.js tells it which dataset to show. Loading this module has no effect. */

import { Completion } from "../common/completion.js";
import { button, element, field, showNote } from "../common/dom.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { findCompletions, parseFilter, passesFilter, splitTags, withAdded, withRemoved } from
  "../common/tags.js";
import { UndoControls } from "../common/undo.js";
import { t, word } from "../common/words.js";
import { TagDialog } from "./dialog.js";
import { copyEdits, fetchDataset, saveCaptions } from "./routes.js";
import { TagRow } from "./row.js";
import { TagStore } from "./store.js";

/** Pixels that the editor needs: one line before the first run, then the tools and a few images. */
const HEIGHT = { idle: 72, pictures: 360 };
const OFFERED = 8;
/** How far beyond its edges the list keeps rows ready. */
const AHEAD = "400px";
const CHANGES = {
  add: { label: word("adding {tags} to {images}"), apply: withAdded },
  remove: { label: word("removing {tags} from {images}"), apply: withRemoved },
};
const IDLE = word("Run the workflow once. Then the images and their captions appear here, and you can edit them.");

const imagesText = (count) => t(count === 1 ? word("1 image") : word("{count} images"), { count });
const picturesText = (count) => t(count === 1 ? word("1 picture") : word("{count} pictures"), { count });
const selectedText = (count) => t(count === 1 ? word("1 selected image") : word("{count} selected images"), { count });

export class TagPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => {id: string, revision: number}|null} host.recall the dataset that the node was last run with
   * @param {(place: string) => void} host.toGraph puts an image into the graph
   * @param {() => void} host.resized called when the panel needs another height
   */
  constructor(host) {
    super(host);
    this.store = new TagStore({ fetch: fetchDataset, save: saveCaptions }, () => this.schedule());
    this.rows = [];
    this.shown = [];
    this.selected = new Set();
    this.active = null; // the row whose field the Tab key reaches
    this.onlyChanged = false;
    this.left = null; // the dataset that was shown when the node was removed
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-tags", t("Tag editor"));
    this.body.dataset.captureWheel = "true"; // tells the host that the wheel scrolls what has the focus
    this.note.textContent = t(IDLE);
    this.list = element("ul", "lb-tags-list");
    this.list.setAttribute("aria-label", t("Images"));
    this.main = element("div", "lb-tags-main");
    this.main.append(this.list);
    this.body.append(this.buildHead(), this.note, this.buildTools(), this.main, this.live);
    this.large = new TagDialog(this);
    this.body.addEventListener("keydown", (event) => this.undo.key(event));
    this.showHeight();
  }

  buildHead() {
    this.head = element("div", "lb-ui-head");
    this.status = element("span", "lb-ui-status");
    const title = t("Show only images whose captions have changed since the last run");
    this.changedButton = button("", title, () => this.toggleChanged());
    this.undo = new UndoControls(() => this.store, (text) => this.say(text));
    this.largeButton = button(t("Large view"), t("Edit in the whole window"), () => this.large.toggle());
    this.head.append(this.status, this.changedButton, ...this.undo.buttons, this.largeButton);
    return this.head;
  }

  buildTools() {
    this.filter = field("search", "lb-ui-filter", t("Filter the images"), t("filter: text, \"whole tag\", -without"));
    this.filterOffers = new Completion(this.filter, (typed) => this.filterOffer(typed), (tag) => this.filterBy(tag));
    this.filter.addEventListener("input", () => this.schedule());
    this.filter.addEventListener("keydown", (event) => this.fieldKey(event, this.filterOffers));
    const all = element("label", "lb-ui-everyone", { title: t("Select all images shown") });
    this.all = element("input", "lb-ui-check", { type: "checkbox" });
    this.all.addEventListener("change", () => this.selectShown(this.all.checked));
    this.allText = element("span");
    all.append(this.all, this.allText);
    this.bulk = field("text", "lb-tags-bulk", t("Tags to add to or remove from many images"), t("tags for many images"));
    this.bulkOffers = new Completion(this.bulk, (typed) => this.bulkOffer(typed), (tag) => this.completeBulk(tag));
    this.bulk.addEventListener("keydown", (event) => this.fieldKey(event, this.bulkOffers, () => this.change("add")));
    this.bulk.addEventListener("input", () => this.schedule());
    this.addButton = button(t("Add"), "", () => this.change("add"));
    this.removeButton = button(t("Remove"), "", () => this.change("remove"));
    this.many = element("div", "lb-tags-many");
    this.many.append(this.bulk, this.addButton, this.removeButton);
    this.tools = element("div", "lb-ui-tools");
    this.tools.append(this.filter, all, this.many);
    return this.tools;
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  begin(signal) {
    this.observer = new IntersectionObserver((entries) => this.fillSeen(entries), {
      root: this.list, rootMargin: AHEAD,
    });
    for (const row of this.rows) this.observer.observe(row.element);
    listen({ [EVENTS.back]: () => this.reload() }, signal);
    this.watchPage(signal, () => this.reload(), () => this.store.flush(true));
    if (this.left) this.store.load(this.left); // removed and placed again, as when it moves into a subgraph
    this.left = null;
    this.schedule();
  }

  /** Save and end: the node was removed. */
  close() {
    this.large.close();
    this.leave().then(() => this.life || this.forget()); // unless it was placed again meanwhile
    super.close();
    this.observer?.disconnect();
  }

  /** Show nothing. If the host leaves a removed node's editor on the screen, nobody can edit in it. */
  forget() {
    this.left = this.store.id;
    this.store.forget();
    this.schedule();
  }

  /** Accept what is still being typed, and save: a run begins, or the page is closing. */
  leave() {
    const row = this.rows.find((other) => other.filled && other.input === document.activeElement);
    row?.commit();
    return this.store.flush(true);
  }

  /** Save for a run, which reads what is saved. Throws an Error if that fails. */
  async saveForRun() {
    await this.leave();
    await this.taking?.();
    await this.store.flushForRun();
  }

  /**
   * The node is a copy: take the changes by hand along under its own name, and show its dataset.
   * @param {string} from
   * @param {string} to
   * @param {{id: string, revision: number}|null} dataset of the copy, if the node had been run
   */
  takeAlong(from, to, dataset) {
    this.taking = async () => {
      await copyEdits(from, to);
      this.taking = null;
      if (dataset) await this.load(dataset.id, dataset.revision);
    };
    return this.taking().catch((error) => {
      this.store.problem = t("The changes by hand were not copied from {name}: {problem}", { name: from, problem: error.message });
      this.schedule();
    });
  }

  /** Show the dataset that its node last reported. */
  load(id, used) {
    return this.store.load(id, used);
  }

  reload() {
    if (this.life && this.store.id) this.store.load(this.store.id);
  }

  minHeight() {
    return this.store.pictures.length && !this.large.isOpen ? HEIGHT.pictures : HEIGHT.idle;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** Only a run says which dataset it is, and only as long as the node keeps its name. */
  look() {
    const { id, revision } = this.host.recall() ?? {};
    if (this.taking) return;
    if (id && id !== this.store.id) this.load(id, revision);
    else if (!id && this.store.id) this.leave().then(() => this.host.recall() || this.store.forget() || this.schedule());
    this.schedule();
  }

  draw() {
    const { store } = this;
    if (this.drawn !== store.pictures) this.drawRows();
    const empty = !store.pictures.length;
    for (const part of [this.head, this.tools, this.main]) part.hidden = empty;
    this.many.hidden = !store.editable;
    this.drawNote();
    if (empty) return;
    this.drawShown();
    this.drawHead();
    for (const row of this.rows) row.update();
    this.large.draw();
  }

  drawNote() {
    const { store } = this;
    const empty = store.id === null ? t(IDLE) : t("The dataset has no images.");
    const wrong = store.problem ?? this.wrong;
    const text = wrong || (store.notice ?? (store.pictures.length ? "" : empty));
    showNote(this.note, text, Boolean(wrong));
    if (text !== this.told && text !== t(IDLE)) this.say(text);
    this.told = text;
  }

  /** Make the rows of another set of images, keeping the position if the images are the same. */
  drawRows() {
    const { pictures } = this.store;
    const before = this.drawn;
    this.drawn = pictures;
    if (before?.length === pictures.length && pictures.every(({ id }, index) => id === before[index].id)) return;
    this.observer?.disconnect();
    this.rows = pictures.map((picture, index) => new TagRow(this, picture, index));
    this.list.replaceChildren(...this.rows.map((row) => row.element));
    for (const row of this.rows) this.observer?.observe(row.element);
    const ids = new Set(pictures.map(({ id }) => id));
    this.selected = new Set([...this.selected].filter((id) => ids.has(id)));
    this.active = null;
    this.showHeight();
  }

  /** Hide what the filter excludes. The image being edited stays until it is left, whatever its tags become. */
  drawShown() {
    const terms = parseFilter(this.filter.value);
    const changed = this.onlyChanged ? new Set(this.store.changedIds()) : null;
    for (const row of this.rows) {
      const { id, name } = row.picture;
      const fits = passesFilter(name, row.tags, terms) && (!changed || changed.has(id));
      row.element.hidden = !fits && !row.element.contains(document.activeElement);
    }
    this.shown = this.rows.filter((row) => !row.element.hidden);
    if (!this.shown.includes(this.active)) this.activate(this.shown[0] ?? null);
  }

  drawHead() {
    const { store } = this;
    const [count, changed] = [store.pictures.length, store.changedIds().length];
    const edited = store.past.length + store.future.length;
    const saving = store.saving || store.unsavedIds().length ? t("saving…") : edited ? t("saved") : null;
    const ran = store.stale && !changed ? t("edited since the last run") : null;
    const told = [picturesText(count), ran, store.problem ? null : saving];
    this.status.textContent = told.filter(Boolean).join(" · ");
    this.changedButton.hidden = !changed && !this.onlyChanged;
    this.changedButton.value = t("{count} changed", { count: changed });
    this.changedButton.setAttribute("aria-pressed", String(this.onlyChanged));
    this.undo.hide(!store.editable);
    this.undo.draw();
    this.drawTargets();
  }

  drawTargets() {
    const picked = this.shown.filter(({ picture }) => this.selected.has(picture.id)).length;
    this.all.checked = picked > 0 && picked === this.shown.length;
    this.all.indeterminate = picked > 0 && picked < this.shown.length;
    this.allText.textContent = picked ? t("{picked} of {count} selected", { picked, count: this.shown.length })
      : t("{count} shown", { count: this.shown.length });
    const whom = picked ? selectedText(picked)
      : t("the {pictures} shown", { pictures: picturesText(this.shown.length) });
    this.addButton.title = t("Add these tags to {images}", { images: whom });
    this.removeButton.title = t("Remove these tags from {images}", { images: whom });
    const nothing = !this.bulk.value.trim() || !this.shown.length;
    this.addButton.disabled = nothing;
    this.removeButton.disabled = nothing;
  }

  /** Fill the rows in or near view, and empty those that leave it. */
  fillSeen(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.rows[target.dataset.index];
      if (row?.element !== target) continue;
      if (isIntersecting) row.fill();
      else row.empty();
    }
    this.activate(this.active);
  }

  // -- for the rows --------------------------------------------------------------------------------------------

  sendToGraph(place, name) {
    this.host.toGraph(place);
    this.say(t("{name} is in the workflow as Load Image.", { name }));
  }

  thumb(picture) {
    return hostUrl(picture.thumb);
  }

  isSelected(id) {
    return this.selected.has(id);
  }

  /** Select or deselect a row; with `range`, also all shown between it and the previous selection. */
  pick(row, checked, range) {
    const from = range && this.shown.includes(this.picked) ? this.shown.indexOf(this.picked) : this.shown.indexOf(row);
    const to = this.shown.indexOf(row);
    for (const { picture } of this.shown.slice(Math.min(from, to), Math.max(from, to) + 1)) {
      if (checked) this.selected.add(picture.id);
      else this.selected.delete(picture.id);
    }
    this.picked = row;
    this.schedule();
  }

  /** Let the Tab key reach this row. */
  activate(row) {
    const reach = (other, index) => {
      for (const input of other?.filled ? [other.check, other.input] : []) input.tabIndex = index;
    };
    if (this.active !== row) reach(this.active, -1);
    this.active = row;
    reach(row, 0);
  }

  /** Put the focus into the previous or next row. */
  go(row, by) {
    const next = this.shown[this.shown.indexOf(row) + by];
    if (!next) return false;
    next.fill();
    next.element.scrollIntoView({ block: "nearest" });
    (document.activeElement === row.check ? next.check : next.input).focus();
    this.activate(next);
    return true;
  }

  // -- keys and tools -----------------------------------------------------------------------------------------------

  fieldKey(event, offers, enter = null) {
    if (event.isComposing) return;
    const offered = offers.key(event);
    if (!offered && (event.key !== "Enter" || event.ctrlKey || event.metaKey)) return;
    if (!offered) enter?.();
    event.preventDefault();
    event.stopPropagation();
  }

  filterOffer(typed) {
    const term = typed.split(",").pop().trim().replace(/^-?"?/, "");
    return findCompletions(this.store.counts(), term, [], OFFERED);
  }

  /** Replace the term that is being typed with a tag. */
  filterBy(tag) {
    const terms = this.filter.value.split(",");
    const minus = terms.pop().trim().startsWith("-") ? "-" : "";
    this.filter.value = [...terms.map((term) => term.trim()), `${minus}"${tag}"`].join(", ");
    this.schedule();
  }

  bulkOffer(typed) {
    return findCompletions(this.store.counts(), typed.split(",").pop(), splitTags(typed).slice(0, -1), OFFERED);
  }

  completeBulk(tag) {
    this.bulk.value = [...splitTags(this.bulk.value).slice(0, -1), tag].join(", ");
    this.schedule();
  }

  toggleChanged() {
    this.onlyChanged = !this.onlyChanged;
    this.schedule();
  }

  selectShown(checked) {
    for (const { picture } of this.shown) {
      if (checked) this.selected.add(picture.id);
      else this.selected.delete(picture.id);
    }
    this.schedule();
  }

  /** The images that a change to many applies to: those selected among the shown, or else all shown. */
  targets() {
    const ids = this.shown.map(({ picture }) => picture.id);
    const picked = ids.filter((id) => this.selected.has(id));
    return picked.length ? picked : ids;
  }

  /** "add" or "remove" the typed tags. */
  change(kind) {
    const tags = splitTags(this.bulk.value);
    if (!tags.length) return;
    const { label: what, apply } = CHANGES[kind];
    const targets = this.targets();
    const label = t(what, { tags: tags.join(", "), images: imagesText(targets.length) });
    const done = this.store.edit(label, targets, (before) => apply(before, tags));
    this.bulk.value = "";
    this.say(`${label}: ${done ? t("{count} changed", { count: done }) : t("nothing to change")}`);
    this.schedule();
  }
}
