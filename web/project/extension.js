/** Where the project stands, on LoraBootstrap_Project. */

import { projectName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { ProjectPanel } from "./panel.js";

const NODE = "LoraBootstrap_Project";
const NAMED_BY = ["name", "trigger"];
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.project",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "project.css"),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

function addPanel(node) {
  const panel = new ProjectPanel({ where: () => projectName(node), resized: () => redrawNode(node) });
  addPanelWidget(node, "project", panel, WIDTH);
  followNode(node, panel, { widgets: NAMED_BY, executed: () => panel.ask() });
}
