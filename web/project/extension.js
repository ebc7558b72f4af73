/** Where the project stands, on LoraBootstrap_Project. */

import { findProblem } from "../common/check.js";
import { allNodes, inputValue, projectName, widgetValue } from "../common/graph.js";
import { app, panTo } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { openPanel } from "../common/open.js";
import { ProjectPanel } from "./panel.js";

const NODE = "LoraBootstrap_Project";
const GALLERY = "LoraBootstrap_CurateImages";
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
  const isNew = () => !["tags", "trigger"].some((name) => widgetValue(node, name)); // which is not a mistake yet
  const panel = new ProjectPanel({
    where: () => projectName(node),
    check: () => (isNew() ? Promise.resolve("") : findProblem(node, CHECKED)),
    resized: () => redrawNode(node),
    queue: () => app.queuePrompt(0),
    gallery: (round) => galleryOf(node, round),
  });
  addPanelWidget(node, "project", panel, WIDTH);
  followNode(node, panel, { widgets: CHECKED, executed: () => panel.ask() });
}

/** A function that goes to the gallery of a round of the node's project and opens it, or null if there is none. */
function galleryOf(node, round) {
  const [name, isOf] = [projectName(node), (other) => Number(inputValue(other, "round") ?? 1) === round];
  const found = allNodes(node.graph).find((other) =>
    other.comfyClass === GALLERY && isOf(other) && name !== null && projectName(other) === name);
  if (!found) return null;
  return () => {
    panTo(found);
    openPanel(found);
  };
}
