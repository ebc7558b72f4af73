/** The tag editor in the whole window, with all tags of the dataset beside the images. Loading this module has no
 * effect. */

import { LargeView } from "../common/dialog.js";
import { button, element } from "../common/dom.js";
import { sameTag } from "../common/tags.js";
import { t } from "../common/words.js";

/** Most tags that are listed; the filter finds the others. */
const LISTED = 300;

export class TagDialog extends LargeView {
  /** @param {object} panel the tag editor */
  constructor(panel) {
    super(panel, "", t("Edit in the whole window"));
    this.aside = element("div", "lb-tags-all", { hidden: true });
    this.aside.setAttribute("role", "group");
    this.aside.setAttribute("aria-label", t("All tags: choose one to show its images"));
    panel.main.append(this.aside);
  }

  label() {
    return t("Tag editor: {name}", this.panel.store);
  }

  /** Move the editor. Its list stays scrolled to the first visible image. */
  move(place) {
    const { list, shown } = this.panel;
    const top = list.getBoundingClientRect().top;
    const first = shown.find(({ element: row }) => row.getBoundingClientRect().bottom > top);
    super.move(place);
    requestAnimationFrame(() => first?.element.scrollIntoView({ block: "start" }));
  }

  settle() {
    this.aside.hidden = !this.isOpen;
    super.settle();
    this.panel.largeButton.focus({ preventScroll: true });
  }

  /** List all tags with their number of images; a click on one filters by it. */
  draw() {
    const counts = this.panel.store.counts();
    const chosen = this.panel.filter.value.trim();
    if (!this.isOpen || (this.drawn === counts && this.chosen === chosen)) return;
    [this.drawn, this.chosen] = [counts, chosen];
    const top = this.aside.scrollTop;
    this.aside.replaceChildren(...counts.slice(0, LISTED).map((entry) => this.row(entry, chosen)));
    this.aside.scrollTop = top;
  }

  row({ tag, same, count }, chosen) {
    const filter = `"${tag}"`;
    const choose = button(tag, t("Show images with {tag}", { tag }), () => {
      this.panel.filter.value = chosen === filter ? "" : filter;
      this.panel.schedule();
    });
    choose.setAttribute("aria-pressed", String(sameTag(chosen) === `"${same}"`));
    choose.setAttribute("aria-label", `${tag}, ${count}`);
    const row = element("div", "lb-tags-entry");
    row.append(choose, element("span", "lb-ui-count", { textContent: count }));
    return row;
  }
}
