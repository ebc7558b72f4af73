import assert from "node:assert/strict";
import test, { afterEach } from "node:test";

import "./host_stub.mjs";

const { loadWords, t, useWords } = await import("../../../web/common/words.js");
const { statusLine, fromReply } = await import("../../../web/train/state.js");
const { figureName, figureWords } = await import("../../../web/common/figures.js");
const { foldLabel } = await import("../../../web/common/fold.js");
const { folderText } = await import("../../../web/dataset/files.js");
const { columnsOf } = await import("../../../web/common/format.js");
const { stateWord } = await import("../../../web/gallery/picks.js");
const { kinOf } = await import("../../../web/gallery/card.js");
const { markLinked } = await import("../../../web/page/linked.js");

const plain = (text) => text.replaceAll("\u00a0", " ");

afterEach(() => useWords({}));

test("a text without a translation is shown as it is written, with its values", () => {
  assert.equal(t("step {step} of {steps}", { step: 3, steps: 8 }), "step 3 of 8");
  useWords({ "step {step} of {steps}": "第{step}步，共{steps}步" });
  assert.equal(t("step {step} of {steps}", { step: 3, steps: 8 }), "第3步，共8步");
  assert.equal(t("of {total}", { total: "{step} $& $1" }), "of {step} $& $1");
  assert.equal(t(undefined), "");
});

test("the status of a run, a figure and the button of a fold are in the user's language", () => {
  useWords({ "step {step}/{steps}": "第{step}/{steps}步", "loss {value}": "损失 {value}", likeness: "相似度",
    "Show {count} more settings": "显示另外{count}项设置" });
  const run = fromReply({ name: "a", run: "a", status: "training", step: 2, steps: 9, losses: [[1, 0.2], [2, 0.1]] });
  assert.equal(plain(statusLine(run)), "第2/9步 · 损失 0.100");
  assert.deepEqual([figureName("likeness"), figureName("new_figure")], ["相似度", "new figure"]);
  assert.match(figureWords("likeness"), /^How much/);
  assert.deepEqual([foldLabel(false, 4), foldLabel(false, 1)], ["显示另外4项设置", "Show 1 more setting"]);
});

test("a sentence about one file and about several has its own translation", () => {
  useWords({ "{count} images": "画像 {count}枚", "1 image": "画像 1枚", "{count} captions": "キャプション {count}件" });
  assert.equal(folderText({ images: 3, captions: 2 }), "画像 3枚, キャプション 2件");
  assert.equal(folderText({ images: 1, captions: 1 }), "画像 1枚, 1 caption");
  assert.deepEqual(["loss 0.1", "損失 0.1", "손실"].map(columnsOf), [8, 8, 4]);
});

test("a filter finds candidates by the English words in every language, and a card is read in the user's", () => {
  useWords({ kept: "已保留", "drawn again of {name}": "重画自{name}" });
  const candidate = { name: "a", view: {}, twins: null, scores: {}, again_of: "b" };
  assert.equal(stateWord(candidate, { state: "keep" }, "manual"), "kept");
  assert.deepEqual(kinOf(candidate), [["↻", "重画自b"]]);
});

test("a mark that was set in English is replaced by that of the language, and both are taken away", () => {
  const node = { widgets: [{ name: "tags", label: "标签" }], inputs: [{ name: "tags", widget: { name: "tags" }, link: 1 }] };
  markLinked(node);
  assert.equal(node.widgets[0].label, "标签 ← linked");
  useWords({ linked: "已连接" });
  markLinked(node);
  assert.equal(node.widgets[0].label, "标签 ← 已连接");
  node.inputs[0].link = null;
  markLinked(node);
  assert.equal(node.widgets[0].label, "标签");
});

test("words are fetched for a language of the pack alone, and a failure leaves the texts in English", async () => {
  const asked = [];
  const answers = [{ ok: true, json: async () => ({ auto: "自动" }) }, { ok: false }];
  globalThis.fetch = async (address) => {
    asked.push(new URL(address).pathname.split("/").slice(-2).join("/"));
    if (!answers.length) throw new Error("no network");
    return answers.shift();
  };
  await loadWords("en");
  await loadWords("../x");
  assert.deepEqual(asked, []);
  await loadWords("zh");
  assert.equal(t("auto"), "自动");
  useWords({});
  await loadWords("ja");
  await loadWords("ko");
  assert.deepEqual([...asked, t("auto")], ["locales/zh.json", "locales/ja.json", "locales/ko.json", "auto"]);
});
