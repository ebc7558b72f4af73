/** An image as large as its place allows. Loading this module has no effect. */

import { element } from "./dom.js";

/** From this scale on, a small image is shown with sharp whole pixels instead of being blurred. */
const PIXELATED = 3;

/** The largest scale at which an image fits a place; a whole number if single pixels are visible. */
function fittingScale(width, height, wide, tall) {
  const scale = Math.min(wide / width, tall / height);
  return scale >= PIXELATED ? Math.floor(scale) : scale;
}

/** An image that fills its place. */
export class FittedPicture {
  constructor(className) {
    this.element = element("div", `lb-ui-frame ${className}`);
    this.picture = element("div", "lb-ui-picture");
    this.image = element("img", "", { decoding: "async", draggable: false });
    this.image.addEventListener("load", () => this.fit());
    this.picture.append(this.image);
    this.element.append(this.picture);
    this.size = null;
    this.observer = new ResizeObserver(() => this.fit());
  }

  /** @param {{width: number, height: number}|null} size in pixels; null for the file's own */
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
    this.picture.classList.toggle("lb-ui-pixels", scale >= PIXELATED);
  }
}
