/** The tag editor on LoraBootstrap_EditTags: the pictures of the dataset that it last ran on, with their captions. */

import { app } from "../common/host.js";
import { addPanelWidget, after, linkStyle, resized } from "../common/widget.js";
import { TagPanel } from "./panel.js";

const NODE = "LoraBootstrap_EditTags";
/** The node's property that names the dataset, so that a graph shows its captions again as soon as it is opened. */
const PROPERTY = "tag_editor";
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.tag_editor",
  setup: () => linkStyle("tags.css", import.meta.url),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addEditor(node);
  },
});

function addEditor(node) {
  const panel = new TagPanel(() => resized(node));
  const widget = addPanelWidget(node, "tag_editor", panel, WIDTH);
  widget.beforeQueued = () => panel.leave(); // so that the run uses what was just typed
  after(node, "onAdded", () => panel.open());
  after(node, "onRemoved", () => panel.close());
  after(node, "onConfigure", () => recall(node, panel));
  after(node, "onExecuted", (output) => executed(node, panel, output));
  if (node.graph) panel.open();
}

/** The graph was opened: show the dataset that the node ran on when it was saved. */
function recall(node, panel) {
  const { id, revision } = node.properties?.[PROPERTY] ?? {};
  if (id) panel.load(id, revision);
}

/** The node ran: remember and show its dataset. */
function executed(node, panel, output) {
  const told = output?.lora_bootstrap?.[0];
  if (!told?.dataset) return;
  remember(node, { id: told.dataset, revision: told.revision });
  panel.load(told.dataset, told.revision);
}

function remember(node, { id, revision }) {
  const { id: knownId, revision: known } = node.properties[PROPERTY] ?? {};
  if (knownId === id && known === revision) return;
  node.graph?.beforeChange(); // so that the host keeps it over a reload of the page
  node.properties[PROPERTY] = { id, revision };
  node.graph?.afterChange();
}
