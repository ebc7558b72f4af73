/** The previews of a run below its chart, in the chart's order: oldest to newest, with the newest in sight, and a button
 * on each side that says how many more there are. Loading this module has no effect. */

import { button, element } from "../common/dom.js";
import { t } from "../common/words.js";
import { viewUrl } from "./routes.js";
import { countHidden, latestSamples } from "./state.js";

export class PreviewStrip {
  constructor() {
    this.element = element("div", "lb-train-strip", { hidden: true });
    this.list = element("ul", "lb-train-previews");
    this.list.setAttribute("aria-label", t("Preview images, oldest first"));
    this.list.addEventListener("scroll", () => this.count(), { passive: true });
    this.before = button("", t("Show earlier previews"), () => this.turn(-1));
    this.after = button("", t("Show later previews"), () => this.turn(1));
    this.before.classList.add("lb-train-more");
    this.after.classList.add("lb-train-more");
    this.element.append(this.before, this.list, this.after);
    this.observer = new ResizeObserver(() => this.count());
    this.shown = "";
  }

  open() {
    this.observer.observe(this.list);
  }

  close() {
    this.observer.disconnect();
  }

  /** Show a run's previews. What is looked at stays in sight, unless that is the end, where the newest arrives. */
  show(samples) {
    const latest = latestSamples(samples);
    const shown = latest.map((sample) => `${sample.step}:${viewUrl(sample)}`).join();
    this.element.hidden = !latest.length;
    if (shown === this.shown) return;
    const atEnd = !this.shown || this.list.scrollLeft + this.list.clientWidth >= this.list.scrollWidth - 8;
    this.shown = shown;
    this.list.replaceChildren(...latest.map(preview));
    if (!atEnd) return this.count();
    for (const image of this.list.querySelectorAll("img")) {
      image.addEventListener("load", () => this.toEnd(), { once: true });
    }
    this.ending = true;
    return this.toEnd();
  }

  toEnd() {
    if (this.ending) this.list.scrollLeft = this.list.scrollWidth;
    this.count();
  }

  turn(way) {
    this.ending = false;
    this.list.scrollBy({ left: way * this.list.clientWidth * 0.8 });
  }

  count() {
    const { list } = this;
    const items = [...list.children].map((item) => [item.offsetLeft - list.offsetLeft, item.offsetWidth]);
    const { before, after } = countHidden(items, list.scrollLeft, list.clientWidth);
    Object.assign(this.before, { value: t("‹ {count} earlier", { count: before }), hidden: !before });
    Object.assign(this.after, { value: t("{count} later ›", { count: after }), hidden: !after });
    list.dataset.more = [before && "before", after && "after"].filter(Boolean).join(" ");
  }
}

function preview(sample) {
  const link = element("a", "lb-train-preview", { href: viewUrl(sample), target: "_blank", rel: "noopener" });
  const image = element("img", "", { src: link.href, decoding: "async", draggable: false });
  image.alt = t("Preview at step {step}; opens in full size", sample);
  link.append(image, element("span", "lb-train-preview-step", { textContent: t("step {step}", sample) }));
  const item = element("li", "lb-train-item");
  item.append(link);
  return item;
}
