/** The list of LoRAs on LoraBootstrap_LoraStack. What is saved and queued is still the text of its widget. */

import { findFeeder, inputValue, isLinked, linkedRunName } from "../common/graph.js";
import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { linkedBefore } from "./before.js";
import { StackList } from "./list.js";

const NODE = "LoraBootstrap_LoraStack";
const TEXT = "entries";
const WIDTH = 420;
/** LiteGraph's number for slots on the left. */
const INPUT = 1;

const lists = new Set();

app.registerExtension({
  name: "lora_bootstrap.lora_stack",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "stack.css"),
  nodeCreated(node) {
    if (node.comfyClass === NODE) addList(node);
  },
  refreshComboInNodes() {
    for (const list of lists) list.refresh();
  },
});

function addList(node) {
  const text = node.widgets.find(({ name }) => name === TEXT);
  const list = new StackList({
    text: () => String(text.value ?? ""),
    write: (value) => {
      text.value = value;
    },
    settled: () => {
      app.canvas?.emitBeforeChange?.(); // so that the host notices, and restores it after a reload of the page
      app.canvas?.emitAfterChange?.();
    },
    linked: () => isLinked(node, TEXT),
    before: () => linkedBefore(node, { isLinked, findFeeder, inputValue, linkedRunName }),
    showText: (shown) => showWidget(node, text, shown),
    resized: () => redrawNode(node),
  });
  showWidget(node, text, false); // before Vue nodes see it for the first time
  addPanelWidget(node, "lora_stack", list, WIDTH);
  followNode(node, {
    open: () => openList(list), close: () => closeList(list), lookSoon: () => list.lookSoon(),
  }, { widgets: [TEXT, "run_strength"] });
}

/** Show or hide a widget. Its position among the saved and queued widgets stays the same. */
function showWidget(node, widget, shown) {
  widget.hidden = !shown;
  widget.options.hidden = !shown;
  // Vue nodes refresh when the widgets change, older ones when a link does
  const widgets = [...node.widgets];
  for (const order of [[...widgets].reverse(), widgets]) node.widgets = order;
  node.graph?.trigger("node:slot-links:changed", { nodeId: node.id, slotType: INPUT });
  redrawNode(node);
}

function openList(list) {
  lists.add(list);
  list.open();
}

function closeList(list) {
  lists.delete(list);
  list.close();
}
