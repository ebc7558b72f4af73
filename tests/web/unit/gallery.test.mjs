import assert from "node:assert/strict";
import test from "node:test";

const { Conflict, Refused } = await import("../../../web/common/errors.js");
const { filterCandidates, generatorRows, groupTwins, moveFocus, putBeside, sortCandidates } =
  await import("../../../web/gallery/order.js");
const { captionOf, kinOf, loraWords } = await import("../../../web/gallery/card.js");
const { anotherSeed, wishOf, wishWords } = await import("../../../web/gallery/again.js");
const { readDrawing } = await import("../../../web/gallery/drawing.js");
const { figuresParts, quotaWords } = await import("../../../web/gallery/facts.js");
const { UNTOUCHED, boxBetween, cropProblem, isKept, quotaRows, stackSteps, toDo } =
  await import("../../../web/gallery/picks.js");
const { unpackRound } = await import("../../../web/gallery/packed.js");
const { GalleryStore } = await import("../../../web/gallery/store.js");

// -- what counts ----------------------------------------------------------------------------------------------------

const pick = (values = {}) => ({ ...UNTOUCHED, ...values });
const candidate = (name, values = {}) => ({
  name, round: 1, carried: false, proposed: false, reason: "passed, but others fit better", scores: {}, twins: null,
  view: { angle: "from side", framing: "full body" }, prompt: "akane, from side", tags: ["akane", "from side"], seed: 1,
  lora: "akane-style-1", strength: 1, width: 64, height: 64, thumb: `/t/${name}`, full: `/f/${name}`, pick: pick(),
  ...values,
});

test("what is undecided counts as kept if it was carried over, or in other modes if it is proposed", () => {
  const kinds = [candidate("a"), candidate("b", { carried: true }), candidate("c", { proposed: true })];
  const kept = (mode, state) => kinds.map((one) => isKept(one, pick({ state }), mode));
  assert.deepEqual([kept("manual", ""), kept("auto", ""), kept("from file", "")],
    [[false, true, false], [false, false, true], [false, false, true]]);
  assert.deepEqual([kept("manual", "keep"), kept("auto", "reject")], [[true, true, true], [false, false, false]]);
});

test("quotas count what is kept by its view, and an axis that wants nothing is left out", () => {
  const rows = quotaRows({ angle: { "from side": 2, "from behind": 1 }, style: {} },
    [candidate("a"), candidate("b"), candidate("c", { view: { angle: "front view" } })]);
  assert.deepEqual(rows, [{ axis: "angle", rows: [
    { tag: "from side", kept: 2, wanted: 2 }, { tag: "from behind", kept: 0, wanted: 1 }] }]);
});

test("several generators are counted by what is kept of each, and found by the filter", () => {
  const by = (name, generator, reference = "") => candidate(name, { generator, reference });
  const all = [by("a", "qwen-edit", "2-face"), by("b", "sdxl · akane"), by("c", "qwen-edit"), candidate("old")];
  assert.deepEqual(generatorRows(all, [all[0], all[3]]), [
    { generator: "qwen-edit", kept: 1, drawn: 2 }, { generator: "sdxl · akane", kept: 0, drawn: 1 }]);
  assert.deepEqual([generatorRows(all.slice(2), []), generatorRows([all[3]], [])], [[], []]);
  const found = (text) => filterCandidates(all, text, () => pick(), "manual").map(({ name }) => name);
  assert.deepEqual([found('"qwen-edit"'), found('"sdxl · akane"'), found("2-face")], [["a", "c"], ["b"], ["a"]]);
});

test("columns of a round are read as each candidate by itself, with the addresses of its images", () => {
  const words = ["a", "from side", "from behind", "not measured yet", "pick 1 of 2"];
  const columns = {
    name: { each: ["r1-000", "r1-00 1"] }, reason: { usual: 3, rows: { 1: 4 } }, view: { each: [{ angle: 1 }, { angle: 2 }] },
    prompt: { each: [[0, 1], [0, 2]] }, tags: { usual: [0, 1], rows: { 1: [2] } }, lora: { usual: "s", rows: {} },
    version: { each: ["aa", "bb"] }, pick: { usual: { state: "" }, rows: { 1: { state: "keep" } } },
  };
  const read = unpackRound({ project: "a&b", round: 2, target: 4, packed: { count: 2, words, columns } });
  const address = "/lora_bootstrap/candidate?project=a%26b&round=2";
  assert.deepEqual(read, { project: "a&b", round: 2, target: 4, candidates: [
    { name: "r1-000", reason: "not measured yet", view: { angle: "from side" }, prompt: "a, from side",
      tags: ["a", "from side"], lora: "s", version: "aa", pick: { state: "" },
      thumb: `${address}&name=r1-000&size=thumb&v=aa`, full: `${address}&name=r1-000&v=aa` },
    { name: "r1-00 1", reason: "pick 1 of 2", view: { angle: "from behind" }, prompt: "a, from behind",
      tags: ["from behind"], lora: "s", version: "bb", pick: { state: "keep" },
      thumb: `${address}&name=r1-00%201&size=thumb&v=bb`, full: `${address}&name=r1-00%201&v=bb` }] });
  const empty = { project: "p", round: 1, packed: { count: 0, words: [], columns: {} } };
  assert.deepEqual([unpackRound(null), unpackRound(empty)], [null, { project: "p", round: 1, candidates: [] }]);
});

