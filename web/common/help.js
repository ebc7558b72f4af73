/** The list of a panel's keys, and the button that shows and hides it. Loading this module has no effect. */

import { button, element, makeTerms } from "./dom.js";
import { t } from "./words.js";

export class KeyHelp {
  /**
   * @param {string[][]} rows keys, and what they do, in English
   * @param {(text: string) => void} say
   */
  constructor(rows, say) {
    Object.assign(this, { rows: rows.map((row) => row.map((part) => t(part))), say });
    this.element = element("dl", "lb-ui-help", { hidden: true });
    this.element.append(...makeTerms(this.rows));
    this.button = button("?", t("Keyboard shortcuts (?)"), () => this.toggle());
    this.button.setAttribute("aria-label", t("Keys"));
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle() {
    this.element.hidden = this.isOpen;
    if (this.isOpen) this.say(this.rows.map((row) => row.join(": ")).join("; "));
  }
}
