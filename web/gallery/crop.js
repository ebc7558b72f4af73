/** A picture as large as its place allows, and a crop that is drawn on it. Loaded alone, it does nothing. */

import { element } from "../common/dom.js";
import { boxBetween } from "./picks.js";

/** From this scale on a small picture shows its own pixels, whole ones, rather than a blur. */
const PIXELATED = 3;
/** Screen pixels that the pointer must move before it draws a crop. */
const DRAG = 5;

/** The largest scale at which a picture fits a place; whole where its pixels are to be seen. */
export function fittingScale(width, height, wide, tall) {
  const scale = Math.min(wide / width, tall / height);
  return scale >= PIXELATED ? Math.floor(scale) : scale;
}

/** A picture that fills its place. */
export class FittedPicture {
  constructor(className) {
    this.element = element("div", `lb-gallery-frame ${className}`);
    this.picture = element("div", "lb-gallery-picture");
    this.image = element("img", "", { decoding: "async", draggable: false });
    this.image.addEventListener("load", () => this.fit());
    this.picture.append(this.image);
    this.element.append(this.picture);
    this.size = null;
    this.observer = new ResizeObserver(() => this.fit());
  }

  /** @param {{width: number, height: number}|null} size in pixels; null: as the file has it */
  show(address, alt, size = null) {
    this.size = size;
    this.image.alt = alt;
    if (this.image.getAttribute("src") !== address) this.image.src = address;
    this.fit();
  }

  open() {
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
  }

  fit() {
    const { clientWidth: wide, clientHeight: tall } = this.element;
    const width = this.size?.width ?? this.image.naturalWidth;
    const height = this.size?.height ?? this.image.naturalHeight;
    if (!wide || !tall || !width || !height) return;
    const scale = fittingScale(width, height, wide, tall);
    this.picture.style.width = `${width * scale}px`;
    this.picture.style.height = `${height * scale}px`;
    this.picture.classList.toggle("lb-gallery-pixels", scale >= PIXELATED);
  }
}

/** A candidate's picture, mirrored where it is flipped, with its crop. The pointer draws another crop. */
export class CropPicture extends FittedPicture {
  /** @param {(crop: number[]|null) => void} cropped called with a crop that was drawn */
  constructor(cropped) {
    super("lb-gallery-own");
    this.cropped = cropped;
    this.drag = null;
    this.flip = false;
    this.crop = null;
    this.box = element("div", "lb-gallery-box");
    this.face = element("input", "lb-gallery-face", { type: "button", value: "" });
    this.face.title = "Drag to crop";
    this.picture.append(this.box, this.face);
    for (const [name, act] of [["pointerdown", "pressed"], ["pointermove", "dragged"], ["pointerup", "released"],
      ["pointercancel", "released"]]) {
      this.face.addEventListener(name, (event) => this[act](event));
    }
  }

  /** Draw what was decided: the crop is in pixels of the picture before it is flipped, and so is its box. */
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

  /** Where the pointer is, in pixels of the picture before it is flipped. */
  at(event) {
    const box = this.picture.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    return [(this.flip ? 1 - across : across) * this.size.width,
      ((event.clientY - box.top) / box.height) * this.size.height];
  }

  pressed(event) {
    if (event.button !== 0 || !this.size) return;
    this.face.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, from: this.at(event), box: false };
  }

  dragged(event) {
    const { drag } = this;
    if (!drag) return;
    drag.box ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) >= DRAG;
    if (drag.box) this.drawBox(drag.crop = boxBetween(this.size, drag.from, this.at(event)));
  }

  released(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag?.box) return;
    if (event.type === "pointerup") this.cropped(drag.crop);
    else this.drawBox(this.crop);
  }
}
