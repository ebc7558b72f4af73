/** The pack's routes and its progress event, as the other modules see them. */

import { api } from "../../../scripts/api.js";

/** The server's answer as JSON. Throws an Error with the server's own words where it refuses. */
async function answer(route, options) {
  const response = await api.fetchApi(`/lora_bootstrap/${route}`, options);
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error ?? `the server answered ${response.status}.`);
  return body;
}

/**
 * The most recently touched run of that name, or null if there is none.
 * @param {string} name a run's name or its folder's
 * @param {AbortSignal} signal
 */
export function fetchRun(name, signal) {
  return answer(`run?${new URLSearchParams({ name, or: "null" })}`, { signal });
}

const post = (route, folder) =>
  answer(route, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ run: folder }),
  });

/** Ask a run to stop after its step and keep what it learnt. Throws an Error if it is not being trained. */
export const stopRun = (folder) => post("stop", folder);

/** Let the next queueing of the graph train a stopped run on. Throws an Error if it is not a stopped one. */
export const resumeRun = (folder) => post("resume", folder);

let presets = null;

/** The preset table by family and kind. Asked for once; again only if that failed. */
export function fetchPresets() {
  presets ??= answer("presets").catch((error) => {
    presets = null;
    throw error;
  });
  return presets;
}

/** The address of a picture in the host's output folder. */
export function viewUrl({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** Call `heard(event)` for every progress event, and `back()` after a lost server came back, until aborted. */
export function listen(heard, back, signal) {
  api.addEventListener("lora_bootstrap.progress", ({ detail }) => heard(detail), { signal });
  api.addEventListener("reconnected", back, { signal });
}
