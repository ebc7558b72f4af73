/** What the panel knows about a run: created from the run route, updated by progress events. Pure functions, no host.
 * */

import { finite, formatLoss, formatMemory, formatSeconds } from "../common/format.js";
import { t } from "../common/words.js";
import { thinPoints } from "./plot.js";

/** More points than are ever drawn; at twice as many, every other one is dropped. */
const KEPT = 1000;
/** Most previews shown. */
const PREVIEWS = 24;

const points = (rows) => (rows ?? []).filter((row) => finite(row[0]) !== null && finite(row[1]) !== null);

/**
 * The run in a route's answer, with lists that are never null and contain only numbers.
 * @param {object} reply the answer of `GET /lora_bootstrap/run`
 */
export function fromReply(reply) {
  return Object.freeze({
    ...reply,
    losses: points(reply.losses),
    smoothed: points(reply.smoothed),
    validation: points(reply.validation),
    samples: reply.samples ?? [],
    checkpoints: reply.checkpoints ?? [],
    proofs: reply.proofs ?? [],
    notes: reply.notes ?? [],
    outliers: reply.outliers ?? [],
  });
}

/** Whether a training is under way, so that there is something to stop. */
const isLive = (run) => run?.status === "preparing" || run?.status === "training";

/**
 * The run after a progress event, or null if the event does not continue it (another folder, a step back, the end), so
 * that the route must be asked.
 */
export function withEvent(run, event) {
  if (!run || run.run !== event.run || !isLive(event)) return null;
  if (event.status === "training" && (run.status !== "training" || event.step < run.step)) return null;
  return Object.freeze({
    ...run,
    ...latest(event),
    losses: appendPoint(run.losses, event.step, event.loss),
    smoothed: appendPoint(run.smoothed, event.step, event.smoothed),
    validation: event.validation ? withRow(run.validation, event.validation) : run.validation,
    samples: event.sample ? withSample(run.samples, event.sample) : run.samples,
  });
}

/** The lines below the chart: the notes, and the images whose loss is unlike the others' as far as no note names them. */
export function remarksOf({ notes, outliers }) {
  const isNamed = (image) => notes.some((note) => note.startsWith(`${image}: `) || note.includes(`: ${image} is set aside`));
  return [...notes, ...outliers.filter((line) => !isNamed(line.slice(0, line.lastIndexOf(": "))))];
}

/** A line whose first word is a long file name with its middle left out: what is wrong with the image must be in sight. */
export const shortenName = (line) => line.replace(/^(.{8}).{4,}(.{6}\.\w{3,4}: )/, "$1…$2");

/** Whether there were steps between the last two losses that no event reported. */
export function hasGap(run) {
  const [before, last] = run.losses.slice(-2);
  return Boolean(last) && last[0] - before[0] > 1;
}

const LATEST = [
  "status", "message", "node_id", "step", "steps", "seconds_left", "seconds_per_step", "memory", "proofs", "notes",
];

function latest(event) {
  return Object.fromEntries(LATEST.filter((name) => name in event).map((name) => [name, event[name]]));
}

function appendPoint(rows, step, value) {
  if (finite(value) === null || (rows.length && rows[rows.length - 1][0] >= step)) return rows;
  const longer = [...rows, [step, value]];
  return longer.length > 2 * KEPT ? thinPoints(longer, KEPT) : longer;
}

function withRow(rows, row) {
  return points([...rows.filter(([step]) => step !== row[0]), row]);
}

const sampleKey = (sample) => `${sample.type}/${sample.subfolder}/${sample.filename}`;

function withSample(samples, sample) {
  return [...samples.filter((other) => sampleKey(other) !== sampleKey(sample)), sample];
}

/** The last value of a list of points, or null. */
const lastValue = (rows) => (rows.length ? rows[rows.length - 1][1] : null);

/** The loss as one figure: smoothed if available, because a single step's loss says little. */
const currentLoss = (run) => lastValue(run.smoothed) ?? lastValue(run.losses);

const lossText = (value) => (value === null ? null : t("loss {value}", { value: formatLoss(value) }));

/** The folder's name if it differs from the run's, because another run already had that name. */
const folder = (run) => (run.run === run.name ? null : t("in {folder}", { folder: run.run }));

/** A killed run goes on from its last saved state, which may be minutes older than its last step. */
const goesOn = (run) => {
  const from = finite(run.resumes_from);
  if (from === 0) return t("run again to start anew");
  if (from === null || from === run.step) return t("run again to continue from there");
  return t("run again to continue from step {step}", { step: from });
};

const formatGiven = (value, format) => (finite(value) === null ? null : format(value));

/** Status → the parts of the status line. Parts that are null are left out. */
const PARTS = {
  preparing: (run) => [t("preparing"), run.message],
  training: (run) => [
    t("step {step}/{steps}", run),
    lossText(currentLoss(run)),
    formatGiven(run.seconds_left, (seconds) => t("{time} left", { time: formatSeconds(seconds) })),
    formatGiven(run.memory || null, formatMemory),
  ],
  finished: (run) => [t("finished"), t("{step} steps", run), lossText(currentLoss(run)), folder(run)],
  stopped: (run) => [t("stopped and kept at step {step}/{steps}", run), lossText(currentLoss(run)), folder(run)],
  cancelled: (run) => [t("cancelled at step {step}/{steps}", run), goesOn(run)],
  interrupted: (run) => [t("interrupted at step {step}/{steps}", run), goesOn(run)],
  failed: (run) => [t("failed at step {step}/{steps}", run)],
};

/** Keep a short figure from breaking over two lines. */
const unbroken = (part) => (part.length < 24 ? part.replaceAll(" ", "\u00a0") : part);

/** "step 120/800 · loss 0.083 · 6:12 left · 3.1 GB", or whatever suits the run's status. */
export function statusLine(run) {
  const parts = PARTS[run.status] ?? (() => [run.status]);
  return parts(run).filter(Boolean).map(unbroken).join(" · ");
}

/** The chart in words, for screen readers. */
export function chartSummary(run) {
  const curve = run.smoothed.length ? run.smoothed : run.losses;
  if (!curve.length) return t("No loss yet.");
  const lowest = curve.reduce((best, point) => (point[1] < best[1] ? point : best));
  const sentences = [
    t("Loss from {first} at step {from} to {last} at step {to} of {steps}, lowest {lowest} at step {at}.", {
      first: formatLoss(curve[0][1]), from: curve[0][0], last: formatLoss(lastValue(curve)),
      to: curve[curve.length - 1][0], steps: run.steps, lowest: formatLoss(lowest[1]), at: lowest[0],
    }),
  ];
  const check = run.validation[run.validation.length - 1];
  if (check) sentences.push(t("Validation at step {step}: {value}.", { step: check[0], value: validationText(check) }));
  return sentences.join(" ");
}

/** A validation row [step, loss, ratio] in words, compared with the base model's own loss. */
export function validationText([, loss, ratio]) {
  return finite(ratio) === null ? formatLoss(loss) : t("{ratio} × base", { ratio: formatLoss(ratio) });
}

/** How many items lie mostly outside of what is seen, on either side. @param {[number, number][]} items [start, width] */
export function countHidden(items, from, width) {
  const middle = ([start, wide]) => start + wide / 2;
  return {
    before: items.filter((item) => middle(item) < from).length,
    after: items.filter((item) => middle(item) > from + width).length,
  };
}

/** The previews to show, oldest first. */
export const latestSamples = (samples) => [...samples].sort((a, b) => a.step - b.step).slice(-PREVIEWS);
