/** The parts of the host's front end that the pack uses. No other file imports the front end's modules, so that
 * whatever breaks when it changes is here. Loading this module has no effect. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { allNodes } from "./graph.js";
import { changeGraph } from "./mount.js";

export { app };

/** Names of the pack's own events, as in host/events.py. */
const OWN_EVENTS = {
  candidates: "lora_bootstrap.candidates",
  project: "lora_bootstrap.project",
  progress: "lora_bootstrap.progress",
  cells: "lora_bootstrap.sweep",
  marks: "lora_bootstrap.sweep_marks",
  archive: "lora_bootstrap.archive",
};

/** Names of events: the pack's own, a prompt has begun, a node has finished or shows a text, a prompt has finished,
 * failed or was cancelled, a prompt is being made or was queued, the lost server is back, the server tells its status,
 * the workflow has changed. */
export const EVENTS = {
  ...OWN_EVENTS,
  begun: "execution_start",
  executed: "executed",
  text: "progress_text",
  success: "execution_success",
  failed: "execution_error",
  cancelled: "execution_interrupted",
  queueing: "promptQueueing",
  queued: "promptQueued",
  back: "reconnected",
  status: "status",
  graph: "graphChanged",
};

/**
 * Call a function on each of its events, until aborted.
 * @param {Object<string, (detail: *) => void>} acts event → function
 * @param {AbortSignal} signal
 */
export function listen(acts, signal) {
  for (const [name, act] of Object.entries(acts)) api.addEventListener(name, ({ detail }) => act(detail), { signal });
}

/** The id by which the server knows this tab; undefined until it has told it. */
export const tabId = () => api.clientId;

/** The same; while the server has not told it, the id that this tab had before it was loaded again. "" for a new tab. */
export const latestTabId = () => api.clientId ?? api.initialClientId ?? "";

/** Show text in a node as if the server had sent it now. */
export const showNodeText = (nodeId, text) =>
  api.dispatchEvent(new CustomEvent("progress_text", { detail: { nodeId, text } }));

/** Bring a node into view, if it is in the graph that is shown. */
export function panTo(node) {
  if (node.graph === app.canvas?.graph) app.canvas?.centerOnNode?.(node);
}

/** Show a message for a while. @param {"info"|"warn"|"error"} severity */
export const showToast = (severity, summary, detail, life) =>
  app.extensionManager?.toast?.add({ severity, summary, detail, life });

/** What the server refused of the last prompt: node → its errors; null if nothing was. Before version 1.36 the front end
 * shows these itself, and this is undefined. */
export const refusedNodes = () => app.extensionManager?.lastNodeErrors;

/** A node's name for people. */
export const titleOf = (kind) => window.LiteGraph?.registered_node_types[kind]?.title ?? kind;

/** Pixels between a new node and the one that it belongs to. */
const GAP = 40;

const RENDERER = "Comfy.VueNodes.Enabled";
const ADVANCED = "Comfy.Node.AlwaysShowAdvancedWidgets";

/** Whether the host's renderer folds advanced inputs by itself: Vue nodes do, the classic canvas does not. */
export const foldsInputs = () => Boolean(window.LiteGraph?.vueNodesMode);

/** Whether the user has chosen to see all advanced inputs always. */
export const showsAdvanced = () => Boolean(app.extensionManager?.setting?.get(ADVANCED));

/** Call a function when the renderer changes, or whether it always shows advanced inputs. */
export function whenRendererChanges(act) {
  for (const setting of [RENDERER, ADVANCED]) {
    app.ui?.settings?.addEventListener?.(`${setting}.change`, () => setTimeout(act));
  }
}

/** The language that the user has set, such as "ja". */
export const language = () => app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";

const PALETTE = "Comfy.ColorPalette";

/** The classic canvas's tables of colours by type: of sockets and of links. Each palette fills them anew. */
export const colourTables = () => [app.canvas?.default_connection_color_byType, window.LGraphCanvas?.link_type_colors]
  .filter(Boolean);

/** Call a function after each change of the palette. */
export function whenPaletteChanges(act) {
  app.ui?.settings?.addEventListener?.(`${PALETTE}.change`, () => setTimeout(() => {
    act();
    app.canvas?.setDirty?.(true, true);
  }));
}

/** Whether the front end keeps the view of each workflow, and chooses one for a workflow that has none. */
export const restoresViews = () => app.extensionManager?.setting?.get("Comfy.EnableWorkflowViewRestore") ?? false;

/** Listen to all of the pack's own events: front ends from 1.53 on log one as an error if nobody listens to it yet. The
 * page has its socket before it loads extensions, so call this as soon as a file of the pack is loaded. */
export function expectEvents() {
  for (const name of Object.values(OWN_EVENTS)) api.addEventListener(name, () => {});
}

/** Ask one of the server's routes. @returns {Promise<Response>} */
export const fetchRoute = (path, options) => api.fetchApi(path, options);

/** The address at which the host serves an image or a file. */
export const hostUrl = (path) => api.apiURL(path);

/**
 * Put an image into the graph, as a Load Image node left of another node.
 * @param {string} place the image as Load Image names it: `akane/a.png [output]`
 * @param {object} near
 */
export const addLoadImage = (place, near) => addNode("LoadImage", "image", place, near);

/** Put a node into the graph left of another, with this value in one of its widgets. */
function addNode(kind, name, value, near) {
  const node = window.LiteGraph.createNode(kind);
  node.pos = [near.pos[0] - node.size[0] - GAP, near.pos[1]];
  changeGraph(near.graph, () => {
    near.graph.add(node);
    setWidget(node, name, value);
  });
  showNode(node);
}

function setWidget(node, name, value) {
  const widget = node.widgets.find((one) => one.name === name);
  const { values } = widget.options ?? {}; // the list was made when the page was loaded
  if (Array.isArray(values) && !values.includes(value)) values.push(value);
  widget.value = value;
  widget.callback?.(value);
}

function showNode(node) {
  app.canvas.selectNode?.(node);
  app.canvas.setDirty(true, true);
}

/**
 * Set a widget of the workflow's node of a kind: of the first that runs, or else of a new one left of another node.
 * @returns {boolean} whether the node was added
 */
export function putIntoNode(kind, name, value, near) {
  const nodes = allNodes(near.graph).filter(({ comfyClass }) => comfyClass === kind);
  const node = nodes.find(({ mode }) => !mode);
  if (node) {
    changeGraph(node.graph, () => setWidget(node, name, value));
    showNode(node);
    panTo(node);
  } else addNode(kind, name, value, near);
  return !node;
}

/** Queue a node with all that it needs, and nothing after it. A node in a subgraph queues the whole workflow. */
export const queueNode = (node) =>
  app.queuePrompt(0, 1, node.graph === app.rootGraph || !app.rootGraph ? [String(node.id)] : undefined);

/** Show in a node what a run of it would show. Only for nodes of the graph itself, whose id a run has too. */
export function showOutput(node, output) {
  const id = String(node.id);
  api.dispatchEvent(new CustomEvent("executed", { detail: { node: id, display_node: id, output } }));
}

/** Whether the host still has an image. @param {{filename: string, subfolder: string, type: string}} image */
export const hasImage = (image) =>
  api.fetchApi(`/view?${new URLSearchParams(image)}`, { method: "HEAD" }).then(({ ok }) => ok, () => false);
