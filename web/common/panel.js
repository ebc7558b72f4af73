/** What the panels in nodes have in common: their life, their height, and when they look, ask and draw. Loaded alone,
 * it does nothing. */

import { Asker } from "./asker.js";
import { element } from "./dom.js";

/** Milliseconds without another change of the graph after which a panel looks what it is about now. */
const DEBOUNCE_MS = 250;
/** Pixels of a node around a panel. */
export const AROUND = 20;

/**
 * A panel has `begin(signal)`, which listens until aborted; `draw()`; and `minHeight()`, the pixels of height that it
 * needs now. One that shows what a route tells has `askRoute(isLate)` too.
 */
export class Panel {
  /**
   * @param {object} host
   * @param {() => void} host.resized called when the panel needs another height
   * @param {() => *} [host.where] what the panel is about, as the graph tells it
   * @param {number} patience as an Asker's
   */
  constructor(host, patience = 0) {
    this.host = host;
    this.problem = null;
    this.asker = new Asker(() => this.subject(), (isLate) => this.askRoute(isLate), patience);
  }

  /** Build the place in the node, and the body in it, which a large view may take elsewhere. */
  buildBody(className, label) {
    this.element = element("div", "lb-ui-place");
    this.body = element("div", className);
    this.body.setAttribute("role", "group");
    this.body.setAttribute("aria-label", label);
    this.note = element("p", "lb-ui-note");
    this.live = element("span", "lb-ui-unseen");
    this.live.setAttribute("aria-live", "polite");
    this.element.append(this.body);
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  /** Begin: the node was placed in a graph. */
  open() {
    if (this.life) return;
    this.life = new AbortController();
    this.begin(this.life.signal);
    this.lookSoon();
  }

  /** Let go of everything: the node was removed. */
  close() {
    this.life?.abort();
    this.life = null;
    clearTimeout(this.looking);
    this.asker.stop();
  }

  /** Look again when the page is seen again, and save when it may go away. */
  watchPage(signal, shown, hidden) {
    document.addEventListener("visibilitychange", () => (document.hidden ? hidden() : shown()), { signal });
    window.addEventListener("pagehide", () => this.leave(), { signal });
  }

  // -- what it is about ---------------------------------------------------------------------------------------------

  subject() {
    return this.host.where?.();
  }

  /** The graph may now be about something else: look once the typing has paused. */
  lookSoon() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => this.life && this.look(), DEBOUNCE_MS);
  }

  look() {
    if (this.asker.isOther()) this.ask();
    this.schedule();
  }

  ask() {
    if (this.life) this.asker.ask();
  }

  // -- height and drawing -------------------------------------------------------------------------------------------

  showHeight() {
    const height = `${this.minHeight() - AROUND}px`;
    if (height === this.height) return;
    this.height = height;
    // the classic canvas asks getMinHeight, Vue nodes the style
    this.element.style.setProperty("--lb-height", height);
    this.host.resized();
  }

  /** Draw with the next frame. */
  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Say something to a screen reader. */
  say(text) {
    this.live.textContent = text;
  }
}
