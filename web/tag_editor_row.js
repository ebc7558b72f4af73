/** One picture in the tag editor: thumbnail, name, its tags as chips, and a field to add more. The focus stays in the
 * field; arrow keys point at a chip. Loaded alone, it does nothing. */

import { Completion } from "./tag_editor_completion.js";
import { element, field } from "./tag_editor_dom.js";
import { completions, splitTags, withAdded, withMoved, withReplaced, withoutIndex } from "./tag_editor_tags.js";

const OFFERED = 8;
const HELP = "Enter or a comma adds. ← → choose a tag: Delete removes it, Enter rewrites it, Alt+← → move it. " +
  "↑ ↓ go to other pictures. Ctrl+Z undoes.";

/** By key, in a row's field. Each tells whether it used the key up. `row.at` is the chip pointed at, or null. */
const KEYS = {
  ArrowLeft: (row) => row.atStart() && row.point((row.at ?? row.tags.length) - 1),
  ArrowRight: (row) => row.at !== null && row.point(row.at + 1),
  Home: (row) => row.at !== null && row.point(0),
  End: (row) => row.at !== null && row.point(null),
  Backspace: (row) => (row.at === null ? row.atStart() && row.point(row.tags.length - 1) : row.remove(row.at)),
  Delete: (row) => row.at !== null && row.remove(row.at),
  Enter: (row) => (row.at === null ? row.commit() : row.rewrite(row.at)),
  F2: (row) => row.at !== null && row.rewrite(row.at),
  Escape: (row) => row.cancel(),
  ArrowUp: (row) => row.editor.go(row, -1),
  ArrowDown: (row) => row.editor.go(row, 1),
};
const ALT_KEYS = {
  ArrowLeft: (row) => row.at !== null && row.shift(-1),
  ArrowRight: (row) => row.at !== null && row.shift(1),
};

export class TagRow {
  /**
   * @param {object} editor the panel: `store`, `thumb(picture)`, `isSelected(id)`, `pick(row, checked, range)`,
   *   `go(row, by)`, `say(text)`
   * @param {object} picture
   * @param {number} index
   */
  constructor(editor, picture, index) {
    Object.assign(this, { editor, picture, index, at: null, rewritten: null, drawn: null, filled: false });
    this.element = element("li", "lb-tags-row");
    this.element.dataset.index = index;
  }

  get tags() {
    return this.editor.store.tagsOf(this.picture.id);
  }

  // -- being there only while it can be seen ------------------------------------------------------------------------

  fill() {
    if (this.filled) return;
    this.filled = true;
    this.element.style.minHeight = "";
    this.text = element("div", "lb-tags-text");
    const { name, width, height } = this.picture;
    const label = element("div", "lb-tags-name", { textContent: name, title: `${name} · ${width} × ${height}` });
    this.text.append(label, this.buildChips());
    this.element.replaceChildren(this.buildPick(), this.text);
    this.update();
  }

  /** Let go of everything but its place; a row in use stays. */
  empty() {
    if (!this.filled || this.element.contains(document.activeElement)) return;
    this.element.style.minHeight = `${this.element.offsetHeight}px`;
    this.completion.close();
    this.filled = false;
    this.drawn = null;
    this.element.replaceChildren();
  }

  buildPick() {
    const label = element("label", "lb-tags-pick", { title: "Select; with Shift, all from the last selected" });
    this.check = element("input", "lb-tags-check", { type: "checkbox", tabIndex: -1 });
    this.check.setAttribute("aria-label", `Select ${this.picture.name}`);
    this.check.addEventListener("click", (event) => this.editor.pick(this, this.check.checked, event.shiftKey));
    this.check.addEventListener("keydown", (event) => this.moved(event));
    const image = element("img", "lb-tags-thumb", {
      src: this.editor.thumb(this.picture), loading: "lazy", decoding: "async", draggable: false, alt: "",
    });
    label.append(this.check, image);
    return label;
  }

