/** A list of suggestions under a text field: a combobox. Loading this module has no effect. */

import { closeOffers, makeOffer, openOffers, placeOffers, pointAtOffer } from "./offers.js";
import { t } from "./words.js";

let numbered = 0;

/** Key → action while suggestions are shown. Each returns whether it handled the key. */
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

  /** Handle a key, if suggestions are shown and it applies to them. */
  key(event) {
    const act = this.list && !event.altKey && !event.ctrlKey && !event.metaKey ? KEYS[event.key] : null;
    return Boolean(act?.(this));
  }

  refresh() {
    this.entries = this.input.value.trim() ? this.offer(this.input.value) : [];
    this.at = -1;
    if (!this.entries.length) return this.close();
    if (!this.list) this.open();
    this.fill();
    this.point(this.at);
  }

  /** Show the entries. */
  fill() {
    this.list.replaceChildren(...this.entries.map(({ tag, count }, index) =>
      makeOffer(`${this.id}-${index}`, tag, count, () => this.take(index))));
    this.place();
  }

  open() {
    this.list = openOffers(this.input, this.id, t("Suggestions"));
    this.life = new AbortController();
    const away = (event) => this.list?.contains(event.target) || this.close();
    for (const name of ["scroll", "wheel", "resize"]) {
      window.addEventListener(name, away, { capture: true, passive: true, signal: this.life.signal });
    }
  }

  place() {
    placeOffers(this.input, this.list);
  }

  point(index) {
    this.at = Math.max(-1, Math.min(index, this.entries.length - 1));
    pointAtOffer(this.input, this.list, this.at);
    return true;
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
    closeOffers(this.input, this.list);
    this.list = null;
    this.at = -1;
  }
}
