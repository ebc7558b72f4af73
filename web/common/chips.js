/** Tags as chips, and a field to add more. The focus stays in the field, and arrow keys point at a chip. Loading this
 * module has no effect. */

import { Completion } from "./completion.js";
import { element, field } from "./dom.js";
import { findCompletions, joinTags, splitTags, withAdded, withMoved, withReplaced, withoutIndex } from "./tags.js";
import { t, word } from "./words.js";

const OFFERED = 8;
/** Key → action, in the field. Each returns whether it handled the key. `chips.at` is the chip pointed at, or null. */
const KEYS = {
  ArrowLeft: (chips) => chips.atStart() && chips.point((chips.at ?? chips.tags.length) - 1),
  ArrowRight: (chips) => chips.at !== null && chips.point(chips.at + 1),
  Home: (chips) => chips.at !== null && chips.point(0),
  End: (chips) => chips.at !== null && chips.point(null),
  Backspace: (chips) => (chips.at === null ? chips.atStart() && chips.point(chips.tags.length - 1) :
    chips.remove(chips.at)),
  Delete: (chips) => chips.at !== null && chips.remove(chips.at),
  Enter: (chips) => (chips.at === null ? chips.commit() : chips.rewrite(chips.at)),
  F2: (chips) => chips.at !== null && chips.rewrite(chips.at),
  Escape: (chips) => chips.cancel(),
  ArrowUp: (chips) => chips.owner.go(-1),
  ArrowDown: (chips) => chips.owner.go(1),
};
const ALT_KEYS = {
  ArrowLeft: (chips) => chips.at !== null && chips.shift(-1),
  ArrowRight: (chips) => chips.at !== null && chips.shift(1),
};

export class TagChips {
  /**
   * @param {object} owner
   * @param {string} owner.name the image's name
   * @param {() => string[]} owner.tags the tags shown; a new array whenever they change
   * @param {() => boolean} owner.editable
   * @param {(label: string, change: (tags: string[]) => string[], values: object) => number} owner.edit returns how many
   *   it changed; `label` is English, with {names} of values
   * @param {() => {tag: string, same: string, count: number}[]} owner.vocabulary the tags that complete what is typed
   * @param {(by: number) => boolean} owner.go goes to the previous or next image, if there is one
   * @param {() => void} owner.focused called when the field takes the focus
   * @param {(text: string) => void} owner.say
   */
  constructor(owner) {
    Object.assign(this, { owner, at: null, rewritten: null, drawn: null });
    this.build();
  }

  get tags() {
    return this.owner.tags();
  }

