import assert from "node:assert/strict";
import test from "node:test";

const { Asker } = await import("../../../web/common/asker.js");
const { Conflict, Refused } = await import("../../../web/common/errors.js");
const { findFeeder, projectName, runName } = await import("../../../web/common/graph.js");
const { coverRange, envelope, lossRange, makeScale, nearestPoint, pathThrough, stepTicks, thinPoints, tickStep } =
  await import("../../../web/train/plot.js");
const { Store } = await import("../../../web/common/store.js");

// -- the store ------------------------------------------------------------------------------------------------------

/** A number that the server keeps, and that is added to here. */
class Counter extends Store {
  forget() {
    super.forget();
    Object.assign(this, { name: null, saved: 0, pending: [] });
  }

  get key() {
    return this.name === null ? null : [this.name];
  }

  get value() {
    return this.pending.reduce((sum, by) => sum + by, this.saved);
  }

  begin(fresh, name) {
    this.forget();
    this.name = name;
    this.merge(fresh);
  }

  beginEmpty(name) {
    this.problem = `no ${name}`;
  }

  merge({ revision, value }) {
    Object.assign(this, { revision, saved: value });
  }

  reportReading(error) {
    this.problem = error.message;
  }

  add(by) {
    this.record(by);
    this.pending.push(by);
    this.saveSoon();
  }

  repeatStep(by, way) {
    this.pending.push(way === "undo" ? -by : by);
    return by !== 0;
  }

  hasUnsaved() {
    return this.pending.length > 0;
  }

  unsavedText() {
    return "number";
  }

  makeRequest() {
    return { body: { revision: this.revision, value: this.value }, count: this.pending.length };
  }

  acceptRequest({ body, count }) {
    this.saved = body.value;
    this.pending = this.pending.slice(count);
  }

  takeBack() {
    this.pending = [];
    return true;
  }

  resolveConflict(fresh) {
    this.merge(fresh);
    return true;
  }
}

/** A server of one number; what is in `errors` is thrown instead of the next answers to a saving. */
function serverOf(value = 0) {
  const server = {
    revision: 0, value, errors: [], posts: [],
    fetch: async (name) => (name === "n" ? { revision: server.revision, value: server.value } : null),
    async save(body) {
      server.posts.push(body.value);
      const error = server.errors.shift();
      if (error) throw error;
      if (body.revision !== server.revision) throw new Conflict("elsewhere");
      server.write(body.value);
      return { revision: server.revision };
    },
    write: (other) => Object.assign(server, { value: other, revision: server.revision + 1 }),
  };
  return server;
}

async function counterOf(server) {
  const store = new Counter(server, () => {}, 100);
  await store.load("n");
  return store;
}

test("changes are saved a moment after the last of them, and tried again when that failed", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const server = serverOf();
  const store = await counterOf(server);
  store.add(1);
  context.mock.timers.tick(99);
  store.add(2);
  context.mock.timers.tick(99);
  assert.deepEqual(server.posts, []);
  server.errors.push(new Error("offline."));
  context.mock.timers.tick(1);
  await store.saving;
  assert.deepEqual([store.problem, store.value], ["number not saved: offline. Trying again.", 3]);
  await new Promise(setImmediate);
  context.mock.timers.tick(5000);
  await store.saving;
  assert.deepEqual([server.value, store.problem, store.pending], [3, null, []]);
});

test("a conflict without the newer state asks for it, and fails as any other saving where that fails", async () => {
  const server = serverOf();
  const store = await counterOf(server);
  server.write(10);
  store.add(1);
  await store.flush();
  assert.deepEqual([server.value, store.value], [11, 11]);
  server.write(20);
  store.add(1);
  store.routes = { ...server, fetch: async () => { throw new Error("offline."); } };
  await store.flush();
  clearTimeout(store.timer);
  assert.deepEqual([store.problem, store.value], ["number not saved: elsewhere Trying again.", 12]);
});

