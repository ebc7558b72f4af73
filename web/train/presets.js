/** What a training is, or was, made with, in one line. Pure functions, no host. */

import { t, word } from "../common/words.js";

/** Status → how the line begins, up to the first ": ". */
const VERBS = { preparing: word("training with"), training: word("training with") };

/** Whether a run is still going on. */
export const isLive = (run) => run?.status in VERBS;

/**
 * What a run was trained with; "" if that is not known yet.
 * @param {{status: string, figures: string}|null} run
 */
export const trainedText = (run) =>
  (run?.figures ? `${t(VERBS[run.status] ?? word("trained with"))}: ${run.figures}` : "");
