import assert from "node:assert/strict";
import test from "node:test";

const { reasonsOf } = await import("../../../web/errors/reasons.js");

const refused = (kind, ...details) => ({
  class_type: kind, errors: details.map((text) => ({ type: "custom_validation_failed", details: text })),
});

test("a node's reason is said once, however many inputs the host repeats it for", () => {
  const reason = "the trigger is empty; a character LoRA needs a word - such as eiei21girl.";
  const train = refused("LoraBootstrap_TrainLora", ...["kind", "name", "trigger"].map((name) => `${name} - ${reason}`));
  const data = refused("LoraBootstrap_LoadDataset", "folder - there is no folder 'x'.");
  assert.deepEqual(reasonsOf({ 4: train, 5: data }), [
    { kind: "LoraBootstrap_TrainLora", text: reason }, { kind: "LoraBootstrap_LoadDataset", text: "there is no folder 'x'." }]);
});

test("other packs' nodes and the host's own checks are left to the host", () => {
  const range = { class_type: "LoraBootstrap_TrainLora", errors: [{ type: "value_smaller_than_min", details: "steps" }] };
  assert.deepEqual(reasonsOf({ 1: refused("KSampler", "seed - no"), 2: range }), []);
  assert.deepEqual(reasonsOf(null), []);
});
