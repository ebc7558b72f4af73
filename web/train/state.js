/** What the panel knows about a run: created from the run route, updated by progress events. Pure functions, no host.
 * */

import { finite, formatLoss, formatMemory, formatSeconds } from "../common/format.js";
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

const lossText = (word, value) => (value === null ? null : `${word} ${formatLoss(value)}`);

/** The folder's name if it differs from the run's, because another run already had that name. */
const folder = (run) => (run.run === run.name ? null : `in ${run.run}`);

/** A killed run goes on from its last saved state, which may be minutes older than its last step. */
const goesOn = (run) => {
  const from = finite(run.resumes_from);
  if (from === 0) return "run again to start anew";
  return `run again to continue from ${from === null || from === run.step ? "there" : `step ${from}`}`;
};

const formatGiven = (value, format) => (finite(value) === null ? null : format(value));

/** Status → the parts of the status line. Parts that are null are left out. */
const PARTS = {
  preparing: (run) => ["preparing", run.message],
  training: (run) => [
    `step ${run.step}/${run.steps}`,
    lossText("loss", currentLoss(run)),
    formatGiven(run.seconds_left, (seconds) => `${formatSeconds(seconds)} left`),
    formatGiven(run.memory || null, formatMemory),
  ],
  finished: (run) => ["finished", `${run.step} steps`, lossText("loss", currentLoss(run)), folder(run)],
  stopped: (run) => [
    `stopped and kept at step ${run.step}/${run.steps}`, lossText("loss", currentLoss(run)), folder(run),
  ],
  cancelled: (run) => [`cancelled at step ${run.step}/${run.steps}`, goesOn(run)],
  interrupted: (run) => [`interrupted at step ${run.step}/${run.steps}`, goesOn(run)],
  failed: (run) => [`failed at step ${run.step}/${run.steps}`],
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
  if (!curve.length) return "No loss yet.";
  const lowest = curve.reduce((best, point) => (point[1] < best[1] ? point : best));
  const sentences = [
    `Loss from ${formatLoss(curve[0][1])} at step ${curve[0][0]} to ${formatLoss(lastValue(curve))} ` +
      `at step ${curve[curve.length - 1][0]} of ${run.steps}, lowest ${formatLoss(lowest[1])} at step ${lowest[0]}.`,
  ];
  const check = run.validation[run.validation.length - 1];
  if (check) sentences.push(`Validation at step ${check[0]}: ${validationText(check)}.`);
  return sentences.join(" ");
}

/** A validation row [step, loss, ratio] in words, compared with the base model's own loss. */
export function validationText([, loss, ratio]) {
  return finite(ratio) === null ? formatLoss(loss) : `${formatLoss(ratio)} × base`;
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
