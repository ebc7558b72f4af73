/** The list of a panel's keys, and the button that shows and hides it. Loading this module has no effect. */

import { button, element, makeTerms } from "./dom.js";

export class KeyHelp {
  /**
   * @param {string[][]} rows keys, and what they do
   * @param {(text: string) => void} say
   */
  constructor(rows, say) {
    Object.assign(this, { rows, say });
    this.element = element("dl", "lb-ui-help", { hidden: true });
    this.element.append(...makeTerms(rows));
    this.button = button("?", "Keyboard shortcuts (?)", () => this.toggle());
    this.button.setAttribute("aria-label", "Keys");
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle() {
    this.element.hidden = this.isOpen;
    if (this.isOpen) this.say(this.rows.map((row) => row.join(": ")).join("; "));
  }
}
