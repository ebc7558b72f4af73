/** A progress bar. Loading this module has no effect. */

import { element } from "./dom.js";

export class ProgressBar {
  constructor(label) {
    this.element = element("div", "lb-ui-bar");
    this.element.setAttribute("role", "progressbar");
    this.element.setAttribute("aria-label", label);
  }

  show(now, max, text) {
    this.element.style.setProperty("--lb-share", Math.min(1, now / Math.max(1, max)));
    for (const [name, value] of [["now", now], ["max", max], ["text", text]]) {
      this.element.setAttribute(`aria-value${name}`, value);
    }
  }
}
