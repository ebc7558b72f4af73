/** One image in the tag editor: thumbnail, name, and its tags as chips with a field to add more. Loading this module
 * has no effect. */

import { TagChips } from "../common/chips.js";
import { button, element } from "../common/dom.js";
import { t } from "../common/words.js";

export class TagRow {
  /**
   * @param {object} editor the panel: `store`, `thumb(picture)`, `isSelected(id)`, `pick(row, checked, range)`,
   *   `go(row, by)`, `say(text)`, `sendToGraph(place, name)`
   * @param {object} picture
   * @param {number} index
   */
  constructor(editor, picture, index) {
    Object.assign(this, { editor, picture, index, filled: false });
    this.element = element("li", "lb-tags-row");
    this.element.dataset.index = index;
  }

  get tags() {
    return this.editor.store.tagsOf(this.picture.id);
  }

  /** The field for typing tags, while the row is filled. */
  get input() {
    return this.chips.input;
  }

  // -- being there only while it can be seen ------------------------------------------------------------------------

  fill() {
    if (this.filled) return;
    this.filled = true;
    this.element.style.minHeight = "";
    this.text = element("div", "lb-tags-text");
    const { name, width, height } = this.picture;
    const label = element("div", "lb-ui-name", { textContent: name, title: `${name} · ${width} × ${height}` });
    const head = element("div", "lb-tags-head");
    head.append(label, ...this.buildSend());
    this.text.append(head, this.buildChips());
    this.element.replaceChildren(this.buildPick(), this.text);
    this.update();
  }

  /** Empty the row but keep its height. A row in use stays. */
  empty() {
    if (!this.filled || this.element.contains(document.activeElement)) return;
    this.element.style.minHeight = `${this.element.offsetHeight}px`;
    this.chips.completion.close();
    this.filled = false;
    this.element.replaceChildren();
  }

  /** The button that puts the image into the graph, if Load Image can find it. */
  buildSend() {
    const { name, place } = this.picture;
    if (!place) return [];
    const send = button("+", t("Put {file} into the workflow as Load Image", { file: name }),
      () => this.editor.sendToGraph(place, name));
    send.setAttribute("aria-label", send.title);
    send.tabIndex = -1; // Tab goes from caption to caption
    return [send];
  }

  buildPick() {
    const label = element("label", "lb-tags-pick", { title: t("Select; with Shift, all from the last selected") });
    this.check = element("input", "lb-ui-check", { type: "checkbox", tabIndex: -1 });
    this.check.setAttribute("aria-label", t("Select {name}", this.picture));
    this.check.addEventListener("click", (event) => this.editor.pick(this, this.check.checked, event.shiftKey));
    this.check.addEventListener("keydown", (event) => this.moveOn(event));
    const image = element("img", "lb-tags-thumb", {
      src: this.editor.thumb(this.picture), loading: "lazy", decoding: "async", draggable: false, alt: "",
    });
    label.append(this.check, image);
    return label;
  }

  buildChips() {
    const { editor, picture } = this;
    this.chips = new TagChips({
      name: picture.name,
      tags: () => this.tags,
      editable: () => editor.store.editable,
      edit: (label, change, values) => editor.store.edit(t(label, values), [picture.id], change),
      vocabulary: () => editor.store.counts(),
      go: (by) => editor.go(this, by),
      focused: () => editor.activate(this),
      say: (text) => editor.say(text),
    });
    return this.chips.element;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  update() {
    if (!this.filled) return;
    this.check.checked = this.editor.isSelected(this.picture.id);
    this.element.classList.toggle("lb-tags-selected", this.check.checked);
    this.chips.update();
  }

  /** Accept what is typed. */
  commit() {
    return this.chips.commit();
  }

  /** On the check box, only the keys that move between rows work. */
  moveOn(event) {
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!by || !this.editor.go(this, by)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}
