import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const { IDLE, begun, galleryRound, packingLine, withCandidate, withProject, withTraining } =
  await import("../../../web/project/live.js");
const { FIGURES, SWEEP_FIGURES, figureName, figureWords } = await import("../../../web/common/figures.js");
const { offerOpening, openPanel } = await import("../../../web/common/open.js");
const { allNodes } = await import("../../../web/common/graph.js");

const training = (live, event) => withTraining(live, "zqx", { name: "zqx-style-1", status: "training", ...event });
const candidate = (live, event) => withCandidate(live, "zqx", { project: "zqx", round: 1, ...event });

test("while a run of the project is trained, the panel says its step at once", () => {
  assert.deepEqual(training(begun(), { step: 65, steps: 100 }), {
    queue: true, own: true, text: "Training style LoRA 1: step 65 of 100.", stage: "style-1", done: "65 of 100 steps" });
  assert.equal(training(IDLE, { status: "preparing", message: "caching latents 3/12" }).text,
    "Preparing style LoRA 1: caching latents 3/12.");
  assert.equal(withTraining(IDLE, "zqx", { name: "zqx", status: "training", step: 1, steps: 9 }).text,
    "Training the character LoRA: step 1 of 9.");
});

test("runs and candidates of other projects are not told", () => {
  for (const name of ["other", "zqx-style-x", "zqx-2", undefined]) {
    assert.equal(withTraining(IDLE, "zqx", { name, status: "training", step: 1, steps: 9 }), IDLE);
  }
  assert.equal(withCandidate(IDLE, "zqx", { project: "other", round: 1, made: 1, total: 9 }), IDLE);
});

test("candidates are counted as they are drawn, the base model's own too", () => {
  const live = candidate(IDLE, { made: 12, total: 48 });
  assert.deepEqual([live.text, live.stage, live.done], [
    "Drawing candidate 13 of 48 of round 1.", "candidates-1", "12 of 48"]);
  assert.equal(candidate(IDLE, { round: 0, made: 2, total: 16 }).text, "Drawing image 3 of 16 of the base model.");
});

test("a download says how far packing is, and why it failed", () => {
  const line = (told) => packingLine({ name: "zqx", ...told });
  const [half, whole] = [{ done: 2 ** 29, total: 2 ** 30 }, { done: 2 ** 30, total: 2 ** 30 }];
  assert.deepEqual([{}, half, whole].map((told) => [line(told).text, line(told).isOver]), [
    ["Packing zqx …", false], ["Packing zqx: 50 % of 1.0 GB …", false],
    ["zqx.zip is packed (1.0 GB). Your browser downloads it now.", true]]);
  assert.deepEqual(line({ done: 0, total: 0, problem: "the disk is full." }),
    { text: "zqx was not packed: the disk is full.", isOver: true, isError: true });
  assert.equal(line({ done: 9, total: 100 }).text, "Packing zqx: 9 % of less than 1 MB …");
});

test("between two stages only the tab that queued knows that the workflow runs", () => {
  assert.equal(training(begun(), { status: "finished" }).text, "The workflow is running.");
  assert.equal(training(IDLE, { status: "finished" }).text, "");
  assert.equal(candidate(begun(), { made: 48, total: 48 }).text, "The workflow is running.");
});

test("a workflow is the project's only once the project's own events say so", () => {
  const { own, text } = begun();
  assert.deepEqual([own, text], [false, "ComfyUI is running a workflow."]);
  assert.deepEqual(withProject(begun(), "zqx", { name: "other" }), begun());
  assert.deepEqual(withProject(begun(), "zqx", { name: "zqx" }),
    { ...IDLE, queue: true, own: true, text: "The workflow is running." });
  assert.equal(withProject(IDLE, "zqx", { name: "zqx" }), IDLE, "another tab's");
});

test("the gallery that waits is offered, or else the last one with candidates", () => {
  const stages = (one, two) => [
    { name: "candidates-1", state: "done", text: "48 of 48" }, { name: "curate-1", state: one, text: "" },
    { name: "candidates-2", state: "later", text: "0 of 96" }, { name: "curate-2", state: two, text: "" }];
  assert.deepEqual([galleryRound(stages("next", "later")), galleryRound(stages("done", "later")),
    galleryRound(stages("done", "next")), galleryRound([])], [1, 1, 2, null]);
});

test("a panel opens another's large view, if that offers it", () => {
  const [node, opened] = [{}, []];
  assert.equal(openPanel(node), false);
  offerOpening(node, () => opened.push("it"));
  assert.deepEqual([openPanel(node), opened], [true, ["it"]]);
});

