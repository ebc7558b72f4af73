/** What is linked to a stack before its own lines, as rows that cannot be edited there. Pure functions; loading this
 * module has no effect. */

import { t, word } from "../common/words.js";

const called = (wanted) => ({ name }) => name === wanted;
const titleOf = (node) => node?.title || node?.type || t("a linked node");

/**
 * @param {object} node a LoRA Stack
 * @param {{isLinked: Function, findFeeder: Function, inputValue: Function, linkedRunName: Function}} graph functions of
 *   common/graph.js
 * @returns {{name: string, from: string, strength: string}[]} in the order of the stack; `strength` is "" where only the
 *   run knows it
 */
export function linkedBefore(node, graph) {
  const rows = [];
  if (graph.isLinked(node, "LORA_STACK")) {
    rows.push({ name: "LoRAs", from: titleOf(graph.findFeeder(node, called("LORA_STACK"))), strength: "" });
  }
  if (graph.isLinked(node, "run")) {
    const strength = graph.inputValue(node, "run_strength");
    rows.push({
      name: graph.linkedRunName(node, "run") ?? t("last checkpoint"),
      from: titleOf(graph.findFeeder(node, called("run"))),
      strength: typeof strength === "number" ? String(Number(strength.toFixed(4))) : "",
    });
  }
  return rows;
}

/** A row in words: "akane at 0.8, from Train LoRA". */
export const rowText = ({ name, from: node, strength }) =>
  t(strength ? word("{name} at {strength}, from {node}") : word("{name}, from {node}"), { name, strength, node });
