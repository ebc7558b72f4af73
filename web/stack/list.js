/** The list in LoRA Stack: a view of the node's text, with a row for each line and the guides' advice below. It knows
 * the text, not the host's workflow; extension.js passes it in. Loading this module has no effect. */

import { button, element } from "../common/dom.js";
import { EVENTS, listen } from "../common/host.js";
import { AROUND, Panel } from "../common/panel.js";
import { UndoControls } from "../common/undo.js";
import { t, word } from "../common/words.js";
import { rowText } from "./before.js";
import { askStack, fetchNames } from "./routes.js";
import { StackRow } from "./row.js";
import { StackStore } from "./store.js";

/** How often to check, in milliseconds, whether the node's text was changed elsewhere. */
const LOOK_MS = 300;
/** The smallest height in pixels, and the largest height of the rows in lines of text unless the node is enlarged. */
const HEIGHT = { least: 60, rows: 36 };
const EMPTY = word("No LoRA yet.");
const NONE_BUT_LINKED = word("Only what is linked.");
const LINKED = word("The text comes from the link to entries, so it cannot be edited here.");
const MORE = word("LoRAs linked before these also count when the workflow runs.");

export class StackList extends Panel {
  /**
   * @param {object} host
   * @param {() => string} host.text the node's text
   * @param {(text: string) => void} host.write
   * @param {() => void} host.settled called when an edit is over
   * @param {() => boolean} host.linked whether the text comes over a link
   * @param {() => {name: string, from: string, strength: string}[]} host.before the LoRAs linked before these
   * @param {(shown: boolean) => void} host.showText shows or hides the text itself
   * @param {() => void} host.resized
   */
  constructor(host) {
    super(host);
    this.store = new StackStore({
      ask: askStack, names: fetchNames, write: host.write, settled: host.settled, changed: () => this.schedule(),
    });
    this.rows = new Map();
    Object.assign(this, { asText: false, textShown: false, dragging: false, wanted: null });
    this.natural = HEIGHT.least;
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-stack", t("LoRAs of the stack"));
    this.body.dataset.captureWheel = "true"; // of the host: the wheel scrolls what has the focus
    this.list = element("ul", "lb-stack-rows");
    this.list.setAttribute("aria-label", t("LoRAs"));
    this.scroller = element("div", "lb-stack-scroller");
    this.before = element("ul", "lb-stack-before", { hidden: true });
    this.before.setAttribute("aria-label", t("LoRAs linked before these"));
    this.scroller.append(this.before, this.list);
    this.body.append(this.buildHead(), this.scroller, this.buildFoot(), this.live);
    this.body.addEventListener("keydown", (event) => this.undo.key(event));
    for (const name of ["copy", "cut", "paste"]) { // the host's are for nodes, except in text fields
      this.body.addEventListener(name, (event) => event.stopPropagation());
    }
  }

  buildHead() {
    this.head = element("div", "lb-ui-head");
    this.status = element("span", "lb-ui-status");
    this.undo = new UndoControls(() => this.store, (text) => this.say(text), true);
    this.textButton = button(t("As text"), t("Show and edit the saved text"), () => this.toggleText());
    this.head.append(this.status, ...this.undo.buttons, this.textButton);
    return this.head;
  }

