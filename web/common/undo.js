/** Undo and redo of a panel: the two buttons, their keys, and what is said of a step. Loaded alone, it does nothing. */

import { button } from "./dom.js";

const WAYS = {
  undo: { word: "Undo", key: "Ctrl+Z", stack: "past", said: "undone" },
  redo: { word: "Redo", key: "Ctrl+Shift+Z", stack: "future", said: "done again" },
};

/** Which way a key goes, or null. */
function wayOf(event) {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return null;
  if (key === "y" || (event.shiftKey && key === "z")) return "redo";
  return key === "z" ? "undo" : null;
}

export class UndoControls {
  /**
   * @param {() => object} store whose steps they are, a StepStore
   * @param {(text: string) => void} say
   * @param {boolean} ownFields whether the keys are theirs in a field with text too, rather than the field's own
   */
  constructor(store, say, ownFields = false) {
    Object.assign(this, { store, say, ownFields });
    this.buttons = Object.entries(WAYS).map(([way, { word }]) => button(word, "", () => this.go(way)));
  }

  draw() {
    Object.values(WAYS).forEach(({ word, key, stack }, index) => {
      const step = this.store()[stack].at(-1);
      this.buttons[index].disabled = !step;
      this.buttons[index].title = step ? `${word} ${step.label} (${key})` : `Nothing to ${word.toLowerCase()}`;
    });
  }

  hide(hidden) {
    for (const input of this.buttons) input.hidden = hidden;
  }

  /** Use a key up if it is theirs: the host would undo the graph. @returns {boolean} whether it was */
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
    this.say(step ? `${WAYS[way].said}: ${step.label}` : "nothing more");
  }
}