test("the next thing to do is told", () => {
  assert.deepEqual([toDo(11, 16, "manual"), toDo(16, 16, "manual"), toDo(4, 16, "auto")],
    ["pick 5 more, then press Run", "press Run to continue", "press Run to choose, or keep more by hand"]);
});

test("a crop is whole pixels inside the picture, of a least size, and null where it is the whole", () => {
  const size = { width: 64, height: 48 };
  assert.deepEqual(boxBetween(size, [50.4, 40], [10.6, -5]), [11, 0, 50, 40]);
  assert.deepEqual(boxBetween(size, [60, 40], [62, 41]), [48, 32, 64, 48]);
  assert.deepEqual(boxBetween(size, [30, 30], [28, 20]), [14, 14, 30, 30], "it grows the way it was drawn");
  assert.equal(boxBetween(size, [-3, -3], [99, 99]), null);
  assert.equal(cropProblem(size, [0, 0, 16, 16]), "");
  assert.deepEqual([[0, 0, 65, 48], [0, 0, 15, 48], [0, 0, NaN, 48], [-1, 0, 64, 48]].map((box) =>
    cropProblem(size, box)), ["the image is 64 × 48", "use at least 16 pixels on each side", "use whole numbers of pixels",
    "the image is 64 × 48"]);
});

// -- order and keys -------------------------------------------------------------------------------------------------

const MANY = [
  candidate("r1-000", { scores: { likeness: -0.2, novelty: 0.9 }, twins: 2 }),
  candidate("r1-001", { proposed: true, reason: "pick 10 of 12", scores: { likeness: 0.5 }, view: { angle: "back" } }),
  candidate("r1-002", { proposed: true, reason: "pick 2 of 12", scores: { novelty: 0.1, mark: 0.6 }, lora: "other" }),
  candidate("r1-010", { scores: { likeness: 0.7, mark: 0.2 }, twins: 2, prompt: "akane, rain" }),
];
const numbers = (candidates) => candidates.map(({ name }) => Number(name.slice(3)));

test("every order sorts by what it is called, with what was not measured at the end", () => {
  assert.deepEqual(numbers(sortCandidates(MANY, "proposed")), [2, 1, 10, 0]);
  assert.deepEqual(numbers(sortCandidates(MANY, "likeness")), [10, 1, 0, 2]);
  assert.deepEqual(numbers(sortCandidates(MANY, "novelty")), [0, 2, 1, 10]);
  assert.deepEqual(numbers(sortCandidates(MANY, "mark")), [2, 10, 0, 1], "those that were not measured come last");
  assert.deepEqual(numbers(sortCandidates(MANY, "view")), [1, 0, 2, 10]);
  assert.deepEqual(numbers(sortCandidates([...MANY].reverse(), "name")), [0, 1, 2, 10]);
});

test("near copies are put beside the first of them, and nothing is lost", () => {
  assert.deepEqual(numbers(groupTwins(MANY)), [0, 10, 1, 2]);
  assert.deepEqual(numbers(groupTwins([...MANY].reverse())), [10, 0, 2, 1]);
});

test("a filter looks into name, prompt, LoRA, tags and state", () => {
  const picks = { "r1-000": pick({ state: "keep" }), "r1-001": pick({ state: "reject", tags: ["snow"] }) };
  const found = (text, mode = "manual") =>
    numbers(filterCandidates(MANY, text, ({ name }) => picks[name] ?? pick(), mode));
  assert.deepEqual(["kept", "rejected", "undecided", "proposed"].map((text) => found(text)),
    [[0], [1], [2, 10], [1, 2]]);
  assert.deepEqual([found("rain"), found("other"), found("010"), found("snow"), found("similar")],
    [[10], [2], [10], [1], [0, 10]]);
  assert.deepEqual([found('"akane"'), found('"aka"'), found("-akane"), found("undecided, -proposed")],
    [[0, 1, 2, 10], [], [], [10]]);
  assert.deepEqual(found("kept", "auto"), [0, 2]);
});

