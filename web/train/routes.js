/** The routes of runs. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";
import { hostUrl } from "../common/host.js";

/**
 * The most recently changed run of that name, or null if there is none.
 * @param {string} name a run's name or its folder's
 * @param {AbortSignal} signal
 */
export const fetchRun = (name, signal) => getJson("/lora_bootstrap/run", { name, or: "null" }, { signal });

/** Folders of the runs that a run can be compared with. @returns {Promise<string[]>} */
export const fetchOthers = (name) => getJson("/lora_bootstrap/run/others", { name }).then(({ runs }) => runs);

/** What differs between two runs, as lines of text. @returns {Promise<string[]>} */
export const fetchDifferences = (first, second) =>
  getJson("/lora_bootstrap/run/differences", { first, second }).then(({ lines }) => lines);

/** Ask a run to stop after its present step and keep its LoRA. Throws an Error if it is not being trained. */
export const stopRun = (folder) => postJson("/lora_bootstrap/stop", { run: folder });

/** Let the next queueing of the workflow continue a stopped run. Throws an Error if the run is not stopped. */
export const resumeRun = (folder) => postJson("/lora_bootstrap/resume", { run: folder });

/** The address of an image in the host's output folder. */
export const viewUrl = ({ filename, subfolder, type }) =>
  hostUrl(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
