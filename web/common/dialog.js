/** A panel in the whole window: its body is moved there and back. Loading this module has no effect. */

import { element } from "./dom.js";
import { t } from "./words.js";

/**
 * A subclass has `label()`, the dialog's name. It may also have `move(place)`, which moves the body and keeps the
 * scroll position; `stepBack()`, which returns whether Esc went back one step instead of closing; `leave()`, called
 * before the body goes back; and `settle()`, called after it has moved.
 */
export class LargeView {
  /**
   * @param {object} panel `element`, `body`, `largeButton`, `showHeight()`, `schedule()`
   * @param {string} className the dialog's own class, besides the common one
   * @param {string} title tooltip of its button
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
    panel.largeButton.value = isOpen ? t("Close") : t("Large view");
    panel.largeButton.title = isOpen ? t("Back to the node (Esc)") : this.title;
    panel.element.classList.toggle("lb-ui-away", isOpen);
    panel.showHeight();
    panel.schedule();
  }
}
