import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const { findFolders, folderText, planUpload, resultText, withStemOf, withoutRoot } =
  await import("../../../web/dataset/files.js");
const { Upload } = await import("../../../web/dataset/upload.js");
const { readDropped } = await import("../../../web/dataset/dropped.js");
const { showSheets } = await import("../../../web/dataset/preview.js");
const { Refused } = await import("../../../web/common/errors.js");

const given = (...paths) => paths.map((path) => ({ path, file: `bytes of ${path}` }));

// -- what is to be sent ---------------------------------------------------------------------------------------------

test("captions go with the images of their name, whatever their case, and the rest is named", () => {
  const plan = planUpload(given("b.PNG", "a.jpg", "A.TXT", "b.png.txt", "c.caption", "notes.json", "10_x/d.webp", "10_x/a.txt"));
  assert.deepEqual(plan.images.map(({ path, captions }) => [path, ...captions.map((one) => one.path)]), [
    ["10_x/d.webp"], ["a.jpg", "A.TXT"], ["b.PNG", "b.png.txt"]]);
  assert.deepEqual(plan.captions.map(({ path }) => path), ["10_x/a.txt", "c.caption"]);
  assert.deepEqual(plan.refused, ["notes.json"]);
});

test("two images of one name both get its caption", () => {
  const plan = planUpload(given("a.png", "a.jpg", "a.txt"));
  assert.deepEqual(plan.images.map(({ captions }) => captions.length), [1, 1]);
  assert.deepEqual(plan.captions, []);
});

test("what only a browser reads is converted, and what systems leave behind is not sent", () => {
  const plan = planUpload(given("a.gif", "b.AVIF", "c.jfif", "d.tif", ".DS_Store", "__MACOSX/a.png", "x/.a.png", "Thumbs.db"));
  assert.deepEqual(plan.images.map(({ path, convert }) => [path, convert]), [
    ["a.gif", true], ["b.AVIF", true], ["c.jpg", false]]);
  assert.deepEqual(plan.refused, ["d.tif"]);
});

test("one dropped folder gives the new folder its name, several stay folders in it", () => {
  assert.deepEqual(withoutRoot(given("girl/a.png", "girl/10_x/b.png")).root, "girl");
  assert.deepEqual(withoutRoot(given("girl/a.png", "girl/10_x/b.png")).files.map(({ path }) => path), ["a.png", "10_x/b.png"]);
  for (const files of [given("girl/a.png", "boy/a.png"), given("a.png", "girl/a.png"), given("a.png"), []]) {
    assert.deepEqual(withoutRoot(files), { root: "", files });
  }
});

test("dropped folders are read with all that is in them, though a browser gives it in parts", async () => {
  const file = (fullPath) => ({ isDirectory: false, fullPath, file: (done) => done(fullPath) });
  const folder = (...parts) => ({ isDirectory: true, createReader: () => ({ readEntries: (done) => done(parts.shift() ?? []) }) });
  const entries = [folder([file("/girl/a.png")], [file("/girl/b.png"), folder([file("/girl/x/c.png")])]), file("/d.png")];
  const broken = (done, fail) => fail(new Error("NotReadableError"));
  entries.push({ isDirectory: false, fullPath: "/e.png", file: broken },
    { isDirectory: true, fullPath: "/f", createReader: () => ({ readEntries: broken }) });
  const data = { items: entries.map((entry) => ({ kind: "file", webkitGetAsEntry: () => entry })), files: [] };
  const dropped = await readDropped(data);
  assert.deepEqual(dropped.map(({ path }) => path), ["girl/a.png", "girl/b.png", "girl/x/c.png", "d.png", "e.png", "f"]);
  const plan = planUpload(dropped);
  assert.deepEqual([plan.images.length, plan.unread, plan.refused], [4, ["e.png", "f"], []]);
  assert.deepEqual((await upload([{ path: "e.png", file: null }], fakeServer())).refused, ["e.png cannot be read."]);
  assert.deepEqual(await readDropped({ items: [], files: [{ name: "e.png" }] }), [{ path: "e.png", file: { name: "e.png" } }]);
});

// -- sending --------------------------------------------------------------------------------------------------------

