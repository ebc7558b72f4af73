/** Opens the pack's guides and help pages over the graph when a link to one is clicked: in a note, in the host's help of
 * a node, in a panel. The front ends resolve such links differently, some to an address that is not there. */

import { app } from "../common/host.js";
import { linkStyles } from "../common/mount.js";
import { pageAt, servedFrom } from "./address.js";
import { Reader } from "./dialog.js";
import { TITLES } from "./titles.js";

const PACK = servedFrom(import.meta.url);
const reader = new Reader();

app.registerExtension({
  name: "lora_bootstrap.reader",
  setup() {
    linkStyles(import.meta.url, "../common/base.css", "reader.css");
    document.addEventListener("click", openPage, { capture: true });
  },
  commands: [{
    id: "LoraBootstrap.Guides",
    label: "LoRA Bootstrap: open the guides",
    icon: "pi pi-book",
    function: () => reader.open({ page: "README", anchor: "" }),
  }],
  menuCommands: [{ path: ["Help"], commands: ["LoraBootstrap.Guides"] }],
});

function openPage(event) {
  const where = askedFor(event);
  if (!where) return;
  event.preventDefault();
  event.stopPropagation();
  reader.open(where);
}

/** The page that a plain click on a link asks for; with a key held, the browser opens the link as ever. */
function askedFor(event) {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return null;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  return link ? pageAt(link.getAttribute("href"), PACK, isInHelp(link)) : null;
}

/** Whether a link is in the host's help of one of the pack's nodes: older front ends leave such links relative. */
function isInHelp(link) {
  const title = link.closest(".node-help-content")?.querySelector("h1")?.textContent.trim();
  return TITLES.includes(title);
}
