import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { register } from "node:module";
import test from "node:test";

/** The front end's own modules, as far as loading a feature needs them. */
const STAND_INS = {
  "scripts/api.js": "export const api = new EventTarget();",
  "scripts/app.js": "export const app = { registerExtension(one) { (globalThis.registered ??= []).push(one.name); } };",
};
const HOOKS = `const standIns = ${JSON.stringify(STAND_INS)};
export async function resolve(given, context, next) {
  const found = Object.keys(standIns).find((name) => given.endsWith(name));
  if (!found) return next(given, context);
  return { url: "data:text/javascript," + encodeURIComponent(standIns[found]), shortCircuit: true };
}`;
register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);

const WEB = new URL("../../../web/", import.meta.url);
const features = readdirSync(WEB).filter((name) => !["common", "docs", "guides", "locales"].includes(name));

test("every feature can be loaded, and registers itself once", async () => {
  for (const name of features) await import(new URL(`${name}/extension.js`, WEB));
  assert.equal(globalThis.registered.length, features.length);
  assert.equal(new Set(globalThis.registered).size, features.length);
});
