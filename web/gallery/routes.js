/** The routes of the gallery and of a project, and their events, as the other modules see them. */

import { api } from "../../../scripts/api.js";
import { Conflict, Refused } from "./store.js";

/** Bytes that a request may have which outlives its page; browsers refuse more. */
const OUTLIVING = 60_000;
/** By the status of an answer: the error that it is. */
const KINDS = {
  400: (message) => new Refused(message),
  404: (message) => new Refused(message),
  409: (message, body) => new Conflict(message, body?.candidates ? body : null),
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

/** Where a project stands, or null if there is none of that name. */
export const fetchProject = (name) => get("project", { name, or: "null" });

/** A round's candidates and the picks, or null if there is no such project or round. */
export const fetchCandidates = (project, round) => get("candidates", { project, round, or: "null" });

/** Save picks, also if the page goes away meanwhile. Throws a Conflict where they were changed elsewhere since its
 * revision, Refused if it never will do. */
export async function savePicks(body) {
  const text = JSON.stringify(body);
  return answer(await api.fetchApi("/lora_bootstrap/candidates/picks", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: text,
    keepalive: text.length < OUTLIVING,
  }));
}

const shelfOf = (project, round) => `lora_bootstrap.gallery.${project}.${round}`;

/** Of what a page that goes away had no time to save, the browser keeps the last of each round. */
export const shelf = {
  /** Keep it; null where all is saved. */
  put(project, round, kept) {
    if (kept) localStorage.setItem(shelfOf(project, round), JSON.stringify(kept));
    else localStorage.removeItem(shelfOf(project, round));
  },
  /** What is kept, or null; it is not kept any more. */
  take(project, round) {
    const kept = localStorage.getItem(shelfOf(project, round));
    localStorage.removeItem(shelfOf(project, round));
    return kept && JSON.parse(kept);
  },
};

/** The address of a picture, as the host serves it. */
export const pictureUrl = (address) => api.apiURL(address);

/**
 * Call a function at each event that it is given for, until aborted.
 * @param {Object<string, (detail: *) => void>} heard by event
 * @param {AbortSignal} signal
 */
export function listen(heard, signal) {
  for (const [name, act] of Object.entries(heard)) api.addEventListener(name, ({ detail }) => act(detail), { signal });
}

/** What events are called: the pack's own; that a node or a prompt is done; that a lost server came back; that the
 * graph has changed. */
export const EVENTS = {
  candidates: "lora_bootstrap.candidates",
  project: "lora_bootstrap.project",
  progress: "lora_bootstrap.progress",
  executed: "executed",
  success: "execution_success",
  back: "reconnected",
  graph: "graphChanged",
};
