/** Which sweep a node is about, and how far it is. Pure functions; loading this module has no effect. */

import { t, word } from "../common/words.js";

const SOCKET = "LORA_SWEEP";
const PROPERTY = "sweep";

const text = (value) => (typeof value === "string" ? value.trim() : "");

/** What a node saves about its sweep: the name, and the widget's value at that time, because whoever changes the widget
 * means another sweep. */
export const toRemember = (node, name, inputValue) => ({ name, of: text(inputValue(node, "name")) });

/** Node → the end of its sweep's name, after the run's, if its widget is empty; as in host/drawing/sweep_plan.py. */
const KINDS = {
  LoraBootstrap_StrengthGrid: "strengths", LoraBootstrap_CheckpointSweep: "checkpoints",
  LoraBootstrap_SweepValues: "values",
};

/**
 * The name of the sweep that a node is about, or null: from its last run, its widget, or the run that is linked to it; or
 * the same of what feeds it.
 * @param {object} node
 * @param {{inputValue: Function, findFeeder: Function, linkedRunName: Function}} graph the functions of common/graph.js
 */
export function sweepName(node, graph) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); at = graph.findFeeder(at, ({ type }) => type === SOCKET)) {
    seen.add(at);
    const named = text(graph.inputValue(at, "name"));
    const told = at.properties?.[PROPERTY];
    const run = named || !KINDS[at.comfyClass] ? null : graph.linkedRunName(at, "run");
    // a sweep of another run was told before this one was linked
    if (told?.name && told.of === named && (!run || told.name.startsWith(`${run}-`))) return told.name;
    if (named) return named;
    if (run) return `${run}-${KINDS[at.comfyClass]}`;
  }
  return null;
}

/** The values of rows and columns on the node that makes the sweep; {} if none has them. */
export function sidesOf(node, graph) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); at = graph.findFeeder(at, ({ type }) => type === SOCKET)) {
    seen.add(at);
    const [rows, columns] = ["rows", "columns"].map((side) => graph.inputValue(at, side));
    if (rows || columns) return { rows, columns };
  }
  return {};
}

/** "14 of 40 cells, 1 failed". */
export function progressText({ done, failed, total }) {
  const made = total === 1 ? t(done ? word("1 cell") : word("0 of 1 cell"))
    : t(done === total ? word("{total} cells") : word("{done} of {total} cells"), { done, total });
  return failed ? t("{cells}, {failed} failed", { cells: made, failed }) : made;
}

/** Whether an event belongs to a node. Inside a subgraph its id follows those of the enclosing nodes, separated by ":".
 * */
export function isToldOf(node, told) {
  return told.node !== undefined && String(told.node).split(":").pop() === String(node.id);
}