test("what the server refuses is taken back, and a page that leaves tries once more what just failed", async () => {
  const server = serverOf();
  const store = await counterOf(server);
  server.errors.push(new Refused("no."));
  store.add(1);
  await store.flush();
  assert.deepEqual([store.value, store.problem], [0, null]);
  server.errors.push(new Error("offline."));
  store.add(2);
  store.flush();
  await store.flush(true);
  assert.equal(server.value, 2);
});

test("an answer to a saving of what is no longer shown changes nothing", async () => {
  const server = serverOf();
  const store = await counterOf(server);
  store.add(1);
  const saving = store.flush();
  store.forget();
  await saving;
  assert.deepEqual([server.value, store.revision, store.value, store.saving], [1, null, 0, null]);
});

test("an answer older than what was saved is asked for again, but not for ever", async () => {
  const server = serverOf();
  const store = await counterOf(server);
  store.add(1);
  await store.flush();
  let asked = 0;
  store.routes = { ...server, fetch: async () => ({ revision: 0, value: (asked += 1) }) };
  await store.load("n");
  assert.deepEqual([asked, store.value, store.revision], [4, 4, 0]);
});

test("steps are undone and done again, but for those that change nothing", async () => {
  const store = await counterOf(serverOf());
  for (const by of [1, 0, 2]) store.add(by);
  assert.deepEqual([store.undo(), store.undo(), store.undo(), store.value], [2, 1, null, 0]);
  assert.deepEqual([store.redo(), store.redo(), store.redo(), store.value], [1, 2, null, 3]);
  store.undo();
  store.add(5);
  assert.deepEqual([store.redo(), store.value], [null, 6]);
  await store.flush();
});

// -- questions to a route -------------------------------------------------------------------------------------------

/** Questions that are answered when `answer` is called, and what was late of them. */
function askerOf(patience) {
  const asked = { about: "a", subjects: [], late: [], answers: [] };
  asked.asker = new Asker(() => asked.about, async (isLate) => {
    asked.subjects.push(asked.about);
    await new Promise((resolve) => asked.answers.push(resolve));
    asked.late.push(isLate());
  }, patience);
  asked.answer = async () => {
    asked.answers.shift()();
    await new Promise(setImmediate);
  };
  return asked;
}

test("a route is asked at once about something else, and else not too often", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const asked = askerOf(4);
  asked.asker.ask();
  context.mock.timers.tick(0);
  context.mock.timers.tick(500); // as long as the answer takes
  await asked.answer();
  for (const _ of [1, 2, 3]) asked.asker.ask();
  context.mock.timers.tick(1499);
  assert.deepEqual(asked.subjects, ["a"]);
  context.mock.timers.tick(1);
  assert.deepEqual(asked.subjects, ["a", "a"]);
  asked.about = "b";
  asked.asker.ask();
  context.mock.timers.tick(0);
  await asked.answer();
  await asked.answer();
  assert.deepEqual([asked.subjects, asked.late], [["a", "a", "b"], [false, true, false]]);
});

test("after a stop answers are late, and the next question is asked at once", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const asked = askerOf(0);
  asked.asker.ask();
  context.mock.timers.tick(0);
  asked.asker.ask();
  asked.asker.stop();
  await asked.answer();
  context.mock.timers.tick(5000);
  assert.deepEqual([asked.subjects, asked.late], [["a"], [true]]);
  asked.asker.ask();
  context.mock.timers.tick(0);
  assert.deepEqual(asked.subjects, ["a", "a"]);
});

// -- the graph ------------------------------------------------------------------------------------------------------

/** A graph: each node's inputs are given as [name, type, node it comes from, slot there]. */
function graph(nodes, graphOf = {}) {
  const made = {};
  for (const [id, { type, widgets = {}, inputs = [], ...more }] of Object.entries(nodes)) {
    made[id] = {
      comfyClass: type, graph: graphOf, ...more,
      widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
      inputs: inputs.map(([name, socket, from]) => ({ name, type: socket, link: from === undefined ? null : 1 })),
      getInputNode: (slot) => made[inputs[slot][2]] ?? null,
      getInputLink: (slot) => ({ origin_id: inputs[slot][2], origin_slot: inputs[slot][3] ?? 0 }),
    };
  }
  return made;
}

