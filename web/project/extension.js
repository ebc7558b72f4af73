/** Where the project stands, on LoraBootstrap_Project. */

import { findProblem } from "../common/check.js";
import { projectName, widgetValue } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { ProjectPanel } from "./panel.js";

const NODE = "LoraBootstrap_Project";
const CHECKED = ["tags", "trigger", "name", "targets", "candidates"];
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.project",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "project.css"),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

function addPanel(node) {
  const isNew = () => !["tags", "trigger"].some((name) => widgetValue(node, name)); // which is no mistake yet
  const panel = new ProjectPanel({
    where: () => projectName(node),
    check: () => (isNew() ? Promise.resolve("") : findProblem(node, CHECKED)),
    resized: () => redrawNode(node),
  });
  addPanelWidget(node, "project", panel, WIDTH);
  followNode(node, panel, { widgets: CHECKED, executed: () => panel.ask() });
}
