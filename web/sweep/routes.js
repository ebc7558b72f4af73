/** The routes of sweeps. Loaded alone, it does nothing. */

import { getJson, postJson } from "../common/api.js";

/** All sweeps, the one that changed last first. */
export const fetchArchive = () => getJson("/lora_bootstrap/sweeps");

/** All of a sweep, or null if there is none of that name. */
export const fetchSweep = (name) => getJson("/lora_bootstrap/sweep", { name, or: "null" });

/** What a node shows of a sweep, or null if there is none of that name. */
export const fetchSummary = (name) => getJson("/lora_bootstrap/sweep/summary", { name, or: "null" });

/** Save marks, also if the page goes away meanwhile. Throws a Conflict where they were changed elsewhere since its
 * revision, Refused if the server will never take them. */
export const saveMarks = (body) => postJson("/lora_bootstrap/sweep/marks", body, { keepalive: true });

/** Put a cell's LoRA among the host's: {"lora", "strength", "message"}. */
export const promoteCell = (body) => postJson("/lora_bootstrap/sweep/promote", body, { keepalive: true });
