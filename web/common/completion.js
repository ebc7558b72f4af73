/** A list of suggestions under a text field: a combobox. Loaded alone, it does nothing. */

import { element } from "./dom.js";

let numbered = 0;

/** By key: what it does while suggestions are shown. Each tells whether it used the key up. */
const KEYS = {
  ArrowDown: (list) => list.point(list.at + 1),
  ArrowUp: (list) => list.point(list.at - 1),
  Enter: (list) => list.take(list.at),
  Tab: (list) => list.take(Math.max(0, list.at)),
  Escape: (list) => list.close() || true,
};

export class Completion {
  /**
   * @param {HTMLInputElement} input
   * @param {(typed: string) => {tag: string, count: number}[]} offer
   * @param {(tag: string) => void} taken called with the suggestion that was chosen
   */
  constructor(input, offer, taken) {
    Object.assign(this, { input, offer, taken, entries: [], at: -1 });
    this.id = `lb-ui-offers-${(numbered += 1)}`;
    this.list = null;
    for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"]]) {
      input.setAttribute(name, value);
    }
    input.addEventListener("input", () => this.refresh());
    input.addEventListener("blur", () => this.close());
  }

  /** Use a key up, if suggestions are shown and it means something to them. */
  key(event) {
    const act = this.list && !event.altKey && !event.ctrlKey && !event.metaKey ? KEYS[event.key] : null;
    return Boolean(act?.(this));
  }

  refresh() {
    this.entries = this.input.value.trim() ? this.offer(this.input.value) : [];
    this.at = -1;
    if (!this.entries.length) return this.close();
    if (!this.list) this.open();
    this.list.replaceChildren(...this.entries.map((entry, index) => this.row(entry, index)));
    this.place();
    this.mark();
  }

  row({ tag, count }, index) {
    const row = element("li", "lb-ui-offer", { id: `${this.id}-${index}` });
    row.setAttribute("role", "option");
    row.append(element("span", "", { textContent: tag }), element("span", "lb-ui-count", { textContent: count }));
    row.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // the field keeps the focus
      this.take(index);
    });
    return row;
  }

  open() {
    this.list = element("ul", "lb-ui-offers", { id: this.id });
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Suggestions");
    this.input.setAttribute("aria-expanded", "true");
    this.input.setAttribute("aria-controls", this.id);
    // outside an open dialog nothing can be clicked; inside the node the canvas would clip and scale it
    (this.input.closest("dialog") ?? document.body).append(this.list);
    this.life = new AbortController();
    const away = (event) => this.list?.contains(event.target) || this.close();
    for (const name of ["scroll", "wheel", "resize"]) {
      window.addEventListener(name, away, { capture: true, passive: true, signal: this.life.signal });
    }
  }

  /** Put the list under the field, or above it where there is more room. */
  place() {
    const box = this.input.getBoundingClientRect();
    const below = window.innerHeight - box.bottom;
    const up = below < 200 && box.top > below;
    Object.assign(this.list.style, {
      left: `${Math.max(4, Math.min(box.left, window.innerWidth - this.list.offsetWidth - 4))}px`,
      top: up ? "auto" : `${box.bottom + 2}px`,
      bottom: up ? `${window.innerHeight - box.top + 2}px` : "auto",
      maxHeight: `${Math.max(80, (up ? box.top : below) - 8)}px`,
    });
  }

  point(index) {
    this.at = Math.max(-1, Math.min(index, this.entries.length - 1));
    this.mark();
    return true;
  }

  mark() {
    for (const [index, row] of [...this.list.children].entries()) {
      row.setAttribute("aria-selected", String(index === this.at));
      if (index === this.at) row.scrollIntoView({ block: "nearest" });
    }
    if (this.at < 0) this.input.removeAttribute("aria-activedescendant");
    else this.input.setAttribute("aria-activedescendant", `${this.id}-${this.at}`);
  }

  take(index) {
    const entry = this.entries[index];
    if (!entry) return false;
    this.close();
    this.taken(entry.tag);
    return true;
  }

  close() {
    if (!this.list) return;
    this.life.abort();
    this.list.remove();
    this.list = null;
    this.at = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
