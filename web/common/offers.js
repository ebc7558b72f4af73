/** The list of options under a field or a button, one of them pointed at. Loaded alone, it does nothing. */

import { element } from "./dom.js";

/** Pixels that the list wants below its field before it goes above it. */
const ROOM = 200;

/**
 * Open a list under an input, which it belongs to from then on.
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
  // outside an open dialog nothing can be clicked; inside the node the canvas would clip and scale it
  (input.closest("dialog") ?? document.body).append(list);
  return list;
}

/** Take the list away. */
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

/** Put the list under its input, or above it where there is more room. */
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

/** Point at an option, or with -1 at none, and bring it into sight. */
export function pointAtOffer(input, list, at) {
  for (const [index, row] of [...list.children].entries()) row.setAttribute("aria-selected", String(index === at));
  list.children[at]?.scrollIntoView({ block: "nearest" });
  if (at < 0) input.removeAttribute("aria-activedescendant");
  else input.setAttribute("aria-activedescendant", list.children[at].id);
}
