import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const { COLOURS, colourSockets } = await import("../../../web/page/colours.js");

test("every socket of the pack has a colour of its own", () => {
  const sockets = readFileSync(new URL("../../../nodes/sockets.py", import.meta.url), "utf8");
  const types = [...sockets.matchAll(/io\.Custom\("(\w+)"\)/g)].map(([, type]) => type);
  assert.deepEqual(Object.keys(COLOURS).sort(), types.sort());
  assert.equal(new Set(Object.values(COLOURS)).size, types.length);
});

test("a colour of the user's palette or of another pack is kept, and an emptied one is given again", () => {
  const [sockets, links] = [{ LORA_STACK: "#123456", LORA_RUN: "" }, { MODEL: "#fff" }];
  colourSockets(sockets, links);
  assert.deepEqual(sockets, { ...COLOURS, LORA_STACK: "#123456" });
  assert.deepEqual(links, { ...COLOURS, MODEL: "#fff" });
});
