/** The live panel of LoraBootstrap_TrainLora and LoraBootstrap_FineTune, and a view of a run on LoraBootstrap_LoadRun. */

import { findProblem } from "../common/check.js";
import { runName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { fetchPlan } from "../common/plan.js";
import { t, word } from "../common/words.js";
import { TrainPanel } from "./panel.js";

/** Node → the widget that names the run. */
const NAMED_BY = { LoraBootstrap_TrainLora: "name", LoraBootstrap_FineTune: "name", LoraBootstrap_LoadRun: "run" };
/** Widget that names the run → what the node says before the first one. */
const IDLE = {
  name: word("The loss, the previews and the time left appear here during training."),
  run: word("Choose a run to see its loss."),
};
const CHECKED = ["name", "trigger", "kind", "steps", "epochs"];
const WIDTH = 400;

app.registerExtension({
  name: "lora_bootstrap.train",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "train.css"),
  nodeCreated(node) {
    const widget = NAMED_BY[node.comfyClass];
    if (widget) addPanel(node, widget);
  },
});

function addPanel(node, nameWidget) {
  const panel = new TrainPanel({
    where: () => runName(node, nameWidget),
    owns: (event) => owns(node, runName(node, nameWidget), event),
    plan: nameWidget === "name" ? () => fetchPlan(node) : null,
    idleText: t(IDLE[nameWidget]),
    resized: () => redrawNode(node),
    check: () => (nameWidget === "name" ? findProblem(node, CHECKED) : Promise.resolve("")),
    queue: nameWidget === "name" ? () => app.queuePrompt(0) : null,
  });
  addPanelWidget(node, "training", panel, WIDTH);
  followNode(node, panel, { widgets: node.widgets.map(({ name }) => name) });
}

/** Whether an event belongs to the run of that name or, without a name, to this node ("1:2:3" inside subgraphs). */
function owns(node, name, event) {
  if (name !== null) return event.name === name || event.run === name;
  return String(event.node_id ?? "").split(":").pop() === String(node.id);
}
