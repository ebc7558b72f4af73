import assert from "node:assert/strict";
import test from "node:test";

const { Conflict, Refused } = await import("../../../web/common/errors.js");
const { Store } = await import("../../../web/common/store.js");

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
