/** The gallery's grid. Only the cards in or near view are in the document, so ten thousand scroll as smoothly as ten.
 * The arrow keys move the focus from card to card. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { t } from "../common/words.js";
import { GalleryCard } from "./card.js";
import { moveFocus } from "./order.js";

/** Rows beyond either edge that are kept ready. */
const AHEAD = 2;
/** Milliseconds to wait before loading thumbnails if the list jumped by more than half a view; most of what flies past
 * need not be loaded. */
const SETTLED_MS = 60;

/** Key → action, on a card. With Shift, the focus stays on the card after a decision. */
const KEYS = {
  " ": (grid, stay) => grid.panel.decide(grid.at, "keep", stay),
  k: (grid, stay) => grid.panel.decide(grid.at, "keep", stay),
  x: (grid, stay) => grid.panel.decide(grid.at, "reject", stay),
  delete: (grid, stay) => grid.panel.decide(grid.at, "reject", stay),
  u: (grid) => grid.panel.decide(grid.at, "", true),
  enter: (grid) => grid.panel.zoomOn(grid.at),
  z: (grid) => grid.panel.zoomOn(grid.at),
  a: (grid) => grid.again(grid.at),
};

export class GalleryGrid {
  /** @param {object} panel `store`, `mode()`, `decide(name, state, stay)`, `zoomOn(name)`, `thumb(candidate)` */
  constructor(panel) {
    this.panel = panel;
    this.shown = []; // the candidates, in order
    this.places = new Map(); // name → index in `shown`
    this.cards = new Map(); // name → card in the document
    this.at = null; // name of the card that the Tab key reaches
    this.size = null; // columns and pixels of a card, once it is laid out
    this.build();
  }

  build() {
    this.element = element("div", "lb-gallery-list");
    this.list = element("ul", "lb-gallery-cards");
    this.list.setAttribute("aria-label", t("Candidates"));
    this.probe = element("div", "lb-gallery-probe");
    this.element.append(this.probe, this.list);
    this.element.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.list.addEventListener("keydown", (event) => this.key(event));
  }

  get store() {
    return this.panel.store;
  }

  mode() {
    return this.panel.mode();
  }

  thumb(candidate) {
    return this.panel.thumb(candidate);
  }

  decide(name, state) {
    this.panel.decide(name, state, true);
  }

  zoom(name) {
    this.panel.zoomOn(name);
  }

  again(name) {
    this.panel.zoomOn(name);
    this.panel.zoom.openAgain();
  }

  /** Watch the size: the node was placed in a workflow. */
  open() {
    this.observer = new ResizeObserver(() => this.measure());
    for (const watched of [this.element, this.probe]) this.observer.observe(watched);
  }

