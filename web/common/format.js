/** Formats figures for people: times, memory, losses, rates. Pure functions, no host. */

/**
 * A finite number, or null for anything else (a missing loss, NaN written as null).
 * @param {unknown} value
 * @returns {number|null}
 */
export function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Seconds as m:ss or h:mm:ss: 372 is "6:12". */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** Bytes in the unit that graphics cards are sold in: 3.1 GB is 3.1 × 2^30 bytes. */
export function formatMemory(bytes) {
  const gigabytes = bytes / 2 ** 30;
  return gigabytes >= 1 ? `${gigabytes.toFixed(1)} GB` : `${Math.round(bytes / 2 ** 20)} MB`;
}

/** A loss or a ratio: three decimals, or two significant digits if the value is small. */
export function formatLoss(value) {
  const size = Math.abs(value);
  if (size >= 0.01 || size === 0) return value.toFixed(3);
  return size < 0.001 ? value.toExponential(1) : value.toPrecision(2);
}

/** A learning rate the way configurations write it: 0.0015 is "1.5e-3". */
export function formatRate(rate) {
  const [digits, exponent] = rate.toExponential(3).split("e");
  return `${Number(digits)}e${Number(exponent)}`;
}

/** How many Latin characters are about as wide as a text: Chinese, Japanese and Korean ones are twice as wide. */
export const columnsOf = (text) => text.length + (text.match(/[\u1100-\u11ff\u2e80-\uffdc]/g)?.length ?? 0);

/** The label of a tick on an axis whose ticks are `step` apart, with no more decimals than needed. */
export function formatTick(value, step) {
  const whole = (decimals) => Math.abs(step * 10 ** decimals - Math.round(step * 10 ** decimals)) < 1e-6;
  return value.toFixed([0, 1, 2, 3, 4, 5].find(whole) ?? 6);
}
