/** The loss chart: raw loss faint, smoothed loss strong, validation as dots on its own axis. It is an SVG, so it stays
 * sharp at any zoom and takes its colours from the theme. Loading this module has no effect. */

import { finite, formatLoss, formatTick } from "../common/format.js";
import { t } from "../common/words.js";
import { coverRange, envelope, lossRange, makeScale, nearestPoint, pathThrough, stepTicks, thinPoints } from
  "./plot.js";
import { chartSummary, validationText } from "./state.js";

/** Most points drawn of a curve: more than a node has pixels. */
const DRAWN = 500;
const CHARACTER = 6;
const EDGE = { top: 6, bottom: 18, side: 8, right: 15 };

/** An SVG element with attributes and, if given, text. */
export function svg(tag, attributes = {}, text = null) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}

/** [step, value], where value is the ratio to the base model's loss if known, otherwise the loss. */
function validationPoints(run) {
  const related = run.validation.every((row) => finite(row[2]) !== null);
  return { related, points: run.validation.map((row) => [row[0], related ? row[2] : row[1]]) };
}

/** A vertical axis: its ticks as [value, label], and its ends. Null if there is nothing to show. */
function axis(range, count) {
  if (!range) return null;
  const { step, values } = coverRange(range[0], range[1], count);
  const labels = values.map((value) => formatTick(value, step));
  return { values, labels, low: values[0], high: values[values.length - 1] };
}

/** The range of validation values. For ratios it always includes 1, the base model's own. */
function validationRange({ related, points }) {
  if (!points.length) return null;
  const values = points.map((point) => point[1]).concat(related ? [1] : []);
  return [Math.min(...values), Math.max(...values)];
}

const widest = (labels) => Math.max(...labels.map((label) => label.length)) * CHARACTER + EDGE.side;

/**
 * The layout of the chart in pixels: axes, scales, and the points to draw.
 * @param {object} run a run from state.js
 * @param {number} width
 * @param {number} height
 */
function layout(run, width, height) {
  const checks = validationPoints(run);
  const count = Math.min(5, Math.max(1, Math.floor((height - EDGE.top - EDGE.bottom) / 34)));
  const left = axis(lossRange(run.losses, run.smoothed), count);
  const right = axis(validationRange(checks), count);
  const from = left ? widest(left.labels) : EDGE.side;
  const to = width - (right ? widest(right.labels) : EDGE.right); // half of the last step's label
  const bottom = height - EDGE.bottom;
  const last = Math.max(run.step, run.losses.length ? run.losses[run.losses.length - 1][0] : 0, 1);
  const ends = (sides) => makeScale(sides?.low ?? 0, sides?.high ?? 1, bottom, EDGE.top);
  const x = makeScale(0, last, from, to);
  return { checks, left, right, from, to, bottom, last, x, y: ends(left), y2: ends(right) };
}

/** Draw the run into an SVG element of the given size in CSS pixels. */
export function drawChart(element, run, width, height) {
  const plan = layout(run, width, height);
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.setAttribute("aria-label", chartSummary(run));
  element.replaceChildren(
    ...grid(plan), ...stepAxis(plan), ...checkpoints(run, plan), ...curves(run, plan), ...validation(plan),
  );
  return plan;
}

function grid({ left, right, from, to, y, y2 }) {
  const marks = [];
  for (const [index, value] of (left?.values ?? []).entries()) {
    marks.push(svg("line", { class: "lb-train-grid", x1: from, x2: to, y1: y(value), y2: y(value) }));
    marks.push(label(from - 4, y(value) + 3.5, left.labels[index], "end"));
  }
  for (const [index, value] of (right?.values ?? []).entries()) {
    marks.push(label(to + 4, y2(value) + 3.5, right.labels[index], "start", "lb-train-tick lb-train-validation-tick"));
  }
  return marks;
}

function label(x, y, text, anchor, className = "lb-train-tick") {
  return svg("text", { class: className, x, y, "text-anchor": anchor }, text);
}

function stepAxis({ from, to, bottom, last, x }) {
  const marks = [svg("line", { class: "lb-train-axis", x1: from, x2: to, y1: bottom, y2: bottom })];
  for (const step of stepTicks(last, Math.max(2, Math.floor((to - from) / 64)))) {
    marks.push(svg("line", { class: "lb-train-axis", x1: x(step), x2: x(step), y1: bottom, y2: bottom + 3 }));
    marks.push(label(x(step), bottom + 14, String(step), "middle"));
  }
  return marks;
}

/** A small triangle on the step axis for every checkpoint. */
function checkpoints(run, { bottom, last, x }) {
  return run.checkpoints.filter(({ step }) => step <= last).map(({ step, filename }) => {
    const mark = svg("path", { class: "lb-train-checkpoint", d: `M${x(step)} ${bottom - 5}l3.5 5h-7z` });
    mark.append(svg("title", {}, t("checkpoint {filename}", { filename })));
    return mark;
  });
}

/** One loss is no line yet, so it is a dot; before it, the frame says what will be in it. */
function curves(run, { left, x, y, from, to, bottom }) {
  if (!left) return [label((from + to) / 2, bottom / 2, t("The loss appears with the first step."), "middle")];
  if (run.losses.length === 1) {
    const [[step, loss]] = run.losses;
    return [svg("circle", { class: "lb-train-first", cx: x(step), cy: y(loss), r: 3 })];
  }
  return [
    svg("path", { class: "lb-train-raw", d: pathThrough(envelope(run.losses, DRAWN), x, y) }),
    svg("path", { class: "lb-train-smoothed", d: pathThrough(thinPoints(run.smoothed, DRAWN), x, y) }),
  ];
}

function validation({ checks, right, from, to, x, y2 }) {
  if (!right) return [];
  const dots = thinPoints(checks.points, DRAWN).map(([step, value]) =>
    svg("circle", { class: "lb-train-dot", cx: x(step), cy: y2(value), r: 3 }));
  const base = { class: "lb-train-base", x1: from, x2: to, y1: y2(1), y2: y2(1) };
  return [
    ...(checks.related ? [svg("line", base)] : []),
    svg("path", { class: "lb-train-validation", d: pathThrough(checks.points, x, y2) }),
    ...dots,
  ];
}

/** What the chart shows `across` pixels from its left edge: the step and the values there, in words. */
export function readAt(run, plan, across) {
  const step = ((across - plan.from) / (plan.to - plan.from)) * plan.last;
  const raw = nearestPoint(run.losses, step);
  const calm = nearestPoint(run.smoothed, step);
  const check = nearestPoint(run.validation, step);
  if (!raw && !calm) return null;
  const words = [
    t("step {step}", { step: (raw ?? calm)[0] }),
    raw && t("loss {value}", { value: formatLoss(raw[1]) }),
    calm && t("smoothed {value}", { value: formatLoss(calm[1]) }),
    check && t("validation {value} at {step}", { value: validationText(check), step: check[0] }),
  ];
  return { x: plan.x((raw ?? calm)[0]), text: words.filter(Boolean).join(" · ") };
}
