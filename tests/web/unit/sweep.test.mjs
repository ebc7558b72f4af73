import assert from "node:assert/strict";
import test from "node:test";

const { Conflict, Refused } = await import("../../../web/common/errors.js");
const axes = await import("../../../web/sweep/axes.js");
const plane = await import("../../../web/sweep/plane.js");
const { factRows } = await import("../../../web/sweep/facts.js");
const { isToldOf, progressText, sidesOf, sweepName, toRemember } = await import("../../../web/sweep/node.js");
const { withPlainTexts } = await import("../../../web/sweep/png.js");
const { SweepStore } = await import("../../../web/sweep/store.js");

/** A sweep as the route tells it, with a cell for each combination. */
function sweepOf(choices, { without = false, ...more } = {}) {
  const names = Object.keys(choices);
  const product = names.reduce((all, name) =>
    all.flatMap((at) => choices[name].map((_, index) => [...at, index])), [[]]);
  const bare = new Set(product.map((at) => axes.withoutLora(names.map((name) => ({ name })), at).join()));
  const references = [...(without ? bare : [])].map((at) =>
    at.split(",").map((place) => (place === "" ? null : Number(place))));
  const cell = (at) => ({
    key: at.join("-"), at, state: "done", error: "", lora: at.includes(null) ? "" : "a",
    prompt: choices.prompt?.[at[names.indexOf("prompt")]] ?? "p", full: "f", thumb: "t", more: {},
  });
  return {
    name: "s", title: "", revision: 0, without, shared: {}, scores: null, marks: { best: null, hidden: [] },
    axes: names.map((name) => ({ name, choices: choices[name] })), cells: [...references, ...product].map(cell),
    ...more,
  };
}

const CHOICES = { checkpoint: ["c0", "c1", "c2"], strength: ["0.5", "1"], prompt: ["a smile", "a frown"], seed: ["1"] };
const tableOf = (sweep, view, fits = null) => new axes.Table(sweep, axes.byPlace(sweep.cells), view, fits);
const keysOf = (table) =>
  table.rows.map((_, row) => table.columns.map((__, column) => table.cell(row, column)?.key ?? ""));

// -- axes -----------------------------------------------------------------------------------------------------------

test("checkpoints are rows and strengths columns, where nobody has chosen", () => {
  const { axes: all } = sweepOf(CHOICES);
  assert.deepEqual(axes.viewOf(all), {
    rows: "checkpoint", columns: "strength", pages: { checkpoint: 0, strength: 0, prompt: 0, seed: 0 } });
});

test("the viewer opens as the sheet is, and as the node says", () => {
  const sweep = sweepOf(CHOICES, { sheet: { rows: "prompt", columns: "checkpoint" } });
  const sides = (chosen) => [axes.openingView(sweep, chosen)].map(({ rows, columns }) => [rows, columns])[0];
  assert.deepEqual(sides({}), ["prompt", "checkpoint"]);
  assert.deepEqual(sides({ rows: "auto", columns: "none" }), ["prompt", "checkpoint"]);
  assert.deepEqual(sides({ rows: "seed", columns: "auto" }), ["seed", "checkpoint"]);
  assert.deepEqual(sides({ rows: "checkpoint", columns: "auto" }), ["checkpoint", "prompt"]);
  assert.deepEqual(sides({ rows: "gone" }), ["prompt", "checkpoint"]);
});

test("rows and columns are those of the node that makes the sweep", () => {
  const maker = { rows: "prompt", columns: "auto" };
  const graph = { inputValue: (node, side) => node[side], findFeeder: (node) => (node === maker ? null : maker) };
  assert.deepEqual([sidesOf({}, graph), sidesOf(maker, graph)], [maker, maker]);
});

