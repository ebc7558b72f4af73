/** The preset table of `GET /lora_bootstrap/presets` as one line of text. Pure functions, no host. */

import { formatRate } from "../common/format.js";

/** The figures shown of a preset; a rate means nothing without its alpha / rank. */
const FIGURES = [
  ["rank", (preset) => preset.rank, String],
  ["alpha/rank", (preset) => preset.alpha / preset.rank, String],
  ["rate", (preset) => preset.learning_rate, formatRate],
  ["steps", (preset) => preset.steps, String],
];

/** One value, or the range of several. */
function span(values, format) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least === most ? format(least) : `${format(least)} to ${format(most)}`;
}

/**
 * The preset of a kind, for one family, or as ranges over all families if `family` is null.
 * @param {object} table family → {title, presets: {kind: {rank, alpha, learning_rate, steps, images}}}
 * @param {string} kind
 * @param {string|null} family
 * @returns {string} empty if there is no such preset
 */
export function presetText(table, kind, family) {
  const names = family ? [family] : Object.keys(table).filter((name) => name !== "sandbox");
  const presets = names.map((name) => table[name]?.presets?.[kind]).filter(Boolean);
  if (!presets.length) return "";
  const whose = family ? ` on ${table[family].title}` : ", depending on the model's family";
  const figures = FIGURES.map(([name, of, format]) => `${name}\u00a0${span(presets.map(of), format)}`);
  const images = [...new Set(presets.map((preset) => preset.images))];
  const many = images.length === 1 && images[0] ? ` for ${images[0]} images` : "";
  return `Preset for ${/^[aeiou]/.test(kind) ? "an" : "a"} ${kind} LoRA${whose}: ${figures.join(" · ")}${many}`;
}
