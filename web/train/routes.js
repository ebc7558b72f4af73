/** The routes of runs. Loaded alone, it does nothing. */

import { getJson, postJson } from "../common/api.js";
import { hostUrl } from "../common/host.js";

/**
 * The most recently touched run of that name, or null if there is none.
 * @param {string} name a run's name or its folder's
 * @param {AbortSignal} signal
 */
export const fetchRun = (name, signal) => getJson("/lora_bootstrap/run", { name, or: "null" }, { signal });

/** Ask a run to stop after its step and keep what it learnt. Throws an Error if it is not being trained. */
export const stopRun = (folder) => postJson("/lora_bootstrap/stop", { run: folder });

/** Let the next queueing of the graph train a stopped run on. Throws an Error if it is not a stopped one. */
export const resumeRun = (folder) => postJson("/lora_bootstrap/resume", { run: folder });

let presets = null;

/** The preset table by family and kind. Asked for once; again only if that failed. */
export function fetchPresets() {
  presets ??= getJson("/lora_bootstrap/presets").catch((error) => {
    presets = null;
    throw error;
  });
  return presets;
}

/** The address of a picture in the host's output folder. */
export const viewUrl = ({ filename, subfolder, type }) =>
  hostUrl(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