const SOCKET = "BOOTSTRAP_PROJECT";
const project = (widgets, inputs = []) => ({ type: "LoraBootstrap_Project", widgets, inputs });

test("the project's name is found through every node that passes a project on", () => {
  const nodes = graph({
    p: project({ name: " akane ", trigger: "akn" }),
    save: { type: "LoraBootstrap_SaveCandidates", inputs: [["images", "IMAGE", "p"], ["project", SOCKET, "p"]] },
    other: { type: "SomebodysNode", inputs: [["whatever", SOCKET, "save"]] },
    reroute: { type: "Reroute", inputs: [["", "*", "other"]] },
    curate: { type: "LoraBootstrap_CurateImages", inputs: [["project", SOCKET, "reroute"]] },
    alone: { type: "LoraBootstrap_CurateImages", inputs: [["project", SOCKET]] },
    loop: { type: "SomebodysNode", inputs: [["project", SOCKET, "loop"]] },
  });
  assert.deepEqual(["curate", "alone", "loop"].map((id) => projectName(nodes[id])), ["akane", null, null]);
  assert.equal(projectName(nodes.p), "akane");
});

test("a project without a name is called by its trigger, and a linked name is that of the node it comes from", () => {
  const nodes = graph({
    unnamed: project({ name: "", trigger: "akane the fox" }),
    text: { type: "PrimitiveString", widgets: { value: "from text" } },
    linked: project({ name: "mine", trigger: "akn" }, [["name", "STRING", "text"]]),
    bare: project({ name: "", trigger: " " }),
  });
  assert.deepEqual(["unnamed", "linked", "bare"].map((id) => projectName(nodes[id])),
    ["akane-the-fox", "from text", null]);
});

/** Of a subgraph's node in the front end: asked for what comes into an input, it looks among its outputs. */
const amongOutputs = () => {
  throw new TypeError("Cannot read properties of undefined (reading 'getLinks')");
};
const BOX = { isSubgraphNode: () => true, getInputLink: amongOutputs, getInputNode: amongOutputs };

test("a project is found through a subgraph that another subgraph feeds", () => {
  const links = new Map([[7, { target_id: "3", target_slot: 1, origin_id: "2", origin_slot: 4 }]]);
  const root = { links, getNodeById: (id) => root.nodes.find((node) => node.id === id) };
  const [first, second] = [{ rootGraph: root }, { rootGraph: root }];
  const saves = { type: "LoraBootstrap_SaveCandidates", inputs: [["project", SOCKET, "-10", 1]] };
  const { save } = graph({ save: saves }, second);
  const { begun } = graph({ begun: project({ name: "begun" }) }, first);
  const outer = graph({
    feeder: { id: "2", subgraph: first, resolveSubgraphOutputLink: (slot) => ({ outputNode: [save, begun][slot / 4] }) },
    fed: { id: "3", subgraph: second, inputs: [["model", "MODEL"], ["project", SOCKET, "feeder", 4]] },
  }, root);
  root.nodes = Object.values(outer).map((node) => Object.assign(node, BOX));
  assert.equal(projectName(save), "begun");
});

test("a project is found into a subgraph and out of it", () => {
  const root = { nodes: [] };
  const inside = { rootGraph: root };
  root.rootGraph = root;
  const inner = graph({
    curate: { type: "LoraBootstrap_CurateImages", inputs: [["project", SOCKET, -10, 0]] },
    made: project({ name: "inner" }),
  }, inside);
  const outer = graph({
    p: project({ name: "outer" }),
    box: { type: "uuid", subgraph: inside, inputs: [["project", SOCKET, "p"]] },
    maker: { type: "uuid2", isSubgraphNode: () => true, resolveSubgraphOutputLink: () => ({ outputNode: inner.made }) },
    curate: { type: "LoraBootstrap_CurateImages", inputs: [["project", SOCKET, "maker"]] },
  }, root);
  root.nodes = Object.values(outer);
  assert.deepEqual([projectName(inner.curate), projectName(outer.curate)], ["outer", "inner"]);
});

