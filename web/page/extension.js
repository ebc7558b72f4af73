/** What concerns the whole page, whatever nodes are in it: the pack's events are known, its sockets have colours, what
 * few people set is folded, what is linked is labelled, the server knows that there are panels, what nodes showed in
 * their last run is there again after a reload, and what is copied from the text in a node is what a person reads there.
 */

import { foldAgain, foldInputs } from "../common/fold.js";
import { allNodes } from "../common/graph.js";
import {
  EVENTS, app, colourTables, expectEvents, latestTabId, listen, showNodeText, tabId, whenPaletteChanges,
  whenRendererChanges,
} from "../common/host.js";
import { callAfter, showRunAgain } from "../common/mount.js";
import { colourSockets, styleSockets } from "./colours.js";
import { toShowAgain } from "./last_runs.js";
import { markLinked } from "./linked.js";
import { addPlanLine } from "./plan.js";
import { fetchLastRuns, tellPanels } from "./routes.js";

const OURS = "LoraBootstrap_";

/** Characters that the server adds so that no front end takes the text for markup (host/shown_text.py). */
const WITHOUT_WIDTH = /[\u200b\ufeff]/g;

let told = null;

/** Ids of the workflows whose last runs this page has shown as results. Undo opens a workflow again too, and what
 * changes the graph then takes its Redo. */
const shown = new Set();

app.registerExtension({
  name: "lora_bootstrap.page",
  setup() {
    expectEvents();
    document.addEventListener("copy", copyPlainly);
    // the server gives a new tab its id with the first status, and a restarted one has forgotten all of them
    listen({ [EVENTS.status]: () => announce(), [EVENTS.back]: () => announce(true),
      [EVENTS.graph]: () => foldAgain(allNodes(app.graph)) }, new AbortController().signal);
    announce();
    whenRendererChanges(() => foldAgain(allNodes(app.graph)));
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
  afterConfigureGraph() {
    foldAgain(allNodes(app.graph)); // what a subgraph's node shows is known only now
    void showLastRuns(); // the host waits for a promise before it knows which workflow is open
  },
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
  const root = () => app.graph?.rootGraph ?? app.graph;
  const workflow = root()?.id;
  const answer = workflow ? await fetchLastRuns(workflow, latestTabId()).catch(() => null) : null;
  if (!answer || root()?.id !== workflow) return;
  const isFirst = !shown.has(workflow);
  shown.add(workflow);
  for (const { id, node, text, told: output } of toShowAgain(root(), answer.nodes)) {
    if (text) showNodeText(id, text);
    if (output && isFirst) showRunAgain(node, output);
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