test("the facts of a cell are told in words, and what is empty is left out", () => {
  const sweep = { axes: [{ name: "base", choices: ["as linked"] }],
    shared: { stack: [], negative: "", cfg: 5, width: 128, sampler_name: "euler" } };
  const cell = { at: [0], lora: "girl", strength: 0.8, prompt: "p", step: 100, seed: 1, more: {} };
  assert.deepEqual(factRows(sweep, cell), [["prompt", "p"], ["LoRA", "girl"], ["strength", "0.8"], ["checkpoint", "step 100"],
    ["seed", "1"], ["base model", "the linked model"], ["CFG", "5"], ["width asked for", "128"], ["sampler", "euler"]]);
  const stacked = factRows({ ...sweep, shared: { stack: [["ink", "hash", 0.5, 0.5], ["haze", "hash", 0.3, 0.2]] } }, cell);
  assert.deepEqual(stacked.at(-1), ["other LoRAs", "ink at 0.5, haze at 0.3 (text encoder 0.2)"]);
});

test("an axis with one choice gives way to one with more, and a sweep of one axis is one line", () => {
  const view = (choices) => axes.viewOf(sweepOf(choices).axes);
  assert.deepEqual([view({ checkpoint: ["c"], strength: ["1"], prompt: ["a", "b"], seed: ["1", "2"] })].map(
    ({ rows, columns }) => [rows, columns]), [["prompt", "seed"]]);
  assert.deepEqual([view({ prompt: ["a", "b"] })].map(({ rows, columns }) => [rows, columns]), [[null, "prompt"]]);
  const one = sweepOf({ prompt: ["a", "b"] });
  assert.deepEqual(keysOf(tableOf(one, axes.viewOf(one.axes))), [["0", "1"]]);
});

test("a pair's strengths are rows and columns, and the places without one of them are where its axes end", () => {
  const pair = sweepOf({ stack: ["ink 0.3", "no ink"], checkpoint: ["c"], strength: ["0.5", "no girl"],
    prompt: ["a", "b", "c"], seed: ["1", "2"] });
  const { rows, columns } = axes.viewOf(pair.axes);
  assert.deepEqual([rows, columns], ["stack", "strength"]);
  assert.deepEqual(tableOf(pair, axes.viewOf(pair.axes)).rows.map(({ label }) => label), ["ink 0.3", "no ink"]);
  assert.ok(pair.axes.every(({ name }) => axes.titleOf(name) !== name));
});

test("what was chosen is kept in another sweep that has such axes, as far as it has such choices", () => {
  const wanted = { rows: "prompt", columns: "seed", pages: { checkpoint: 7, strength: 1, prompt: 0, seed: 0 } };
  const { rows, columns, pages } = axes.viewOf(sweepOf(CHOICES).axes, wanted);
  assert.deepEqual([rows, columns, pages.checkpoint, pages.strength], ["prompt", "seed", 2, 1]);
  assert.equal(axes.viewOf(sweepOf({ strength: ["1", "2"], base: ["x", "y"] }).axes, wanted).columns, "strength");
});

test("an axis that goes where another was changes places with it", () => {
  const view = axes.viewOf(sweepOf(CHOICES).axes);
  assert.deepEqual([axes.turnView(view, "rows", "strength")].map(({ rows, columns }) => [rows, columns]),
    [["strength", "checkpoint"]]);
  assert.equal(axes.turnView(view, "rows", "prompt").columns, "strength");
});

test("the pictures without the LoRA are the first column, in every row", () => {
  const sweep = sweepOf(CHOICES, { without: true });
  const table = tableOf(sweep, axes.viewOf(sweep.axes));
  assert.deepEqual(table.columns.map(({ label }) => label), ["no LoRA", "0.5", "1"]);
  assert.deepEqual(keysOf(table)[1], ["--0-0", "1-0-0-0", "1-1-0-0"]);
  assert.deepEqual(table.find(table.cell(2, 0)), { row: 0, column: 0 });
  assert.equal(table.count, 7);
});

