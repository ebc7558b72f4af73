/** The routes of the gallery, and what the browser stores for it. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";
import { unpackRound } from "./packed.js";

/** Most bytes of a request that outlives its page; browsers refuse larger ones. */
const OUTLIVING = 60_000;

/** A round's candidates and picks, or null if there is no such project or round. */
export const fetchCandidates = async (project, round) =>
  unpackRound(await getJson("/lora_bootstrap/candidates", { project, round, or: "null", packed: "1" }));

/** Save picks, even if the page is closed meanwhile. Throws a Conflict if they were changed elsewhere since its
 * revision, Refused if the server will never accept them. */
export const savePicks = (body) =>
  postJson("/lora_bootstrap/candidates/picks", body, { keepalive: JSON.stringify(body).length < OUTLIVING });

/** Save what is to be drawn again, or take it back. @returns {Promise<{again: object[]}>} what waits then */
export const saveWishes = (body) => postJson("/lora_bootstrap/candidates/again", body);

const shelfOf = (project, round) => `lora_bootstrap.gallery.${project}.${round}`;

/** Stores in the browser what a closing page had no time to save, the latest for each round. */
export const shelf = {
  /** Store it; null if everything is saved. */
  put(project, round, kept) {
    if (kept) localStorage.setItem(shelfOf(project, round), JSON.stringify(kept));
    else localStorage.removeItem(shelfOf(project, round));
  },
  /** Take out what is stored, or null. */
  take(project, round) {
    const kept = localStorage.getItem(shelfOf(project, round));
    localStorage.removeItem(shelfOf(project, round));
    return kept && JSON.parse(kept);
  },
};
