/** What concerns the whole page, whatever nodes are in it: the pack's events are known, and what is copied from the text
 * in a node is what a person reads there. */

import { app, expectEvents } from "../common/host.js";

/** Characters that the server adds so that no front end takes the text for markup (host/shown_text.py). */
const WITHOUT_WIDTH = /[\u200b\ufeff]/g;

app.registerExtension({
  name: "lora_bootstrap.page",
  setup() {
    expectEvents();
    document.addEventListener("copy", copyPlainly);
  },
});

function copyPlainly(event) {
  const selected = String(getSelection());
  const plain = selected.replace(WITHOUT_WIDTH, "");
  if (plain === selected) return;
  event.clipboardData.setData("text/plain", plain);
  event.preventDefault();
}
