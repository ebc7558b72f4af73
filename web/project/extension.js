/** Where the project stands, on LoraBootstrap_Project. */

import { findProblem } from "../common/check.js";
import { allNodes, inputValue, isLinked, projectName, widgetValue } from "../common/graph.js";
import { app, panTo, showToast } from "../common/host.js";
import { addPanelWidget, changeGraph, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { openPanel } from "../common/open.js";
import { t } from "../common/words.js";
import { ProjectPanel } from "./panel.js";

const NODE = "LoraBootstrap_Project";
const GALLERY = "LoraBootstrap_CurateImages";
const CHECKED = ["tags", "trigger", "name", "targets", "candidates"];
const WIDTH = 460;
const TOAST_MS = 6000;

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
    check: () => (isNew() || willBeTagged(node) ? Promise.resolve("") : findProblem(node, CHECKED)),
    resized: () => redrawNode(node),
    queue: () => app.queuePrompt(0),
    gallery: (round) => galleryOf(node, round),
  });
  addPanelWidget(node, "project", panel, WIDTH);
  followNode(node, panel, { widgets: CHECKED, executed: (told) => showRun(node, panel, told) });
}

/** Whether a Run proposes the tags. */
const willBeTagged = (node) => !widgetValue(node, "tags")?.trim() && isLinked(node, "proposed");

/** The node ran: show where the project stands, or write proposed tags into the node for a person to look at. */
function showRun(node, panel, told) {
  panel.propose(told?.proposed ? told : null);
  panel.ask();
  const tags = node.widgets.find(({ name }) => name === "tags");
  if (!told?.proposed || tags.value.trim()) return;
  changeGraph(node.graph, () => {
    tags.value = told.proposed;
    tags.callback?.(told.proposed);
  });
  showToast("info", t("Look at the tags"), t("Change what is wrong in Bootstrap Project, then press Run again."),
    TOAST_MS);
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
