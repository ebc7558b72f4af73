/** What a node shows of its sweep: how far it is, small pictures, what is recommended, and the way to the viewer. It
 * knows sweeps, not the host's graph; extension.js tells it which to show. Loaded alone, it does nothing. */

import { button, element } from "../common/dom.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { progressText } from "./node.js";
import { fetchSummary } from "./routes.js";

/** Pixels it needs: a line and a button before there are pictures, then a row of them too. */
const HEIGHT = { idle: 76, pictures: 172 };
const DEBOUNCE_MS = 250;
const ASK_MS = 1000;
const PATIENCE = 4;
/** Pictures that are shown where there is no sheet. */
const FEW = 6;

export class SweepPanel {
  /**
   * @param {object} host
   * @param {() => string|null} host.where the name of the sweep to show
   * @param {(told: object) => boolean} host.own whether an event is of this node; it then remembers the sweep's name
   * @param {boolean} host.recommends whether to show what is recommended
   * @param {() => void} host.resized called when the panel needs another height
   * @param {(name: string|null) => void} host.view opens the viewer
   */
  constructor(host) {
    Object.assign(this, { host, name: null, summary: null, told: null, problem: null });
    this.asked = { timer: null, at: 0, took: 0 };
    this.build();
  }

  build() {
    this.element = element("div", "lb-tags-place");
    this.body = element("div", "lb-tags lb-gallery lb-sweep-panel");
    this.body.setAttribute("role", "group");
    this.body.setAttribute("aria-label", "Sweep");
    this.status = element("span", "lb-tags-status");
    this.status.setAttribute("aria-live", "polite");
    const view = () => this.host.view(this.host.where());
    this.openButton = button("Open viewer", "See the sweeps in the whole window", view);
    this.bar = element("div", "lb-gallery-bar");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", "Cells made");
    const head = element("div", "lb-tags-head lb-sweep-panel-head");
    head.append(this.status, this.openButton, this.bar);
    this.note = element("p", "lb-tags-note");
    this.strip = element("div", "lb-sweep-strip");
    this.body.append(head, this.note, this.strip);
    this.element.append(this.body);
    this.showHeight();
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  /** Begin: the node was placed in a graph. */
  open() {
    if (this.life) return;
    this.life = new AbortController();
    const { signal } = this.life;
    listen({
      [EVENTS.cells]: (told) => this.heard(told),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.changed(),
    }, signal);
    this.changed();
  }

  close() {
    clearTimeout(this.asked.timer);
    clearTimeout(this.looking);
    this.asked.timer = null;
    this.life?.abort();
    this.life = null;
  }

  /** Where the graph may now show another sweep: look again once the typing has paused. */
  changed() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => this.look(), DEBOUNCE_MS);
  }

  look() {
    if (!this.life) return;
    if (this.host.where() !== this.name) this.ask();
    this.schedule();
  }

  /** Ask the route, not too often. Later calls while one waits are the same one. */
  ask() {
    if (!this.life || this.asked.timer) return;
    const wait = Math.max(0, this.asked.at + Math.max(ASK_MS, PATIENCE * this.asked.took) - Date.now());
    const other = this.host.where() !== this.name; // what is shown now is of no use
    this.asked.timer = setTimeout(() => this.fetch(), other ? 0 : wait);
  }

  async fetch() {
    this.asked.timer = null;
    const name = this.host.where();
    if (name !== this.name) Object.assign(this, { name, summary: null, told: null });
    this.asked.at = Date.now();
    try {
      const summary = name ? await fetchSummary(name) : null;
      if (name !== this.name) return;
      Object.assign(this, { summary, problem: null });
    } catch (error) {
      this.problem = `Cannot read sweep ${name}: ${error.message}`;
    }
    this.asked.took = Date.now() - this.asked.at;
    this.schedule();
  }

  /** Cells were made. */
  heard(told) {
    const own = this.host.own(told);
    if (!own && told.name !== this.host.where()) return;
    if (told.name !== this.name) Object.assign(this, { name: told.name, summary: null });
    this.told = told.done + told.failed < told.total ? told : null;
    this.ask();
    this.schedule();
  }

  /** The node ran. */
  executed() {
    this.told = null;
    this.ask();
  }

  /** The pixels of height it needs now. */
  minHeight() {
    return this.pictures().length ? HEIGHT.pictures : HEIGHT.idle;
  }

  showHeight() {
    const height = `${this.minHeight() - 20}px`;
    if (height === this.height) return;
    this.height = height;
    // the classic canvas asks getMinHeight, Vue nodes the style
    this.element.style.setProperty("--lb-height", height);
    this.host.resized();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** Addresses of what is shown small: the first sheet once all is made, else what was made last. */
  pictures() {
    const { summary } = this;
    if (!summary) return [];
    const whole = summary.sheets.length && summary.done + summary.failed >= summary.cells && !this.told;
    return whole ? summary.sheets.slice(0, 1) : summary.latest.slice(0, FEW);
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { summary, told } = this;
    const counts = told ?? (summary && { done: summary.done, failed: summary.failed, total: summary.cells });
    this.status.textContent = counts ? progressText(counts) : this.idleText();
    this.bar.hidden = !counts;
    if (counts) this.drawBar(counts);
    const text = this.problem ?? this.advice();
    this.note.hidden = !text;
    this.note.textContent = this.note.title = text;
    this.note.classList.toggle("lb-tags-error", this.problem !== null);
    this.drawPictures();
    this.showHeight();
  }

  idleText() {
    return this.name ? `Run to make sweep ${this.name}.` : "Run to make its cells.";
  }

  advice() {
    const { summary } = this;
    return this.host.recommends && summary?.recommended ? `Recommended: ${summary.recommended}. ${summary.why}` : "";
  }

  drawBar({ done, failed, total }) {
    this.bar.style.setProperty("--lb-share", Math.min(1, (done + failed) / Math.max(1, total)));
    const text = progressText({ done, failed, total });
    for (const [name, value] of [["now", done + failed], ["max", total], ["text", text]]) {
      this.bar.setAttribute(`aria-value${name}`, value);
    }
  }

  /** The pictures open the viewer too. */
  drawPictures() {
    const pictures = this.pictures();
    const key = pictures.join();
    if (key === this.drawn) return;
    this.drawn = key;
    this.strip.hidden = !pictures.length;
    this.strip.classList.toggle("lb-sweep-one", pictures.length === 1);
    this.strip.replaceChildren(...pictures.map((address) => {
      const image = element("img", "lb-sweep-small", { src: hostUrl(address), alt: "", draggable: false });
      image.addEventListener("click", () => this.host.view(this.host.where()));
      return image;
    }));
  }
}
