import assert from "node:assert/strict";
import test from "node:test";

const {
  findCompletions, countTags, listNames, parseFilter, passesFilter, sameTag, splitTags, withAdded, withMoved, withRemoved,
  withReplaced,
} = await import("../../../web/common/tags.js");
const { Conflict, Refused } = await import("../../../web/common/errors.js");
const { TagStore } = await import("../../../web/tags/store.js");

test("a tag is the same in any case and spelling", () => {
  assert.deepEqual(splitTags(" 1girl,, Long_Hair ,a  b,"), ["1girl", "Long_Hair", "a b"]);
  assert.equal(sameTag("Long_Hair"), sameTag("long  hair"));
  assert.equal(sameTag("akane \\(fox\\)"), "akane (fox)");
});

test("tags are added once, removed in any spelling, moved within the ends, and worded anew", () => {
  assert.deepEqual(withAdded(["a", "Long_Hair"], ["long hair", "b", "B"]), ["a", "Long_Hair", "b"]);
  assert.deepEqual(withRemoved(["a", "Long_Hair"], ["long hair"]), ["a"]);
  assert.deepEqual(withMoved(["a", "b", "c"], 0, 2), ["b", "c", "a"]);
  assert.deepEqual([withMoved(["a", "b"], 0, -1), withMoved(["a", "b"], 1, 2)], [["a", "b"], ["a", "b"]]);
  assert.deepEqual(withReplaced(["a", "b", "c"], 1, "d, e"), ["a", "d", "e", "c"]);
  assert.deepEqual(withReplaced(["a", "b", "C"], 0, "c"), ["c", "b"]);
  assert.deepEqual(withReplaced(["a", "b"], 0, " "), ["b"]);
});

test("completion offers what begins with the typing first, then by frequency, and nothing that is there", () => {
  const vocabulary = countTags([["hair", "long hair", "chair"], ["long hair", "hair bow"], ["Long_Hair", "rain"]]);
  assert.deepEqual(vocabulary[0], { tag: "long hair", same: "long hair", count: 3 });
  const offered = (...given) => findCompletions(vocabulary, ...given).map(({ tag }) => tag);
  assert.deepEqual(offered("hair", [], 9), ["hair", "hair bow", "long hair", "chair"]);
  assert.deepEqual(offered("HAIR", ["long_hair"], 2), ["hair", "hair bow"]);
  assert.deepEqual(offered(" ", [], 9), []);
});

test("a filter holds text, whole tags in quotes, and what must be absent", () => {
  const fits = (text, tags = ["long hair", "rain_coat"], name = "one.png") => passesFilter(name, tags, parseFilter(text));
  assert.deepEqual(["hair", "one", "", "long hair, rain", "RAIN COAT"].map((text) => fits(text)), Array(5).fill(true));
  assert.deepEqual(['"hair"', "-hair", "two", "hair, snow", '"rain'].map((text) => fits(text)), Array(5).fill(false));
  assert.ok(fits('"Rain Coat", -"hair", -snow'));
});

test("numbers and names read as people write them", () => {
  assert.deepEqual([listNames(["a", "b"]), listNames(["a", "b", "c", "d", "e"])], ["a, b", "a, b, c and 2 more"]);
});

/** A server of one dataset that keeps what it is given, as the routes do. */
function fakeServer(captions) {
  const server = { captions: { ...captions }, revision: 0, posts: [], refuse: null };
  server.view = () => ({
    id: "set", name: "set", editable: true, revision: server.revision,
    pictures: Object.entries(server.captions).map(([id, caption]) => ({
      id, name: `${id}.png`, caption, tags: splitTags(caption), thumb: `/t/${id}`, width: 64, height: 64,
    })),
  });
  server.write = (changes) => {
    for (const [id, caption] of Object.entries(changes)) server.captions[id] = caption;
    server.revision += 1;
  };
  server.routes = {
    async fetch(id) {
      if (id !== "set") throw new Refused(`there is no dataset ${id}`, 404);
      return server.view();
    },
    async save({ revision, changes }) {
      if (server.refuse) throw server.refuse;
      if (revision !== server.revision) throw new Conflict("somebody else");
      server.posts.push(changes);
      server.write(Object.fromEntries(changes.map(({ picture, caption }) => [picture, caption])));
      return { revision: server.revision };
    },
  };
  return server;
}

const CAPTIONS = { a: "akane, rain", b: "akane,  smile", c: "A girl  stands, in the rain." };