  buildFoot() {
    this.foot = element("div", "lb-stack-foot");
    this.addButton = button(t("Add a LoRA"), "", () => this.add());
    this.advice = element("ul", "lb-stack-advice");
    this.advice.setAttribute("aria-label", t("Advice"));
    this.advice.setAttribute("aria-live", "polite");
    this.foot.append(this.addButton, this.advice);
    return this.foot;
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  begin(signal) {
    listen({ [EVENTS.back]: () => this.store.refresh() }, signal);
    this.observer = new ResizeObserver(() => this.measure());
    for (const part of [this.head, this.before, this.list, this.foot]) this.observer.observe(part);
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.store.askSoon(0);
    this.schedule();
  }

  close() {
    super.close();
    this.observer?.disconnect();
    clearInterval(this.timer);
    this.store.stop();
    for (const row of this.rows.values()) row.close();
  }

  /** The node's text or its links may have changed: check at once. */
  lookSoon() {
    this.look();
  }

  /** Check whether the text or the links were changed elsewhere. */
  look() {
    this.store.read(this.host.text());
    const links = JSON.stringify([this.host.linked(), this.host.before()]);
    if (links !== this.links) this.schedule();
    this.links = links;
  }

  /** The host has refreshed its lists of files. */
  refresh() {
    if (this.life) this.store.refresh();
  }

  // -- height -------------------------------------------------------------------------------------------------------

  minHeight() {
    return this.natural + AROUND;
  }

  /** The height follows the rows, whatever their font size and the node's width. */
  measure() {
    const { head, list, foot, body } = this;
    if (!head.offsetHeight) return; // not on the screen
    const style = getComputedStyle(body);
    const around = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom) + 2 * parseFloat(style.rowGap || 0);
    const rows = Math.min(this.before.offsetHeight + list.offsetHeight, HEIGHT.rows * parseFloat(style.fontSize));
    const natural = Math.max(HEIGHT.least, Math.ceil(head.offsetHeight + rows + foot.offsetHeight + around));
    if (natural === this.natural) return;
    this.natural = natural;
    this.showHeight();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  draw() {
    const held = this.body.contains(document.activeElement);
    this.drawAll();
    const { activeElement } = document;
    // what had the focus is gone or off; without a new focus, the next Ctrl+Z would undo in the host's workflow
    if (held && (!this.body.contains(activeElement) || activeElement.disabled)) {
      [this.addButton, this.textButton].find((input) => !input.hidden)?.focus();
    }
  }

  drawAll() {
    const linked = this.host.linked();
    const text = this.asText || linked;
    if (this.textShown !== text) this.host.showText((this.textShown = text));
    this.textButton.setAttribute("aria-pressed", String(text));
    this.textButton.hidden = linked;
    this.scroller.hidden = text;
    this.addButton.hidden = text;
    this.drawBefore();
    this.drawRows();
    this.drawHead(linked, text);
    this.drawAdvice(linked, text);
  }

  /** What is linked comes first, and is set where it comes from. */
  drawBefore() {
    const rows = this.host.before();
    this.before.hidden = !rows.length;
    this.before.replaceChildren(...rows.map((row) => {
      const title = t(row.strength ? word("Its strength is run_strength of this node")
        : word("Its strength is set where it comes from"));
      return element("li", "lb-stack-linked", { textContent: rowText(row), title });
    }));
  }

  /** Create new rows and remove old ones. Rows that stay keep their elements and the focus. */
  drawRows() {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const rows = this.store.shown.map((row) => this.rowOf(row));
    for (const [id, row] of this.rows) if (!rows.includes(row)) this.drop(id, row);
    const shown = rows.map(({ element: one }) => one);
    const same = shown.length === this.list.children.length && shown.every((one, at) => one === this.list.children[at]);
    if (!same && !this.dragging) this.list.replaceChildren(...shown);
    for (const row of rows) row.update();
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus();
    if (this.wanted && this.rows.has(this.wanted)) this.rows.get(this.wanted).focus();
    this.wanted = null;
  }

  rowOf(row) {
    const known = this.rows.get(row.id);
    if (known?.kind === row.kind) return known;
    const made = new StackRow(this, row);
    if (known?.element.contains(document.activeElement)) this.wanted = row.id;
    if (known) this.drop(row.id, known);
    this.rows.set(row.id, made);
    return made;
  }

  drop(id, row) {
    row.close();
    if (this.rows.get(id) === row) this.rows.delete(id);
  }

  drawHead(linked, text) {
    const { store } = this;
    const loras = store.shown.filter(({ kind, name }) => kind === "lora" && name);
    const off = loras.filter((row) => row.off).length;
    const counts = [t("{count} on", { count: loras.length - off }), off ? t("{count} off", { count: off }) : "",
      t("strengths sum to {total}", store.told)];
    const none = this.host.before().length ? t(NONE_BUT_LINKED) : t(EMPTY);
    const told = loras.length ? counts.filter(Boolean).join(" · ") : none;
    this.status.textContent = linked ? t(LINKED) : told;
    this.undo.hide(text);
    this.undo.draw();
  }

  /** Draw the advice and, while the text is shown, the errors in its lines. */
  drawAdvice(linked, text) {
    const { store } = this;
    const errors = text ? store.told.lines.map(({ error }) => error).filter(Boolean) : [];
    const more = this.host.before().length && store.shown.length ? [t(MORE)] : [];
    const advice = [...errors, ...store.told.advice, ...more];
    const lines = linked ? [] : store.problem ? [store.problem] : advice;
    const told = JSON.stringify(lines);
    if (told === this.advised) return;
    this.advised = told;
    this.advice.hidden = !lines.length;
    this.advice.classList.toggle("lb-ui-error", store.problem !== null);
    this.advice.replaceChildren(...lines.map((line) => element("li", "", { textContent: line })));
  }

  // -- what is done -------------------------------------------------------------------------------------------------

  toggleText() {
    this.asText = !this.asText;
    this.schedule();
  }

  add() {
    const id = this.store.add();
    this.draw();
    this.rows.get(id).begin();
  }

  /** Put the focus in a useful place after a row was removed. */
  leave(row) {
    const shown = [...this.rows.values()].filter((other) => other.element.isConnected);
    const order = [...this.list.children];
    shown.sort((a, b) => order.indexOf(a.element) - order.indexOf(b.element));
    const at = shown.indexOf(row);
    const next = shown[at + 1] ?? shown[at - 1];
    (next ? next.removeButton : this.addButton).focus();
  }

  /** Drag a row: it follows the pointer, and Escape puts it back. */
  drag(row, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation(); // otherwise the host drags the node
    const life = new AbortController();
    this.dragging = true; // meanwhile drawing leaves the rows where the pointer put them
    const end = (drop) => {
      life.abort();
      this.dragging = false;
      row.element.classList.remove("lb-stack-dragged");
      const onto = this.store.shown[[...this.list.children].indexOf(row.element)];
      if (drop && onto) this.store.drop(row.id, onto.id);
      this.draw();
    };
    row.element.classList.add("lb-stack-dragged");
    const on = (name, act) => window.addEventListener(name, act, { capture: true, signal: life.signal });
    on("pointermove", (moved) => this.dragOver(row, moved));
    on("pointerup", () => end(true));
    on("pointercancel", () => end(false));
    on("keydown", (key) => {
      if (key.key !== "Escape") return;
      key.stopPropagation();
      end(false);
    });
  }

  dragOver(row, { clientY }) {
    const others = [...this.list.children].filter((other) => other !== row.element);
    const after = others.find((other) => {
      const { top, height } = other.getBoundingClientRect();
      return clientY < top + height / 2;
    });
    if ((after ?? null) !== row.element.nextElementSibling) this.list.insertBefore(row.element, after ?? null);
  }
}
