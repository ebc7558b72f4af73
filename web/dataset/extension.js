/** The folder of LoraBootstrap_LoadDataset: what is in it, and images of one's own by drop, choice and paste. The sheet
 * of LoraBootstrap_PreviewDataset after a reload. */

import { findProblem } from "../common/check.js";
import { inputValue, isLinked, valueWidgets } from "../common/graph.js";
import { addLoadImage, app, hasImage, showOutput, showToast } from "../common/host.js";
import {
  addPanelWidget, callAfter, changeGraph, followNode, linkStyles, redrawNode, rememberOnNode,
} from "../common/mount.js";
import { t } from "../common/words.js";
import { asFiles } from "./dropped.js";
import { FolderPanel } from "./panel.js";
import { PROPERTY, showSheets } from "./preview.js";

const NODE = "LoraBootstrap_LoadDataset";
const PREVIEW = "LoraBootstrap_PreviewDataset";
const SHOWN_BY = ["folder", "recursive"];
/** The folder itself is looked into; these are checked by the node. */
const CHECKED = ["background", "controls"];
const WIDTH = 400;
const OTHERWISE = "pictures";
const TOAST_MS = 10000;

const panels = new WeakMap();

app.registerExtension({
  name: "lora_bootstrap.dataset",
  setup() {
    linkStyles(import.meta.url, "../common/base.css", "dataset.css");
    document.addEventListener("paste", takePaste, { capture: true }); // before the host makes a Load Image of it
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
    if (node.comfyClass === PREVIEW) rememberSheet(node);
  },
  afterConfigureGraph() {
    const graph = app.graph?.rootGraph ?? app.graph;
    const nodes = graph?.nodes ?? graph?._nodes ?? []; // the latter in older front ends
    showSheets(nodes.filter(({ comfyClass }) => comfyClass === PREVIEW), hasImage, isPlaced, showOutput);
  },
});

const isPlaced = (node) => (app.graph?.rootGraph ?? app.graph)?.getNodeById(node.id) === node;

/** Remember the sheet of each run on the node. */
function rememberSheet(node) {
  callAfter(node, "onExecuted", (output) => {
    const [image] = output?.images ?? [];
    if (!image) return;
    const { filename, subfolder, type } = image;
    rememberOnNode(node, PROPERTY, { filename, subfolder, type });
  });
}

function addPanel(node) {
  const panel = new FolderPanel({
    folder: () => shownFolder(node),
    choose: (folder) => setFolder(node, folder),
    wanted: () => String(inputValue(node, "trigger") ?? "").trim() || OTHERWISE,
    toGraph: (place) => addLoadImage(place, node),
    tell: ({ text, wrong }) => showToast(wrong ? "warn" : "info", t("Load Dataset: images of your own"),
      [text, wrong].filter(Boolean).join("\n"), TOAST_MS),
    check: () => findProblem(node, CHECKED),
    resized: () => redrawNode(node),
  });
  panels.set(node, panel);
  addPanelWidget(node, "folder_panel", panel, WIDTH);
  followNode(node, panel, { widgets: [...SHOWN_BY, ...CHECKED], executed: () => panel.ask() });
  // the host's own callbacks of a node that takes files, in both of its renderers
  node.onDragOver = (event) => panel.accepts(event);
  node.onDragDrop = (event) => panel.drop(event);
  node.pasteFiles = (files) => panel.take(asFiles(files));
}

/** What the node's widgets say; null if the folder comes over a link. */
function shownFolder(node) {
  const [widget] = valueWidgets(node, "folder");
  if (!widget) return null;
  const recursive = isLinked(node, "recursive") || inputValue(node, "recursive") !== false;
  return { folder: String(widget.value ?? ""), recursive };
}

function setFolder(node, folder) {
  changeGraph(node.graph, () => {
    for (const widget of valueWidgets(node, "folder")) {
      widget.value = folder;
      widget.callback?.(folder);
    }
  });
  redrawNode(node);
}

/** Images from the clipboard go into the node that alone is selected. All else is the host's. */
function takePaste(event) {
  const [node, ...others] = Object.values(app.canvas?.selected_nodes ?? {});
  const panel = others.length ? null : panels.get(node);
  const images = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
  if (!panel || !images.length || isTextField(event.target)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  panel.take(asFiles(images));
}

const isTextField = (target) =>
  target?.matches?.("textarea, input[type='text'], input[type='search'], [contenteditable]");
