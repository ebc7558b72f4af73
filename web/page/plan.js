/** The line that says what 0 stands for, on nodes without another panel. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { EVENTS, listen } from "../common/host.js";
import { addPanelWidget, callAfter } from "../common/mount.js";
import { fetchPlan, PlanLine } from "../common/plan.js";

const NODES = ["LoraBootstrap_SamplingByModel", "LoraBootstrap_PrepareDataset", "LoraBootstrap_AuditDataset"];
const [HEIGHT, WIDTH] = [56, 300];

/** Add the line to a node, if it is one that has it. */
export function addPlanLine(node) {
  if (!NODES.includes(node.comfyClass)) return;
  const line = new PlanLine(() => fetchPlan(node));
  const place = element("div", "lb-ui lb-ui-plan-place");
  place.append(line.element);
  addPanelWidget(node, "plan", { element: place, minHeight: () => HEIGHT }, WIDTH);
  let life = null;
  const open = () => {
    life ??= new AbortController();
    listen({ [EVENTS.graph]: () => line.lookSoon() }, life.signal);
    line.lookSoon();
  };
  callAfter(node, "onAdded", open);
  callAfter(node, "onRemoved", () => {
    life?.abort();
    life = null;
  });
  for (const change of ["onConfigure", "onConnectionsChange"]) callAfter(node, change, () => line.lookSoon());
  for (const widget of node.widgets) callAfter(widget, "callback", () => line.lookSoon());
  if (node.graph) open();
}
