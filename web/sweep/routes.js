/** The routes of sweeps. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";

/** All sweeps, most recently changed first. */
export const fetchArchive = () => getJson("/lora_bootstrap/sweeps");

/** A whole sweep, or null if there is none of that name. */
export const fetchSweep = (name) => getJson("/lora_bootstrap/sweep", { name, or: "null" });

/** What a node shows of a sweep, or null if there is none of that name. */
export const fetchSummary = (name) => getJson("/lora_bootstrap/sweep/summary", { name, or: "null" });

/** Save marks, even if the page is closed meanwhile. Throws a Conflict if they were changed elsewhere since its
 * revision, Refused if the server will never accept them. */
export const saveMarks = (body) => postJson("/lora_bootstrap/sweep/marks", body, { keepalive: true });

/** Copy a cell's LoRA to the host's LoRAs: {"lora", "strength", "message"}. */
export const promoteCell = (body) => postJson("/lora_bootstrap/sweep/promote", body, { keepalive: true });
