/** Which sweep a node is about, and how far it is. Pure functions; loading this module has no effect. */

const SOCKET = "LORA_SWEEP";
const PROPERTY = "sweep";

const text = (value) => (typeof value === "string" ? value.trim() : "");

/** What a node saves about its sweep: the name, and the widget's value at that time, because whoever changes the widget
 * means another sweep. */
export const toRemember = (node, name, inputValue) => ({ name, of: text(inputValue(node, "name")) });

/**
 * The name of the sweep that a node is about, or null: from its last run, its widget, or the last run of what feeds it.
 * @param {object} node
 * @param {{inputValue: Function, findFeeder: Function}} graph the functions of common/graph.js
 */
export function sweepName(node, graph) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); at = graph.findFeeder(at, ({ type }) => type === SOCKET)) {
    seen.add(at);
    const named = text(graph.inputValue(at, "name"));
    const told = at.properties?.[PROPERTY];
    if (told?.name && told.of === named) return told.name;
    if (named) return named;
  }
  return null;
}

/** "14 of 40 cells, 1 failed". */
export function progressText({ done, failed, total }) {
  const cells = total === 1 ? "cell" : "cells";
  const made = done === total ? `${total} ${cells}` : `${done} of ${total} ${cells}`;
  return failed ? `${made}, ${failed} failed` : made;
}

/** Whether an event belongs to a node. Inside a subgraph its id follows those of the enclosing nodes, separated by ":".
 * */
export function isToldOf(node, told) {
  return told.node !== undefined && String(told.node).split(":").pop() === String(node.id);
}
