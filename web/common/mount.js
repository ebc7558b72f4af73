/** Puts the pack's panels into their nodes, the same way for each: a DOM widget, which both of the host's renderers
 * draw, its stylesheets, handlers on the node's callbacks, and values saved with the node. Loading this module has no
 * effect. */

import { foldInputs, heightInSight } from "./fold.js";
import { isLinked, promotedNames } from "./graph.js";

export { linkStyles } from "./styles.js";

/** Pixels of the row of an input that comes over a link. */
const SLOT = 20;

/**
 * Put a panel into a node, and make the node wide enough for it.
 * @param {object} node
 * @param {string} name the widget's name
 * @param {{element: HTMLElement, minHeight: () => number}} panel
 * @param {number} width the least width of the node in pixels
 * @returns {object} the widget
 */
export function addPanelWidget(node, name, panel, width) {
  foldInputs(node);
  shrinkLinked(node);
  const widget = node.addDOMWidget(name, `lora_bootstrap_${name}`, panel.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => panel.minHeight(),
  });
  widget.serialize = false; // neither in the prompt nor among the saved widget values
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], heightInSight(node))]);
  return widget;
}

/** Leave to a text that comes over a link the row of its slot. In the classic canvas the hidden field would keep its
 * share of the node's height, next to the panel. A field that a subgraph's node shows is the same one there. */
export function shrinkLinked(node) {
  for (const { name, element, options } of node.widgets ?? []) {
    if (element?.localName !== "textarea" || !options) continue;
    for (const limit of ["getMinHeight", "getMaxHeight"]) {
      const usual = options[limit];
      options[limit] = (...given) => (isHidden(node, name) ? SLOT : usual?.apply(options, given));
    }
  }
}

const isHidden = (node, name) => isLinked(node, name) && !promotedNames(node).includes(name);

/**
 * Tie a panel's life to its node's, and let it refresh when what it shows may have changed.
 * @param {object} node
 * @param {{open: () => void, close: () => void, lookSoon: () => void}} panel
 * @param {object} more
 * @param {string[]} [more.widgets] names of widgets whose values decide what is shown
 * @param {() => void} [more.configured] called when the workflow was opened
 * @param {(told: object|undefined) => void} [more.executed] called after a run of the node, with the pack's output
 */
export function followNode(node, panel, { widgets = [], configured = () => panel.lookSoon(), executed = null }) {
  const look = () => panel.lookSoon();
  callAfter(node, "onAdded", () => panel.open());
  callAfter(node, "onRemoved", () => panel.close());
  callAfter(node, "onConfigure", configured);
  callAfter(node, "onConnectionsChange", look);
  if (executed) callAfter(node, "onExecuted", (output) => executed(output?.lora_bootstrap?.[0]));
  for (const widget of node.widgets.filter(({ name }) => widgets.includes(name))) callAfter(widget, "callback", look);
  if (node.graph) panel.open();
}

/** Call a function after a node's or widget's own callback, with the same arguments. */
export function callAfter(owner, callback, act) {
  const before = owner[callback];
  owner[callback] = function (...given) {
    const result = before?.apply(this, given);
    act(...given);
    return result;
  };
}

/**
 * Let a run wait, while the host collects the values of the widgets, for what must be saved before. Of all hooks of a
 * widget the host awaits only this one.
 * @param {object} widget one whose value is in the prompt
 * @param {() => Promise<void>} save if it throws, the workflow is not queued
 * @param {(reason: string) => void} refused called then
 */
export function saveBeforeRun(widget, save, refused) {
  const before = widget.serializeValue;
  widget.serializeValue = async (...given) => {
    await save().catch((error) => {
      refused(error.message);
      throw error;
    });
    return before ? before.apply(widget, given) : widget.value;
  };
}

/** Lay the node out again. It grows while it is drawn, so only the next drawing shows the new size. */
export function redrawNode(node) {
  node.setDirtyCanvas?.(true, true);
  setTimeout(() => node.setDirtyCanvas?.(true, true), 100);
}

let again = false;

/** Show in a node the output of a run before the page was loaded. What the node remembers of it cannot be undone. */
export function showRunAgain(node, output) {
  again = true;
  try {
    node.onExecuted?.({ lora_bootstrap: [output] });
  } finally {
    again = false;
  }
}

/**
 * Save values in one of a node's properties, so that they survive a reload of the page.
 * @param {object} node
 * @param {string} property
 * @param {object} values
 */
export function rememberOnNode(node, property, values) {
  const known = node.properties[property] ?? {};
  if (Object.keys(values).every((name) => known[name] === values[name])) return;
  const remember = () => {
    node.properties[property] = values;
  };
  if (again) remember();
  else changeGraph(node.graph, remember);
}

/** Change a workflow so that the host saves it for the next start, and can undo it. The canvas must be told too: to the
 * host a change of the graph alone is none until the next click. */
export function changeGraph(graph, act) {
  graph?.canvasAction?.((canvas) => canvas.emitBeforeChange?.());
  graph?.beforeChange();
  act();
  graph?.afterChange();
  graph?.canvasAction?.((canvas) => canvas.emitAfterChange?.());
}