test("arrow keys go through the grid and stay inside it", () => {
  const grid = { columns: 4, count: 10, page: 2 };
  const to = (key, ...from) => from.map((at) => moveFocus(key, at, grid));
  assert.deepEqual([to("ArrowLeft", 0, 5), to("ArrowRight", 9, 3)], [[0, 4], [9, 4]]);
  assert.deepEqual(to("ArrowUp", 2, 6), [2, 2]);
  assert.deepEqual(to("ArrowDown", 1, 5, 6, 9), [5, 9, 9, 9], "above the gap at the end lies the last one");
  assert.deepEqual([to("PageDown", 0, 3, 8), to("PageUp", 9, 5, 2)], [[8, 9, 8], [1, 1, 2]]);
  assert.deepEqual([to("Home", 7), to("End", 1), to("a", 1)], [[0], [9], [null]]);
  assert.equal(moveFocus("End", 0, { columns: 1, count: 0, page: 1 }), null);
});

// -- figures --------------------------------------------------------------------------------------------------------

test("figures say what they are of, and without images there are none", () => {
  const figures = { kept: 12, proposed: true, drift: 0.125, diversity: 4, base_diversity: 3.5, burn: null };
  const line = (...given) => figuresParts(...given).map(([text]) => text).join("").replaceAll("\u00a0", " ");
  assert.equal(line(figures, true), "12 proposed: likeness not measured · drift 0.13 · diversity 4.00 (base 3.50) · " +
    "burn not measured · tags seen not measured · mark not measured");
  assert.match(line(figures, false), /^12 proposed: .*\. The next Run measures what is picked now\.$/);
  assert.match(line({ ...figures, proposed: false }, true), /^12 kept: /);
  assert.match(line({ ...figures, proposed: false }, false), /^12 kept at the last Run: /);
  assert.deepEqual([line({ ...figures, kept: 0 }, true), line(null, true)], ["", ""]);
});

test("each figure says what it means", () => {
  const parts = figuresParts({ kept: 1, drift: 0.1 }, true).filter(([text]) => /drift|burn|diversity/.test(text));
  assert.equal(parts.length, 3);
  assert.ok(parts.every(([, words]) => words.endsWith(".")));
});

test("a quota that is more than full says so", () => {
  const words = (kept) => quotaWords({ tag: "flat color", kept, wanted: 6 });
  assert.deepEqual([words(5), words(6), words(9)], ["5 of the 6 wanted images with flat color",
    "6 of the 6 wanted images with flat color", "9 images with flat color, 3 more than wanted"]);
});

test("below a card stand its likeness and view, and the name only if neither is known", () => {
  const card = candidate("r1-030-283624", { scores: { likeness: 0.612 }, view: { angle: "from behind", background: "night sky" } });
  assert.deepEqual([card, { ...card, scores: {} }, { ...card, scores: {}, view: {} }].map(captionOf),
    ["0.61 · from behind · night sky", "from behind · night sky", "r1-030-283624"]);
});

// -- the store ------------------------------------------------------------------------------------------------------

/** A server of one round that keeps what it is given, as the routes do. */
function fakeServer(candidates) {
  const picks = new Map(candidates.map(({ name, pick: given }) => [name, given]));
  const server = { picks, revision: 0, history: [], posts: [], refuse: null };
  server.view = () => structuredClone({
    project: "akane", round: 1, revision: server.revision, target: 4, eye: "", notes: [], figures: null,
    crops: [{ name: "crop0", caption: "", thumb: "", full: "" }], quotas: {}, history: server.history,
    candidates: candidates.map((one) => ({ ...one, pick: picks.get(one.name) })),
  });
  server.write = (label, changes) => {
    const done = changes.map(({ candidate: name, pick: values }) => {
      const before = picks.get(name);
      picks.set(name, { ...before, ...values });
      return { candidate: name, before, after: picks.get(name) };
    });
    server.history.push({ at: new Date(1e12 + 1000 * server.history.length).toISOString(), label, changes: done });
    server.revision += 1;
  };
  server.routes = {
    fetch: async (project, round) => (project === "akane" && round === 1 ? server.view() : null),
    async save({ revision, label, changes }) {
      if (server.refuse) throw server.refuse;
      if (revision !== server.revision) throw new Conflict("somebody else", server.view());
      server.posts.push({ label, changes });
      server.write(label, changes);
      return { revision: server.revision };
    },
  };
  return server;
}

async function opened(candidates = ["a", "b", "c"].map((name) => candidate(name, { proposed: name !== "c" }))) {
  const server = fakeServer(candidates);
  const store = new GalleryStore(server.routes, () => {});
  await store.load("akane", 1);
  return { server, store };
}

