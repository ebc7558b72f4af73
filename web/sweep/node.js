/** Which sweep a node is about, and how far that is. Pure functions; loaded alone, it does nothing. */

const SOCKET = "LORA_SWEEP";
const PROPERTY = "sweep";

const text = (value) => (typeof value === "string" ? value.trim() : "");

/** What a node keeps of a sweep that it was told of: its name, and what the widget said then, since who changes the
 * widget means another sweep. */
export const toRemember = (node, name, inputValue) => ({ name, of: text(inputValue(node, "name")) });

/**
 * The name of the sweep that a node is about, or null: what it was told, its widget, or what feeds it was told.
 * @param {object} node
 * @param {{inputValue: Function, findFeeder: Function}} graph as common/graph.js has them
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

/** Whether an event is of a node. Inside a subgraph its id comes after those of the nodes around it, apart by ":". */
export function isToldOf(node, told) {
  return told.node !== undefined && String(told.node).split(":").pop() === String(node.id);
}
