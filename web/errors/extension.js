/** Shows why a node of the pack refused its values or failed, in the node's own words. The host's own message names only
 * the node and its inputs; the reason is two clicks away. */

import { EVENTS, app, listen, refusedNodes, showToast, titleOf } from "../common/host.js";
import { isOurs, reasonsOf } from "./reasons.js";

const TOAST_MS = 15000;
/** How often, and how long at most, to look whether the server has refused a prompt: there is no event for that. */
const LOOK_MS = 200;
const LOOKS = 150;

let watching = null;
let told = null;

app.registerExtension({
  name: "lora_bootstrap.errors",
  setup: () => listen({
    [EVENTS.failed]: showFailure, [EVENTS.queueing]: () => watch(LOOKS), [EVENTS.queued]: () => watch(1),
  }, new AbortController().signal),
});

/** Look until something was refused. */
function watch(looks) {
  clearTimeout(watching);
  if (!showRefused() && looks > 0) watching = setTimeout(() => watch(looks - 1), LOOK_MS);
}

/** @returns {boolean} whether there was something new to show */
function showRefused() {
  const refused = refusedNodes();
  if (!refused || refused === told) return false;
  told = refused;
  for (const { kind, text } of reasonsOf(refused)) showToast("error", titleOf(kind), text, TOAST_MS);
  return true;
}

function showFailure({ node_type: kind, exception_message: text }) {
  if (isOurs(kind) && refusedNodes() !== undefined) showToast("error", titleOf(kind), text, TOAST_MS);
}
