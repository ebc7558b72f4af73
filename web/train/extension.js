/** The live panel of LoraBootstrap_TrainLora, and a view of a run on LoraBootstrap_LoadRun. */

import { findProblem } from "../common/check.js";
import { findFeeder, runName, widgetValue } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { TrainPanel } from "./panel.js";
import { presetText } from "./presets.js";
import { fetchPresets } from "./routes.js";

/** Node → the widget that names the run. */
const NAMED_BY = { LoraBootstrap_TrainLora: "name", LoraBootstrap_LoadRun: "run" };
/** Loaders whose family is known before anything runs. */
const FAMILY_OF = { LoraBootstrap_LoadSandbox: "sandbox" };
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
    idleText: () => (nameWidget === "name" ? idleText(node) : Promise.resolve("Choose a run to see its loss.")),
    resized: () => redrawNode(node),
    check: () => (nameWidget === "name" ? findProblem(node, CHECKED) : Promise.resolve("")),
    queue: nameWidget === "name" ? () => app.queuePrompt(0) : null,
  });
  addPanelWidget(node, "training", panel, WIDTH);
  followNode(node, panel, { widgets: [nameWidget, ...CHECKED] });
}

/** Whether an event belongs to the run of that name or, without a name, to this node ("1:2:3" inside subgraphs). */
function owns(node, name, event) {
  if (name !== null) return event.name === name || event.run === name;
  return String(event.node_id ?? "").split(":").pop() === String(node.id);
}

/** What the node says before the first run. */
async function idleText(node) {
  const family = FAMILY_OF[findFeeder(node, ({ name }) => name === "model")?.comfyClass] ?? null;
  const preset = presetText(await fetchPresets(), widgetValue(node, "kind"), family);
  return preset || "The loss, the previews and the time left appear here during training.";
}
