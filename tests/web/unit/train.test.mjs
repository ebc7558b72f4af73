import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const { chartSummary, countHidden, fromReply, hasGap, latestSamples, remarksOf, shortenName, statusLine, withEvent } = await import("../../../web/train/state.js");
const { formatLoss, formatMemory, formatRate, formatSeconds, formatTick } = await import("../../../web/common/format.js");
const { trainedText } = await import("../../../web/train/presets.js");

const REPLY = {
  name: "akane", run: "akane-2", status: "training", node_id: "5", message: "", step: 2, steps: 800,
  seconds_left: 372, seconds_per_step: 0.5, memory: 3.1 * 2 ** 30, learning_rate: 1e-3, rank: 8, alpha: 8,
  losses: [[1, 0.2], [2, 0.1]], smoothed: [[1, 0.2], [2, 0.15]], validation: [], samples: [], checkpoints: [],
};
const EVENT = {
  name: "akane", run: "akane-2", node_id: "5", status: "training", message: "", step: 3, steps: 800, seconds_left: 371,
  seconds_per_step: 0.5, memory: 3.2 * 2 ** 30, loss: 0.09, smoothed: 0.12, learning_rate: 1e-3, validation: null,
  sample: null,
};
const { smoothPoints } = await import("../../../web/train/plot.js");
const { readWeight } = await import("../../../web/train/smoothing.js");
const plain = (text) => text.replaceAll("\u00a0", " ");

test("figures read as people write them", () => {
  assert.deepEqual([0, 42, 372, 3753].map(formatSeconds), ["0:00", "0:42", "6:12", "1:02:33"]);
  assert.deepEqual([3.1 * 2 ** 30, 512 * 2 ** 20].map(formatMemory), ["3.1 GB", "512 MB"]);
  assert.deepEqual([0.0834, 1.2, 0.00523, 0.00002, 0].map(formatLoss), ["0.083", "1.200", "0.0052", "2.0e-5", "0.000"]);
  assert.deepEqual([0.0015, 1e-4, 1].map(formatRate), ["1.5e-3", "1e-4", "1e0"]);
  assert.deepEqual([formatTick(0.30000000000000004, 0.1), formatTick(150, 50), formatTick(0.025, 0.025)],
    ["0.3", "150", "0.025"]);
});

test("the status line tells step, loss, time left, and memory", () => {
  assert.equal(plain(statusLine(fromReply(REPLY))), "step 2/800 · loss 0.150 · 6:12 left · 3.1 GB");
  assert.equal(plain(statusLine(fromReply({ ...REPLY, seconds_left: null, memory: null, losses: [], smoothed: [] }))),
    "step 2/800");
});

test("every status has a line of its own", () => {
  const lines = ["preparing", "training", "finished", "stopped", "cancelled", "failed", "interrupted"].map((status) =>
    plain(statusLine(fromReply({ ...REPLY, status, message: "caching latents 3/12" }))));
  assert.equal(new Set(lines).size, 7);
  assert.equal(lines[0], "preparing · caching latents 3/12");
  assert.equal(lines[2], "finished · 2 steps · loss 0.150 · in akane-2");
  assert.match(lines[4], /cancelled at step 2\/800 · run again to continue from there/);
});

test("a run that was killed says from which step it goes on", () => {
  const line = (resumes_from) => plain(statusLine(fromReply({ ...REPLY, status: "interrupted", resumes_from })));
  assert.equal(line(1), "interrupted at step 2/800 · run again to continue from step 1");
  assert.equal(line(2), "interrupted at step 2/800 · run again to continue from there");
  assert.equal(line(null), line(2));
  assert.equal(line(0), "interrupted at step 2/800 · run again to start anew", "no state was saved yet");
});

test("a long file name is shortened, so that what is wrong with the image is in sight", () => {
  assert.equal(shortenName("000_portrait in the garden, second try.png: its loss"), "000_port…nd try.png: its loss");
  for (const line of ["a.png: its loss", "3.1 GB predicted for a step of a rather long text: it fits"]) assert.equal(shortenName(line), line);
});

test("outliers are listed below the notes, each once, whatever its figures were when a note named it", () => {
  const reply = { ...REPLY, notes: ["3.1 GB", "a.png: odd"], outliers: ["a.png: odd", "b.png: odd"] };
  assert.deepEqual(remarksOf(fromReply(reply)), ["3.1 GB", "a.png: odd", "b.png: odd"]);
  assert.deepEqual(remarksOf(withEvent(fromReply(reply), { ...EVENT, notes: [] })), ["a.png: odd", "b.png: odd"]);
  const aside = "step 40: a.png is set aside from here on: its loss is 3 times what is expected";
  const later = ["a.png: its loss is 2 times what is expected. It was set aside after step 40.", "aa.png: its loss is 3 times"];
  assert.deepEqual(remarksOf({ notes: [aside, "b.png: 1.9 times"], outliers: [...later, "b.png: 2 times"] }),
    [aside, "b.png: 1.9 times", later[1]]);
  assert.deepEqual(remarksOf(fromReply(REPLY)), [], "the answer of an earlier version");
});

