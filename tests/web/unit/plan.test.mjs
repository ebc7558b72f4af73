import assert from "node:assert/strict";
import test from "node:test";

import "./host_stub.mjs";

const { modelSource, planQuestion, planText } = await import("../../../web/common/plan.js");

/** A graph of nodes: name → {class, widgets, links: input → name of the node it comes from}. */
function makeGraph(plans) {
  const nodes = {};
  for (const [name, { comfyClass, widgets = {}, links = {} }] of Object.entries(plans)) {
    const inputs = [...new Set([...Object.keys(links), ...Object.keys(widgets)])].map((input) => ({ name: input }));
    nodes[name] = {
      comfyClass, inputs,
      widgets: Object.entries(widgets).map(([widget, value]) => ({ name: widget, value })),
      isInputConnected: (slot) => inputs[slot].name in links,
      getInputNode: (slot) => nodes[links[inputs[slot].name]] ?? null,
      graph: {}, getInputLink: () => ({ origin_id: 1 }),
    };
  }
  return nodes;
}

test("a question has the values that are known, the settings, and the loader at the top of the models", () => {
  const { train } = makeGraph({
    loader: { comfyClass: "CheckpointLoaderSimple", widgets: { ckpt_name: "noob.safetensors" } },
    lora: { comfyClass: "LoraLoader", widgets: { lora_name: "a.safetensors" }, links: { model: "loader" } },
    length: { comfyClass: "PrimitiveInt", widgets: { value: 300 } },
    rate: { comfyClass: "SomeMaths", widgets: { a: 3 } },
    settings: { comfyClass: "LoraBootstrap_TrainSettings", widgets: { optimizer: "prodigy" } },
    train: {
      comfyClass: "LoraBootstrap_TrainLora", widgets: { kind: "style", steps: 0, learning_rate: 0 },
      links: { model: "lora", settings: "settings", steps: "length", learning_rate: "rate" },
    },
  });
  train.widgets.push({ name: "training", serialize: false, value: "" });
  assert.deepEqual(planQuestion(train), {
    node: "LoraBootstrap_TrainLora",
    values: { kind: "style", steps: 300 },
    model: { node: "CheckpointLoaderSimple", values: { ckpt_name: "noob.safetensors" } },
    settings: { optimizer: "prodigy" },
  });
});

test("without a model or settings the question says so", () => {
  const { train, prepare } = makeGraph({
    train: { comfyClass: "LoraBootstrap_TrainLora", widgets: { steps: 5 } },
    prepare: { comfyClass: "LoraBootstrap_PrepareDataset" },
  });
  assert.deepEqual(planQuestion(train), {
    node: "LoraBootstrap_TrainLora", values: { steps: 5 }, model: null, settings: null });
  assert.equal(modelSource(prepare), null);
});

test("after a run the next is announced, unless it would be the same or the run goes on", () => {
  const [done, plan] = ["trained with: rank 8 · 200 steps", "will train, by the family: rank 16 · 200 steps"];
  assert.equal(planText({ done: "", plan, isLive: false }), plan);
  assert.equal(planText({ done, plan, isLive: true }), done);
  assert.equal(planText({ done, plan, isLive: false }), `${done}\n${plan}`);
  assert.equal(planText({ done, plan: "will train: rank 8 · 200 steps", isLive: false }), done);
  assert.equal(planText({ done, plan: "", isLive: false }), done);
});