async function reopened(server) {
  const store = new GalleryStore(server.routes, () => {});
  await store.load("akane", 1);
  return store;
}

const decide = (store, state, ...names) => store.edit(`${state} ${names.join()}`, names, () => ({ state }));
const states = (store) => ["a", "b", "c"].map((name) => store.pickOf(name).state);

test("crops and kept candidates are counted, and each action is saved as a step of its own", async () => {
  const { server, store } = await opened();
  assert.deepEqual([store.keptCount("manual"), store.keptCount("auto")], [1, 3]);
  decide(store, "keep", "c");
  decide(store, "reject", "a", "b");
  assert.equal(decide(store, "keep", "c", "unknown"), 0, "nothing is changed by it");
  assert.deepEqual([store.keptCount("manual"), store.keptCount("auto")], [2, 2]);
  assert.deepEqual(store.openProposals(), []);
  await store.flush();
  assert.deepEqual(server.posts, [
    { label: "keep c", changes: [{ candidate: "c", pick: { state: "keep" } }] },
    { label: "reject a,b", changes: [{ candidate: "a", pick: { state: "reject" } },
      { candidate: "b", pick: { state: "reject" } }] }]);
  assert.deepEqual([store.pending, store.revision], [[], 2]);
});

test("steps are saved a moment after the last of them", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { server, store } = await opened();
  decide(store, "keep", "a");
  context.mock.timers.tick(150);
  decide(store, "keep", "b");
  context.mock.timers.tick(199);
  assert.equal(server.posts.length, 0);
  context.mock.timers.tick(1);
  await store.flush();
  assert.equal(server.posts.length, 2);
});

test("a page that goes away saves all in one request", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a");
  decide(store, "reject", "b");
  store.edit("noting on a", ["a"], () => ({ note: "hers" }));
  await store.flush(true);
  assert.deepEqual(server.posts, [{ label: "noting on a, and 2 before it", changes: [
    { candidate: "a", pick: { state: "keep", note: "hers" } }, { candidate: "b", pick: { state: "reject" } }] }]);
});

test("undoing and doing again last over a reload", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a", "b");
  decide(store, "reject", "c");
  assert.equal(store.undo().label, "reject c");
  await store.flush();
  const again = await reopened(server);
  assert.deepEqual(states(again), ["keep", "keep", ""]);
  assert.deepEqual([again.past.map(({ label }) => label), again.future.map(({ label }) => label)],
    [["keep a,b"], ["reject c"]]);
  assert.equal(again.redo().label, "reject c");
  again.undo();
  again.undo();
  assert.deepEqual([states(again), again.undo()], [["", "", ""], null]);
  again.redo();
  await again.flush();
  const last = await reopened(server);
  assert.deepEqual([states(last), last.redo().label, states(last)], [["keep", "keep", ""], "reject c",
    ["keep", "keep", "reject"]]);
  last.undo();
  decide(last, "keep", "c");
  assert.equal(last.redo(), null, "something new was done");
});

test("undoing puts back only what its step changed", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a");
  await store.flush();
  server.write("note on a", [{ candidate: "a", pick: { note: "theirs" } }]);
  await store.load("akane", 1);
  assert.equal(store.undo().label, "note on a");
  store.redo();
  const found = store.past.findIndex(({ label }) => label === "keep a");
  assert.equal(found, 0);
  store.undo();
  store.undo();
  assert.deepEqual(store.pickOf("a"), pick());
  store.redo();
  assert.deepEqual(store.pickOf("a"), pick({ state: "keep" }));
});

test("of steps of the same name the latest is undone first", async () => {
  const { server, store } = await opened();
  const crop = (box) => store.edit("cropping a", ["a"], () => ({ crop: box }));
  crop([0, 0, 40, 40]);
  crop([0, 0, 20, 20]);
  await store.flush();
  const again = await reopened(server);
  again.undo();
  await again.flush();
  const last = await reopened(server);
  assert.deepEqual(last.pickOf("a").crop, [0, 0, 40, 40]);
  last.undo();
  assert.equal(last.pickOf("a").crop, null);
  last.redo();
  last.redo();
  assert.deepEqual(last.pickOf("a").crop, [0, 0, 20, 20]);
});

test("an undone step whose beginning is forgotten can still be done again", () => {
  const change = { before: pick({ state: "keep" }), after: pick() };
  const { past, future } = stackSteps([{ at: "", label: "undone: keeping a", changes: new Map([["a", change]]) }]);
  assert.deepEqual(past, []);
  assert.deepEqual(future[0].changes.get("a"), { before: change.after, after: change.before });
});

