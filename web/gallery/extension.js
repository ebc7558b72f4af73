/** The gallery on LoraBootstrap_CurateImages: the candidates of its round, read from disk. */

import { inputValue, projectName } from "../common/graph.js";
import { app, putIntoNode, queueNode, showToast } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode, rememberOnNode, saveBeforeRun } from
  "../common/mount.js";
import { offerOpening } from "../common/open.js";
import { t } from "../common/words.js";
import { readDrawing } from "./drawing.js";
import { GalleryPanel } from "./panel.js";

const NODE = "LoraBootstrap_CurateImages";
const LOADER = "LoraBootstrap_LoadCandidate";
/** The node's property that names project and round, for when the workflow alone does not. */
const PROPERTY = "gallery";
const SHOWN_BY = ["round", "mode", "keep"];
const TOAST_MS = 6000;
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.gallery",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "gallery.css"),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addGallery(node);
  },
});

function addGallery(node) {
  const panel = new GalleryPanel({
    where: () => findRound(node),
    mode: () => inputValue(node, "mode") ?? "manual",
    keep: () => Number(inputValue(node, "keep")) || 0,
    resized: () => redrawNode(node),
    queue: () => app.queuePrompt(0),
    draw: () => queueNode(node),
    drawing: () => readDrawing(node),
    sendToWorkflow: (place) => sendCandidate(node, place),
  });
  addPanelWidget(node, "gallery", panel, WIDTH);
  offerOpening(node, () => panel.large.isOpen || panel.large.toggle());
  saveBeforeRun(node.widgets.find(({ name }) => name === "mode"), () => panel.saveForRun(), (reason) =>
    showToast("error", t("Not queued, because the last picks are not saved"), reason, TOAST_MS));
  followNode(node, panel, { widgets: SHOWN_BY, executed: (told) => showRun(node, panel, told) });
}

/** Put a candidate into Load Candidate, to be repaired by what is linked to it. */
function sendCandidate(node, place) {
  const added = putIntoNode(LOADER, "candidate", place, node);
  const next = added ? t("Link it to your nodes, and their image to Save Repaired Candidate.")
    : t("Press Run to repair it.");
  showToast("info", t("{place} is in Load Candidate", { place }), next, TOAST_MS);
}

/** Which round to show: according to the workflow, or else to the last run. */
function findRound(node) {
  const told = node.properties?.[PROPERTY];
  return {
    project: projectName(node) ?? told?.project ?? null,
    round: Number(inputValue(node, "round") ?? told?.round) || 1,
  };
}

/** The node ran: remember its round, refresh, and say so if it waits for picks. */
function showRun(node, panel, told) {
  if (!told?.project) return;
  rememberOnNode(node, PROPERTY, { project: told.project, round: told.round });
  panel.showResult();
  if (!told.held) return;
  showToast("info", told.message, undefined, TOAST_MS);
}