/** A server that takes files as the route does, and how many it was sent at once at most. */
function fakeServer({ refuse = {}, taken = {}, lostAfter = Infinity } = {}) {
  const server = { sent: [], now: 0, most: 0 };
  server.send = async ({ folder, wanted, path }) => {
    server.now += 1;
    server.most = Math.max(server.most, server.now);
    await new Promise((resolve) => setTimeout(resolve));
    server.now -= 1;
    if (server.sent.length >= lostAfter) throw new TypeError("Failed to fetch");
    if (refuse[path]) throw new Refused(refuse[path]);
    server.sent.push([folder, path]);
    return { folder: folder || `${wanted}-2`, name: taken[path] ?? path, known: false };
  };
  return server;
}

const upload = (files, server, place = { folder: "", wanted: "mine" }, means = {}) =>
  new Upload(planUpload(files), place, { sendFile: server.send, convert: async () => "png", moved: () => {}, ...means }).run();

test("a thousand images are sent a few at a time, all into the one folder that the first made", async () => {
  const [server, moves] = [fakeServer(), []];
  const many = given(...Array.from({ length: 1000 }, (_, number) => `${number}.png`));
  const done = await upload(many, server, undefined, { moved: ({ done: count }) => moves.push(count) });
  assert.ok(server.most <= 4 && server.most > 1, `${server.most} at once`);
  assert.deepEqual([done.folder, done.added, done.total, moves.at(-1)], ["mine-2", 1000, 1000, 1000]);
  assert.deepEqual(server.sent.map(([folder]) => folder), ["", ...Array(999).fill("mine-2")]);
});

test("an image that gets another name takes its caption along", async () => {
  const server = fakeServer({ taken: { "a.png": "a (2).png" } });
  await upload(given("a.png", "a.txt"), server, { folder: "mine", wanted: "" });
  assert.deepEqual(server.sent, [["mine", "a.png"], ["mine", "a (2).txt"]]);
  assert.equal(withStemOf("10_x/a.TXT", "10_x/a (2).png"), "10_x/a (2).txt");
});

test("what the server refuses is said in its words, and the next image makes the folder", async () => {
  const server = fakeServer({ refuse: { "a.png": "a.png is not an image." } });
  const done = await upload(given("a.png", "b.png", "c.gif", "x.json"), server);
  assert.deepEqual(done.refused, ["x.json is neither an image nor a caption.", "a.png is not an image."]);
  assert.deepEqual(server.sent, [["", "b.png"], ["mine-2", "c.png"]]);
  const alone = await upload(given("a.txt"), fakeServer());
  assert.deepEqual([alone.folder, alone.refused], ["", ["a.txt is a caption without an image. Add its image too."]]);
});

test("a server that is lost ends the upload with how many were not sent", async () => {
  const done = await upload(given(...Array.from({ length: 20 }, (_, number) => `${number}.png`)), fakeServer({ lostAfter: 5 }));
  assert.equal(done.added, 5);
  assert.match(resultText(done).wrong, /^The server does not answer, so 15 of 20 files were not sent\./);
});

test("an upload that is stopped sends no more, and what was sent stays", async () => {
  const server = fakeServer();
  const done = await upload(given("a.png", "b.png", "c.png"), server, undefined, { moved: (one) => one.stop() });
  assert.deepEqual([server.sent.length, done.added, done.refused], [1, 1, []]);
  assert.deepEqual(resultText(done), { text: "Added 1 image to mine-2.",
    wrong: "2 of 3 files were not sent. Add them again: what is there already is not doubled." });
});

test("a file that cannot be read is refused, and the server is not said to be lost", async () => {
  const server = fakeServer();
  const gone = new Blob(["x"]);
  gone.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("NotReadableError")) });
  const send = server.send;
  server.send = (sent) => (sent.file === gone ? Promise.reject(new TypeError("Failed to fetch")) : send(sent));
  const done = await upload([{ path: "a.png", file: gone }, ...given("b.png", "c.gif")], server);
  assert.deepEqual(resultText(done), {
    text: "Added 2 images to mine-2. Only the first frame of 1 GIF or AVIF file was taken.", wrong: "a.png cannot be read." });
});

// -- what is said ---------------------------------------------------------------------------------------------------

