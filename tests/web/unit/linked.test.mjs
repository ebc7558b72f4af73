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

test("a widget that is renamed while it is linked keeps its new name without the mark", () => {
  const inputs = [{ name: "name", link: 1 }];
  const node = { inputs, widgets: [{ name: "name" }] };
  markLinked(node);
  node.widgets[0].label = inputs[0].label = "my name ← linked"; // what the host offers is what is linked, too
  markLinked(node);
  assert.deepEqual([node.widgets[0].label, inputs[0].label], ["my name ← linked", "my name"]);
  inputs[0].link = null;
  markLinked(node);
  assert.equal(node.widgets[0].label, "my name");
  const opened = { inputs: [{ name: "name", label: "name ← linked", link: null }], widgets: [{ name: "name", label: "name ← linked" }] };
  markLinked(opened);
  assert.deepEqual([opened.widgets[0].label, opened.inputs[0].label], [undefined, undefined]);
});