test("where no side is of the LoRA, the pictures without it are a page of its first axis", () => {
  const sweep = sweepOf(CHOICES, { without: true });
  const view = { ...axes.viewOf(sweep.axes), rows: "prompt", columns: "seed" };
  assert.deepEqual(axes.choicesOn(sweep, view, "checkpoint").map(({ label }) => label), ["no LoRA", "c0", "c1", "c2"]);
  assert.deepEqual(axes.choicesOn(sweep, view, "strength").map(({ label }) => label), ["0.5", "1"]);
  const bare = { ...view, pages: { ...view.pages, checkpoint: null, strength: 1 } };
  assert.deepEqual(keysOf(tableOf(sweep, bare)), [["--0-0"], ["--1-0"]]);
  const rows = { ...bare, rows: "strength" };
  assert.deepEqual(keysOf(tableOf(sweep, rows)), [["--0-0"], ["0-0-0-0"], ["0-1-0-0"]]);
});

test("a sweep without axes of the LoRA has no such line", () => {
  const sweep = sweepOf({ prompt: ["a"], seed: ["1", "2"] }, { without: true });
  assert.deepEqual(tableOf(sweep, axes.viewOf(sweep.axes)).columns.map(({ label }) => label), ["1", "2"]);
});

test("lines without a cell that fits are left out, and the arrow keys pass over what does not fit", () => {
  const sweep = sweepOf(CHOICES);
  const marks = { hidden: new Set(["0-0-0-0", "1-1-0-0", "2-0-0-0", "2-1-0-0"]) };
  const table = tableOf(sweep, axes.viewOf(sweep.axes), axes.makeFilter("not hidden", "", marks));
  assert.deepEqual(keysOf(table), [["", "0-1-0-0"], ["1-0-0-0", ""]]);
  assert.equal(table.next({ row: 0, column: 1 }, 0, -1), null);
  const all = tableOf(sweep, axes.viewOf(sweep.axes), (cell) => cell.key !== "1-0-0-0");
  assert.deepEqual(all.next({ row: 0, column: 0 }, 1, 0), { row: 2, column: 0 });
});

test("words are looked for in the prompt, and only what failed is shown where that is asked for", () => {
  const marks = { hidden: new Set() };
  assert.equal(axes.makeFilter("all", "  ", marks), null);
  const fits = axes.makeFilter("all", "SMILE a", marks);
  assert.deepEqual(["a smile", "a frown"].map((prompt) => fits({ prompt })), [true, false]);
  assert.deepEqual(["failed", "done"].map((state) => axes.makeFilter("failed", "", marks)({ state, prompt: null })),
    [true, false]);
});

test("the view that shows a cell takes its choices on the other axes", () => {
  const sweep = sweepOf(CHOICES, { without: true });
  const view = axes.viewOf(sweep.axes);
  assert.equal(axes.viewShowing(sweep, view, { at: [1, 1, 1, 0] }).pages.prompt, 1);
  const turned = { ...view, rows: "prompt", columns: "seed" };
  assert.deepEqual([axes.viewShowing(sweep, turned, { at: [null, null, 0, 0] }).pages].map(
    ({ checkpoint, strength }) => [checkpoint, strength]), [[null, 0]]);
});

test("the same cell of another sweep is found by labels, else by order, and without LoRA stays so", () => {
  const one = sweepOf(CHOICES, { without: true });
  const other = sweepOf({ checkpoint: ["x"], strength: ["1", "0.5"], prompt: ["a frown"] }, { without: true });
  const places = axes.byPlace(other.cells);
  const same = (...at) => axes.sameIn(other, places, one, { at, lora: at.includes(null) ? "" : "a" })?.key ?? null;
  assert.deepEqual([same(2, 0, 1, 0), same(0, 1, 0, 0), same(null, null, 1, 0)], ["0-1-0", "0-0-0", "--0"]);
});

