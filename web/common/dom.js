/** Elements of the panels. Whatever of them takes the focus is an `input`: the host undoes the graph at Ctrl+Z and
 * deletes nodes at Delete unless the focus is in one. Loaded alone, it does nothing. */

export function element(tag, className = "", properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

/** A button that says `label` and does `act`. */
export function button(label, title, act) {
  const input = element("input", "lb-ui-button", { type: "button", value: label, title });
  input.addEventListener("click", act);
  return input;
}

/** A field for text, named for those who do not see its placeholder. */
export function field(type, className, label, placeholder) {
  const input = element("input", className, { type, placeholder, autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", label);
  return input;
}

/** The parts of a list of terms: [what, value] in a row. */
export function makeTerms(rows) {
  return rows.flatMap(([what, value]) =>
    [element("dt", "", { textContent: what }), element("dd", "", { textContent: value })]);
}

/** Show a line of text in a note, or hide the note where there is none. */
export function showNote(note, text, isError) {
  note.hidden = !text;
  note.textContent = text ?? "";
  note.classList.toggle("lb-ui-error", isError);
}
