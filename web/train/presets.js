/** What a training is, or was, made with, in one line. Pure functions, no host. */

/** Status → how the line begins. */
const VERBS = { preparing: "training with", training: "training with" };

/** Whether a run is still going on. */
export const isLive = (run) => run?.status in VERBS;

/**
 * What a run was trained with; "" if that is not known yet.
 * @param {{status: string, figures: string}|null} run
 */
export const trainedText = (run) => (run?.figures ? `${VERBS[run.status] ?? "trained with"}: ${run.figures}` : "");
