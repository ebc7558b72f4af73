import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const root = { id: "w", nodes: [], subgraphs: new Map() };
const heard = [];
const [app, api] = [{ graph: root }, { addEventListener: (name) => heard.push(name) }];
Object.assign(globalThis, { lbTestsApp: app, lbTestsApi: api });
app.registerExtension = (given) => {
  app.page = given;
};
await import("../../../web/page/extension.js");
const heardAtOnce = [...heard];
const { EVENTS } = await import("../../../web/common/host.js");
const { rememberOnNode, shrinkLinked } = await import("../../../web/common/mount.js");

const { nodeOf, toShowAgain } = await import("../../../web/page/last_runs.js");
const { NodeTexts } = await import("../../../web/page/texts.js");

const audit = { id: 7, comfyClass: "LoraBootstrap_AuditDataset", widgets: [
  { name: "folder", value: "akane" }, { name: "resolution", value: 0 }] };
const inner = { id: 5, comfyClass: "LoraBootstrap_StrengthGrid", widgets: [] };
const graph = { nodes: [audit, { id: 12, subgraph: { nodes: [inner] } }] };
const run = (values = {}) => ({
  node: "7", kind: "LoraBootstrap_AuditDataset", values: { folder: "akane", resolution: 0 }, text: "20 images", ...values });

test("every event of the pack is known once the file is loaded, before `setup`", () => {
  const own = Object.values(EVENTS).filter((name) => name.startsWith("lora_bootstrap."));
  assert.deepEqual(heardAtOnce.sort(), own.sort());
  assert.ok(own.length > 4);
});

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

test("a text that comes over a link takes one row, and as much as before without the link", () => {
  const text = { name: "tags", element: { localName: "textarea" }, options: { getMinHeight: () => 60 } };
  const panel = { name: "project", element: { localName: "div" }, options: { getMinHeight: () => 300 } };
  const node = { inputs: [{ name: "tags", link: null }], widgets: [text, panel, { name: "seed" }] };
  shrinkLinked(node);
  const heights = () => [text, panel].map(({ options }) => [options.getMinHeight(), options.getMaxHeight?.()]);
  assert.deepEqual(heights(), [[60, undefined], [300, undefined]]);
  node.inputs[0].link = 4;
  assert.deepEqual(heights(), [[20, 20], [300, undefined]]);
});

test("a node inside a subgraph is found by its path", () => {
  assert.equal(nodeOf(graph, "12:5"), inner);
  assert.deepEqual([nodeOf(graph, "7:5"), nodeOf(graph, "3"), nodeOf(null, "3")], [null, null, null]);
  const [shown] = toShowAgain(graph, [{ node: "12:5", kind: inner.comfyClass, values: {}, told: { sweep: "grid" } }]);
  assert.deepEqual([shown.text, shown.told], ["", { sweep: "grid" }]);
});

// -- the hook -------------------------------------------------------------------------------------------------------

/** Open the workflow, and wait until what the server answers is shown. */
async function open(nodes) {
  api.fetchApi = async () => new Response(JSON.stringify({ nodes }));
  assert.equal(app.page.afterConfigureGraph(), undefined);
  await new Promise((resolve) => setTimeout(resolve, 20));
}

test("the host does not wait for a server that never answers before it knows which workflow is open", () => {
  api.fetchApi = () => new Promise(() => {});
  assert.equal(app.page.afterConfigureGraph(), undefined);
});

test("a run is shown again once, without a step to undo: Undo opens the workflow too, and keeps its Redo", async () => {
  const [steps, told] = [[], []];
  const node = {
    id: 7, comfyClass: "LoraBootstrap_EditTags", widgets: [], properties: {}, graph: {
      beforeChange: () => steps.push("before"), afterChange: () => steps.push("after") },
    onExecuted({ lora_bootstrap: [{ dataset }] }) {
      told.push(dataset);
      rememberOnNode(node, "edits", { id: dataset });
    },
  };
  root.nodes = [node];
  const runs = [{ node: "7", kind: node.comfyClass, values: {}, told: { dataset: "x" } }];
  await open(runs);
  assert.deepEqual([told, node.properties.edits, steps], [["x"], { id: "x" }, []]);
  await open(runs);
  assert.deepEqual(told, ["x"]);
  rememberOnNode(node, "edits", { id: "y" });
  assert.deepEqual(steps, ["before", "after"], "a run of this page is a step");
  root.id = "another";
  await open(runs);
  assert.deepEqual(told, ["x", "x"]);
});

test("the texts of a workflow's nodes are kept until another workflow's are shown", () => {
  const texts = new NodeTexts();
  texts.note("a", 7, "20 images");
  texts.note("a", "7", "28 images");
  texts.note("a", "12:5", "no LoRA");
  assert.deepEqual(texts.of("a"), [["7", "28 images"], ["12:5", "no LoRA"]]);
  assert.deepEqual(texts.of("b"), []);
  texts.note("b", 7, "3 images");
  assert.deepEqual([texts.of("a"), texts.of("b")], [[], [["7", "3 images"]]]);
});