  build() {
    this.element = element("ul", "lb-ui-chips");
    const { name } = this.owner;
    this.element.setAttribute("aria-label", t("Tags of {name}", { name }));
    this.input = field("text", "lb-ui-add", t("Add a tag to {name}", { name }), t("add"));
    this.input.tabIndex = -1;
    this.input.title = [
      t("Enter or a comma adds a tag. ← → choose a tag: Delete removes it, Enter rewrites it, Alt+← → moves it."),
      t("↑ ↓ go to other images. Ctrl+Z undoes."),
    ].join(" ");
    this.completion = new Completion(this.input, (typed) => this.offers(typed), (tag) => this.put(tag));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("input", () => this.takeTyping());
    this.input.addEventListener("focus", () => this.owner.focused());
    this.input.addEventListener("blur", () => this.leaveField());
    this.last = element("li", "lb-ui-last");
    this.last.append(this.input);
    this.element.append(this.last);
    this.element.addEventListener("pointerdown", (event) => this.press(event));
    this.element.addEventListener("dblclick", (event) => this.rewrite(this.chipAt(event.target)));
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  update() {
    const editable = this.owner.editable();
    this.last.hidden = !editable;
    if (this.drawn === this.tags) return;
    if (this.rewritten !== null) this.restoreField(); // the tags were changed elsewhere in the meantime
    this.drawn = this.tags;
    // the field itself stays in place; moving it in the document would lose the focus
    while (this.last.previousSibling) this.last.previousSibling.remove();
    this.last.before(...this.tags.map((tag, index) => this.chip(tag, index, editable)));
    this.last.style.order = this.tags.length;
    this.point(this.at, false);
  }

  chip(tag, index, editable) {
    const chip = element("li", "lb-ui-chip", { title: editable ? t("Double-click to rewrite") : "" });
    chip.dataset.index = index;
    chip.style.order = index;
    chip.append(element("span", "lb-ui-tag", { textContent: tag }));
    const cross = { textContent: "×", title: t("Remove {tag}", { tag }), ariaHidden: "true" };
    if (editable) chip.append(element("span", "lb-ui-x", cross));
    return chip;
  }

  /** Point at a chip, or at none with null or with an index beyond the last chip. */
  point(index, aloud = true) {
    const { tags } = this;
    this.at = index === null || index >= tags.length || !tags.length ? null : Math.max(0, index);
    for (const [at, chip] of [...this.element.children].entries()) chip.classList.toggle("lb-ui-at", at === this.at);
    if (this.at !== null && aloud) {
      this.owner.say(t("{tag}, {place} of {count}", { tag: tags[this.at], place: this.at + 1, count: tags.length }));
    }
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

  atStart() {
    return !this.input.value && this.rewritten === null;
  }

  chipAt(target) {
    const chip = target.closest?.(".lb-ui-chip");
    return chip && this.element.contains(chip) ? Number(chip.dataset.index) : null;
  }

  press(event) {
    const index = this.chipAt(event.target);
    if (!this.owner.editable() || event.button !== 0 || event.target === this.input) return;
    event.preventDefault(); // the focus is set here instead
    this.input.focus();
    if (index !== null && event.target.closest(".lb-ui-x")) this.remove(index);
    else this.point(index);
  }

  takeTyping() {
    if (this.at !== null) this.point(null);
    if (this.input.value.includes(",") && this.rewritten === null) this.commit();
  }

  leaveField() {
    this.point(null);
    this.commit();
  }

  offers(typed) {
    return findCompletions(this.owner.vocabulary(), typed, this.tags, OFFERED);
  }

  // -- editing ------------------------------------------------------------------------------------------------------

  edit(label, change, values = {}) {
    return this.owner.edit(label, change, { ...values, name: this.owner.name });
  }

  remove(index) {
    const tag = this.tags[index];
    this.edit(word("removing {tag} in {name}"), (tags) => withoutIndex(tags, index), { tag });
    this.owner.say(t("removed {tag}", { tag }));
    this.update();
    return true;
  }

  shift(by) {
    const [from, to] = [this.at, this.at + by];
    if (!this.edit(word("moving a tag in {name}"), (tags) => withMoved(tags, from, to))) return true;
    this.update();
    return this.point(to);
  }

  /** Accept what is typed: one or more new tags, or a tag's new wording. */
  commit() {
    return this.input.value.trim() || this.rewritten !== null ? this.put(this.input.value) : false;
  }

  put(text) {
    const at = this.rewritten;
    this.restoreField();
    const put = splitTags(text);
    const added = (tags) => withAdded(tags, put);
    if (at === null) this.edit(word("adding {tags} in {name}"), added, { tags: joinTags(put) });
    else this.edit(word("rewriting a tag in {name}"), (tags) => withReplaced(tags, at, text));
    this.update();
    return true;
  }

  /** Put the field in the chip's place, to reword the tag. */
  rewrite(index) {
    if (index === null || !this.owner.editable()) return false;
    if (this.rewritten !== null) this.restoreField();
    const chip = this.element.children[index];
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
  restoreField() {
    this.input.value = "";
    this.completion.close();
    if (this.rewritten === null) return;
    this.element.children[this.rewritten].hidden = false;
    this.last.style.order = this.tags.length;
    this.rewritten = null;
  }

  cancel() {
    if (this.atStart() && this.at === null) return false;
    this.restoreField();
    return this.point(null);
  }
}