test("undoing passes over steps that change nothing any more", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a");
  decide(store, "keep", "b");
  await store.flush();
  server.picks.set("b", pick()); // b was drawn anew, and has no pick
  server.revision += 1;
  await store.load("akane", 1);
  assert.deepEqual([store.undo().label, states(store), store.undo()], ["keep a", ["", "", ""], null]);
});

test("tags that are as they were made are no change", async () => {
  const { store } = await opened();
  store.editTags("adding", "a", (tags) => [...tags, "rain"]);
  assert.deepEqual([store.tagsOf("a"), store.pickOf("a").tags], [["akane", "from side", "rain"],
    ["akane", "from side", "rain"]]);
  assert.deepEqual(store.vocabulary().find(({ tag }) => tag === "rain").count, 1);
  store.editTags("removing", "a", (tags) => tags.slice(0, 2));
  assert.equal(store.pickOf("a").tags, null);
});

test("a conflict keeps what others did not touch, tells of the rest, and undoing brings mine back", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a", "b");
  server.write("reject a", [{ candidate: "a", pick: { state: "reject", note: "blurred" } }]);
  await store.flush();
  assert.deepEqual(states(store), ["reject", "keep", ""]);
  assert.equal(store.notice, "a was changed elsewhere at the same time. The other change is shown; Undo brings yours back.");
  assert.deepEqual(server.posts, [{ label: "keep a,b", changes: [{ candidate: "b", pick: { state: "keep" } }] }]);
  assert.equal(store.undo().label, "keep a,b");
  store.redo();
  await store.flush();
  const before = store.past.map(({ label }) => label);
  assert.deepEqual(before, ["reject a", "giving way", "keep a,b"]);
  store.undo();
  store.undo();
  assert.deepEqual(store.pickOf("a"), pick({ state: "keep", note: "blurred" }));
  await store.flush();
  assert.deepEqual(server.picks.get("a"), pick({ state: "keep", note: "blurred" }));
});

test("who changed another field of the same picture is not overruled, and neither am I", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a");
  server.write("note", [{ candidate: "a", pick: { note: "theirs" } }]);
  await store.flush();
  assert.deepEqual(server.picks.get("a"), pick({ state: "keep", note: "theirs" }));
  assert.equal(store.notice, "a was changed elsewhere. Your changes are still here.");
});

test("what could not be saved is told, kept over a reload of the round, and saved later", async () => {
  const { server, store } = await opened();
  decide(store, "keep", "a");
  server.refuse = new Error("no space left.");
  await store.flush();
  assert.equal(store.problem, "1 change not saved: no space left. Trying again.");
  await store.load("akane", 1);
  assert.deepEqual(states(store), ["keep", "", ""]);
  server.refuse = null;
  await store.flush();
  assert.deepEqual([server.picks.get("a").state, store.problem], ["keep", null]);
});

test("what the server will never take is taken back, and the rest is saved", async () => {
  const { server, store } = await opened();
  const { save } = server.routes;
  server.routes.save = async (body) => {
    if (body.changes.some(({ pick: values }) => values.crop)) throw new Refused("crop is too small.");
    return save(body);
  };
  store.edit("cropping a", ["a"], () => ({ crop: [0, 0, 1, 1] }));
  decide(store, "keep", "b");
  await store.flush();
  assert.deepEqual([store.pickOf("a"), server.picks.get("b").state], [pick(), "keep"]);
  assert.equal(store.notice, "Not saved, and taken back: cropping a. crop is too small.");
});

test("an answer from before my saving does not take it back, and one from after it is not counted twice", async () => {
  const { server, store } = await opened();
  const [stale, routes] = [server.view(), server.routes];
  const answers = [stale];
  store.routes = { ...routes, fetch: async (...given) => answers.shift() ?? routes.fetch(...given) };
  const reading = store.load("akane", 1);
  decide(store, "keep", "a");
  await Promise.all([store.flush(), reading]);
  assert.deepEqual([states(store), store.past.map(({ label }) => label)], [["keep", "", ""], ["keep a"]]);
});

test("an answer that has my saving already is not counted twice", async () => {
  const { server, store } = await opened();
  const { save } = server.routes;
  let answerSave = null;
  server.routes.save = async (body) => {
    const answer = await save(body);
    await new Promise((resolve) => {
      answerSave = resolve;
    });
    return answer;
  };
  decide(store, "keep", "a");
  const saving = store.flush();
  await Promise.resolve();
  const reading = store.read("akane", 1); // as one that was asked before
  await new Promise(setImmediate);
  answerSave();
  await Promise.all([saving, reading]);
  assert.deepEqual([store.past.map(({ label }) => label), store.pending], [["keep a"], []]);
});