  buildChips() {
    this.chips = element("ul", "lb-tags-chips");
    this.chips.setAttribute("aria-label", `Tags of ${this.picture.name}`);
    this.input = field("text", "lb-tags-add", `Add a tag to ${this.picture.name}`, "add");
    this.input.tabIndex = -1;
    this.input.title = HELP;
    this.completion = new Completion(this.input, (typed) => this.offers(typed), (tag) => this.put(tag));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("input", () => this.typed());
    this.input.addEventListener("focus", () => this.editor.activate(this));
    this.input.addEventListener("blur", () => this.left());
    this.last = element("li", "lb-tags-last");
    this.last.append(this.input);
    this.chips.append(this.last);
    this.chips.addEventListener("pointerdown", (event) => this.pressed(event));
    this.chips.addEventListener("dblclick", (event) => this.rewrite(this.chipAt(event.target)));
    return this.chips;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  update() {
    if (!this.filled) return;
    const { editable } = this.editor.store;
    this.check.checked = this.editor.isSelected(this.picture.id);
    this.element.classList.toggle("lb-tags-selected", this.check.checked);
    this.last.hidden = !editable;
    if (this.drawn === this.tags) return;
    if (this.rewritten !== null) this.done(); // the tags were changed elsewhere meanwhile
    this.drawn = this.tags;
    // the field itself stays where it is: moved in the document, it would lose the focus
    while (this.last.previousSibling) this.last.previousSibling.remove();
    this.last.before(...this.tags.map((tag, index) => this.chip(tag, index, editable)));
    this.last.style.order = this.tags.length;
    this.point(this.at, false);
  }

  chip(tag, index, editable) {
    const chip = element("li", "lb-tags-chip", { title: editable ? "Double-click to rewrite" : "" });
    chip.dataset.index = index;
    chip.style.order = index;
    chip.append(element("span", "lb-tags-tag", { textContent: tag }));
    const cross = { textContent: "×", title: `Remove ${tag}`, ariaHidden: "true" };
    if (editable) chip.append(element("span", "lb-tags-x", cross));
    return chip;
  }

  /** Point at a chip, or with null at none. A chip beyond the last is none. */
  point(index, aloud = true) {
    const { tags } = this;
    this.at = index === null || index >= tags.length || !tags.length ? null : Math.max(0, index);
    for (const [at, chip] of [...this.chips.children].entries()) chip.classList.toggle("lb-tags-at", at === this.at);
    if (this.at !== null && aloud) this.editor.say(`${tags[this.at]}, ${this.at + 1} of ${tags.length}`);
    return true;
  }

  // -- keys, clicks and typing --------------------------------------------------------------------------------------

  key(event) {
    if (event.isComposing) return;
    const table = event.altKey ? ALT_KEYS : event.ctrlKey || event.metaKey || event.shiftKey ? {} : KEYS;
    if (this.completion.key(event) || table[event.key]?.(this)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  /** On the check box only the keys that go from row to row. */
  moved(event) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || !this.editor.go(this, by)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  atStart() {
    return !this.input.value && this.rewritten === null;
  }

  chipAt(target) {
    const chip = target.closest?.(".lb-tags-chip");
    return chip && this.chips.contains(chip) ? Number(chip.dataset.index) : null;
  }

  pressed(event) {
    const index = this.chipAt(event.target);
    if (!this.editor.store.editable || event.button !== 0 || event.target === this.input) return;
    event.preventDefault(); // the focus goes where it is put here
    this.input.focus();
    if (index !== null && event.target.closest(".lb-tags-x")) this.remove(index);
    else this.point(index);
  }

  typed() {
    if (this.at !== null) this.point(null);
    if (this.input.value.includes(",") && this.rewritten === null) this.commit();
  }

  left() {
    this.point(null);
    this.commit();
  }

  offers(typed) {
    const { store } = this.editor;
    return completions(store.counts(), typed, this.tags, OFFERED);
  }

  // -- editing ------------------------------------------------------------------------------------------------------

  edit(label, change) {
    return this.editor.store.edit(`${label} in ${this.picture.name}`, [this.picture.id], change);
  }

  remove(index) {
    const tag = this.tags[index];
    this.edit(`removing ${tag}`, (tags) => withoutIndex(tags, index));
    this.editor.say(`removed ${tag}`);
    this.update();
    return true;
  }

  shift(by) {
    const [from, to] = [this.at, this.at + by];
    if (!this.edit("moving a tag", (tags) => withMoved(tags, from, to))) return true;
    this.update();
    return this.point(to);
  }

  /** Take what is typed: a new tag or several, or a tag's new wording. */
  commit() {
    return this.input.value.trim() || this.rewritten !== null ? this.put(this.input.value) : false;
  }

  put(text) {
    const at = this.rewritten;
    this.done();
    if (at === null) this.edit(`adding ${text.trim()}`, (tags) => withAdded(tags, splitTags(text)));
    else this.edit("rewriting a tag", (tags) => withReplaced(tags, at, text));
    this.update();
    return true;
  }

  /** Put the field in the chip's place, to word the tag anew. */
  rewrite(index) {
    if (index === null || !this.editor.store.editable) return false;
    if (this.rewritten !== null) this.done();
    const chip = this.chips.children[index];
    this.point(null);
    chip.hidden = true;
    this.last.style.order = index;
    this.input.value = this.tags[index];
    this.rewritten = index;
    this.input.focus();
    this.input.select();
    return true;
  }

  /** Put the field back at the end, empty. */
  done() {
    this.input.value = "";
    this.completion.close();
    if (this.rewritten === null) return;
    this.chips.children[this.rewritten].hidden = false;
    this.last.style.order = this.tags.length;
    this.rewritten = null;
  }

  cancel() {
    if (this.atStart() && this.at === null) return false;
    this.done();
    return this.point(null);
  }
}
