/** What a gallery's workflow can draw again. It only reads nodes. Loading this module has no effect. */

import { findFeeder, inputValue } from "../common/graph.js";
import { t } from "../common/words.js";

const SAVE = "LoraBootstrap_SaveCandidates";
const PICK = "LoraBootstrap_PickCheckpoint";
/** The choice of Pick Checkpoint that brings its own strength. */
const OF_A_SWEEP = "picked in a sweep";

/**
 * @param {object} node Curate Images
 * @returns {{draws: boolean, fixed: string}} whether a Run of it draws what is asked for, and why the LoRA's strength
 *   cannot be chosen; "" if it can
 */
export function readDrawing(node) {
  const save = findFeeder(node, ({ name }) => name === "project");
  if (save?.comfyClass !== SAVE) return { draws: false, fixed: t("No Save Candidates is linked to this gallery.") };
  const pick = findFeeder(save, ({ name }) => name === "LORA_STACK");
  if (pick?.comfyClass !== PICK) {
    return { draws: true, fixed: t("The strength can be chosen if Pick Checkpoint is linked to Save Candidates.") };
  }
  const fixed = inputValue(pick, "which") === OF_A_SWEEP;
  return { draws: true, fixed: fixed ? t("The strength is that of the sweep, as Pick Checkpoint says.") : "" };
}
