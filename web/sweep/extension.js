/** The panel of sweeps on the nodes that make or score them, and the viewer that it opens. */

import { feeding, inputValue } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, after, linkStyle, resized } from "../common/widget.js";
import { isToldOf, sweepName, toRemember } from "./node.js";
import { SweepPanel } from "./panel.js";
import { openSweepViewer } from "./viewer.js";

const RECOMMENDS = "LoraBootstrap_ScoreSweep";
const NODES = ["LoraBootstrap_StrengthGrid", "LoraBootstrap_CheckpointSweep", "LoraBootstrap_ComposeGrid",
  "LoraBootstrap_RefineStrengths", RECOMMENDS];
/** The node's property that names its sweep, for where the graph alone does not tell. */
const PROPERTY = "sweep";
const NAMED_BY = ["name"];
const WIDTH = 360;

const ACTIONS = {
  loadWorkflow: (file) => app.handleFile(file),
  refreshed: () => app.refreshComboInNodes?.(),
};

app.registerExtension({
  name: "lora_bootstrap.sweep",
  setup: () => linkStyle("sweep.css", import.meta.url),
  nodeCreated(node) {
    if (NODES.includes(node.comfyClass)) addPanel(node);
  },
});

function addPanel(node) {
  const panel = new SweepPanel({
    where: () => sweepName(node, { inputValue, feeding }),
    own: (told) => isToldOf(node, told) && remember(node, told.name),
    recommends: node.comfyClass === RECOMMENDS,
    resized: () => resized(node),
    view: (name) => openSweepViewer(name, ACTIONS),
  });
  addPanelWidget(node, "sweep_panel", panel, WIDTH);
  const look = () => panel.changed();
  after(node, "onAdded", () => panel.open());
  after(node, "onRemoved", () => panel.close());
  after(node, "onConfigure", look);
  after(node, "onConnectionsChange", look);
  after(node, "onExecuted", (output) => executed(node, panel, output));
  for (const named of node.widgets.filter(({ name }) => NAMED_BY.includes(name))) after(named, "callback", look);
  if (node.graph) panel.open();
}

/** The node ran: remember its sweep, and show what became of it. */
function executed(node, panel, output) {
  const told = output?.lora_bootstrap?.[0];
  if (told?.sweep) remember(node, told.sweep);
  panel.executed();
}

/** Keep a sweep's name with the node. @returns {boolean} true */
function remember(node, name) {
  const kept = toRemember(node, name, inputValue);
  const known = node.properties[PROPERTY];
  if (known?.name === kept.name && known.of === kept.of) return true;
  node.graph?.beforeChange(); // so that the host keeps it over a reload of the page
  node.properties[PROPERTY] = kept;
  node.graph?.afterChange();
  return true;
}
