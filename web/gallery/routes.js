/** The routes of the gallery, and what the browser keeps for it. Loaded alone, it does nothing. */

import { getJson, postJson } from "../common/api.js";

/** Bytes that a request may have which outlives its page; browsers refuse more. */
const OUTLIVING = 60_000;

/** A round's candidates and the picks, or null if there is no such project or round. */
export const fetchCandidates = (project, round) =>
  getJson("/lora_bootstrap/candidates", { project, round, or: "null" });

/** Save picks, also if the page goes away meanwhile. Throws a Conflict where they were changed elsewhere since its
 * revision, Refused if the server will never take them. */
export const savePicks = (body) =>
  postJson("/lora_bootstrap/candidates/picks", body, { keepalive: JSON.stringify(body).length < OUTLIVING });

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
