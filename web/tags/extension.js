/** The tag editor on LoraBootstrap_EditTags: the images of the dataset that it last ran on, with their captions. */

import { findProblem } from "../common/check.js";
import { addLoadImage, app, showToast } from "../common/host.js";
import { addPanelWidget, callAfter, followNode, linkStyles, redrawNode, rememberOnNode, saveBeforeRun } from
  "../common/mount.js";
import { t } from "../common/words.js";
import { Naming, PROPERTY, recallDataset, workflowOf } from "./naming.js";
import { TagPanel } from "./panel.js";

const NODE = "LoraBootstrap_EditTags";
const CHECKED = ["replace", "patterns", "alias_file", "implication_file", "edits"];
const WIDTH = 460;
const TOAST_MS = 10000;

const panels = new WeakMap();
const naming = new Naming((node, from, to) => panels.get(node)?.takeAlong(from, to, recallDataset(node)));

app.registerExtension({
  name: "lora_bootstrap.tag_editor",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "tags.css"),
  beforeConfigureGraph: () => naming.begin(),
  afterConfigureGraph: () => naming.end(),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addEditor(node);
  },
});

function addEditor(node) {
  const panel = new TagPanel({
    recall: () => recallDataset(node),
    check: () => findProblem(node, CHECKED),
    toGraph: (place) => addLoadImage(place, node),
    resized: () => redrawNode(node),
  });
  panels.set(node, panel);
  const widget = addPanelWidget(node, "tag_editor", panel, WIDTH);
  widget.beforeQueued = () => naming.ensure(node);
  saveBeforeRun(node.widgets.find(({ name }) => name === "edits"), () => panel.saveForRun(), (reason) =>
    showToast("error", t("Not queued, because the last captions are not saved"), reason, TOAST_MS));
  naming.ensure(node);
  callAfter(node, "onAdded", () => naming.place(node));
  callAfter(node, "onRemoved", () => naming.remove(node));
  followNode(node, panel, {
    widgets: CHECKED,
    configured: () => showAgain(node, panel),
    executed: (told) => showRun(node, panel, told),
  });
}

/** The node was placed with its values: show the dataset that it had run on when it was saved. */
function showAgain(node, panel) {
  naming.configure(node);
  const { id, revision } = recallDataset(node) ?? {};
  if (id && !naming.isCopy(node)) panel.load(id, revision);
}

/** The node ran: remember and show its dataset. */
function showRun(node, panel, told) {
  if (!told?.dataset) return;
  const { id, revision } = node.properties?.[PROPERTY] ?? {};
  if (id === told.dataset && revision > told.revision) {
    showToast("warn", t("Edit Tags: the changes by hand are not on this server"),
      t("They are saved as {name} in user/lora_bootstrap/edits of the server where they were made.",
        { name: told.dataset.split("~")[0] }), TOAST_MS);
  }
  rememberOnNode(node, PROPERTY, { id: told.dataset, revision: told.revision, of: workflowOf(node) });
  panel.load(told.dataset, told.revision);
}
