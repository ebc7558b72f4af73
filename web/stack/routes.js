/** The routes that the list in LoRA Stack asks. */

import { api } from "../../../scripts/api.js";

async function answer(response) {
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error ?? `the server answered ${response.status}.`);
  return body;
}

/** What the lines of a text name, and the advice. Throws an Error with the server's own words where it refuses. */
export async function askStack(entries) {
  return answer(await api.fetchApi("/lora_bootstrap/stack", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ entries }),
  }));
}

/** The LoRAs that the host's loaders list. */
export async function fetchNames() {
  return answer(await api.fetchApi("/models/loras", { cache: "no-store" }));
}

/** Call `back()` after a lost server came back, until aborted. */
export function onReconnect(back, signal) {
  api.addEventListener("reconnected", back, { signal });
}