test("what could not be saved is tried again by itself", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { server, store } = await opened();
  server.refuse = new Error("no answer.");
  decide(store, "keep", "a");
  await store.flush();
  server.refuse = null;
  context.mock.timers.tick(5000);
  await store.saving;
  assert.deepEqual(server.posts.map(({ label }) => label), ["keep a"]);
});

test("a round that is not there is told of, and pictures appear as they are made", async () => {
  const { server, store } = await opened();
  await store.load("akane", 2);
  assert.deepEqual([store.there, store.project, store.round, store.candidates], [false, "akane", 2, []]);
  await store.load("akane", 1);
  decide(store, "keep", "a");
  const { view } = server;
  server.view = () => ({ ...view(), candidates: [...view().candidates, candidate("d")] });
  await store.load("akane", 1);
  assert.deepEqual([store.candidates.length, states(store)[0]], [4, "keep"]);
  store.routes.fetch = async () => {
    throw new Error("no answer.");
  };
  await store.load("akane", 1);
  assert.deepEqual([store.problem, store.candidates.length], ["Cannot read round 1 of akane: no answer.", 4]);
});

/** A browser's shelf, and what is kept on it. */
function fakeShelf() {
  const kept = new Map();
  const shelf = {
    put: (project, round, value) => kept.set(`${project} ${round}`, structuredClone(value)),
    take: (project, round) => {
      const value = kept.get(`${project} ${round}`);
      kept.delete(`${project} ${round}`);
      return value ?? null;
    },
  };
  return { kept, shelf };
}

test("what a page has no time to save is taken up by the next one, but for what others changed", async () => {
  const { server, store } = await opened();
  const { kept, shelf } = fakeShelf();
  Object.assign(store, { shelf, routes: { ...server.routes, save: () => new Promise(() => {}) } });
  decide(store, "reject", "a");
  store.flush();
  server.write("reject a", [{ candidate: "a", pick: { state: "reject" } }]); // it arrives
  decide(store, "keep", "a");
  decide(store, "reject", "b");
  store.edit("flipping c", ["c"], () => ({ flip: true, state: "keep" }));
  store.flush(true); // no answer ever comes
  server.write("elsewhere", [{ candidate: "c", pick: { state: "reject" } }]);
  const next = new GalleryStore(server.routes, () => {}, shelf);
  await next.load("akane", 1);
  assert.deepEqual([states(next), next.pickOf("c").flip, next.pending.length], [["keep", "reject", "reject"], true, 1]);
  await next.flush(true);
  assert.deepEqual([server.picks.get("a").state, server.picks.get("c").flip], ["keep", true]);
  assert.deepEqual([...kept.values()], [null], "what was saved meanwhile is not taken up again");
});

test("what arrives late from the page before is not taken for somebody else's", async () => {
  const { server, store } = await opened();
  const { shelf } = fakeShelf();
  const { save } = server.routes;
  const slow = new Promise(() => {});
  Object.assign(store, { shelf, routes: { ...server.routes, save: () => slow } });
  decide(store, "reject", "a");
  store.flush(); // on its way
  store.undo();
  decide(store, "keep", "a", "b");
  store.flush(true);
  const next = new GalleryStore(server.routes, () => {}, shelf);
  await next.load("akane", 1);
  assert.deepEqual(states(next), ["keep", "keep", ""]);
  await save({ revision: 0, label: "reject a", changes: [{ candidate: "a", pick: { state: "reject" } }] });
  await next.flush();
  assert.deepEqual([states(next), next.notice], [["keep", "keep", ""], null]);
  assert.deepEqual([server.picks.get("a").state, server.picks.get("b").state], ["keep", "keep"]);
});

test("a saving whose answer was lost is not taken for somebody else's", async () => {
  for (const leaving of [false, true]) {
    const { server, store } = await opened();
    const { save } = server.routes;
    decide(store, "reject", "a");
    server.routes.save = async (body) => {
      await save(body);
      throw new Error("no answer.");
    };
    await store.flush();
    server.routes.save = save;
    store.undo();
    decide(store, "keep", "a");
    await store.flush(leaving);
    assert.deepEqual([states(store)[0], server.picks.get("a").state, store.notice], ["keep", "keep", null]);
    store.undo();
    assert.equal(states(store)[0], "");
  }
});

// -- proposals ------------------------------------------------------------------------------------------------------

const ROUND = [
  candidate("r1-0", { proposed: true, reason: "pick 2 of 3" }), candidate("r1-1", { reason: "blurred" }),
  candidate("r1-2", { proposed: true, reason: "pick 1 of 3" }), candidate("r1-3", { proposed: true, reason: "pick 3 of 3" }),
  candidate("r1-4", { reason: "passed, but others fit better (reserve 2)" }),
  candidate("r1-5", { reason: "passed, but others fit better (reserve 1)" }),
];