test("a folder and an upload are told in sentences", () => {
  assert.equal(folderText({ images: 20, captions: 1 }), "20 images, 1 caption");
  assert.equal(folderText({ images: 0, captions: 3 }), "There are no images in this folder.");
  assert.deepEqual(resultText({ folder: "girl", added: 2, captions: 0, known: 1, refused: ["x"] }), {
    text: "Added 2 images to girl. 1 file was there already.", wrong: "x" });
  const { text, wrong } = resultText({ folder: "", added: 0, captions: 0, known: 0, refused: Array(7).fill("y.") });
  assert.deepEqual([text, wrong.split("\n").at(-1)], ["", "… and 2 other files."]);
});

test("folders that begin with what was typed come first, and every word must be in the name", () => {
  const folders = ["my/akane", "akane", "output/akane/round_1", "boy"].map((name) => ({ name, images: 2 }));
  const found = (typed, most = 9) => findFolders(folders, typed, most).map(({ tag }) => tag);
  assert.deepEqual(found("AKANE"), ["akane", "my/akane", "output/akane/round_1"]);
  assert.deepEqual(found("round aka"), ["output/akane/round_1"]);
  assert.deepEqual([found("").length, found("", 2).length, found("x").length], [4, 2, 0]);
});

test("a sheet comes back after a reload only while the host still has it", async () => {
  const shown = [];
  const nodes = [{ id: 1, properties: { sheet: { filename: "a.png" } } }, { id: 2, properties: { sheet: { filename: "gone.png" } } },
    { id: 3, properties: {} }, { id: 4, properties: { sheet: { filename: "a.png" } }, imgs: [{}] },
    { id: 5, properties: { sheet: { filename: "a.png" } } }]; // of a workflow that is no longer open
  await showSheets(nodes, async ({ filename }) => filename === "a.png", ({ id }) => id !== 5,
    (node, output) => shown.push([node.id, output]));
  assert.deepEqual(shown, [[1, { images: [{ filename: "a.png" }] }]]);
});

// -- the panel ------------------------------------------------------------------------------------------------------

/** As much of an element as the panel needs. */
class Made {
  constructor() {
    Object.assign(this, { dataset: {}, style: { setProperty() {} }, classList: { add() {}, toggle() {} } });
  }

  append() {}

  replaceChildren() {}

  setAttribute() {}

  addEventListener() {}
}

test("an upload goes on when its node is made anew or removed, and its end is said where it can be seen", async () => {
  Object.assign(globalThis, {
    document: { createElement: () => new Made(), addEventListener() {}, querySelectorAll: () => [] },
    window: { addEventListener() {} }, requestAnimationFrame: (act) => setTimeout(act),
  });
  const answers = [];
  const answer = () => answers.shift()(new Response(JSON.stringify({ folder: "mine", name: "x.png", known: false })));
  const settle = () => new Promise((resolve) => setTimeout(resolve, 10));
  const view = { name: "mine", images: 1, captions: 0, notes: [], pictures: [], own: true };
  const { FolderPanel } = await import("../../../web/dataset/panel.js");
  globalThis.lbTestsApi.fetchApi = (path, { method }) => (method === "POST"
    ? new Promise((resolve) => answers.push(resolve)) : Promise.resolve(new Response(JSON.stringify(view))));
  const [folder, told] = [{ folder: "", recursive: true }, []];
  const makePanel = () => new FolderPanel({
    folder: () => folder, choose: (name) => Object.assign(folder, { folder: name }), wanted: () => "mine",
    tell: (result) => told.push(result.text), resized() {}, check: async () => "" });

  const first = makePanel();
  first.open();
  const taken = first.take(given("a.png", "b.png", "c.png"));
  await settle();
  answer();
  await settle();
  first.close();
  const second = makePanel();
  second.open();
  assert.equal(second.words().text, "Adding images: 1 of 3");
  for (let left = 2; left; left -= 1) {
    answer();
    await settle();
  }
  await taken;
  assert.deepEqual([second.upload, second.result.text, told], [null, "Added 3 images to mine.", []]);

  const again = second.take(given("d.png"));
  second.close();
  await settle();
  answer();
  await again;
  assert.deepEqual(told, ["Added 1 image to mine."]);
});
