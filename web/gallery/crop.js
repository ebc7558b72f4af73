/** A candidate's image and its crop, which is drawn with the pointer. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { FittedPicture } from "../common/picture.js";
import { t } from "../common/words.js";
import { boxBetween } from "./picks.js";

/** Screen pixels that the pointer must move before it draws a crop. */
const DRAG = 5;

/** A candidate's image, mirrored if it is flipped, with its crop. The pointer draws a new crop. */
export class CropPicture extends FittedPicture {
  /** @param {(crop: number[]|null) => void} cropped called with the crop that was drawn */
  constructor(cropped) {
    super("lb-gallery-own");
    this.cropped = cropped;
    this.drag = null;
    this.flip = false;
    this.crop = null;
    this.box = element("div", "lb-gallery-box");
    this.face = element("input", "lb-gallery-face", { type: "button", value: "" });
    this.face.title = t("Drag to crop");
    this.picture.append(this.box, this.face);
    for (const [name, act] of [["pointerdown", "startDrag"], ["pointermove", "continueDrag"], ["pointerup", "endDrag"],
      ["pointercancel", "endDrag"]]) {
      this.face.addEventListener(name, (event) => this[act](event));
    }
  }

  /** Draw the decision. The crop and its box are in pixels of the image before it is flipped. */
  draw({ flip, crop }) {
    Object.assign(this, { flip, crop });
    this.picture.classList.toggle("lb-gallery-flipped", flip);
    if (!this.drag?.box) this.drawBox(crop);
  }

  drawBox(crop) {
    this.box.hidden = !crop;
    if (!crop) return;
    const { width, height } = this.size;
    const [left, top, right, bottom] = crop;
    Object.assign(this.box.style, {
      left: `${(left / width) * 100}%`, top: `${(top / height) * 100}%`,
      width: `${((right - left) / width) * 100}%`, height: `${((bottom - top) / height) * 100}%`,
    });
  }

  /** The pointer's position, in pixels of the image before it is flipped. */
  at(event) {
    const box = this.picture.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    return [(this.flip ? 1 - across : across) * this.size.width,
      ((event.clientY - box.top) / box.height) * this.size.height];
  }

  startDrag(event) {
    if (event.button !== 0 || !this.size) return;
    this.face.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, from: this.at(event), box: false };
  }

  continueDrag(event) {
    const { drag } = this;
    if (!drag) return;
    drag.box ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) >= DRAG;
    if (drag.box) this.drawBox(drag.crop = boxBetween(this.size, drag.from, this.at(event)));
  }

  endDrag(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag?.box) return;
    if (event.type === "pointerup") this.cropped(drag.crop);
    else this.drawBox(this.crop);
  }
}