test("scores are found by base, checkpoint and strength, 0 where there is no such axis", () => {
  const rows = [{ base: 0, checkpoint: 1, strength: 0, verdict: "good" }];
  const sweep = sweepOf(CHOICES, { scores: { rows, recommended: 0 } });
  assert.equal(axes.scoreOf(sweep, { at: [1, 0, 1, 0] }), rows[0]);
  assert.equal(axes.scoreOf(sweep, { at: [1, 1, 0, 0] }), null);
  assert.equal(axes.scoreOf(sweep, { at: [null, null, 0, 0] }), null);
  assert.equal(axes.recommendedRow(sweep), rows[0]);
  assert.equal(axes.recommendedRow(sweepOf(CHOICES, { scores: { rows, recommended: 9 } })), null);
});

test("a cell is called by its place on axes with more than one choice", () => {
  const sweep = sweepOf(CHOICES, { without: true });
  assert.equal(axes.nameOf(sweep, { at: [1, 0, 1, 0] }), "c1 · strength 0.5 · a frown");
  assert.equal(axes.nameOf(sweep, { at: [null, null, 0, 0] }), "no LoRA · a smile");
});

// -- the plane ------------------------------------------------------------------------------------------------------

const CELL = plane.cellSize(1);
const WHOLE = { width: CELL.wide * 10, height: CELL.tall * 100 };
const PLACE = { width: 800, height: 600 };

test("zooming leaves what is under the pointer there", () => {
  const before = { x: -120, y: -340, z: 1.5 };
  const point = { x: 333, y: 222 };
  const after = plane.zoomView(before, 1.7, point);
  for (const side of ["x", "y"]) {
    assert.ok(Math.abs((point[side] - before[side]) / before.z - (point[side] - after[side]) / after.z) < 1e-9);
  }
});

test("no zoom shows more pictures than can be drawn, or fewer than one", () => {
  assert.equal(plane.zoomView({ x: 0, y: 0, z: 1 }, 1e-9, { x: 0, y: 0 }).z, 26 / plane.WIDE);
  assert.equal(plane.zoomView({ x: 0, y: 0, z: 1 }, 1e9, { x: 0, y: 0 }).z, 2048 / plane.WIDE);
});

test("what is smaller than its place stands in the middle, and no edge leaves its side", () => {
  const fit = plane.fitPlane({ width: 100, height: 400 }, PLACE);
  assert.deepEqual([fit.z, fit.y, fit.x], [1.5, 0, 325]);
  const held = plane.holdInSight({ x: 50, y: -1e6, z: 1 }, WHOLE, PLACE);
  assert.deepEqual([held.x, held.y], [0, 600 - WHOLE.height]);
});

test("of many cells those in sight are found, and one more on each side", () => {
  const counts = { rows: 100, columns: 10 };
  const sight = plane.cellsInSight({ x: -CELL.wide * 2.5, y: -CELL.tall * 50, z: 1 }, CELL, PLACE, counts);
  assert.deepEqual(sight, { left: 1, right: 10, top: 49, bottom: 55 });
  assert.deepEqual(plane.cellsInSight({ x: 5000, y: 0, z: 1 }, CELL, PLACE, { rows: 1, columns: 1 }),
    { left: 0, right: 0, top: 0, bottom: 1 });
});

test("a cell is brought into sight with as little moving as will do", () => {
  const view = { x: 0, y: 0, z: 1 };
  assert.deepEqual(plane.revealCell(view, CELL, { row: 1, column: 1 }, PLACE), view);
  assert.equal(plane.revealCell(view, CELL, { row: 9, column: 0 }, PLACE).y, 600 - 10 * CELL.tall);
  assert.equal(plane.revealCell({ x: 0, y: -900, z: 1 }, CELL, { row: 1, column: 0 }, PLACE).y, -CELL.tall);
  assert.equal(plane.revealCell({ x: 0, y: 0, z: 9 }, CELL, { row: 1, column: 0 }, PLACE).y, -CELL.tall * 9);
});

