/** Where the project stands, on LoraBootstrap_Project. */

import { app } from "../../scripts/app.js";
import { projectName } from "./bootstrap_graph.js";
import { ProjectPanel } from "./project_panel.js";

const NODE = "LoraBootstrap_Project";
const NAMED_BY = ["name", "trigger"];
const WIDTH = 460;

app.registerExtension({
  name: "lora_bootstrap.project",
  setup: linkStyle,
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

function linkStyle() {
  const href = new URL("./project.css", import.meta.url).href;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}

function addPanel(node) {
  const panel = new ProjectPanel({ name: () => projectName(node), resized: () => resized(node) });
  const widget = node.addDOMWidget("project", "lora_bootstrap_project", panel.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => panel.minHeight(),
  });
  widget.serialize = false; // neither in the prompt nor among the saved widgets' values
  const look = () => panel.changed();
  after(node, "onAdded", () => panel.open());
  after(node, "onRemoved", () => panel.close());
  after(node, "onConfigure", look);
  after(node, "onConnectionsChange", look);
  after(node, "onExecuted", () => panel.ask());
  for (const named of node.widgets.filter(({ name }) => NAMED_BY.includes(name))) after(named, "callback", look);
  if (node.graph) panel.open();
  node.setSize([Math.max(node.size[0], WIDTH), Math.max(node.size[1], node.computeSize()[1])]);
}

/** Lay the node out again. It grows while it is drawn, so that only the next drawing shows it grown. */
function resized(node) {
  node.setDirtyCanvas?.(true, true);
  setTimeout(() => node.setDirtyCanvas?.(true, true), 100);
}

/** Do something after one node's or widget's own callback. */
function after(owner, callback, act) {
  const before = owner[callback];
  owner[callback] = function (...given) {
    const result = before?.apply(this, given);
    act();
    return result;
  };
}