test("an event carries the run on", () => {
  const validation = [3, 0.1, 0.9];
  const sample = { step: 3, filename: "step000003-0.png", subfolder: "loras/akane-2/samples", type: "output" };
  const run = withEvent(fromReply(REPLY), { ...EVENT, validation, sample });
  assert.deepEqual(run.losses, [[1, 0.2], [2, 0.1], [3, 0.09]]);
  assert.deepEqual(run.smoothed.at(-1), [3, 0.12]);
  assert.deepEqual([run.validation, run.samples, run.step], [[validation], [sample], 3]);
  const again = withEvent(run, { ...EVENT, validation, sample });
  assert.deepEqual([again.losses, again.validation, again.samples], [run.losses, run.validation, run.samples]);
});

test("an event that does not carry on calls for the whole", () => {
  const run = fromReply(REPLY);
  assert.equal(withEvent(null, EVENT), null, "nothing known yet");
  assert.equal(withEvent(run, { ...EVENT, run: "akane-3" }), null, "another folder");
  assert.equal(withEvent(run, { ...EVENT, step: 1 }), null, "a step back: resumed from an older state");
  assert.equal(withEvent(run, { ...EVENT, status: "finished" }), null, "the end");
  assert.equal(withEvent(fromReply({ ...REPLY, status: "preparing" }), EVENT), null, "the start");
  assert.equal(withEvent(run, { ...EVENT, status: "preparing", message: "loading" }).message, "loading");
});

test("a loss that is not a number is left out, and the run goes on", () => {
  const run = withEvent(fromReply({ ...REPLY, losses: [[1, null], [2, 0.1]] }), { ...EVENT, loss: null });
  assert.deepEqual([run.losses, run.step], [[[2, 0.1]], 3]);
});

test("an endless run keeps a bounded number of points, with both ends", () => {
  let run = fromReply(REPLY);
  for (let step = 3; step < 6_000; step += 1) run = withEvent(run, { ...EVENT, step });
  assert.ok(run.losses.length <= 2_000, `${run.losses.length}`);
  assert.deepEqual([run.losses[0], run.losses.at(-1)], [[1, 0.2], [5_999, 0.09]]);
});

test("steps that no event told of are a gap", () => {
  const run = fromReply(REPLY);
  assert.equal(hasGap(withEvent(run, EVENT)), false);
  assert.equal(hasGap(withEvent(run, { ...EVENT, step: 9 })), true);
  assert.equal(hasGap(fromReply({ ...REPLY, losses: [] })), false);
});

test("the chart has a text for whoever cannot see it", () => {
  const run = fromReply({ ...REPLY, smoothed: [[1, 0.2], [2, 0.05], [3, 0.1]], validation: [[3, 0.1, 0.9]] });
  assert.equal(chartSummary(run), "Loss from 0.200 at step 1 to 0.100 at step 3 of 800, lowest 0.050 at step 2. " +
    "Validation at step 3: 0.900 × base.");
  assert.equal(chartSummary(fromReply({ ...REPLY, losses: [], smoothed: [] })), "No loss yet.");
});

test("a run says what it is or was trained with, once that is known", () => {
  const figures = "rank 8 · alpha 8 · rate 1.5e-3 · 200 steps · batch 8 · 64 px";
  const run = fromReply({ ...REPLY, figures });
  assert.equal(trainedText(run), `training with: ${figures}`);
  assert.equal(trainedText(withEvent(run, { ...EVENT })), `training with: ${figures}`, "an event does not take it away");
  assert.equal(trainedText({ ...run, status: "finished" }), `trained with: ${figures}`);
  assert.deepEqual([trainedText(null), trainedText({ ...run, figures: "" })], ["", ""]);
});

test("the loss is smoothed as TensorBoard does, without the bias of its beginning", () => {
  const points = [[1, 4], [2, 2], [3, 3]];
  assert.deepEqual(smoothPoints(points, 0), points);
  assert.deepEqual(smoothPoints(points, 0.5).map(([step, value]) => [step, Number(value.toFixed(4))]),
    [[1, 4], [2, 2.6667], [3, 2.8571]]);
  assert.ok(smoothPoints(Array.from({ length: 500 }, (_, step) => [step, 0.3]), 0.99).every(([, loss]) => Math.abs(loss - 0.3) < 1e-9));
});

test("a remembered smoothing is used only if it is one", () => {
  assert.deepEqual(["0", "0.97", null, "", "1", "-1", "x"].map(readWeight), [0, 0.97, null, null, null, null, null]);
});

test("previews run in the chart's order, and what is out of sight is counted", () => {
  const steps = (list) => latestSamples(list.map((step) => ({ step }))).map(({ step }) => step);
  assert.deepEqual(steps([40, 10, 30]), [10, 30, 40]);
  assert.deepEqual(steps(Array.from({ length: 30 }, (_, index) => index)).slice(0, 2), [6, 7]);
  const items = [0, 80, 160, 240, 320].map((start) => [start, 76]);
  assert.deepEqual(countHidden(items, 150, 180), { before: 2, after: 1 });
  assert.deepEqual(countHidden(items, 0, 400), { before: 0, after: 0 });
});

test("what is said of a run besides its status comes with its events", () => {
  const run = withEvent(fromReply(REPLY), { ...EVENT, notes: ["about 5.1 GiB"] });
  assert.deepEqual([fromReply(REPLY).notes, run.notes], [[], ["about 5.1 GiB"]]);
});

test("a run can be compared with any other, or with none", async () => {
  const { comparable } = await import("../../../web/train/compare.js");
  assert.deepEqual(comparable(["a", "b"]).map(({ value }) => value), ["", "a", "b"]);
});
