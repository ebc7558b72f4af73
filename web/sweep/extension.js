/** The panel of sweeps on the nodes that make or score them, and the viewer that it opens. */

import { findProblem } from "../common/check.js";
import { findFeeder, inputValue, linkedRunName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode, rememberOnNode } from "../common/mount.js";
import { fetchPlan } from "../common/plan.js";
import { isToldOf, sidesOf, sweepName, toRemember } from "./node.js";
import { SweepPanel } from "./panel.js";
import { openSweepViewer } from "./viewer.js";

const RECOMMENDS = "LoraBootstrap_ScoreSweep";
const NODES = ["LoraBootstrap_StrengthGrid", "LoraBootstrap_CheckpointSweep", "LoraBootstrap_ComposeGrid",
  "LoraBootstrap_RefineStrengths", RECOMMENDS];
/** Those that draw by themselves. */
const DRAWS = ["LoraBootstrap_StrengthGrid", "LoraBootstrap_CheckpointSweep", "LoraBootstrap_RefineStrengths"];
/** The node's property that names its sweep, for when the workflow alone does not. */
const PROPERTY = "sweep";
const CHECKED = ["strengths", "seeds", "files", "bases", "character_strengths", "style_strengths"];
const WIDTH = 360;

const ACTIONS = {
  loadWorkflow: (file) => app.handleFile(file),
  refreshed: () => app.refreshComboInNodes?.(),
};

app.registerExtension({
  name: "lora_bootstrap.sweep",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "sweep.css"),
  nodeCreated(node) {
    if (NODES.includes(node.comfyClass)) addPanel(node);
  },
});

function addPanel(node) {
  const panel = new SweepPanel({
    where: () => sweepName(node, { inputValue, findFeeder, linkedRunName }),
    own: (told) => {
      const own = isToldOf(node, told);
      if (own) rememberSweep(node, told.name);
      return own;
    },
    plan: DRAWS.includes(node.comfyClass) ? () => fetchPlan(node) : null,
    recommends: node.comfyClass === RECOMMENDS,
    check: () => findProblem(node, CHECKED),
    resized: () => redrawNode(node),
    view: (name) => openSweepViewer(name, ACTIONS, sidesOf(node, { inputValue, findFeeder })),
  });
  addPanelWidget(node, "sweep_panel", panel, WIDTH);
  followNode(node, panel, { widgets: node.widgets.map(({ name }) => name), executed: (told) => showRun(node, panel, told) });
}

/** The node ran: remember its sweep, and refresh. */
function showRun(node, panel, told) {
  if (told?.sweep) rememberSweep(node, told.sweep);
  panel.showResult();
}

const rememberSweep = (node, name) => rememberOnNode(node, PROPERTY, toRemember(node, name, inputValue));