test("after a rejection the next of the reserve is proposed, so that keeping what is proposed is enough", async () => {
  const store = new GalleryStore(fakeServer(ROUND).routes, () => {});
  await store.load("akane", 1);
  const open = () => store.openProposals().map(({ name }) => name);
  const reject = (name) => store.edit("reject", [name], () => ({ state: "reject" }));
  assert.deepEqual(open(), ["r1-0", "r1-2", "r1-3"]);
  reject("r1-2");
  assert.deepEqual(open(), ["r1-0", "r1-3", "r1-5"]);
  reject("r1-5");
  assert.deepEqual(open(), ["r1-0", "r1-3", "r1-4"]);
  store.edit("keep", open(), () => ({ state: "keep" }));
  assert.equal(store.keptCount("manual"), 4);
  reject("r1-4");
  assert.deepEqual(open(), [], "the reserve is used up");
  for (let steps = 0; steps < 4; steps += 1) store.undo();
  assert.deepEqual(open(), ["r1-0", "r1-2", "r1-3"]);
  store.forget();
});

test("figures are of what is picked until something else is picked", async () => {
  const measured = (figures, names) => {
    const { routes, view } = fakeServer(ROUND);
    return new GalleryStore({ ...routes, fetch: async () => ({ ...view(), figures, measured: names }) }, () => {});
  };
  const proposal = measured({ kept: 3, proposed: true }, ["r1-0", "r1-2", "r1-3"]);
  await proposal.load("akane", 1);
  assert.ok(proposal.isMeasured("manual"));
  proposal.edit("keep", ["r1-0"], () => ({ state: "keep" }));
  assert.ok(!proposal.isMeasured("manual"));
  proposal.forget();
  const kept = measured({ kept: 1, proposed: false }, ["r1-4"]);
  await kept.load("akane", 1);
  assert.ok(!kept.isMeasured("manual"));
  kept.edit("keep", ["r1-4"], () => ({ state: "keep" }));
  assert.ok(kept.isMeasured("manual"));
  kept.forget();
});

// -- drawing again and repairing ------------------------------------------------------------------------------------

test("what was drawn again or repaired stands beside the one it comes from, and nothing is lost", () => {
  const made = [candidate("r1-000"), candidate("r1-001"), candidate("r1-002"),
    candidate("r1-001-aa", { repaired_from: "r1-000-bb" }), candidate("r1-000-bb", { again_of: "r1-000" }),
    candidate("r1-009", { again_of: "gone" }), candidate("x", { again_of: "y" }), candidate("y", { again_of: "x" })];
  assert.deepEqual(putBeside(made).map(({ name }) => name),
    ["r1-000", "r1-000-bb", "r1-001-aa", "r1-001", "r1-002", "r1-009", "x", "y"]);
  const plain = made.slice(0, 3);
  assert.equal(putBeside(plain), plain);
  const found = (filter) => filterCandidates(made, filter, () => pick(), "manual").map(({ name }) => name);
  assert.deepEqual([found('"repaired"'), found('"again"').length], [["r1-001-aa"], 4]);
});

test("a card says what its image was made from, and what replaces it", () => {
  const words = (values) => kinOf(candidate("a", values)).map(([, text]) => text);
  assert.deepEqual([words({ again_of: "b" }), words({ again_of: "b", repaired_from: "c" }), words({ replaced_by: "d" }),
    words({ again_of: "", repaired_from: "", replaced_by: "" })],
  [["drawn again of b"], ["repaired from c"], ["replaced by d"], []]);
});

test("an image is shown as replaced by its repaired copy, until the copy is rejected", () => {
  const round = { candidates: [candidate("old"), candidate("new", { repaired_from: "old" })], revision: 0, target: 4 };
  const store = new GalleryStore({ fetch: async () => null, save: async () => ({ revision: 1 }) }, () => {});
  store.begin(round, "akane", 1);
  const words = () => kinOf(store.byName.get("old")).map(([, text]) => text);
  const found = () => filterCandidates(store.candidates, '"replaced"', ({ name }) => store.pickOf(name), "manual")
    .map(({ name }) => name);
  assert.deepEqual([words(), found()], [["replaced by new"], ["old"]]);
  store.edit("rejecting", ["new"], () => ({ state: "reject" }));
  assert.deepEqual([words(), found()], [[], []]);
  store.edit("unpicking", ["new"], () => ({ state: "" }));
  assert.deepEqual([words(), found()], [["replaced by new"], ["old"]]);
  store.begin({ ...round, candidates: [candidate("old"), candidate("new", { repaired_from: "old",
    pick: pick({ state: "reject" }) })] }, "akane", 1);
  assert.deepEqual([words(), found()], [[], []]);
  store.forget();
});

