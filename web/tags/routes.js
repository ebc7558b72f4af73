/** The routes of the tag editor. */

import { api } from "../../../scripts/api.js";
import { Conflict, Missing } from "./store.js";

/** By the status of an answer: the error that it is. */
const KINDS = { 404: Missing, 409: Conflict };

async function answer(response) {
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  const Kind = KINDS[response.status] ?? Error;
  throw new Kind(body?.error ?? `the server answered ${response.status}.`);
}

/** A dataset with the captions of its pictures. Throws an Error with the server's own words where it refuses. */
export async function fetchDataset(id) {
  return answer(await api.fetchApi(`/lora_bootstrap/dataset?${new URLSearchParams({ id })}`, { cache: "no-store" }));
}

/** Save captions. Throws a Conflict where they were changed elsewhere since `revision`. */
export async function saveCaptions(body, leaving) {
  return answer(await api.fetchApi("/lora_bootstrap/dataset/captions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    keepalive: leaving,
  }));
}

/** The address of a picture's thumbnail, as the host serves it. */
export const thumbUrl = (picture) => api.apiURL(picture.thumb);

/** Call `back()` after a lost server came back, until aborted. */
export function onReconnect(back, signal) {
  api.addEventListener("reconnected", back, { signal });
}