test("a header stands where its line is in sight", () => {
  assert.deepEqual(plane.headerAt(-50, 100, 1, 0, 400), { start: 0, size: 50 });
  assert.deepEqual(plane.headerAt(-50, 100, 1, 4, 400), { start: 350, size: 50 });
  assert.equal(plane.headerAt(-50, 100, 1, 5, 400), null);
  assert.deepEqual([plane.headerStep(5, 15), plane.headerStep(80, 15)], [3, 1]);
});

// -- texts in PNG files ---------------------------------------------------------------------------------------------

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  new DataView(bytes.buffer).setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  return bytes;
}

/** As front ends of ComfyUI 0.8 read a PNG's texts: an iTXt chunk as if it were a tEXt one. */
async function readAsOldFrontEnds(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const texts = {};
  for (let at = 8; at < bytes.length;) {
    const size = new DataView(bytes.buffer).getUint32(at);
    const type = String.fromCharCode(...bytes.slice(at + 4, at + 8));
    if (type === "tEXt" || type === "iTXt") {
      let end = at + 8;
      while (bytes[end] !== 0) end += 1;
      const keyword = String.fromCharCode(...bytes.slice(at + 8, end));
      texts[keyword] = new TextDecoder().decode(bytes.slice(end + 1, at + 8 + size));
    }
    at += 12 + size;
  }
  return texts;
}

test("older front ends find the texts of iTXt chunks, and nothing else is changed", async () => {
  const text = new TextEncoder();
  const iTXt = chunk("iTXt", text.encode('prompt\0\0\0\0\0{"1": "é 猫"}'));
  const parts = [chunk("IHDR", new Uint8Array(13)), iTXt, chunk("tEXt", text.encode("a\0b")),
    chunk("iTXt", text.encode("zipped\0\x01\0\0\0xyz")), chunk("IDAT", new Uint8Array([1, 2, 3])),
    chunk("IEND", new Uint8Array())];
  const png = new Uint8Array(await new Blob([new Uint8Array(8), ...parts]).arrayBuffer());
  const plain = withPlainTexts(png);
  assert.equal(plain.type, "image/png");
  const texts = await readAsOldFrontEnds(plain);
  assert.deepEqual([texts.prompt, texts.a], ['{"1": "é 猫"}', "b"]);
  assert.equal(plain.size, png.length - 4);
});

test("a PNG that ends early or is none stays what it is", async () => {
  for (const bytes of [new Uint8Array(3), chunk("IHDR", new Uint8Array(13)).slice(0, 15)]) {
    assert.ok(withPlainTexts(bytes).size <= bytes.length);
  }
});

// -- nodes ----------------------------------------------------------------------------------------------------------

const graph = {
  inputValue: (node, name) => node.widgets?.[name],
  findFeeder: (node, fits) => (node.from && fits({ type: "LORA_SWEEP" }) ? node.from : null),
  linkedRunName: () => null,
};

test("a node's sweep is what it was told, its widget if that was changed since, or what feeds it", () => {
  const told = (name, of, now) => ({ widgets: { name: now }, properties: { sweep: { name, of } } });
  assert.equal(sweepName(told("auto-1", "", ""), graph), "auto-1");
  assert.equal(sweepName(told("auto-1", "", "mine"), graph), "mine");
  assert.equal(sweepName({ widgets: { name: " mine " } }, graph), "mine");
  assert.equal(sweepName({ from: { from: { widgets: { name: "mine" } } } }, graph), "mine");
  assert.equal(sweepName({ widgets: {} }, graph), null);
  const loop = {};
  loop.from = loop;
  assert.equal(sweepName(loop, graph), null);
  assert.deepEqual(toRemember({ widgets: { name: " x " } }, "told", graph.inputValue), { name: "told", of: "x" });
});