test("the strength of the LoRA is shown with how it changed over the steps", () => {
  const curve = "x 0.7 until 0.4, x 2.3 from 0.4 of the steps";
  assert.deepEqual([{}, { curve }, { lora: "", curve }].map((values) =>
    loraWords(candidate("a", { strength: 0.6, curve: "", ...values }))),
  ["akane-style-1 at 0.6", `akane-style-1 at 0.6 (${curve})`, "none"]);
});

test("the form for drawing again sends what it shows, and says what cannot be", () => {
  const one = candidate("a", { strength: 0.6 });
  const typed = (values) => wishOf(one, { seed: "7", strength: "0.6", prompt: one.prompt, ...values });
  assert.deepEqual(typed().wish, { candidate: "a", seed: 7, prompt: "", strength: 0.6 });
  assert.deepEqual(typed({ strength: null, prompt: " akane, rain " }).wish,
    { candidate: "a", seed: 7, prompt: "akane, rain", strength: null });
  assert.deepEqual([{ seed: "-1" }, { seed: "" }, { seed: "1.5" }, { strength: "" }, { strength: "9" }, { prompt: " " }]
    .map((values) => typed(values).problem.split(":")[0]), ["seed", "seed", "seed", "strength", "strength", "prompt"]);
  assert.equal(anotherSeed([5, 6], () => 5 / 2 ** 31), 7);
  assert.equal(wishWords({ candidate: "a", seed: 7, strength: 0.8, prompt: "" }), "a again · seed 7 · strength 0.8");
});

test("the strength is offered only where the graph lets it be chosen, and otherwise it says why", () => {
  const node = (comfyClass, from = {}, widgets = []) => ({
    comfyClass, widgets, mode: 0, inputs: Object.keys(from).map((name) => ({ name, link: 1 })),
    getInputNode: (slot) => Object.values(from)[slot], getInputLink: () => ({ origin_slot: 0 }),
  });
  const picked = (which) => node("LoraBootstrap_PickCheckpoint", {}, [{ name: "which", value: which }]);
  const drawing = (stack) => readDrawing(node("LoraBootstrap_CurateImages", {
    project: node("LoraBootstrap_SaveCandidates", stack ? { LORA_STACK: stack } : {}) }));
  assert.deepEqual(drawing(picked("final")), { draws: true, fixed: "" });
  assert.match(drawing(picked("picked in a sweep")).fixed, /sweep/);
  assert.match(drawing(node("LoraBootstrap_LoraStack")).fixed, /Pick Checkpoint/);
  assert.match(drawing(null).fixed, /Pick Checkpoint/);
  assert.deepEqual(readDrawing(node("LoraBootstrap_CurateImages", { project: node("LoraBootstrap_Project") })).draws,
    false);
});

test("wishes are saved, taken back, and told of if they cannot be", async () => {
  const sent = [];
  let fails = false;
  const wish = async (body) => {
    if (fails) throw new Refused("no room", 400);
    sent.push(body);
    return { again: body.add.map((one) => ({ id: "1", ...one })) };
  };
  const store = new GalleryStore({ fetch: async () => null, save: async () => ({ revision: 1 }), wish }, () => {});
  store.begin({ revision: 0, target: 4, candidates: [candidate("a")], again: [{ id: "0" }] }, "akane", 1);
  assert.deepEqual(store.again, [{ id: "0" }]);
  assert.equal(await store.changeWishes({ add: [{ candidate: "a", seed: 1 }] }), true);
  assert.deepEqual([store.again, sent[0]], [[{ id: "1", candidate: "a", seed: 1 }],
    { project: "akane", round: 1, add: [{ candidate: "a", seed: 1 }], remove: [] }]);
  fails = true;
  assert.equal(await store.changeWishes({ remove: ["1"] }), false);
  assert.deepEqual([store.notice, store.again.length], ["Not saved: no room", 1]);
});

test("the list of wishes is built anew only if other wishes wait, so that its buttons keep the focus", async () => {
  const { WishList } = await import("../../../web/gallery/again.js");
  const built = [];
  const list = { shown: "a1", element: {}, list: { replaceChildren: (...rows) => built.push(rows.length) } };
  WishList.prototype.show.call(list, [{ id: "a1" }]);
  assert.deepEqual(built, []);
  WishList.prototype.show.call(list, []);
  assert.deepEqual([built, list.element.hidden], [[0], true]);
});
