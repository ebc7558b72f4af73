/** The arithmetic of a line chart: thinning, scales, ticks, paths. Pure functions, no host and no document. */

/** @typedef {[number, number]} Point a step and a value */

/**
 * At most `limit` points, evenly spaced, always including the first and the last.
 * @param {Point[]} points
 * @param {number} limit at least 2
 * @returns {Point[]}
 */
export function thinPoints(points, limit) {
  if (points.length <= limit) return points;
  const stride = (points.length - 1) / (limit - 1);
  return Array.from({ length: limit }, (_, index) => points[Math.round(index * stride)]);
}

/**
 * An exponential moving average as TensorBoard draws it: without the bias of beginning at 0.
 * @param {Point[]} points
 * @param {number} weight of what came before, from 0 (none) to below 1
 * @returns {Point[]}
 */
export function smoothPoints(points, weight) {
  let [sum, share] = [0, 0];
  return points.map(([step, value]) => {
    sum = sum * weight + (1 - weight) * value;
    share = share * weight + (1 - weight);
    return [step, sum / share];
  });
}

/**
 * At most `limit` points, with the lowest and the highest of every stretch, so that noise looks as wide as it is.
 * @param {Point[]} points
 * @param {number} limit at least 2
 * @returns {Point[]}
 */
export function envelope(points, limit) {
  if (points.length <= limit) return points;
  const stretches = Math.max(1, Math.floor(limit / 2));
  const size = points.length / stretches;
  return Array.from({ length: stretches }, (_, index) =>
    ends(points.slice(Math.floor(index * size), Math.floor((index + 1) * size))),
  ).flat();
}

/** The lowest and the highest point, in order of step. */
function ends(points) {
  let low = points[0];
  let high = points[0];
  for (const point of points) {
    if (point[1] < low[1]) low = point;
    if (point[1] > high[1]) high = point;
  }
  if (low === high) return [low];
  return low[0] < high[0] ? [low, high] : [high, low];
}

/** The value below which a share (0..1) of the values lies. `values` is not empty. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))];
}

/**
 * The range of values on a loss axis: all of the smoothed loss, and the raw loss without its most extreme 2 % on either
 * side, so that one spike does not flatten the curve. Null if there is nothing to show.
 * @param {Point[]} raw
 * @param {Point[]} smoothed
 * @returns {[number, number]|null}
 */
export function lossRange(raw, smoothed) {
  const values = raw.map((point) => point[1]);
  const calm = smoothed.map((point) => point[1]);
  if (values.length) calm.push(quantile(values, 0.02), quantile(values, 0.98));
  return calm.length ? [Math.min(...calm), Math.max(...calm)] : null;
}

const NICE = [1, 2, 2.5, 5, 10];

/** The smallest tick distance of the form 1, 2, 2.5 or 5 × 10^n that divides `span` into at most `count` parts. */
export function tickStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * NICE.find((nice) => nice * power >= raw * (1 - 1e-9));
}

/**
 * Round values that cover low..high, about `count` + 1 at most.
 * @returns {{step: number, values: number[]}} the first at or below `low`, the last at or above `high`
 */
export function coverRange(low, high, count) {
  // a flat or single value still gets an axis
  const room = high > low ? 0 : Math.abs(low) * 0.1 || 1;
  const step = tickStep(high - low + 2 * room, count);
  const first = Math.floor((low - room) / step + 1e-9);
  const last = Math.ceil((high + room) / step - 1e-9);
  return { step, values: Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step) };
}

/** Round whole steps from 0 to `last`, for the labels of the step axis. */
export function stepTicks(last, count) {
  const step = Math.max(1, Math.ceil(tickStep(Math.max(1, last), count)));
  return Array.from({ length: Math.floor(last / step) + 1 }, (_, index) => index * step);
}

/** A function that maps low..high to from..to (pixels), clamped to that range. */
export function makeScale(low, high, from, to) {
  const span = high - low || 1;
  const [least, most] = from < to ? [from, to] : [to, from];
  return (value) => Math.min(most, Math.max(least, from + ((value - low) / span) * (to - from)));
}

/** The `d` of an SVG path through the points. */
export function pathThrough(points, x, y) {
  return points
    .map(([step, value], index) => `${index ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`)
    .join("");
}

/** The point whose step is nearest, or null. `points` are in order of step. */
export function nearestPoint(points, step) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point[0] - step) <= Math.abs(best[0] - step)) best = point;
  }
  return best;
}