test("what is bypassed passes on the input of its type, and what is muted gives nothing", () => {
  const [MUTED, BYPASSED] = [2, 4];
  const feeder = (mode, more = {}) => {
    const nodes = graph({
      source: { type: "Source" },
      maker: { type: "Maker", mode, outputs: [{ type: "IMAGE" }, { type: "LORA_RUN" }],
        inputs: [["other", "LORA_RUN"], ["x", "IMAGE", "source"], ["run", "LORA_RUN", "source"]], ...more },
      user: { type: "User", inputs: [["run", "LORA_RUN", "maker", 1]] },
    });
    return findFeeder(nodes.user, ({ name }) => name === "run")?.comfyClass ?? null;
  };
  assert.equal(feeder(0), "Maker");
  assert.equal(feeder(MUTED), null);
  assert.equal(feeder(BYPASSED, { inputs: [["x", "IMAGE", "source"], ["run", "LORA_RUN", "source"]] }), "Source");
  assert.equal(feeder(BYPASSED), null, "the first of the type has no link");
  assert.equal(feeder(BYPASSED, { inputs: [["x", "IMAGE", "source"]] }), null);
  assert.equal(feeder(BYPASSED, { inputs: [["x", "IMAGE", "source"], ["run", "LORA_RUN", "maker", 1]] }), null, "a loop");
});

test("a bypassed node with nothing to pass on leaves the widget its value, as in a run", () => {
  const name = (mode, outputs, inputs) => projectName(graph({
    text: { type: "PrimitiveString", mode, widgets: { value: "from text" }, outputs, inputs },
    other: { type: "PrimitiveString", widgets: { value: "further up" } },
    p: project({ name: "mine", trigger: "akn" }, [["name", "STRING", "text"]]),
  }).p);
  assert.equal(name(0), "from text");
  assert.equal(name(4, [{ type: "STRING" }], []), "mine");
  assert.equal(name(4, [{ type: "STRING" }], [["a", "IMAGE"], ["b", "*", "other"]]), "further up");
  assert.equal(name(2), "akn", "a run has no value then");
});

test("a muted or bypassed node in a subgraph is one too", () => {
  const feeder = (mode, boxMode = 0) => {
    const inner = graph({
      deep: { type: "Deep" },
      made: { type: "Made", mode, outputs: [{ type: "MODEL" }], inputs: [["model", "MODEL", "deep"]] },
    });
    const outer = graph({
      box: { type: "uuid", mode: boxMode, isSubgraphNode: () => true, outputs: [{ type: "MODEL" }],
        resolveSubgraphOutputLink: () => ({ outputNode: inner.made, link: { origin_slot: 0 } }) },
      user: { type: "User", inputs: [["model", "MODEL", "box"]] },
    });
    return findFeeder(outer.user, ({ name }) => name === "model")?.comfyClass ?? null;
  };
  assert.deepEqual([feeder(0), feeder(2), feeder(4), feeder(0, 2), feeder(0, 4)], ["Made", null, "Deep", null, null]);
});

test("a run on a round's dataset is called by project, purpose and the round after", () => {
  const train = (purpose, round) => graph({
    p: project({ name: "akane" }),
    set: { type: "LoraBootstrap_RoundDataset", widgets: { round, purpose }, inputs: [["project", SOCKET, "p"]] },
    train: { type: "LoraBootstrap_TrainLora", widgets: { name: "stale" }, inputs: [["name", "STRING", "set"]] },
  }).train;
  assert.deepEqual([runName(train("style", 0), "name"), runName(train("style", 2), "name")],
    ["akane-style-1", "akane-style-3"]);
  assert.equal(runName(train("character", 2), "name"), "akane");
  const curated = (targets, round) => graph({
    p: project({ name: "akane", targets }),
    set: { type: "LoraBootstrap_CurateImages", widgets: { round }, inputs: [["project", SOCKET, "p"]] },
    train: { type: "LoraBootstrap_TrainLora", widgets: { name: "stale" }, inputs: [["name", "STRING", "set"]] },
  }).train;
  assert.deepEqual(["4, 16, 40", "4, 16"].map((targets) => runName(curated(targets, 1), "name")),
    ["akane-style-2", "akane"]);
  assert.equal(runName(curated("4, 16, 40", 2), "name"), "akane");
  assert.equal(runName(graph({ t: { type: "x", widgets: { name: " own " } } }).t, "name"), "own");
  assert.equal(runName(graph({ t: { type: "x", widgets: { name: "" } } }).t, "name"), null);
});