  close() {
    this.observer?.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.frame = null;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** Show these candidates. The focus stays, or goes to what is now in its place. */
  show(shown) {
    const before = this.places.get(this.at) ?? 0;
    const inside = this.list.contains(document.activeElement);
    this.shown = shown;
    this.places = new Map(shown.map(({ name }, index) => [name, index]));
    if (!this.places.has(this.at)) this.at = shown[Math.min(before, shown.length - 1)]?.name ?? null;
    this.draw(true);
    if (inside && this.at !== null && !this.list.contains(document.activeElement)) this.focus(this.at);
  }

  measure() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const { offsetWidth: least, offsetHeight: tall } = this.probe;
    if (!width || !height || !least) return; // not visible
    const columns = Math.max(1, Math.floor(width / least));
    const size = { columns, wide: Math.floor(width / columns), tall, height };
    if (JSON.stringify(size) === JSON.stringify(this.size)) return;
    const first = this.size && Math.floor(this.element.scrollTop / this.size.tall) * this.size.columns;
    this.size = size;
    this.draw(true);
    // what was at the top stays there, whatever the number of columns
    if (first) this.element.scrollTop = Math.floor(first / columns) * tall;
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw(false);
    });
  }

  /** Put the cards in or near view into the document, and take the others out. */
  draw(anew) {
    if (!this.size) return;
    const { columns, tall, height, wide } = this.size;
    const top = Math.floor(this.element.scrollTop / tall);
    const from = Math.max(0, top - AHEAD) * columns;
    const to = Math.min(this.shown.length, (top + Math.ceil(height / tall) + AHEAD + 1) * columns);
    if (!anew && this.from === from && this.to === to) return;
    const jumped = !anew && Math.abs(top - this.top) * tall > height / 2;
    Object.assign(this, { from, to, top });
    if (anew) this.list.style.height = `${Math.ceil(this.shown.length / columns) * tall}px`;
    if (anew) this.list.style.setProperty("--lb-wide", `${wide}px`);
    const wanted = new Set();
    for (let index = from; index < to; index += 1) wanted.add(index);
    if (this.places.has(this.at)) wanted.add(this.places.get(this.at)); // the Tab key must reach it
    this.drawCards([...wanted].sort((a, b) => a - b));
    clearTimeout(this.settling);
    if (jumped) this.settling = setTimeout(() => this.fill(), SETTLED_MS);
    else this.fill();
  }

  fill() {
    for (const card of this.cards.values()) card.fill();
  }

  /** Cards that leave the view are reused for those that enter it, because creating cards is slow. */
  drawCards(indices) {
    const wanted = new Map(indices.map((index) => [this.shown[index].name, index]));
    const spare = [...this.cards].filter(([name]) => !wanted.has(name)).map(([, card]) => card);
    for (const card of spare) card.element.remove(); // so that the remaining cards are in order and keep the focus
    const before = this.cards;
    this.cards = new Map();
    for (const [name, index] of wanted) {
      const card = before.get(name) ?? spare.pop() ?? new GalleryCard(this);
      card.show(this.shown[index]);
      this.cards.set(name, card);
      this.place(card, index);
    }
    this.order();
    this.reach();
  }

  /** Put cards into the right order in the document, for screen readers. Those already in order are not moved. */
  order() {
    let next = this.list.firstChild;
    for (const { element: card } of this.cards.values()) {
      if (card === next) next = next.nextSibling;
      else this.list.insertBefore(card, next);
    }
  }

  place(card, index) {
    const { columns, wide, tall } = this.size;
    const where = `translate(${(index % columns) * wide}px, ${Math.floor(index / columns) * tall}px)`;
    if (card.where !== where) card.element.style.transform = card.where = where;
    card.update(index, this.shown.length);
  }

  /** Redraw the cards whose picks have changed. */
  update() {
    for (const [name, card] of this.cards) card.update(this.places.get(name), this.shown.length);
  }

  reach() {
    for (const [name, card] of this.cards) card.face.tabIndex = name === this.at ? 0 : -1;
  }

  // -- focus and keys -----------------------------------------------------------------------------------------------

  /** The name of the card that many places further, or null. */
  next(name, by) {
    return this.shown[(this.places.get(name) ?? -Infinity) + by]?.name ?? null;
  }

  /** Put the focus on a card, and scroll it into view. */
  focus(name) {
    if (!this.places.has(name)) return;
    this.point(name);
    this.cards.get(name)?.face.focus({ preventScroll: true });
  }

  /** Let the Tab key reach this card, and scroll it into view. */
  point(name) {
    this.at = name;
    if (!this.size || !this.places.has(name)) return;
    const { columns, tall, height } = this.size;
    const top = Math.floor(this.places.get(name) / columns) * tall;
    const { scrollTop } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + tall > scrollTop + height) this.element.scrollTop = top + tall - height;
    if (this.cards.has(name)) this.reach();
    this.draw(!this.cards.has(name));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.classList.contains("lb-gallery-face")) return;
    const at = this.places.get(this.at);
    const act = KEYS[event.key.toLowerCase()];
    const { columns = 1, height = 1, tall = 1 } = this.size ?? {};
    const page = Math.max(1, Math.floor(height / tall));
    const to = event.shiftKey ? null : moveFocus(event.key, at, { columns, count: this.shown.length, page });
    if (!act && to === null) return;
    event.preventDefault();
    event.stopPropagation();
    if (act) act(this, event.shiftKey);
    else this.focus(this.shown[to].name);
  }
}
