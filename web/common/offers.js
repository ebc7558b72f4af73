/** The list of options under a field or a button, with one of them highlighted. Loading this module has no effect. */

import { element } from "./dom.js";

/** With less than this many pixels below its field, the list opens above it. */
const ROOM = 200;

/**
 * Open a list under an input, and tie it to that input.
 * @param {HTMLInputElement} input
 * @param {string} id
 * @param {string} label
 */
export function openOffers(input, id, label) {
  const list = element("ul", "lb-ui-offers", { id });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", label);
  input.setAttribute("aria-expanded", "true");
  input.setAttribute("aria-controls", id);
  // outside an open dialog nothing can be clicked, and inside the node the canvas would clip and scale the list
  (input.closest("dialog") ?? document.body).append(list);
  return list;
}

/** Remove the list. */
export function closeOffers(input, list) {
  list?.remove();
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

/** Make one option of a list. @param {() => void} take called when the pointer chooses it */
export function makeOffer(id, label, note, take) {
  const row = element("li", "lb-ui-offer", { id });
  row.setAttribute("role", "option");
  row.append(element("span", "", { textContent: label }), element("span", "lb-ui-count", { textContent: note }));
  row.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // the input keeps the focus
    take();
  });
  return row;
}

/** Put the list under its input, or above it if there is more room. */
export function placeOffers(input, list) {
  const box = input.getBoundingClientRect();
  const below = window.innerHeight - box.bottom;
  const up = below < ROOM && box.top > below;
  Object.assign(list.style, {
    left: `${Math.max(4, Math.min(box.left, window.innerWidth - list.offsetWidth - 4))}px`,
    top: up ? "auto" : `${box.bottom + 2}px`,
    bottom: up ? `${window.innerHeight - box.top + 2}px` : "auto",
    maxHeight: `${Math.max(80, (up ? box.top : below) - 8)}px`,
  });
}

/** Highlight an option and scroll it into view; -1 highlights none. */
export function pointAtOffer(input, list, at) {
  for (const [index, row] of [...list.children].entries()) row.setAttribute("aria-selected", String(index === at));
  list.children[at]?.scrollIntoView({ block: "nearest" });
  if (at < 0) input.removeAttribute("aria-activedescendant");
  else input.setAttribute("aria-activedescendant", list.children[at].id);
}
