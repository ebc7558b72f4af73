/** One line of a stack in its list: a switch, the LoRA's name, its strengths and blocks, and a note. A line that is not
 * a LoRA is a text field. Loading this module has no effect. */

import { button, element, field } from "../common/dom.js";
import { Menu } from "../common/menu.js";
import { t, word } from "../common/words.js";
import { blockOffers, nameOffers, withBlock, writtenNames } from "./text.js";

const OFFERED = 60;
const STRENGTHS = [
  ["strength", word("model"), "1", word("Strength on the model")],
  ["clip", "clip", word("same"), word("Strength on the text encoders; empty uses the model's")],
];
const HELP = word("Alt+↑ and Alt+↓ move the row. Ctrl+Z undoes.");
const MARKED = word("Off, because the line begins with off or #.");
const GONE = word("file not found, which does not matter while it is off");

let numbered = 0;

export class StackRow {
  /**
   * @param {object} list the panel: `store`, `drag(row, event)`
   * @param {object} row the row of the text
   */
  constructor(list, row) {
    Object.assign(this, { list, id: row.id, kind: row.kind, fields: {}, menus: new Map(), typed: null });
    this.element = element("li", "lb-stack-row");
    this.note = element("div", "lb-stack-note", { id: `lb-stack-note-${(numbered += 1)}` });
    this.grip = element("span", "lb-stack-grip", { textContent: "⠿", title: t("Drag to reorder, or Alt+↑ and Alt+↓") });
    this.grip.ariaHidden = "true";
    this.grip.addEventListener("pointerdown", (event) => list.drag(this, event));
    this.removeButton = button("×", t("Remove"), () => this.remove());
    this.removeButton.classList.add("lb-stack-remove");
    const lines = row.kind === "lora" ? this.buildLora() : this.buildText();
    for (const parts of lines) {
      const line = element("div", "lb-stack-line");
      line.append(...parts);
      this.element.append(line);
    }
    this.element.append(this.note);
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  get row() {
    return this.list.store.row(this.id);
  }

  // -- building -----------------------------------------------------------------------------------------------------

  buildLora() {
    this.check = element("input", "lb-ui-check", { type: "checkbox" });
    this.check.addEventListener("change", () => this.list.store.toggle(this.id));
    const name = this.input("name", "text", "lb-stack-name", "LoRA");
    name.setAttribute("aria-describedby", this.note.id);
    const names = () => writtenNames(this.list.store.names);
    this.addMenu(name, (typed) => nameOffers(names(), typed, OFFERED), (chosen) => this.put("name", chosen),
      () => this.list.store.list());
    name.addEventListener("focus", () => this.list.store.list());
    const strengths = STRENGTHS.map((strength) => this.buildStrength(...strength));
    const blocks = this.input("blocks", "text", "lb-stack-blocks", t("all blocks"));
    const file = () => this.list.store.file(this.id) ?? { presets: {}, blocks: [] };
    this.addMenu(blocks, (typed) => blockOffers(file(), typed, OFFERED),
      (chosen) => this.put("blocks", withBlock(blocks.value, chosen)));
    blocks.title = `${t("Blocks to keep; empty keeps all. ↓ shows the file's blocks.")} ${t(HELP)}`;
    name.title = `${t("↓ shows all LoRAs.")} ${t(HELP)}`;
    const rest = element("span", "lb-stack-rest");
    rest.append(blocks, this.removeButton);
    return [[this.grip, this.check, name], [...strengths, rest]];
  }

  buildStrength(key, name, placeholder, title) {
    const label = element("label", "lb-stack-strength", { title: `${t(title)}. ${t(HELP)}` });
    const input = this.input(key, "number", "lb-stack-number", t(placeholder));
    Object.assign(input, { step: "0.05", min: "-10", max: "10" });
    label.append(element("span", "lb-stack-word", { textContent: t(name) }), input);
    return label;
  }

  buildText() {
    const input = this.input("raw", "text", "lb-stack-raw", "");
    input.setAttribute("aria-describedby", this.note.id);
    input.title = t(HELP);
    return [[this.grip, input, this.removeButton]];
  }

  input(key, type, className, placeholder) {
    const input = field(type, className, "", placeholder);
    this.fields[key] = input;
    input.addEventListener("input", () => this.takeEdit(key, input));
    input.addEventListener("blur", () => this.list.store.settle(this.id));
    return input;
  }

  addMenu(input, offer, chosen, ready) {
    const menu = new Menu(input, offer, chosen, ready);
    this.menus.set(input, menu);
    input.addEventListener("click", () => input.value || menu.all());
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  update() {
    const { row, list } = this;
    const verdict = list.store.verdict(this.id);
    for (const [key, input] of Object.entries(this.fields)) this.fill(input, row[key]);
    const what = row.kind === "lora" ? row.name || t("new LoRA") : t("line");
    if (row.kind === "lora") this.name(row, what);
    else this.fields.raw.ariaLabel = row.kind === "note" ? t("Comment") : t("A line as text");
    this.removeButton.title = t("Remove {tag}", { tag: what });
    this.removeButton.ariaLabel = this.removeButton.title;
    const error = row.name || row.kind !== "lora" ? verdict?.error ?? "" : "";
    const state = error ? "error" : row.off || row.kind === "note" ? "off" : "on";
    this.element.dataset.state = state;
    (this.fields.name ?? this.fields.raw).ariaInvalid = String(Boolean(error));
    this.say(row, verdict, error);
    for (const menu of this.menus.values()) if (menu.list) menu.place();
  }

  name(row, what) {
    const { name, strength, clip, blocks } = this.fields;
    name.ariaLabel = "LoRA";
    strength.ariaLabel = t("Model strength of {name}", { name: what });
    clip.ariaLabel = t("Text encoder strength of {name}", { name: what });
    blocks.ariaLabel = t("Blocks of {name}", { name: what });
    this.check.checked = !row.off;
    this.check.ariaLabel = t("{name} is on", { name: what });
    this.check.title = row.off ? t("Switch on") : t("Switch off");
  }

  /** Show a value, but do not overwrite what is being typed. */
  fill(input, value) {
    const own = this.typed?.input === input;
    if (own && this.typed.value === value) return;
    if (own) this.typed = null;
    if (input.value !== value) input.value = value;
  }

  /** Show the error in the line, with the nearest names to choose from, or else what the file says about itself. */
  say(row, verdict, error) {
    const near = row.kind === "lora" && row.name ? verdict?.loras[0]?.near ?? [] : [];
    const text = error || this.facts(row, verdict);
    const told = JSON.stringify([text, error ? near : []]);
    if (this.told === told) return;
    this.told = told;
    this.note.hidden = !text;
    this.note.classList.toggle("lb-ui-error", Boolean(error));
    const takes = (error ? near : []).map((name) => button(name, t("Put {name} here", { name }), () => this.put("name", name)));
    this.note.replaceChildren(element("span", "", { textContent: text }), ...takes);
  }

  facts(row, verdict) {
    if (row.kind !== "lora") return verdict?.off === false ? namesText(verdict.loras) : "";
    const file = this.list.store.file(this.id);
    const marked = !row.off && verdict?.off ? t(MARKED) : "";
    const gone = row.off && verdict?.loras[0]?.name === "" ? t(GONE) : "";
    return [marked, gone, file?.role, file?.triggers.join(", ")].filter(Boolean).join(" · ");
  }

  // -- edits --------------------------------------------------------------------------------------------------------

  takeEdit(key, input) {
    if (input.validity.badInput) return; // an incomplete number, such as "-"
    const { store } = this.list;
    this.typed = { input, value: input.value };
    if (key === "raw") store.setLine(this.id, input.value);
    else store.set(this.id, this.labelChange(), { [key]: input.value });
  }

  labelChange() {
    return t("changing {name}", { name: this.row.name || t("a new LoRA") });
  }

  /** Accept a suggestion. */
  put(key, value) {
    this.list.store.seal();
    this.list.store.set(this.id, this.labelChange(), { [key]: value });
    this.list.store.seal();
  }

  remove() {
    this.list.leave(this);
    this.list.store.remove(this.id);
  }

  /** Put the focus into its first field. */
  focus() {
    (this.fields.name ?? this.fields.raw).focus();
  }

  /** Put the focus into the name, and show all possible names. */
  begin() {
    this.element.scrollIntoView({ block: "nearest" });
    this.focus();
    this.menus.get(this.fields.name).all();
  }

  key(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    const by = event.altKey ? { ArrowUp: -1, ArrowDown: 1 }[event.key] : 0;
    const menu = this.menus.get(event.target);
    const used = by ? this.move(by) : menu?.key(event) || (event.key === "Enter" && this.enter(event.target));
    if (!used) return;
    event.preventDefault();
    event.stopPropagation();
  }

  move(by) {
    this.list.store.move(this.id, by);
    return true;
  }

  /** Enter in a field ends its edit. */
  enter(target) {
    if (!Object.values(this.fields).includes(target)) return false;
    this.list.store.settle(this.id);
    return true;
  }

  close() {
    for (const menu of this.menus.values()) menu.close();
  }
}

const namesText = (loras) => (loras.length > 1 ? loras.map(({ name }) => name).join(", ") : "");
