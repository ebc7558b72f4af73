import assert from "node:assert/strict";
import test from "node:test";

const { nodeOf, toShowAgain } = await import("../../../web/page/last_runs.js");

const audit = { id: 7, comfyClass: "LoraBootstrap_AuditDataset", widgets: [
  { name: "folder", value: "akane" }, { name: "resolution", value: 0 }] };
const inner = { id: 5, comfyClass: "LoraBootstrap_StrengthGrid", widgets: [] };
const graph = { nodes: [audit, { id: 12, subgraph: { nodes: [inner] } }] };
const run = (values = {}) => ({
  node: "7", kind: "LoraBootstrap_AuditDataset", values: { folder: "akane", resolution: 0 }, text: "20 images", ...values });

test("after a reload a node shows what it showed in the last run, and says that it is of that run", () => {
  assert.deepEqual(toShowAgain(graph, [run({ told: { dataset: "x" } })]), [
    { id: "7", node: audit, text: "From the last Run:  \n20 images", told: { dataset: "x" } }]);
});

test("what was shown with other values says so, and is not taken for a result", () => {
  const [shown] = toShowAgain(graph, [run({ values: { folder: "photos" }, told: { dataset: "x" } })]);
  assert.deepEqual([shown.text, shown.told], ["From an earlier Run, with other values:  \n20 images", null]);
});

test("a node of another class under the same number shows nothing", () => {
  assert.deepEqual(toShowAgain(graph, [run({ kind: "LoraBootstrap_TrainLora" }), run({ node: "9" })]), []);
});

test("a node inside a subgraph is found by its path", () => {
  assert.equal(nodeOf(graph, "12:5"), inner);
  assert.deepEqual([nodeOf(graph, "7:5"), nodeOf(graph, "3"), nodeOf(null, "3")], [null, null, null]);
  const [shown] = toShowAgain(graph, [{ node: "12:5", kind: inner.comfyClass, values: {}, told: { sweep: "grid" } }]);
  assert.deepEqual([shown.text, shown.told], ["", { sweep: "grid" }]);
});
