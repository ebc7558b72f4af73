/** Elements of the panels. Everything that takes the focus is an `input`: unless the focus is in one, the host undoes
 * changes of the workflow on Ctrl+Z and deletes nodes on Delete. Loading this module has no effect. */

import { explain } from "./figures.js";

export function element(tag, className = "", properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

/** A button with the text `label` that calls `act`. */
export function button(label, title, act) {
  const input = element("input", "lb-ui-button", { type: "button", value: label, title });
  input.addEventListener("click", act);
  return input;
}

/** A text field, with a name for screen readers. */
export function field(type, className, label, placeholder) {
  const input = element("input", className, { type, placeholder, autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", label);
  return input;
}

/** The parts of a description list, from rows of [term, value, words about the term if any]. */
export function makeTerms(rows) {
  return rows.flatMap(([what, value, words]) =>
    [explain(element("dt", "", { textContent: what }), words), element("dd", "", { textContent: value })]);
}

/** Show a line of text in a note, or hide the note if there is none. */
export function showNote(note, text, isError) {
  note.hidden = !text;
  note.textContent = text ?? "";
  note.classList.toggle("lb-ui-error", isError);
}
