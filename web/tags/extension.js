/** The tag editor on LoraBootstrap_EditTags: the images of the dataset that it last ran on, with their captions. */

import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode, rememberOnNode } from "../common/mount.js";
import { TagPanel } from "./panel.js";

const NODE = "LoraBootstrap_EditTags";
/** The node's property that names the dataset, so that a workflow shows its captions as soon as it is opened. */
const PROPERTY = "tag_editor";
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.tag_editor",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "tags.css"),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addEditor(node);
  },
});

function addEditor(node) {
  const panel = new TagPanel({ resized: () => redrawNode(node) });
  const widget = addPanelWidget(node, "tag_editor", panel, WIDTH);
  widget.beforeQueued = () => panel.leave(); // so that the run uses what was just typed
  followNode(node, panel, {
    configured: () => recallDataset(node, panel),
    executed: (told) => showRun(node, panel, told),
  });
}

/** The workflow was opened: show the dataset that the node had run on when it was saved. */
function recallDataset(node, panel) {
  const { id, revision } = node.properties?.[PROPERTY] ?? {};
  if (id) panel.load(id, revision);
}

/** The node ran: remember and show its dataset. */
function showRun(node, panel, told) {
  if (!told?.dataset) return;
  rememberOnNode(node, PROPERTY, { id: told.dataset, revision: told.revision });
  panel.load(told.dataset, told.revision);
}
