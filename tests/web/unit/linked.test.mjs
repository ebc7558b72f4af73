import assert from "node:assert/strict";
import test from "node:test";

const { markLinked } = await import("../../../web/page/linked.js");

test("a widget whose value comes over a link says so, and only as long as it does", () => {
  const inputs = [{ name: "name", link: 1 }, { name: "trigger", link: null }];
  const node = { inputs, widgets: [{ name: "name" }, { name: "trigger", label: "the trigger" }, { name: "panel" }] };
  const labels = () => node.widgets.map(({ label }) => label);
  markLinked(node);
  markLinked(node);
  assert.deepEqual(labels(), ["name ← linked", "the trigger", undefined]);
  [inputs[0].link, inputs[1].link] = [null, 2];
  markLinked(node);
  assert.deepEqual(labels(), [undefined, "the trigger ← linked", undefined]);
});
