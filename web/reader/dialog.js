/** A page of the pack over the graph. Loading this module has no effect. */

import { button, element } from "../common/dom.js";
import { t } from "../common/words.js";
import { addressOf } from "./address.js";
import { goTo, loadPage } from "./render.js";

const CONTENTS = { page: "README", anchor: "" };

export class Reader {
  constructor() {
    Object.assign(this, { dialog: null, seen: [], opening: null });
  }

  get isOpen() {
    return this.dialog !== null;
  }

  /** Show a page. @param {{page: string, anchor: string}} where */
  open(where) {
    if (!this.isOpen) this.build();
    this.seen.push(where);
    return this.show(where);
  }

  close() {
    this.dialog?.close();
  }

  build() {
    this.place = element("div", "lb-reader-place", { tabIndex: 0 });
    this.backButton = button(t("Back"), t("The page before"), () => this.back());
    const tools = element("div", "lb-ui-head lb-reader-head");
    tools.append(
      button(t("Guides"), t("The list of all guides"), () => this.open(CONTENTS)),
      this.backButton,
      element("span", "lb-ui-status"),
      button(t("Open in a tab"), t("Show this page in a tab of its own"), () => this.openTab()),
      button(t("Close"), t("Back to the workflow (Esc)"), () => this.close()),
    );
    const panel = element("div", "lb-ui lb-reader");
    panel.append(tools, this.place);
    this.dialog = element("dialog", "lb-ui-dialog lb-reader-dialog");
    this.dialog.append(panel);
    this.dialog.addEventListener("close", () => this.leave());
    this.dialog.addEventListener("click", ({ target }) => target === this.dialog && this.close());
    // the host's own shortcuts would change the workflow behind the page
    this.dialog.addEventListener("keydown", (event) => event.stopPropagation());
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  leave() {
    this.dialog.remove();
    Object.assign(this, { dialog: null, seen: [], opening: null });
  }

  back() {
    this.seen.pop();
    return this.show(this.seen.at(-1));
  }

  openTab() {
    window.open(addressOf(this.seen.at(-1), import.meta.url), "_blank", "noopener");
  }

  /** The page asked for last is shown, whichever comes first. */
  async show(where) {
    this.opening = where;
    this.backButton.disabled = this.seen.length < 2;
    const { title, body } = await loadPage(where.page);
    if (this.opening !== where) return;
    this.dialog.setAttribute("aria-label", title);
    this.place.replaceChildren(body);
    this.place.focus(); // so that the keys scroll it
    goTo(this.place, where.anchor);
  }
}
