import assert from "node:assert/strict";
import test from "node:test";

const { coverRange, envelope, lossRange, nearestPoint, pathThrough, makeScale, stepTicks, thinPoints, tickStep } =
  await import("../../../web/common/plot.js");

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
