import assert from "node:assert/strict";
import test from "node:test";

const { READABLE, chooseView, clearArea, isTemplate } = await import("../../../web/templates/view.js");

const NOTE = { type: "MarkdownNote", title: "Read me", pos: [-450, 60], size: [390, 600] };
const TRAIN = { type: "LoraBootstrap_TrainLora", pos: [0, 60], size: [300, 900] };

/** The place on the canvas of a point of the graph. */
const shown = ({ scale, offset }, point) => point.map((value, side) => (value + offset[side]) * scale);

test("a workflow with a node of the pack and its note that holds no view is a template", () => {
  assert.ok(isTemplate({ nodes: [NOTE, TRAIN], extra: {} }));
  assert.ok(isTemplate({ nodes: [TRAIN, { ...NOTE, type: "Note" }] }));
  assert.ok(isTemplate({ nodes: [NOTE, TRAIN], extra: { linearData: { inputs: [], outputs: [] } } }));
});

test("a workflow that was saved with its view, or is another pack's, or has another note, is not a template", () => {
  assert.ok(!isTemplate({ nodes: [NOTE, TRAIN], extra: { ds: { scale: 1, offset: [0, 0] } } }));
  assert.ok(!isTemplate({ nodes: [NOTE, { type: "KSampler" }], extra: {} }));
  assert.ok(!isTemplate({ nodes: [{ ...NOTE, title: "Notes" }, TRAIN], extra: {} }));
  assert.ok(!isTemplate(null) && !isTemplate({}));
});

test("bars take their side of the canvas, what is hidden or floats takes none", () => {
  const canvas = [0, 0, 1600, 1000];
  const bars = [[0, 0, 1600, 38], [0, 38, 59, 962], [1246, 50, 341, 32], [0, 0, 0, 0]];
  assert.deepEqual(clearArea(canvas, bars), [71, 94, 1517, 894]);
  assert.deepEqual(clearArea(canvas, [[1541, 38, 59, 962], [0, 960, 1600, 40]]), [12, 12, 1517, 936]);
  assert.deepEqual(clearArea(canvas, [[200, 200, 1200, 600]]), [12, 12, 1576, 976]);
});

const AREA = [71, 94, 1517, 894];
const note = [-450, 30, 390, 630];

test("a template that is smaller than the window is shown in its middle", () => {
  const view = chooseView({ note, groups: [[-20, -30, 700, 500]], nodes: [note] }, AREA);
  assert.equal(view.scale, READABLE);
  const [left, top] = shown(view, [-450, -30]);
  const [right, bottom] = shown(view, [680, 660]);
  const wholePixels = 1;
  assert.ok(Math.abs(left - 71 - (71 + 1517 - right)) <= wholePixels, `${left} ${right}`);
  assert.ok(Math.abs(top - 94 - (94 + 894 - bottom)) <= wholePixels, `${top} ${bottom}`);
});

test("a template that is wider than the window is shown from its note on, with the group beside it", () => {
  const groups = [[5000, -30, 900, 1500], [-20, -30, 1600, 1500]];
  const view = chooseView({ note, groups, nodes: [] }, AREA);
  assert.equal(view.scale, READABLE);
  assert.deepEqual(shown(view, [-450, -30]), [71, 94]);
  const [right, bottom] = shown(view, [-60, 660]);
  assert.ok(right < 71 + 1517 && bottom < 94 + 894);
});

test("in a low window the note is shown from its own top, not from that of the group", () => {
  const view = chooseView({ note, groups: [[-20, -300, 1600, 1500]], nodes: [] }, [71, 94, 1197, 614]);
  assert.deepEqual(shown(view, [-450, 30]), [71, 94]);
});

test("a group that begins left of the note does not push it out of the window", () => {
  const view = chooseView({ note, groups: [[-5000, -30, 4400, 600]], nodes: [] }, AREA);
  assert.deepEqual(shown(view, [-450, 30]), [71, 94]);
});
