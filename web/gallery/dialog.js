/** The gallery in the whole window. Loading this module has no effect. */

import { LargeView } from "../common/dialog.js";
import { t } from "../common/words.js";

export class GalleryDialog extends LargeView {
  /** @param {object} panel the gallery */
  constructor(panel) {
    super(panel, "lb-gallery-dialog", t("Pick images in the whole window"));
    this.settle();
  }

  label() {
    return t("Gallery: round {round} of {project}", this.panel.store);
  }

  stepBack() {
    const { zoom } = this.panel;
    const zoomed = zoom.isOpen;
    if (zoomed) zoom.leave();
    return zoomed;
  }

  leave() {
    this.panel.zoom.close();
  }

  /** Move the gallery. The current card stays current. */
  move(place) {
    const { grid, zoom } = this.panel;
    super.move(place);
    requestAnimationFrame(() => {
      grid.measure();
      if (!zoom.isOpen) grid.focus(grid.at);
    });
  }
}
