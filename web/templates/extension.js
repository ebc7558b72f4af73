/** Opens the pack's templates where they can be read. The front end fits a template into the window as a whole, at a
 * zoom at which text is too small, or is not drawn at all. */

import { app, restoresViews } from "../common/host.js";
import { READABLE, chooseView, clearArea, isNote, isTemplate, nodeBox } from "./view.js";

/** What the front end lays over the canvas. */
const COVERS = ".workflow-tabs-container, .actionbar-container, .side-tool-bar-container, .side-bar-panel";

let opening = false;

app.registerExtension({
  name: "lora_bootstrap.templates",
  beforeConfigureGraph(saved) {
    opening = isTemplate(saved) && restoresViews();
  },
  afterConfigureGraph() {
    if (opening) showReadably(app.canvas);
    opening = false;
  },
});

function showReadably(canvas) {
  const { nodes, groups } = canvas.graph;
  const note = nodes.find(isNote);
  if (!note || canvas.ds.scale >= READABLE) return;
  const { scale, offset } = chooseView(
    { note: nodeBox(note), groups: groups.map(({ pos, size }) => [...pos, ...size]), nodes: nodes.map(nodeBox) },
    uncovered(canvas.canvas));
  canvas.ds.scale = scale;
  canvas.ds.offset[0] = offset[0];
  canvas.ds.offset[1] = offset[1];
  canvas.setDirty(true, true);
}

/** The part of the canvas over which nothing lies, in pixels from its corner. */
function uncovered(element) {
  const own = boxOf(element);
  const [x, y, ...size] = clearArea(own, [...document.querySelectorAll(COVERS)].map(boxOf));
  return [x - own[0], y - own[1], ...size];
}

function boxOf(element) {
  const { x, y, width, height } = element.getBoundingClientRect();
  return [x, y, width, height];
}
