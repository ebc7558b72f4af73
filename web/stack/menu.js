/** A list of suggestions that can also be opened before anything is typed. Loaded alone, it does nothing. */

import { Completion } from "../common/completion.js";

export class Menu extends Completion {
  /**
   * @param {HTMLInputElement} input
   * @param {(typed: string) => {tag: string, count: string}[]} offer
   * @param {(tag: string) => void} taken
   * @param {() => Promise<void>} ready resolves when what is offered is there
   */
  constructor(input, offer, taken, ready = async () => {}) {
    super(input, offer, taken);
    this.ready = ready;
  }

  /** What was typed narrows it, and the best is pointed at. */
  async refresh() {
    const typed = this.input.value;
    this.show(typed, typed.trim() ? 0 : -1);
    await this.ready();
    const waited = !this.list && document.activeElement === this.input && this.input.value === typed;
    if (waited && typed.trim()) this.show(typed, 0);
  }

  /** Show all that there is, in a field that has the focus. */
  async all(at = -1) {
    await this.ready();
    if (document.activeElement === this.input) this.show("", at);
  }

  /** Show what there is for a text, and point at one of it. */
  show(typed, at) {
    this.entries = this.offer(typed);
    this.at = -1;
    if (!this.entries.length) return this.close();
    if (!this.list) this.open();
    this.fill();
    this.point(at);
  }

  /** It follows its field where the node grows under it; whoever turns the wheel leaves it. */
  open() {
    super.open();
    this.life.abort();
    this.life = new AbortController();
    const listen = (name, act) => window.addEventListener(name, (event) => this.list.contains(event.target) || act(), {
      capture: true, passive: true, signal: this.life.signal,
    });
    for (const name of ["scroll", "resize"]) listen(name, () => this.place());
    listen("wheel", () => this.close());
  }

  key(event) {
    const plain = !event.altKey && !event.ctrlKey && !event.metaKey;
    if (plain && event.key === "Tab" && this.at < 0) this.close();
    if (!plain || this.list || event.key !== "ArrowDown") return super.key(event);
    this.all(0);
    return true;
  }
}
