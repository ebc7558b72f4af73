/** The gallery in the whole window. The very same gallery moves there and back. Loaded alone, it does nothing. */

import { element } from "../common/dom.js";

export class GalleryDialog {
  /** @param {object} panel the gallery */
  constructor(panel) {
    this.panel = panel;
    this.dialog = null;
    this.settle();
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
    const { panel } = this;
    this.dialog = element("dialog", "lb-tags-dialog lb-gallery-dialog");
    this.dialog.setAttribute("aria-label", `Gallery: round ${panel.store.round} of ${panel.store.project}`);
    this.dialog.addEventListener("close", () => this.close());
    this.dialog.addEventListener("cancel", (event) => {
      if (!panel.zoom.isOpen) return;
      event.preventDefault(); // Esc leads one step back, not all the way
      panel.zoom.leave();
    });
    document.body.append(this.dialog);
    this.move(this.dialog);
    this.dialog.showModal();
    this.settle();
  }

  close() {
    if (!this.isOpen) return;
    const { dialog } = this;
    this.dialog = null;
    this.panel.zoom.close();
    this.move(this.panel.element);
    dialog.remove();
    this.settle();
  }

  /** Move the gallery; the card in use stays in use. */
  move(place) {
    const { grid, body } = this.panel;
    place.append(body);
    requestAnimationFrame(() => {
      grid.measure();
      if (!this.panel.zoom.isOpen) grid.focus(grid.at);
    });
  }

  settle() {
    const { panel, isOpen } = this;
    panel.largeButton.value = isOpen ? "Close" : "Large view";
    panel.largeButton.title = isOpen ? "Back to the node (Esc)" : "Pick in the whole window";
    panel.element.classList.toggle("lb-tags-away", isOpen);
    panel.showHeight();
    panel.schedule();
  }
}
