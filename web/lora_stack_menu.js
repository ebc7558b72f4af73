/** A list of suggestions that can also be opened before anything is typed. Loaded alone, it does nothing. */

import { Completion } from "./tag_editor_completion.js";

export class Menu extends Completion {
  /** What was typed narrows it, and the best is pointed at. */
  refresh() {
    this.show(this.input.value);
    if (this.list && this.input.value.trim()) this.point(0);
  }

  /** Show what there is for a text, none of it chosen. */
  show(typed) {
    this.entries = this.offer(typed);
    this.at = -1;
    if (!this.entries.length) return this.close();
    if (!this.list) this.open();
    this.list.replaceChildren(...this.entries.map((entry, index) => this.row(entry, index)));
    this.place();
    this.mark();
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
    this.show("");
    return Boolean(this.list) && this.point(0);
  }
}
