/** The routes of sweeps, and their events, as the other modules see them. */

import { api } from "../../../scripts/api.js";
import { Conflict, Refused } from "./store.js";

/** By the status of an answer: the error that it is. */
const KINDS = {
  400: (message) => new Refused(message),
  404: (message) => new Refused(message),
  409: (message, body) => new Conflict(message, body?.cells ? body : null),
};

/** The server's answer as JSON. Throws an Error with the server's own words where it refuses. */
async function answer(response) {
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  const message = body?.error ?? `the server answered ${response.status}.`;
  throw KINDS[response.status]?.(message, body) ?? new Error(message);
}

const get = async (route, query) =>
  answer(await api.fetchApi(`/lora_bootstrap/${route}?${new URLSearchParams(query)}`, { cache: "no-store" }));

const post = async (route, body) => answer(await api.fetchApi(`/lora_bootstrap/${route}`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  keepalive: true,
}));

/** All sweeps, the one that changed last first. */
export const fetchArchive = () => get("sweeps", {});

/** All of a sweep, or null if there is none of that name. */
export const fetchSweep = (name) => get("sweep", { name, or: "null" });

/** What a node shows of a sweep, or null if there is none of that name. */
export const fetchSummary = (name) => get("sweep/summary", { name, or: "null" });

/** Save marks. Throws a Conflict where they were changed elsewhere since its revision, Refused if it never will do. */
export const saveMarks = (body) => post("sweep/marks", body);

/** Put a cell's LoRA among the host's: {"lora", "strength", "message"}. */
export const promote = (body) => post("sweep/promote", body);

/** The bytes of a picture. */
export async function fetchPicture(address) {
  const response = await api.fetchApi(address);
  if (!response.ok) throw new Error(`the server answered ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

/** What the events of sweeps are called. */
export const SWEEP_EVENTS = { cells: "lora_bootstrap.sweep", marks: "lora_bootstrap.sweep_marks" };
