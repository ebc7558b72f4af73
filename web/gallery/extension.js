/** The gallery on LoraBootstrap_CurateImages: the candidates of its round, as they are on disk. */

import { inputValue, projectName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, after, linkStyle, resized } from "../common/widget.js";
import { GalleryPanel } from "./panel.js";

const NODE = "LoraBootstrap_CurateImages";
/** The node's property that names project and round, for where the graph alone does not tell. */
const PROPERTY = "gallery";
const SHOWN_BY = ["round", "mode", "keep"];
const TOAST_MS = 6000;
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.gallery",
  setup: () => linkStyle("gallery.css", import.meta.url),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addGallery(node);
  },
});

function addGallery(node) {
  const panel = new GalleryPanel({
    where: () => where(node),
    mode: () => inputValue(node, "mode") ?? "manual",
    keep: () => Number(inputValue(node, "keep")) || 0,
    resized: () => resized(node),
    queue: () => app.queuePrompt(0),
  });
  const widget = addPanelWidget(node, "gallery", panel, WIDTH);
  widget.beforeQueued = () => panel.leave(); // so that the run uses what was just picked
  follow(node, panel);
}

/** Tie the gallery's life to the node's, and look again when it may be about another round. */
function follow(node, panel) {
  const look = () => panel.changed();
  after(node, "onAdded", () => panel.open());
  after(node, "onRemoved", () => panel.close());
  after(node, "onConfigure", look);
  after(node, "onConnectionsChange", look);
  after(node, "onExecuted", (output) => executed(node, panel, output));
  for (const widget of node.widgets.filter(({ name }) => SHOWN_BY.includes(name))) after(widget, "callback", look);
  if (node.graph) panel.open();
}

/** Which round to show: what the graph says, or else what the last run said. */
function where(node) {
  const told = node.properties?.[PROPERTY];
  return {
    project: projectName(node) ?? told?.project ?? null,
    round: Number(inputValue(node, "round") ?? told?.round) || 1,
  };
}

/** The node ran: remember its round, show what became of it, and say if it waits for picks. */
function executed(node, panel, output) {
  const told = output?.lora_bootstrap?.[0];
  if (!told?.project) return;
  remember(node, { project: told.project, round: told.round });
  panel.executed();
  if (!told.held) return;
  app.extensionManager?.toast?.add({ severity: "info", summary: told.message, life: TOAST_MS });
}

function remember(node, { project, round }) {
  const known = node.properties[PROPERTY];
  if (known?.project === project && known.round === round) return;
  node.graph?.beforeChange(); // so that the host keeps it over a reload of the page
  node.properties[PROPERTY] = { project, round };
  node.graph?.afterChange();
}