test("a sweep without a name is found by the run that is linked, as the server names it", () => {
  const graph = { inputValue: () => "", findFeeder: (node) => node.from ?? null, linkedRunName: (node) => node.run ?? null };
  const sweep = { comfyClass: "LoraBootstrap_CheckpointSweep", run: "akane" };
  assert.equal(sweepName(sweep, graph), "akane-checkpoints");
  assert.equal(sweepName({ comfyClass: "LoraBootstrap_ScoreSweep", from: sweep }, graph), "akane-checkpoints");
  assert.equal(sweepName({ ...sweep, run: null }, graph), null);
  assert.equal(sweepName({ ...sweep, properties: { sweep: { name: "akane-2-checkpoints", of: "" } } }, graph),
    "akane-2-checkpoints");
});

test("a sweep of another run was told before the run that is linked now", () => {
  const graph = { inputValue: (node) => node.named ?? "", findFeeder: () => null, linkedRunName: (node) => node.run ?? null };
  const sweep = { comfyClass: "LoraBootstrap_StrengthGrid", run: "akane", properties: { sweep: { name: "momo-strengths", of: "" } } };
  assert.equal(sweepName(sweep, graph), "akane-strengths");
  assert.equal(sweepName({ ...sweep, run: null }, graph), "momo-strengths");
  const named = { ...sweep, named: "mine", properties: { sweep: { name: "mine-2", of: "mine" } } };
  assert.equal(sweepName(named, graph), "mine-2", "the name is the widget's, not the run's");
});

test("an event is of the node with its id, in subgraphs too", () => {
  assert.deepEqual(["7", "3:7", "17", undefined].map((node) => isToldOf({ id: 7 }, { node })),
    [true, true, false, false]);
});

test("progress is told in one line", () => {
  assert.equal(progressText({ done: 14, failed: 1, total: 40 }), "14 of 40 cells, 1 failed");
  assert.equal(progressText({ done: 1, failed: 0, total: 1 }), "1 cell");
});

// -- the store ------------------------------------------------------------------------------------------------------

/** A server that keeps marks; `fail` is thrown once at the next saving. */
function serverOf(sweep = sweepOf(CHOICES)) {
  const server = {
    sweep, saved: [], fail: null,
    fetch: async () => structuredClone(server.sweep),
    save: async ({ revision, best, hidden, ratings }) => {
      const error = server.fail;
      server.fail = null;
      if (error) throw error;
      if (revision !== server.sweep.revision) throw new Conflict("elsewhere", structuredClone(server.sweep));
      server.mark(best, hidden);
      if (Object.keys(ratings).length) server.sweep.marks.ratings = ratings;
      server.saved.push([best, hidden]);
      return { revision: server.sweep.revision };
    },
    mark: (best, hidden) => {
      const revision = server.sweep.revision + 1;
      server.sweep = { ...server.sweep, revision, marks: { best: best && { key: best }, hidden } };
    },
  };
  return server;
}

async function storeOf(server) {
  const store = new SweepStore(server, () => {});
  await store.load("s");
  return store;
}

const marksOf = (store) => [store.marks.best, [...store.marks.hidden]];

test("marks are saved at once, and undone and done again", async () => {
  const server = serverOf();
  const store = await storeOf(server);
  const [one, two] = store.cells;
  store.toggleBest(one, "one");
  store.toggleHidden(two, "two");
  store.toggleBest(two, "two");
  await store.flush();
  assert.deepEqual(server.sweep.marks, { best: { key: two.key }, hidden: [two.key] });
  assert.equal(store.undo().label, "marking two as the best");
  assert.deepEqual(marksOf(store), [one.key, [two.key]]);
  store.undo();
  store.undo();
  assert.equal(store.undo(), null);
  await store.flush();
  assert.deepEqual(server.sweep.marks, { best: null, hidden: [] });
  store.redo();
  await store.flush();
  assert.deepEqual(server.sweep.marks.best, { key: one.key });
});

