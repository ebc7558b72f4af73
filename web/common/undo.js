/** Undo and redo of a panel: the two buttons, their keys, and the announcement of a step. Loading this module has no
 * effect. */

import { button } from "./dom.js";
import { t, word } from "./words.js";

const WAYS = {
  undo: { label: word("Undo"), title: word("Undo {step} (Ctrl+Z)"), none: word("Nothing to undo"), stack: "past",
    said: word("undone: {step}") },
  redo: { label: word("Redo"), title: word("Redo {step} (Ctrl+Shift+Z)"), none: word("Nothing to redo"), stack: "future",
    said: word("redone: {step}") },
};

/** "undo" or "redo" for a key, or null. */
function wayOf(event) {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return null;
  if (key === "y" || (event.shiftKey && key === "z")) return "redo";
  return key === "z" ? "undo" : null;
}

export class UndoControls {
  /**
   * @param {() => object} store the StepStore that has the steps
   * @param {(text: string) => void} say
   * @param {boolean} ownFields whether the keys also work in a field with text, instead of the field's own undo
   */
  constructor(store, say, ownFields = false) {
    Object.assign(this, { store, say, ownFields });
    this.buttons = Object.entries(WAYS).map(([way, { label }]) => button(t(label), "", () => this.go(way)));
  }

  draw() {
    Object.values(WAYS).forEach(({ title, none, stack }, index) => {
      const step = this.store()[stack].at(-1);
      this.buttons[index].disabled = !step;
      this.buttons[index].title = step ? t(title, { step: step.label }) : t(none);
    });
  }

  hide(hidden) {
    for (const input of this.buttons) input.hidden = hidden;
  }

  /** Handle a key if it is one of these; otherwise the host would undo the workflow. @returns {boolean} whether it was
   * */
  key(event) {
    const way = wayOf(event);
    const typing = event.target.matches("input:is([type=text], [type=search])") && event.target.value;
    if (!way || (typing && !this.ownFields)) return false;
    event.preventDefault();
    event.stopPropagation();
    this.go(way);
    return true;
  }

  go(way) {
    const step = this.store()[way]();
    this.say(step ? t(WAYS[way].said, { step: step.label }) : t("nothing left"));
  }
}
