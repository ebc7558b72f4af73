/** How strongly the loss curve is smoothed: by itself, as the server does it, or as a slider says, which the browser
 * remembers. Loading this module has no effect. */

import { button, element } from "../common/dom.js";
import { t } from "../common/words.js";

const STORED = "lora_bootstrap.train.smoothing";
const MOST = 0.99;

/** The weight that a stored text stands for; null for automatic. */
export function readWeight(text) {
  const weight = text === null || text === "" ? NaN : Number(text);
  return weight >= 0 && weight <= MOST ? weight : null;
}

export class SmoothingSlider {
  /** @param {() => void} changed */
  constructor(changed) {
    this.weight = readWeight(localStorage.getItem(STORED));
    this.slider = element("input", "lb-train-slider", { type: "range", min: 0, max: MOST, step: 0.01 });
    this.slider.setAttribute("aria-label", t("Smoothing of the loss"));
    this.slider.title = t("Smoothing of the loss: 0 shows every step, 0.99 only the trend");
    this.slider.addEventListener("input", () => this.set(Number(this.slider.value), changed));
    this.reset = button(t("auto"), t("Choose the smoothing by the number of steps"), () => this.set(null, changed));
    this.reset.classList.add("lb-train-auto");
    this.text = element("span", "lb-train-weight");
    this.element = element("label", "lb-train-smoothing");
    this.element.append(t("smoothing"), this.slider, this.text, this.reset);
    this.draw();
  }

  set(weight, changed) {
    this.weight = weight;
    if (weight === null) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, String(weight));
    this.draw();
    changed();
  }

  draw() {
    this.slider.value = this.weight ?? 0.9;
    this.text.textContent = this.weight === null ? t("auto") : this.weight.toFixed(2);
    this.reset.hidden = this.weight === null;
  }
}
