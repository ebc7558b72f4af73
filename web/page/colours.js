/** Colours of the pack's own sockets and of the links between them, in both of the host's renderers. A colour that the
 * user's palette or another pack gives a type is kept. Loading this module has no effect. */

import { element } from "../common/dom.js";

/** Type → colour: none of the host's own for MODEL, CLIP, IMAGE and so on. */
export const COLOURS = {
  LORA_DATASET: "#26a69a",
  LORA_TRAIN_SETTINGS: "#bc8f6f",
  LORA_RUN: "#d4e157",
  LORA_SWEEP: "#ba68c8",
  LORA_STACK: "#ff7043",
  LORA_MODEL: "#e04f86",
  BOOTSTRAP_PROJECT: "#7986cb",
  BOOTSTRAP_VIEWS: "#4dd0e1",
};

/** Colours for Vue nodes: a palette writes its own over these, and `:where` lets every other rule win. */
export function styleSockets() {
  const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
  document.head.append(element("style", "", { textContent: `:where(:root) { ${rules.join(" ")} }` }));
}

/**
 * Give every type its colour that has none yet. A palette empties those that it does not know.
 * @param {...Object<string, string>} tables type → colour, of the classic canvas
 */
export function colourSockets(...tables) {
  for (const table of tables) {
    for (const [type, colour] of Object.entries(COLOURS)) table[type] ||= colour;
  }
}
