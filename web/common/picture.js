/** A picture as large as its place allows. Loaded alone, it does nothing. */

import { element } from "./dom.js";

/** From this scale on a small picture shows its own pixels, whole ones, rather than a blur. */
const PIXELATED = 3;

/** The largest scale at which a picture fits a place; whole where its pixels are to be seen. */
function fittingScale(width, height, wide, tall) {
  const scale = Math.min(wide / width, tall / height);
  return scale >= PIXELATED ? Math.floor(scale) : scale;
}

/** A picture that fills its place. */
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
    this.picture.classList.toggle("lb-ui-pixels", scale >= PIXELATED);
  }
}
