/** A choice of one of many, as a button with a list. It is an `input`, like everything in the pack that takes the
 * focus, because otherwise the host would handle the keys itself. Loading this module has no effect. */

import { element } from "./dom.js";
import { closeOffers, makeOffer, openOffers, placeOffers, pointAtOffer } from "./offers.js";

let numbered = 0;
/** How many characters of a label are shown. */
const SHOWN = 60;

/** Key → action, while the list is shown and while it is not. */
const OPEN = {
  ArrowDown: (choice) => choice.point(choice.at + 1),
  ArrowUp: (choice) => choice.point(choice.at - 1),
  Home: (choice) => choice.point(0),
  End: (choice) => choice.point(Infinity),
  Enter: (choice) => choice.take(choice.at),
  " ": (choice) => choice.take(choice.at),
  Tab: (choice) => choice.take(choice.at) && null,
  Escape: (choice) => choice.close(),
};
const CLOSED = {
  ArrowDown: (choice) => choice.open(),
  ArrowUp: (choice) => choice.open(),
  ArrowRight: (choice) => choice.step(1),
  ArrowLeft: (choice) => choice.step(-1),
};

const short = (label) => (label.length > SHOWN ? `${label.slice(0, SHOWN)}…` : label);

export class Choice {
  /**
   * @param {string} label what the choice is about
   * @param {(value: *) => void} chosen called with the option that the user chose
   */
  constructor(label, chosen) {
    Object.assign(this, { label, chosen, options: [], value: undefined, at: 0, list: null });
    this.id = `lb-ui-choice-${(numbered += 1)}`;
    this.element = element("span", "lb-ui-choice");
    this.input = element("input", "lb-ui-button lb-ui-chosen", { type: "button" });
    for (const [name, value] of [["role", "combobox"], ["aria-haspopup", "listbox"], ["aria-expanded", "false"]]) {
      this.input.setAttribute(name, value);
    }
    this.input.addEventListener("click", () => (this.list ? this.close() : this.open()));
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("blur", () => this.close());
    const title = element("span", "lb-ui-choice-name", { textContent: label });
    title.setAttribute("aria-hidden", "true");
    this.element.append(title, this.input);
  }

  /** Offer these options: [{value, label}]. A list that is open stays unchanged. */
  show(options, value) {
    Object.assign(this, { options, value });
    const label = options.find((option) => option.value === value)?.label ?? "";
    const text = short(label) || "–";
    if (this.input.value !== text) this.input.value = text;
    this.input.setAttribute("aria-label", `${this.label}: ${label}`);
    this.input.title = label;
    this.input.disabled = options.length < 2;
  }

  get place() {
    return this.options.findIndex(({ value }) => value === this.value);
  }

  step(by) {
    const next = this.options[this.place + by];
    if (next) this.chosen(next.value);
  }

  // -- the list -----------------------------------------------------------------------------------------------------

  open() {
    if (this.list || this.input.disabled) return;
    this.list = openOffers(this.input, this.id, this.label);
    this.offered = this.options;
    this.list.append(...this.offered.map(({ label, note = "" }, index) =>
      Object.assign(makeOffer(`${this.id}-${index}`, label, note, () => this.take(index)), { title: label })));
    placeOffers(this.input, this.list);
    this.point(Math.max(0, this.place));
  }

  close() {
    closeOffers(this.input, this.list);
    this.list = null;
  }

  point(index) {
    this.at = Math.max(0, Math.min(index, this.offered.length - 1));
    pointAtOffer(this.input, this.list, this.at);
  }

  take(index) {
    const option = this.offered[index];
    this.close();
    if (option && option.value !== this.value) this.chosen(option.value);
    return option;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = (this.list ? OPEN : CLOSED)[event.key];
    if (act ? act(this) === null : !this.letter(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Go to the next option that begins with a letter, while the list is shown. */
  letter(key) {
    if (!this.list || key.length !== 1) return false;
    const order = [...this.offered.keys()].slice(this.at + 1).concat([...this.offered.keys()].slice(0, this.at + 1));
    const found = order.find((index) => this.offered[index].label.toLowerCase().startsWith(key.toLowerCase()));
    if (found !== undefined) this.point(found);
    return true;
  }
}
