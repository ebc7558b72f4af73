/** The tag editor in the whole window, with all tags of the set beside the pictures. The very same editor moves there
 * and back. Loaded alone, it does nothing. */

import { button, element } from "../common/dom.js";
import { sameTag } from "../common/tags.js";

/** More tags than anyone reads through; the filter's field finds the others. */
const LISTED = 300;

export class LargeView {
  /** @param {object} panel the tag editor */
  constructor(panel) {
    this.panel = panel;
    this.dialog = null;
    this.aside = element("div", "lb-tags-all", { hidden: true });
    this.aside.setAttribute("role", "group");
    this.aside.setAttribute("aria-label", "All tags: choose one to see its pictures");
    panel.main.append(this.aside);
  }

  get isOpen() {
    return this.dialog !== null;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    const { panel } = this;
    this.dialog = element("dialog", "lb-tags-dialog");
    this.dialog.setAttribute("aria-label", `Tag editor: ${panel.store.name}`);
    this.dialog.addEventListener("close", () => this.close());
    document.body.append(this.dialog);
    this.move(this.dialog);
    this.dialog.showModal();
    this.settle("Close", "Back to the node (Esc)");
  }

  close() {
    if (!this.isOpen) return;
    const { dialog } = this;
    this.dialog = null;
    this.move(this.panel.element);
    dialog.remove();
    this.settle("Large view", "Edit in the whole window");
  }

  /** Move the editor with its list scrolled as it was to the first picture in sight. */
  move(place) {
    const { list, shown, body } = this.panel;
    const top = list.getBoundingClientRect().top;
    const first = shown.find(({ element: row }) => row.getBoundingClientRect().bottom > top);
    place.append(body);
    requestAnimationFrame(() => first?.element.scrollIntoView({ block: "start" }));
  }

  settle(label, title) {
    const { panel } = this;
    panel.largeButton.value = label;
    panel.largeButton.title = title;
    panel.element.classList.toggle("lb-tags-away", this.isOpen);
    this.aside.hidden = !this.isOpen;
    panel.showHeight();
    panel.schedule();
    panel.largeButton.focus({ preventScroll: true });
  }

  /** All tags with the number of their pictures; one of them is a filter. */
  draw() {
    const counts = this.panel.store.counts();
    const chosen = this.panel.filter.value.trim();
    if (!this.isOpen || (this.drawn === counts && this.chosen === chosen)) return;
    [this.drawn, this.chosen] = [counts, chosen];
    const top = this.aside.scrollTop;
    this.aside.replaceChildren(...counts.slice(0, LISTED).map((entry) => this.row(entry, chosen)));
    this.aside.scrollTop = top;
  }

  row({ tag, same, count }, chosen) {
    const filter = `"${tag}"`;
    const choose = button(tag, `Show the pictures with ${tag}`, () => {
      this.panel.filter.value = chosen === filter ? "" : filter;
      this.panel.schedule();
    });
    choose.setAttribute("aria-pressed", String(sameTag(chosen) === `"${same}"`));
    choose.setAttribute("aria-label", `${tag}, ${count}`);
    const row = element("div", "lb-tags-entry");
    row.append(choose, element("span", "lb-tags-count", { textContent: count }));
    return row;
  }
}