test("an aspect of a cell is rated good, then bad, then not at all, and others stay as they are", async () => {
  const server = serverOf();
  const store = await storeOf(server);
  const [one, two] = store.cells;
  store.rateNext(one, "skin", "one");
  store.rateNext(one, "light", "one");
  assert.equal(store.rateNext(one, "light", "one").label, "rating the light of one: bad");
  store.rateNext(two, "anatomy", "two");
  store.rateNext(two, "anatomy", "two");
  store.rateNext(two, "anatomy", "two");
  await store.flush();
  assert.deepEqual(server.sweep.marks.ratings, { [one.key]: { skin: 1, light: -1 } });
  store.undo();
  assert.equal(store.rating(two, "anatomy"), -1);
  await store.load("s");
  assert.equal(store.rating(one, "light"), -1);
});

test("the same mark again takes it back", async () => {
  const store = await storeOf(serverOf());
  const [one] = store.cells;
  for (const _ of [1, 2]) {
    store.toggleBest(one, "one");
    store.toggleHidden(one, "one");
  }
  assert.deepEqual(marksOf(store), [null, []]);
});

test("marks of two people are both kept", async () => {
  const server = serverOf();
  const store = await storeOf(server);
  const [one, two, three] = store.cells;
  server.mark(two.key, [three.key]);
  store.toggleHidden(one, "one");
  await store.flush();
  assert.deepEqual(marksOf(store), [two.key, [three.key, one.key]]);
  assert.deepEqual(server.sweep.marks, { best: { key: two.key }, hidden: [three.key, one.key] });
  assert.match(store.notice, /changed elsewhere/);
});

test("what the server refuses is taken back and told, what fails otherwise is kept", async () => {
  const server = serverOf();
  const store = await storeOf(server);
  server.fail = new Refused("no such cell.");
  store.toggleBest(store.cells[0], "one");
  await store.flush();
  assert.equal(store.marks.best, null);
  assert.match(store.notice, /no such cell/);
  server.fail = new Error("offline.");
  store.toggleBest(store.cells[0], "one");
  await store.flush();
  assert.equal(store.marks.best, store.cells[0].key);
  assert.match(store.problem, /offline/);
  await store.flush();
  assert.equal(store.problem, null);
  assert.deepEqual(server.saved, [[store.cells[0].key, []]]);
});

test("a sweep read anew keeps what is not saved yet, and an old answer is asked for again", async () => {
  const server = serverOf();
  const store = await storeOf(server);
  server.fail = new Error("offline.");
  store.toggleBest(store.cells[0], "one");
  await store.flush();
  await store.load("s");
  assert.equal(store.marks.best, store.cells[0].key);
  await store.flush();
  clearTimeout(store.timer);
  const stale = structuredClone({ ...server.sweep, revision: 0 });
  const fetch = server.fetch;
  let asked = 0;
  server.fetch = async () => ((asked += 1) === 1 ? stale : fetch());
  await store.load("s");
  assert.deepEqual([asked, store.revision], [2, 1]);
});

test("a sweep that is gone is told", async () => {
  const store = await storeOf({ ...serverOf(), fetch: async () => null });
  assert.equal(store.sweep, null);
  assert.match(store.problem, /no sweep s/);
});

test("pictures that several cells share are counted once", async () => {
  const sweep = sweepOf(CHOICES);
  sweep.cells[1] = { ...sweep.cells[1], key: sweep.cells[0].key };
  sweep.cells[2] = { ...sweep.cells[2], state: "failed" };
  const store = await storeOf(serverOf(sweep));
  assert.deepEqual(store.counts, { total: 11, done: 10, failed: 1 });
});

test("the picture without the LoRA is found, but not for itself", async () => {
  const store = await storeOf(serverOf(sweepOf(CHOICES, { without: true })));
  const cell = store.places.get("1,1,1,0");
  assert.equal(store.bare(cell).key, "--1-0");
  assert.equal(store.bare(store.bare(cell)), null);
});
