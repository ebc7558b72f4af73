/** Which sweep a node is about. Pure functions of nodes and events; loaded alone, it does nothing. */

const SOCKET = "LORA_SWEEP";
const PROPERTY = "sweep";

const text = (value) => (typeof value === "string" ? value.trim() : "");

/** What a node keeps of a sweep that it was told of: its name, and what the widget said then, since who changes the
 * widget means another sweep. */
export const toRemember = (node, name, inputValue) => ({ name, of: text(inputValue(node, "name")) });

/**
 * The name of the sweep that a node is about, or null: what it was told, its widget, or what feeds it was told.
 * @param {object} node
 * @param {{inputValue: Function, feeding: Function}} graph as bootstrap_graph.js has them
 */
export function sweepName(node, graph) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); at = graph.feeding(at, ({ type }) => type === SOCKET)) {
    seen.add(at);
    const named = text(graph.inputValue(at, "name"));
    const told = at.properties?.[PROPERTY];
    if (told?.name && told.of === named) return told.name;
    if (named) return named;
  }
  return null;
}

/** Whether an event is of a node. Inside a subgraph its id comes after those of the nodes around it, apart by ":". */
export function isToldOf(node, told) {
  return told.node !== undefined && String(told.node).split(":").pop() === String(node.id);
}
