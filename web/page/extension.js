/** What concerns the whole page, whatever nodes are in it: the pack's events are known, what few people set is folded,
 * and what is copied from the text in a node is what a person reads there. */

import { foldAgain, foldInputs } from "../common/fold.js";
import { app, expectEvents, shownNodes, whenRendererChanges } from "../common/host.js";
import { callAfter } from "../common/mount.js";

const OURS = "LoraBootstrap_";

/** Characters that the server adds so that no front end takes the text for markup (host/shown_text.py). */
const WITHOUT_WIDTH = /[\u200b\ufeff]/g;

app.registerExtension({
  name: "lora_bootstrap.page",
  setup() {
    expectEvents();
    document.addEventListener("copy", copyPlainly);
    whenRendererChanges(() => foldAgain(shownNodes()));
  },
  nodeCreated(node) {
    if (node.comfyClass?.startsWith(OURS)) foldNode(node);
  },
  loadedGraphNode(node) {
    if (node.comfyClass?.startsWith(OURS)) foldInputs(node)?.restoreHeight();
  },
});

/** Fold the node's advanced inputs now and whenever a link or an opened workflow may show one of them. */
function foldNode(node) {
  const fold = foldInputs(node);
  if (!fold) return;
  callAfter(node, "onConfigure", (saved) => fold.configure(saved));
  callAfter(node, "onConnectionsChange", () => fold.apply());
}

function copyPlainly(event) {
  const selected = String(getSelection());
  const plain = selected.replace(WITHOUT_WIDTH, "");
  if (plain === selected) return;
  event.clipboardData.setData("text/plain", plain);
  event.preventDefault();
}
