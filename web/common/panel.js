/** What the panels in nodes have in common: their life, their height, and when they refresh, ask and draw. Loading this
 * module has no effect. */

import { Asker } from "./asker.js";
import { element } from "./dom.js";

/** After this many milliseconds without another change of the workflow, a panel checks what it has to show. */
const DEBOUNCE_MS = 250;
/** Pixels of a node around its panel. */
export const AROUND = 20;

/**
 * A panel has `begin(signal)`, which listens until aborted; `draw()`; and `minHeight()`, the height in pixels that it
 * needs now. A panel that shows a route's answer also has `askRoute(isLate)`.
 */
export class Panel {
  /**
   * @param {object} host
   * @param {() => void} host.resized called when the panel needs another height
   * @param {() => *} [host.where] the subject of the panel, according to the workflow
   * @param {() => Promise<string>} [host.check] what is wrong with the node's values, or ""
   * @param {number} patience see Asker
   */
  constructor(host, patience = 0) {
    this.host = host;
    this.problem = null;
    this.wrong = ""; // what the node would refuse of its values
    this.asker = new Asker(() => this.subject(), (isLate) => this.askRoute(isLate), patience);
  }

  /** Build the place in the node, and the body in it, which a large view can move elsewhere. */
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

  /** Begin: the node was placed in a workflow. */
  open() {
    if (this.life) return;
    this.life = new AbortController();
    this.begin(this.life.signal);
    this.lookSoon();
  }

  /** End: the node was removed. */
  close() {
    this.life?.abort();
    this.life = null;
    clearTimeout(this.looking);
    this.asker.stop();
  }

  /** Refresh when the page becomes visible again, and save when it may be closed. */
  watchPage(signal, shown, hidden) {
    document.addEventListener("visibilitychange", () => (document.hidden ? hidden() : shown()), { signal });
    window.addEventListener("pagehide", () => this.leave(), { signal });
  }

  // -- what it is about ---------------------------------------------------------------------------------------------

  subject() {
    return this.host.where?.();
  }

  /** The workflow may now be about something else. Check once typing has paused. */
  lookSoon() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => {
      if (!this.life) return;
      this.look();
      this.checkValues();
    }, DEBOUNCE_MS);
  }

  /** Show what is wrong with the node's values before it is run. */
  async checkValues() {
    const wrong = await this.host.check?.().catch(() => ""); // whatever is wrong with the server is shown elsewhere
    if (!this.life || wrong === undefined || wrong === this.wrong) return;
    this.wrong = wrong;
    if (wrong) this.say(wrong);
    this.schedule();
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
    // the classic canvas reads getMinHeight, Vue nodes read the style
    this.element.style.setProperty("--lb-height", height);
    this.host.resized();
  }

  /** Draw in the next frame. */
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
