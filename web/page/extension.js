/** What concerns the whole page, whatever nodes are in it: the pack's events are known, its sockets have colours, what
 * few people set is folded, what is linked is labelled, the server knows that there are panels, what nodes showed in
 * their last run is there again after a reload, and what is copied from the text in a node is what a person reads there.
 */

import { foldAgain, foldInputs } from "../common/fold.js";
import { allNodes } from "../common/graph.js";
import {
  EVENTS, app, colourTables, expectEvents, language, latestTabId, listen, showNodeText, tabId, whenPaletteChanges,
  whenRendererChanges,
} from "../common/host.js";
import { callAfter, showRunAgain } from "../common/mount.js";
import { loadWords } from "../common/words.js";
import { colourSockets, styleSockets } from "./colours.js";
import { nodeOf, toShowAgain } from "./last_runs.js";
import { markLinked } from "./linked.js";
import { addPlanLine } from "./plan.js";
import { fetchLastRuns, tellPanels } from "./routes.js";
import { NodeTexts } from "./texts.js";

const OURS = "LoraBootstrap_";

/** Characters that the server adds so that no front end takes the text for markup (host/shown_text.py). */
const WITHOUT_WIDTH = /[\u200b\ufeff]/g;

let told = null;

/** Ids of the workflows whose last runs this page has shown as results. Undo opens a workflow again too, and what
 * changes the graph then takes its Redo. */
const shown = new Set();

const texts = new NodeTexts();

expectEvents(); // now: a workflow may run while this page is loaded, and `setup` comes after all extensions

app.registerExtension({
  name: "lora_bootstrap.page",
  init: () => loadWords(language()), // the host waits for it before it makes a node
  setup() {
    document.addEventListener("copy", copyPlainly);
    // the server gives a new tab its id with the first status, and a restarted one has forgotten all of them
    listen({ [EVENTS.status]: () => announce(), [EVENTS.back]: () => announce(true),
      [EVENTS.graph]: () => foldAgain(allNodes(app.graph)), [EVENTS.text]: noteText,
      [EVENTS.success]: keepTexts, [EVENTS.failed]: keepTexts, [EVENTS.cancelled]: keepTexts,
    }, new AbortController().signal);
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

const rootGraph = () => app.graph?.rootGraph ?? app.graph;

function noteText({ nodeId, text }) {
  const root = rootGraph();
  if (nodeOf(root, nodeId)?.comfyClass?.startsWith(OURS)) texts.note(root.id, nodeId, text);
}

/** Leave the texts of a run in its nodes, once the front end has taken them away. */
function keepTexts() {
  setTimeout(() => {
    if (rootGraph() !== app.graph) return; // a subgraph is open, whose nodes have the same ids
    for (const [id, text] of texts.of(rootGraph()?.id)) {
      if (!id.includes(":") && text.replace(WITHOUT_WIDTH, "")) showNodeText(id, text);
    }
  });
}

/** Show again what a workflow's nodes showed. Without an answer there is nothing to show, as before the first run. */
async function showLastRuns() {
  const workflow = rootGraph()?.id;
  const answer = workflow ? await fetchLastRuns(workflow, latestTabId()).catch(() => null) : null;
  if (!answer || rootGraph()?.id !== workflow) return;
  const isFirst = !shown.has(workflow);
  shown.add(workflow);
  for (const { id, node, text, told: output } of toShowAgain(rootGraph(), answer.nodes)) {
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