async function opened(captions = CAPTIONS, used = 0) {
  const server = fakeServer(captions);
  const store = new TagStore(server.routes, () => {});
  await store.load("set", used);
  return { server, store };
}

const add = (store, tag, ...ids) => store.edit(`adding ${tag}`, ids, (tags) => withAdded(tags, [tag]));

test("edits of many pictures are one step of undoing, and only what changed is saved", async () => {
  const { server, store } = await opened();
  assert.equal(add(store, "rain", "a", "b"), 1);
  assert.equal(add(store, "night", "a", "b"), 2);
  assert.deepEqual(store.changedIds(), ["a", "b"]);
  await store.flush();
  assert.deepEqual(server.posts, [[
    { picture: "a", caption: "akane, rain, night" }, { picture: "b", caption: "akane, smile, rain, night" }]]);
  assert.equal(store.undo().label, "adding night");
  assert.deepEqual([store.tagsOf("a"), store.tagsOf("b")], [["akane", "rain"], ["akane", "smile", "rain"]]);
  store.undo();
  await store.flush();
  // undone to the blank: what nobody changed is as it was written
  assert.deepEqual(server.captions, CAPTIONS);
  assert.deepEqual([store.changedIds(), store.undo()], [[], null]);
  store.redo();
  store.redo();
  assert.deepEqual([store.redo(), store.tagsOf("b")], [null, ["akane", "smile", "rain", "night"]]);
});

test("edits are saved together once the typing has paused", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { server, store } = await opened();
  add(store, "one", "a");
  context.mock.timers.tick(200);
  add(store, "two", "a");
  context.mock.timers.tick(299);
  assert.equal(server.posts.length, 0);
  context.mock.timers.tick(1);
  await store.flush();
  assert.deepEqual(server.posts, [[{ picture: "a", caption: "akane, rain, one, two" }]]);
});

test("a conflict keeps edits of other pictures, and gives way on the same one so that undoing brings mine back", async () => {
  const { server, store } = await opened();
  add(store, "mine", "a", "b");
  server.write({ a: "akane, theirs" });
  await store.flush();
  assert.deepEqual([store.tagsOf("a"), store.tagsOf("b")], [["akane", "theirs"], ["akane", "smile", "mine"]]);
  assert.equal(store.notice, "a.png was changed elsewhere at the same time. Those captions are shown; " +
    "Undo brings yours back.");
  await store.flush();
  assert.deepEqual(server.captions, { ...CAPTIONS, a: "akane, theirs", b: "akane, smile, mine" });
  store.undo();
  await store.flush();
  assert.equal(server.captions.a, "akane, rain, mine");
  assert.equal(store.problem, null);
});

test("what is not saved stays when a run makes new captions, and counts as changed since", async () => {
  const { server, store } = await opened();
  add(store, "mine", "a");
  server.refuse = new Error("no space left.");
  await store.flush();
  assert.equal(store.problem, "1 caption not saved: no space left. Trying again.");
  server.write({ b: "akane, grin" });
  server.refuse = null;
  await store.load("set", server.revision);
  assert.deepEqual([store.tagsOf("a"), store.tagsOf("b")], [["akane", "rain", "mine"], ["akane", "grin"]]);
  assert.deepEqual([store.changedIds(), store.problem], [["a"], null]);
  await store.flush();
  await store.load("set", server.revision);
  assert.deepEqual([server.captions.a, store.changedIds()], ["akane, rain, mine", []]);
});

test("captions that were edited after the last run are told of when a graph is opened", async () => {
  assert.equal((await opened(CAPTIONS, 0)).store.stale, false);
  const { server, store } = await opened(CAPTIONS, 7);
  assert.equal(store.stale, true);
  await store.load("set", server.revision);
  assert.equal(store.stale, false);
});

test("a dataset that the server no longer knows waits for a run, but edits in hand are not dropped", async () => {
  const { store } = await opened();
  add(store, "mine", "a");
  store.routes.fetch = async () => {
    throw new Refused("there is no dataset; run the workflow.", 404);
  };
  await store.load("set");
  assert.deepEqual([store.tagsOf("a").at(-1), store.problem], ["mine", "there is no dataset; run the workflow."]);
  await store.load("other");
  assert.deepEqual([store.id, store.problem, store.pictures], [null, null, []]);
});

test("a dataset that cannot be edited is not", async () => {
  const { store } = await opened();
  store.editable = false;
  assert.deepEqual([add(store, "x", "a"), store.undo(), store.tagsOf("a")], [0, null, ["akane", "rain"]]);
});