// -- plots ----------------------------------------------------------------------------------------------------------

const line = (count, value = (step) => step) => Array.from({ length: count }, (_, i) => [i + 1, value(i + 1)]);

test("thinning keeps the first and the last of exactly the points asked for", () => {
  const few = thinPoints(line(10_000), 500);
  assert.equal(few.length, 500);
  assert.deepEqual([few[0], few[499]], [[1, 1], [10_000, 10_000]]);
  assert.equal(new Set(few.map(([step]) => step)).size, 500);
  assert.deepEqual(thinPoints(line(7), 500), line(7));
});

test("the envelope keeps a spike that even thinning would lose", () => {
  const spiky = line(10_000, (step) => (step === 4_321 ? 9 : 0.1));
  const few = envelope(spiky, 500);
  assert.ok(few.length <= 500);
  assert.deepEqual(few.filter(([, value]) => value === 9), [[4_321, 9]]);
  assert.ok(few.every(([step], index) => index === 0 || step > few[index - 1][0]), "in order of step");
});

test("one wild loss of a hundred does not stretch the axis", () => {
  const raw = line(100, (step) => (step === 50 ? 40 : 0.1 + step / 1000));
  const [low, high] = lossRange(raw, line(100, () => 0.12));
  assert.ok(low >= 0.1 && high <= 0.2, `${low}..${high}`);
  assert.equal(lossRange([], []), null);
});

test("ticks are round, cover the range, and are no more than asked for", () => {
  assert.deepEqual(coverRange(0.083, 0.312, 4), { step: 0.1, values: [0, 0.1, 0.2, 0.30000000000000004, 0.4] });
  for (const [low, high] of [[0.0821, 0.0829], [3, 1700], [1e-6, 3e-6], [0.9, 0.9], [0, 0]]) {
    const { step, values } = coverRange(low, high, 4);
    assert.ok(values[0] <= low && values[values.length - 1] >= high - 1e-12, `${low}..${high}: ${values}`);
    assert.ok(values.length >= 2 && values.length <= 6, `${values}`);
    assert.ok([1, 2, 2.5, 5, 10].some((nice) => Math.abs(step / 10 ** Math.floor(Math.log10(step)) - nice) < 1e-6));
  }
  assert.equal(tickStep(100, 4), 25);
});

test("the step axis has whole steps from nought, also in the first steps", () => {
  assert.deepEqual(stepTicks(350, 4), [0, 100, 200, 300]);
  assert.deepEqual(stepTicks(1, 5), [0, 1]);
  assert.ok(stepTicks(12, 5).every(Number.isInteger));
});

test("a scale maps its ends and holds what lies beyond them", () => {
  const y = makeScale(0, 2, 100, 0);
  assert.deepEqual([y(0), y(1), y(2), y(5), y(-1)], [100, 50, 0, 0, 100]);
  assert.equal(makeScale(3, 3, 0, 10)(3), 0);
});

test("a path goes through every point", () => {
  assert.equal(pathThrough([[0, 1], [1, 0]], (s) => s * 10, (v) => v * 20), "M0.0 20.0L10.0 0.0");
  assert.equal(pathThrough([], String, String), "");
});

test("the nearest point is found, or none", () => {
  assert.deepEqual(nearestPoint([[1, 5], [10, 6], [20, 7]], 14), [10, 6]);
  assert.equal(nearestPoint([], 3), null);
});
