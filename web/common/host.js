/** The parts of the host's front end that the pack uses. No other file imports the front end's modules, so that
 * whatever breaks when it changes is here. Loading this module has no effect. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

export { app };

/** Names of the pack's own events, as in host/events.py. */
const OWN_EVENTS = {
  candidates: "lora_bootstrap.candidates",
  project: "lora_bootstrap.project",
  progress: "lora_bootstrap.progress",
  cells: "lora_bootstrap.sweep",
  marks: "lora_bootstrap.sweep_marks",
};

/** Names of events: the pack's own, a node or a prompt has finished or failed, a prompt is being made or was queued, the
 * lost server is back, the workflow has changed. */
export const EVENTS = {
  ...OWN_EVENTS,
  executed: "executed",
  success: "execution_success",
  failed: "execution_error",
  queueing: "promptQueueing",
  queued: "promptQueued",
  back: "reconnected",
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

/** Show a message for a while. @param {"info"|"warn"|"error"} severity */
export const showToast = (severity, summary, detail, life) =>
  app.extensionManager?.toast?.add({ severity, summary, detail, life });

/** What the server refused of the last prompt: node → its errors; null if nothing was. Before version 1.36 the front end
 * shows these itself, and this is undefined. */
export const refusedNodes = () => app.extensionManager?.lastNodeErrors;

/** A node's name for people. */
export const titleOf = (kind) => window.LiteGraph?.registered_node_types[kind]?.title ?? kind;

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

/** All nodes of the graph that is shown. */
export const shownNodes = () => app.canvas?.graph?.nodes ?? [];

/** Whether the front end keeps the view of each workflow, and chooses one for a workflow that has none. */
export const restoresViews = () => app.extensionManager?.setting?.get("Comfy.EnableWorkflowViewRestore") ?? false;

/** Listen to all of the pack's own events: front ends from 1.53 on log one as an error if nobody ever has. */
export function expectEvents() {
  for (const name of Object.values(OWN_EVENTS)) api.addEventListener(name, () => {});
}

/** Ask one of the server's routes. @returns {Promise<Response>} */
export const fetchRoute = (path, options) => api.fetchApi(path, options);

/** The address at which the host serves an image or a file. */
export const hostUrl = (path) => api.apiURL(path);
