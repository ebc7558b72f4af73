/** Everything known about a cell, in words. Pure functions; loading this module has no effect. */

import { t, word } from "../common/words.js";

/** Fact → its name for people, where that is another than its key without underscores. */
const NAMES = {
  cfg: "CFG", sampler_name: word("sampler"), width: word("width asked for"), height: word("height asked for"),
  stack: word("other LoRAs"), negative: word("negative prompt"), prompt: word("prompt"), strength: word("strength"),
  run: word("run"), checkpoint: word("checkpoint"), seed: word("seed"), base_model: word("base model"),
  steps: word("steps"), scheduler: word("scheduler"),
};
const LINKED = { "as linked": word("the linked model") };
const KNOWN = ["prompt", "lora", "strength", "run", "step", "epoch", "seed", "base"];

const isTold = (value) => value !== null && value !== undefined && value !== "" && value.length !== 0;

/** LoRAs as [[name, hash, model strength, clip strength], ...]: "ink at 0.5, haze at 0.3 (text encoder 0.2)". */
const stackText = (stack) => stack.map(([name, , strength, clip]) =>
  (clip === undefined || clip === strength ? t("{name} at {strength}", { name, strength })
    : t("{name} at {strength} (text encoder {clip})", { name, strength, clip }))).join(", ");

/** How facts of certain keys are written. */
const WRITTEN = { stack: (value) => (Array.isArray(value) ? stackText(value) : String(value)) };

function written(key, value) {
  if (WRITTEN[key]) return WRITTEN[key](value);
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  if (typeof value === "boolean") return value ? t("yes") : t("no");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Rows for a list of facts: [what, value]. What is empty is left out. */
export function factRows(sweep, cell) {
  const base = sweep.axes.findIndex(({ name }) => name === "base");
  const onBase = sweep.axes[base]?.choices[cell.at[base]] ?? cell.base;
  const checkpoint = [isTold(cell.step) && t("step {step}", cell), isTold(cell.epoch) && t("epoch {epoch}", cell)];
  const rows = [
    ["prompt", cell.prompt], ["LoRA", cell.lora || t("none")], ["strength", cell.lora ? cell.strength : null],
    ["run", cell.run], ["checkpoint", checkpoint.filter(Boolean).join(", ")], ["seed", cell.seed],
    ["base_model", LINKED[onBase] ? t(LINKED[onBase]) : onBase],
    ...Object.entries({ ...sweep.shared, ...cell.more }).filter(([name]) => !KNOWN.includes(name)),
  ];
  return rows.filter(([, value]) => isTold(value)).map(([key, value]) =>
    [NAMES[key] ? t(NAMES[key]) : key.replaceAll("_", " "), written(key, value)]);
}
