/** A panel in the whole window: its very body moves there and back. Loaded alone, it does nothing. */

import { element } from "./dom.js";

/**
 * Whoever extends it has `label()`, the dialog's name; and may have `move(place)`, which moves the body and keeps in
 * sight what is; `stepBack()`, which tells whether Esc led one step back rather than all the way; `leave()`, called
 * before the body goes back; and `settle()`, called when it has moved.
 */
export class LargeView {
  /**
   * @param {object} panel `element`, `body`, `largeButton`, `showHeight()`, `schedule()`
   * @param {string} className of the dialog, besides the common one
   * @param {string} title what its button is for
   */
  constructor(panel, className, title) {
    Object.assign(this, { panel, className, title, dialog: null });
  }

  get isOpen() {
    return this.dialog !== null;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    if (this.isOpen) return;
    this.dialog = element("dialog", `lb-ui-dialog ${this.className}`);
    this.dialog.setAttribute("aria-label", this.label());
    this.dialog.addEventListener("close", () => this.close());
    this.dialog.addEventListener("cancel", (event) => this.stepBack() && event.preventDefault());
    document.body.append(this.dialog);
    this.move(this.dialog);
    this.dialog.showModal();
    this.settle();
  }

  close() {
    if (!this.isOpen) return;
    const { dialog } = this;
    this.dialog = null;
    this.leave();
    this.move(this.panel.element);
    dialog.remove();
    this.settle();
  }

  move(place) {
    place.append(this.panel.body);
  }

  stepBack() {
    return false;
  }

  leave() {}

  settle() {
    const { panel, isOpen } = this;
    panel.largeButton.value = isOpen ? "Close" : "Large view";
    panel.largeButton.title = isOpen ? "Back to the node (Esc)" : this.title;
    panel.element.classList.toggle("lb-ui-away", isOpen);
    panel.showHeight();
    panel.schedule();
  }
}
