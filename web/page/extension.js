/** What concerns the whole page, whatever nodes are in it: the pack's events are known, its sockets have colours, what
 * few people set is folded, what is linked is labelled, the server knows that there are panels, what nodes showed in
 * their last run is there again after a reload, and what is copied from the text in a node is what a person reads there.
 */

import { foldAgain, foldInputs } from "../common/fold.js";
import {
  EVENTS, app, colourTables, expectEvents, latestTabId, listen, showNodeText, shownNodes, tabId,
  whenPaletteChanges, whenRendererChanges,
} from "../common/host.js";
import { callAfter } from "../common/mount.js";
import { colourSockets, styleSockets } from "./colours.js";
import { toShowAgain } from "./last_runs.js";
import { markLinked } from "./linked.js";
import { addPlanLine } from "./plan.js";
import { fetchLastRuns, tellPanels } from "./routes.js";

const OURS = "LoraBootstrap_";

/** Characters that the server adds so that no front end takes the text for markup (host/shown_text.py). */
const WITHOUT_WIDTH = /[\u200b\ufeff]/g;

let told = null;

app.registerExtension({
  name: "lora_bootstrap.page",
  setup() {
    expectEvents();
    document.addEventListener("copy", copyPlainly);
    // the server gives a new tab its id with the first status, and a restarted one has forgotten all of them
    listen({ [EVENTS.status]: () => announce(), [EVENTS.back]: () => announce(true) }, new AbortController().signal);
    announce();
    whenRendererChanges(() => foldAgain(shownNodes()));
    styleSockets();
    whenPaletteChanges(() => colourSockets(...colourTables()));
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(OURS)) return;
    colourSockets(...colourTables()); // the first palette is read later than `setup`
    foldNode(node);
    addPlanLine(node);
    for (const change of ["onConfigure", "onConnectionsChange"]) callAfter(node, change, () => markLinked(node));
  },
  loadedGraphNode(node) {
    if (node.comfyClass?.startsWith(OURS)) foldInputs(node)?.restoreHeight();
  },
  afterConfigureGraph: showLastRuns,
});

function announce(again = false) {
  const tab = tabId();
  if (!tab || (tab === told && !again)) return;
  told = tab;
  tellPanels(tab).catch(() => {
    told = null; // the next status tries again
  });
}

/** Show again what a workflow's nodes showed. Without an answer there is nothing to show, as before the first run. */
async function showLastRuns() {
  const graph = app.graph?.rootGraph ?? app.graph;
  const workflow = graph?.id;
  const answer = workflow ? await fetchLastRuns(workflow, latestTabId()).catch(() => null) : null;
  if (!answer || (app.graph?.rootGraph ?? app.graph)?.id !== workflow) return;
  for (const { id, node, text, told: output } of toShowAgain(graph, answer.nodes)) {
    if (text) showNodeText(id, text);
    if (output) node.onExecuted?.({ lora_bootstrap: [output] });
  }
}

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
