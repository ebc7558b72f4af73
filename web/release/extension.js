/** The card of a release, on LoraBootstrap_ReleaseLora. */

import { app } from "../common/host.js";
import { addPanelWidget, followNode, linkStyles, redrawNode } from "../common/mount.js";
import { ReleasePanel } from "./panel.js";

const NODE = "LoraBootstrap_ReleaseLora";
const WIDTH = 420;

app.registerExtension({
  name: "lora_bootstrap.release",
  setup: () => linkStyles(import.meta.url, "../common/base.css", "release.css"),
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const panel = new ReleasePanel({ resized: () => redrawNode(node) });
    addPanelWidget(node, "release", panel, WIDTH);
    followNode(node, panel, { executed: (told) => panel.show(told?.release ?? null) });
  },
});
