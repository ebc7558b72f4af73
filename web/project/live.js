/** What the queue does for a project right now, from the server's events. Pure functions: no host and no document.
 * Loading this module has no effect. */

import { formatMemory } from "../common/format.js";
import { t, word } from "../common/words.js";

/** @typedef {{queue: boolean, own: boolean, text: string, stage: string, done: string}} Live
 * queue: whether the queue runs a workflow of this tab; own: whether what runs is known to be for this project, which
 * only its own events say; text: what is being done, "" if nothing is; stage and done: the stage that it belongs to, and
 * how far that is */

/** @type {Live} */
export const IDLE = Object.freeze({ queue: false, own: false, text: "", stage: "", done: "" });
const BETWEEN = word("The workflow is running.");
const OTHER = word("ComfyUI is running a workflow.");

/** A run of the project as {stage, what}, or null: "zqx-style-2" trains the style LoRA of round 2, "zqx" the
 * character. */
function runOf(project, name) {
  if (name === project) return { stage: "character", what: t("the character LoRA") };
  const end = name?.startsWith(project) ? name.slice(project.length) : "";
  const [, round] = end.match(/^-style-(\d+)$/) ?? [];
  return round ? { stage: `style-${round}`, what: t("style LoRA {round}", { round }) } : null;
}

export const isRunOf = (project, name) => runOf(project, name) !== null;

/** Status of a training → what is being done; all others are the end of it. */
const TRAININGS = {
  preparing: ({ what }, { message }) => ({
    text: t(message ? word("Preparing {what}: {message}.") : word("Preparing {what}."), { what, message }),
  }),
  training: ({ what }, { step, steps }) => ({
    text: t("Training {what}: step {step} of {steps}.", { what, step, steps }),
    done: t("{step} of {steps} steps", { step, steps }),
  }),
};

/** After a training's event. */
export function withTraining(live, project, event) {
  const run = runOf(project, event.name);
  if (!run) return live;
  const told = TRAININGS[event.status]?.(run, event);
  return told ? { ...live, own: true, done: "", ...told, stage: run.stage } : ownBetween(live);
}

/**
 * What the panel says while the server packs a project for a download.
 * @param {{name: string, done?: number, total?: number, problem?: string}} told bytes, as in the server's event
 * @returns {{text: string, isOver: boolean, isError: boolean}}
 */
export function packingLine({ name, done = 0, total = 0, problem = "" }) {
  if (problem) return { text: t("{name} was not packed: {problem}", { name, problem }), isOver: true, isError: true };
  const size = total < 2 ** 20 ? t("less than 1 MB") : formatMemory(total);
  if (total && done >= total) {
    const text = t("{name}.zip is packed ({size}). Your browser downloads it now.", { name, size });
    return { text, isOver: true, isError: false };
  }
  const text = total
    ? t("Packing {name}: {share} % of {size} …", { name, share: Math.floor(100 * done / total), size })
    : t("Packing {name} …", { name });
  return { text, isOver: false, isError: false };
}

/** After the event that a candidate was saved. Round 0 are the base model's own images. */
export function withCandidate(live, project, event) {
  const { round, made, total } = event;
  if (event.project !== project) return live;
  if (made >= total) return ownBetween(live);
  const values = { place: made + 1, total, round };
  const text = round ? t("Drawing candidate {place} of {total} of round {round}.", values)
    : t("Drawing image {place} of {total} of the base model.", values);
  const stage = round ? `candidates-${round}` : "";
  return { ...live, own: true, text, stage, done: t("{made} of {total}", { made, total }) };
}

/** Nothing for this project right now: the tab that queued knows that its workflow still runs. */
const ownBetween = ({ queue }) => (queue ? { ...IDLE, queue, own: true, text: t(BETWEEN) } : IDLE);

/** After the event that a node wrote the project: the workflow that runs is the project's. */
export const withProject = (live, project, { name }) =>
  (name === project && live.queue && !live.own ? ownBetween(live) : live);

/** A workflow of this tab began; nobody knows yet whether it is the project's. */
export const begun = () => ({ ...IDLE, queue: true, text: t(OTHER) });

/** The round whose picks are waited for, or else the last one with candidates; null if there is none. */
export function galleryRound(stages) {
  const rounds = (key) => stages.filter(({ name }) => name.startsWith(`${key}-`));
  const numberOf = ({ name }) => Number(name.split("-").pop());
  const waiting = rounds("curate").find(({ state }) => state === "next");
  const drawn = rounds("candidates").filter(({ state, text }) => state === "done" || !/^0 /.test(text));
  return waiting ? numberOf(waiting) : drawn.length ? numberOf(drawn[drawn.length - 1]) : null;
}
