import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import test from "node:test";

import "./host_stub.mjs";

const { useWords } = await import("../../../web/common/words.js");

const PAGES = ["reader/page.js"]; // it draws a page of its own, in English
const web = new URL("../../../web/", import.meta.url);

test("no module asks for a text while it is loaded, when the language is not known yet", async () => {
  const asked = [];
  useWords(new Proxy({}, { get: (_, english) => void asked.push(english) }));
  const modules = readdirSync(web, { recursive: true })
    .filter((name) => /^[^/]+\/[^/]+\.js$/.test(name) && !name.endsWith("/extension.js") && !PAGES.includes(name));
  assert.ok(modules.length > 80);
  for (const name of modules) await import(new URL(name, web));
  assert.deepEqual(asked, []);
});