test("the nodes of a workflow are those of its subgraphs too", () => {
  const root = { nodes: [1, 2], subgraphs: new Map([["s", { nodes: [3] }]]) };
  assert.deepEqual([allNodes(root), allNodes({ rootGraph: root, nodes: [3] }), allNodes(null)], [[1, 2, 3], [1, 2, 3], []]);
});

test("every figure has a name and a sentence", () => {
  for (const [key, [name, words]] of [...Object.entries(FIGURES), ...Object.entries(SWEEP_FIGURES)]) {
    assert.ok(name && /^[A-Z].*\.$/.test(words), key);
  }
  assert.deepEqual([figureName("burn_z"), figureName("new_one"), figureWords("new_one")], ["burn", "new one", ""]);
});

test("the goal and the notes of the rounds are saved by the revision that was shown", async () => {
  const { noteChange, noteNames, noteText } = await import("../../../web/project/notes.js");
  const project = { name: "zqx", goal: "night", round_notes: { 1: "behind", 2: "" }, notes_revision: 4 };
  assert.deepEqual(noteNames(project), ["goal", "1", "2"]);
  assert.deepEqual(noteNames(project).map((name) => noteText(project, name)), ["night", "behind", ""]);
  assert.deepEqual(noteChange(project, "goal", "day"), { project: "zqx", revision: 4, goal: "day" });
  assert.deepEqual(noteChange(project, "2", "hands"), { project: "zqx", revision: 4, rounds: { 2: "hands" } });
});

test("a note is sent once more where another was saved meanwhile, but not over another text", async () => {
  const { saveNote } = await import("../../../web/project/notes.js");
  const { Conflict } = await import("../../../web/common/errors.js");
  const shown = () => ({ name: "zqx", goal: "night", round_notes: { 1: "behind" }, notes_revision: 4 });
  const send = async (now) => {
    const project = shown();
    const sent = [];
    const save = async (body) => {
      sent.push(body.revision);
      if (body.revision !== now.notes_revision) throw new Conflict("stale");
      return { revision: body.revision + 1 };
    };
    const told = await saveNote(project, "1", "hands", { save, fetch: async () => now }).catch((error) => error.message);
    return [sent, told, project.notes_revision];
  };
  assert.deepEqual(await send({ ...shown(), goal: "day", notes_revision: 6 }), [[4, 6], undefined, 7]);
  assert.deepEqual(await send({ ...shown(), round_notes: { 1: "feet" }, notes_revision: 6 }), [[4], "stale", 4]);
});

test("what is typed is trimmed, as the server saves it", async () => {
  const { ProjectNotes } = await import("../../../web/project/notes.js");
  const saved = [];
  const notes = { panel: { project: { name: "zqx" }, save: async (...told) => saved.push(told[2]) } };
  const input = { value: "x ", dataset: { project: "zqx", saved: "" } };
  await ProjectNotes.prototype.save.call(notes, "goal", input);
  assert.deepEqual([saved, input.value, input.dataset.saved], [["x"], "x", "x"]);
});

test("an import says under which name the project is here, and why", async () => {
  const { importedLine } = await import("../../../web/project/panel.js");
  const told = { archived: "zqx", picture: "bootstrap/zqx-2/picture.png" };
  assert.match(importedLine({ ...told, name: "zqx-2" }),
    /^Imported as zqx-2, because a project or run is already called zqx\. .*load its image, output\/bootstrap\/zqx-2\/picture\.png\.$/);
  assert.match(importedLine({ ...told, name: "zqx", picture: "" }), /^Imported as zqx\. .*to its own\.$/);
  assert.match(importedLine({ ...told, name: "zqx", warnings: ["Consent is open."] }), /\. ⚠ Consent is open\.$/);
});

test("a candidate goes into a new node where the one that is there is switched off", async () => {
  const { app, putIntoNode } = await import("../../../web/common/host.js");
  app.canvas = { setDirty() {} };
  const loader = (mode) => ({ comfyClass: "Load", mode, size: [200, 80], widgets: [{ name: "candidate", value: "" }] });
  const [off, made] = [loader(4), loader(0)];
  globalThis.window = { LiteGraph: { createNode: () => made } };
  const graph = { nodes: [off], add: (node) => graph.nodes.push(node), beforeChange() {}, afterChange() {} };
  assert.equal(putIntoNode("Load", "candidate", "r1-001", { graph, pos: [500, 0] }), true);
  assert.deepEqual([off.widgets[0].value, made.widgets[0].value, graph.nodes.length], ["", "r1-001", 2]);
  delete globalThis.window;
});
