/** What a node shows of its sweep: the progress, small images, the recommendation, and a button that opens the viewer.
 * It knows sweeps, not the host's workflow; extension.js tells it which to show. Loading this module has no effect. */

import { ProgressBar } from "../common/bar.js";
import { button, element, showNote } from "../common/dom.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { PlanLine } from "../common/plan.js";
import { t } from "../common/words.js";
import { progressText } from "./node.js";
import { fetchSummary } from "./routes.js";

/** Pixels that it needs: a line and a button before there are images, then a row of them too. */
const HEIGHT = { idle: 76, pictures: 172 };
/** Pixels of the lines that say how it will draw. */
const PLAN_HEIGHT = 36;
/** Before the next question it waits this many times as long as the route's last answer took. */
const PATIENCE = 4;
/** Number of images that are shown if there is no sheet. */
const FEW = 6;

export class SweepPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => string|null} host.where the name of the sweep to show
   * @param {(told: object) => boolean} host.own whether an event belongs to this node, which then remembers the sweep's
   *   name
   * @param {(() => Promise<string>)|null} host.plan how it will draw, in one line; null if others draw
   * @param {boolean} host.recommends whether to show the recommendation
   * @param {() => void} host.resized called when the panel needs another height
   * @param {(name: string|null) => void} host.view opens the viewer
   */
  constructor(host) {
    super(host, PATIENCE);
    Object.assign(this, { name: null, summary: null, told: null });
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-sweep-panel", t("Sweep"));
    this.status = element("span", "lb-ui-status");
    this.status.setAttribute("aria-live", "polite");
    const view = () => this.host.view(this.host.where());
    this.openButton = button(t("Open viewer"), t("View the sweeps in the whole window"), view);
    this.bar = new ProgressBar(t("Cells made"));
    const head = element("div", "lb-ui-head lb-sweep-panel-head");
    head.append(this.status, this.openButton, this.bar.element);
    this.strip = element("div", "lb-sweep-strip");
    this.plan = new PlanLine(this.host.plan);
    this.body.append(head, this.plan.element, this.note, this.strip);
    this.showHeight();
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  begin(signal) {
    listen({
      [EVENTS.cells]: (told) => this.showMaking(told),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.lookSoon(),
    }, signal);
  }

  look() {
    super.look();
    this.plan.look();
  }

  async askRoute() {
    const name = this.host.where();
    if (name !== this.name) Object.assign(this, { name, summary: null, told: null });
    try {
      const summary = name ? await fetchSummary(name) : null;
      if (name !== this.name) return;
      Object.assign(this, { summary, problem: null });
    } catch (error) {
      this.problem = t("Cannot read sweep {name}: {problem}", { name, problem: error.message });
    }
    this.schedule();
  }

  /** Cells were made. */
  showMaking(told) {
    const own = this.host.own(told);
    if (!own && told.name !== this.host.where()) return;
    if (told.name !== this.name) Object.assign(this, { name: told.name, summary: null });
    this.told = told.done + told.failed < told.total ? told : null;
    this.ask();
    this.schedule();
  }

  /** The node ran. */
  showResult() {
    this.told = null;
    this.ask();
  }

  minHeight() {
    return (this.pictures().length ? HEIGHT.pictures : HEIGHT.idle) + (this.host.plan ? PLAN_HEIGHT : 0);
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** Addresses of the small images: the first sheet once everything is made, otherwise the cells made last. */
  pictures() {
    const { summary } = this;
    if (!summary) return [];
    const whole = summary.sheets.length && summary.done + summary.failed >= summary.cells && !this.told;
    return whole ? summary.sheets.slice(0, 1) : summary.latest.slice(0, FEW);
  }

  draw() {
    const { summary, told } = this;
    const counts = told ?? (summary && { done: summary.done, failed: summary.failed, total: summary.cells });
    this.status.textContent = counts ? progressText(counts) : this.idleText();
    this.status.title = counts && this.name ? t("Sweep {name}", this) : "";
    this.bar.element.hidden = !counts;
    if (counts) this.drawBar(counts);
    const wrong = this.problem ?? this.wrong;
    const text = wrong || this.advice();
    showNote(this.note, text, Boolean(wrong));
    this.note.title = text;
    this.drawPictures();
    this.showHeight();
  }

  idleText() {
    return this.name ? t("Press Run to make sweep {name}.", this) : t("Press Run to make its cells.");
  }

  advice() {
    const { summary } = this;
    if (!this.host.recommends || !summary?.recommended) return "";
    return t("Recommended: {cell}. {why}", { cell: summary.recommended, why: summary.why });
  }

  drawBar({ done, failed, total }) {
    this.bar.show(done + failed, total, progressText({ done, failed, total }));
  }

  /** The images also open the viewer. */
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
