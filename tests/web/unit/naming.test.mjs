import assert from "node:assert/strict";
import test from "node:test";

const { Naming, PROPERTY, recallDataset } = await import("../../../web/tags/naming.js");
const { isAutomatic } = await import("../../../web/tags/names.js");

const settled = () => new Promise((resolve) => { setTimeout(resolve); });

/** A graph with Edit Tags nodes as the host makes, pastes, loads, moves and removes them. */
function canvas(id = "workflow-1") {
  const copied = [];
  const naming = new Naming((node, from, to) => copied.push([node, from, to]));
  const graph = { id, nodes: [] };
  const add = (where = graph) => {
    const node = { graph: where, properties: {}, widgets: [{ name: "edits", value: "" }], inputs: [] };
    where.nodes.push(node);
    naming.ensure(node);
    naming.place(node);
    return node;
  };
  const remove = (node) => {
    node.graph.nodes.splice(node.graph.nodes.indexOf(node), 1);
    naming.remove(node);
  };
  const save = (node) => structuredClone({ edits: node.widgets[0].value, properties: node.properties });
  const configure = (node, saved) => {
    node.widgets[0].value = saved.edits;
    node.properties = structuredClone(saved.properties);
    naming.configure(node);
    return node;
  };
  const paste = (saved, where = graph) => configure(add(where), saved);
  const load = (saved, loadedId = id) => {
    naming.begin();
    graph.id = loadedId;
    [...graph.nodes].forEach(remove);
    const nodes = saved.map((one) => paste(one));
    naming.end();
    return nodes;
  };
  return { copied, graph, naming, add, remove, save, paste, load };
}

const nameOf = (node) => node.widgets[0].value;

/** The node after a run, as the extension remembers it. */
function ran(node, of = "workflow-1") {
  node.properties[PROPERTY] = { id: `${nameOf(node)}~folder`, revision: 1, of };
  return node;
}

test("every node has a name of its own, which stays when the workflow is saved and opened", async () => {
  const { add, save, load, copied } = canvas();
  const nodes = [ran(add()), ran(add())];
  const names = nodes.map(nameOf);
  assert.ok(names.every(isAutomatic) && names[0] !== names[1]);
  assert.deepEqual(load(nodes.map(save)).map(nameOf), names);
  await settled();
  assert.deepEqual(copied, []);
});

test("a pasted copy has a new name, under which the changes are copied, and shows its own dataset", async () => {
  const { add, save, paste, copied } = canvas();
  const node = ran(add());
  const copy = paste(save(node));
  assert.ok(isAutomatic(nameOf(copy)) && nameOf(copy) !== nameOf(node));
  assert.equal(recallDataset(copy).id, `${nameOf(copy)}~folder`);
  await settled();
  assert.deepEqual(copied, [[copy, nameOf(node), nameOf(copy)]]);
});

test("a node pasted into another workflow is a copy too", async () => {
  const [one, other] = [canvas(), canvas("workflow-2")];
  const node = ran(one.add());
  const copy = other.paste(one.save(node));
  await settled();
  assert.deepEqual(other.copied, [[copy, nameOf(node), nameOf(copy)]]);
});

test("a node that moves into a subgraph and out of it keeps its name, whichever is first, placing or removing", async () => {
  const { add, save, paste, remove, copied } = canvas();
  const node = ran(add());
  const name = nameOf(node);
  const inner = paste(save(node), { id: "subgraph", nodes: [] });
  remove(node);
  assert.equal(nameOf(inner), name);
  await settled();
  const saved = save(inner);
  remove(inner);
  assert.equal(nameOf(paste(saved)), name);
  await settled();
  assert.deepEqual(copied, []);
});

test("a node that has its values before it is placed is a copy once it is placed, and none before", async () => {
  const { add, save, naming, copied } = canvas();
  const node = ran(add());
  const clone = { ...add(), ...structuredClone({ properties: node.properties, widgets: node.widgets }), graph: null };
  naming.configure(clone);
  assert.deepEqual(save(clone), save(node), "the host may save it before it is placed");
  clone.graph = node.graph;
  naming.place(clone);
  assert.notEqual(nameOf(clone), nameOf(node));
  await settled();
  assert.deepEqual(copied, [[clone, nameOf(node), nameOf(clone)]]);
});

test("what is cut and pasted later is a copy, so that nothing of it comes out of another node", async () => {
  const { add, save, paste, remove, copied } = canvas();
  const node = ran(add());
  const saved = save(node);
  remove(node);
  await settled();
  const copy = paste(saved);
  await settled();
  assert.deepEqual(copied, [[copy, saved.edits, nameOf(copy)]]);
});

test("a workflow saved under another name is a copy with all its nodes, one opened again is not", async () => {
  const { add, save, load, copied } = canvas();
  const saved = save(ran(add()));
  const [same] = load([saved]);
  assert.equal(nameOf(same), saved.edits);
  const [copy] = load([saved], "workflow-2");
  await settled();
  assert.deepEqual(copied, [[copy, saved.edits, nameOf(copy)]]);
  assert.equal(copy.properties[PROPERTY].of, "workflow-2");
});

test("one automatic name twice in a workflow becomes two; a name that was typed is shared", async () => {
  const { add, save, load, copied } = canvas();
  const saved = save(ran(add()));
  const typed = { edits: "mine", properties: {} };
  const [first, second, third, fourth] = load([saved, saved, typed, typed]);
  await settled();
  assert.equal(nameOf(first), saved.edits);
  assert.deepEqual(copied, [[second, saved.edits, nameOf(second)]]);
  assert.deepEqual([third, fourth].map(nameOf), ["mine", "mine"]);
});

test("a node of an older version takes over what it was shown, and one without that nothing", () => {
  const { load } = canvas();
  const older = { edits: "", properties: { [PROPERTY]: { id: "node-10-6~folder", revision: 3 } } };
  const [shown, fresh] = load([older, { edits: "", properties: {} }]);
  assert.match(nameOf(shown), /^tags-[0-9a-f]{10}-from-node-10-6$/);
  assert.match(nameOf(fresh), /^tags-[0-9a-f]{10}$/);
  assert.equal(recallDataset(shown), null, "its dataset has another name until it is run");
});

test("a dataset is shown only under the node's name", () => {
  const { add } = canvas();
  const node = ran(add());
  node.widgets[0].value = "mine";
  assert.equal(recallDataset(node), null);
  node.properties[PROPERTY].id = "mine~folder";
  assert.equal(recallDataset(node).id, "mine~folder");
});

test("a name shown on the subgraph's node is changed there too, for copies of that node", async () => {
  const { add, save, paste, copied, graph } = canvas();
  const node = ran(add());
  const inside = { id: "subgraph", nodes: [], rootGraph: graph };
  const outer = { subgraph: inside, graph, widgets: [{ name: "edits", value: "" }], inputs: [{ name: "edits", link: null }] };
  graph.subgraphs = new Map([["subgraph", inside]]);
  const inner = paste(save(node), inside);
  graph.nodes.push(outer);
  inner.inputs = [{ name: "edits", link: 5 }];
  inner.getInputLink = () => ({ origin_id: -10, origin_slot: 0 });
  outer.widgets[0].value = nameOf(node); // the host gives the pasted subgraph's node the values of the original
  await settled();
  assert.deepEqual(copied, [[inner, nameOf(node), nameOf(inner)]]);
  assert.equal(outer.widgets[0].value, nameOf(inner));
  assert.notEqual(outer.widgets[0].value, nameOf(node));
});
