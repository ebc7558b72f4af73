/** A list of suggestions that can also be opened before anything is typed. Loading this module has no effect. */

import { Completion } from "./completion.js";

export class Menu extends Completion {
  /**
   * @param {HTMLInputElement} input
   * @param {(typed: string) => {tag: string, count: string}[]} offer
   * @param {(tag: string) => void} taken
   * @param {() => Promise<void>} ready resolves when the suggestions are available
   */
  constructor(input, offer, taken, ready = async () => {}) {
    super(input, offer, taken);
    Object.assign(this, { asking: ready, awaited: 0 });
  }

  async ready() {
    this.awaited += 1;
    try {
      await this.asking();
    } finally {
      this.awaited -= 1;
    }
  }

  /** Narrow the list by what was typed, and highlight the best match. */
  async refresh() {
    const typed = this.input.value;
    this.show(typed, typed.trim() ? 0 : -1);
    await this.ready();
    const waited = !this.list && document.activeElement === this.input && this.input.value === typed;
    if (waited && typed.trim()) this.show(typed, 0);
  }

  /** Show all suggestions, in a field that has the focus; those for a text that is typed before they are there. */
  async all(at = -1) {
    const before = this.input.value;
    await this.ready();
    if (document.activeElement !== this.input) return;
    if (this.input.value === before) this.show("", at);
    else this.show(this.input.value, 0);
  }

  /** Take the best match for what is typed, as soon as suggestions are there. */
  async takeBest() {
    const typed = this.input.value;
    await this.ready();
    if (document.activeElement !== this.input || this.input.value !== typed) return;
    this.show(typed, 0);
    this.take(0);
  }

  /** Show the suggestions for a text, and highlight one. */
  show(typed, at) {
    this.entries = this.offer(typed);
    this.at = -1;
    if (!this.entries.length) return this.close();
    if (!this.list) this.open();
    this.fill();
    this.point(at);
  }

  /** The list follows its field if the node grows under it. Turning the wheel closes it. */
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
    if (!plain || this.list) return super.key(event);
    if (event.key === "ArrowDown") this.all(0);
    else if (event.key === "Enter" && this.awaited && this.input.value.trim()) this.takeBest();
    else return false;
    return true;
  }
}
