import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const app = (globalThis.lbTestsApp = {});
globalThis.window = { LiteGraph: {} };
globalThis.document = {
  createElement: () => ({ append() {}, addEventListener(name, act) { this[name] = act; } }),
};
const { foldAgain, foldInputs, heightInSight } = await import("../../../web/common/fold.js");

const ROW = 24;

/** A node of the classic canvas, as far as folding needs one: a row for every widget that is not hidden. */
function makeNode({ linked = [], size = [300, 400] } = {}) {
  const widget = (name, advanced) => ({ name, value: name, options: { advanced } });
  return {
    widgets: [widget("name"), widget("rank", true), widget("alpha", true), widget("seed", true), widget("epochs")],
    inputs: ["name", "rank", "alpha", "seed", "epochs"].map((name) => ({ name, link: linked.includes(name) ? 1 : null })),
    size,
    addDOMWidget(name, type, element, options) {
      this.widgets.push({ name, type, element, options });
      return this.widgets.at(-1);
    },
    computeSize() {
      return [300, ROW * this.widgets.filter(({ hidden }) => !hidden).length];
    },
    setSize(size) {
      this.size = size;
    },
  };
}

const hidden = (node) => node.widgets.filter((widget) => widget.hidden).map(({ name }) => name);

test("the classic canvas hides advanced inputs, and a new node is as high as what is left", () => {
  const node = makeNode();
  const fold = foldInputs(node);
  assert.deepEqual(hidden(node), ["rank", "alpha", "seed"]);
  assert.equal(node.size[1], 3 * ROW);
  assert.equal(fold.button.value, "Show 3 more settings");
  assert.equal(foldInputs(node), fold, "it is folded once");
  assert.equal(node.widgets.at(-1).serialize, false);
});

test("the button shows them, and folding them again leaves the node as it was", () => {
  const node = makeNode();
  const fold = foldInputs(node);
  node.setSize([300, 500]);
  fold.button.click();
  assert.deepEqual([hidden(node), node.size[1], fold.button.value], [[], 500 + 3 * ROW, "Show fewer settings"]);
  fold.button.click();
  assert.deepEqual([hidden(node).length, node.size[1]], [3, 500]);
});

test("an input that comes over a link is not hidden", () => {
  const node = makeNode({ linked: ["rank"] });
  const fold = foldInputs(node);
  assert.deepEqual(hidden(node), ["alpha", "seed"]);
  assert.equal(fold.button.value, "Show 2 more settings");
  node.inputs.find(({ name }) => name === "alpha").link = 2;
  fold.apply();
  assert.deepEqual([hidden(node), fold.button.value], [["seed"], "Show 1 more setting"]);
});

test("an input that the subgraph's node shows is not hidden once that node is there", () => {
  const root = { nodes: [] };
  const inside = { rootGraph: root };
  const node = Object.assign(makeNode(), { id: 5, graph: inside });
  foldInputs(node);
  assert.equal(hidden(node).length, 3);
  root.nodes = [{ subgraph: inside, properties: { proxyWidgets: [["5", "rank"], ["6", "seed"]] } }];
  foldAgain([node]);
  assert.deepEqual(hidden(node), ["alpha", "seed"]);
});

test("a node without saved values is opened too", () => {
  foldInputs(makeNode()).configure();
});

test("Vue nodes fold by themselves, so nothing is hidden, and a new or opened node is not as high as all inputs", () => {
  window.LiteGraph.vueNodesMode = true;
  try {
    const node = makeNode();
    const fold = foldInputs(node);
    assert.deepEqual([hidden(node), node.size[1], heightInSight(node)], [[], 3 * ROW, 3 * ROW]);
    fold.configure({ size: [300, 100] });
    node.setSize([300, 6 * ROW]); // what the host does when it opens a workflow
    fold.restoreHeight();
    assert.equal(node.size[1], 100);
  } finally {
    window.LiteGraph.vueNodesMode = false;
  }
});

test("nothing is hidden from those who always want to see advanced inputs", () => {
  app.extensionManager = { setting: { get: () => true } };
  try {
    const node = makeNode();
    assert.deepEqual([foldInputs(node).button.hidden, hidden(node)], [true, []]);
  } finally {
    app.extensionManager = undefined;
  }
});

test("a node without advanced inputs is left as it is", () => {
  const node = makeNode();
  for (const { options } of node.widgets) options.advanced = undefined;
  assert.deepEqual([foldInputs(node), heightInSight(node), node.size], [null, 5 * ROW, [300, 400]]);
});
