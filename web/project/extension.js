/** Where the project stands, on LoraBootstrap_Project. */

import { projectName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, after, linkStyle, resized } from "../common/widget.js";
import { ProjectPanel } from "./panel.js";

const NODE = "LoraBootstrap_Project";
const NAMED_BY = ["name", "trigger"];
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.project",
  setup: () => linkStyle("project.css", import.meta.url),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

function addPanel(node) {
  const panel = new ProjectPanel({ name: () => projectName(node), resized: () => resized(node) });
  addPanelWidget(node, "project", panel, WIDTH);
  const look = () => panel.changed();
  after(node, "onAdded", () => panel.open());
  after(node, "onRemoved", () => panel.close());
  after(node, "onConfigure", look);
  after(node, "onConnectionsChange", look);
  after(node, "onExecuted", () => panel.ask());
  for (const named of node.widgets.filter(({ name }) => NAMED_BY.includes(name))) after(named, "callback", look);
  if (node.graph) panel.open();
}
