/** What the pack uses of the host's front end. Nothing else imports the front end's own modules, so that what breaks
 * when it changes is here. Loaded alone, it does nothing. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

export { app };

/** Names of events: the pack's own; that a node or a prompt is done; that a lost server came back; that the graph has
 * changed. */
export const EVENTS = {
  candidates: "lora_bootstrap.candidates",
  project: "lora_bootstrap.project",
  progress: "lora_bootstrap.progress",
  cells: "lora_bootstrap.sweep",
  marks: "lora_bootstrap.sweep_marks",
  executed: "executed",
  success: "execution_success",
  back: "reconnected",
  graph: "graphChanged",
};

/**
 * Call a function at each event that it is given for, until aborted.
 * @param {Object<string, (detail: *) => void>} acts by event
 * @param {AbortSignal} signal
 */
export function listen(acts, signal) {
  for (const [name, act] of Object.entries(acts)) api.addEventListener(name, ({ detail }) => act(detail), { signal });
}

/** Ask one of the server's routes. @returns {Promise<Response>} */
export const fetchRoute = (path, options) => api.fetchApi(path, options);

/** The address of a picture or a file, as the host serves it. */
export const hostUrl = (path) => api.apiURL(path);
