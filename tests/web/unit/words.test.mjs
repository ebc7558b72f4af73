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
const { GalleryPanel } = await import("../../../web/gallery/panel.js");
const { markLinked } = await import("../../../web/page/linked.js");
const { IDLE, begun, packingLine, withCandidate, withTraining } = await import("../../../web/project/live.js");
const { columnHeads, importedLine } = await import("../../../web/project/panel.js");
const { TagChips } = await import("../../../web/common/chips.js");
const { StackStore } = await import("../../../web/stack/store.js");

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

test("what a project does, and its table of rounds, are in the language that came after the panel was loaded", () => {
  useWords({ "Training style LoRA {round}: step {step} of {steps}.": "画風LoRA {round} を学習中：{step}/{steps}。",
    "Preparing the character LoRA: {message}.": "準備中：{message}。", "ComfyUI is running a workflow.": "実行中です。",
    "Drawing candidate {place} of {total} of round {round}.": "ラウンド{round}：{total}枚中{place}枚目。",
    "less than 1 MB": "1 MB未満", "Packing {name}: {percent} % of {size} …": "{name}：{size}の{percent}%",
    "Imported as {name}.": "{name}としてインポート。", round: "ラウンド", likeness: "類似度" });
  const trained = (name, event) => withTraining(IDLE, "zqx", { name, ...event }).text;
  assert.deepEqual([
    trained("zqx-style-2", { status: "training", step: 3, steps: 8 }),
    trained("zqx", { status: "preparing", message: "caching latents" }), begun().text,
    withCandidate(IDLE, "zqx", { project: "zqx", round: 1, made: 4, total: 9 }).text,
    packingLine({ name: "zqx", done: 9, total: 100 }).text,
    importedLine({ name: "zqx", archived: "zqx", picture: "" }).slice(0, 12),
    ...columnHeads().slice(0, 3).map(([title]) => title)],
  ["画風LoRA 2 を学習中：3/8。", "準備中：caching latents。", "実行中です。", "ラウンド1：9枚中5枚目。",
    "zqx：1 MB未満の9%", "zqxとしてインポート。", "ラウンド", "kept", "類似度"]);
});

test("a step to undo is named in the user's language, and one that the gallery saves in English", () => {
  useWords({ "switching {name} off": "{name}をオフにする", "removing {tag} in {name}": "{name}から{tag}を取り除く",
    "keeping the {count} proposed images": "提案画像 {count}枚を残す" });
  const stack = new StackStore({ write() {}, changed() {}, settled() {}, names: async () => [], ask: async () => ({}) });
  stack.askSoon = () => {}; // no timers
  stack.read("ink : 0.5");
  stack.stop();
  stack.toggle(stack.rows[0].id);
  const told = [stack.undo().label];
  const chips = { tags: ["night"], update() {}, edit: TagChips.prototype.edit,
    owner: { name: "a.png", say() {}, edit: (label, change, values) => told.push(t(label, values)) } };
  TagChips.prototype.remove.call(chips, 0);
  const gallery = { say: (text) => told.push(text), keptText: () => "2/9",
    store: { openProposals: () => [{ name: "a" }, { name: "b" }], edit: (label) => told.push(label) } };
  GalleryPanel.prototype.keepProposed.call(gallery);
  assert.deepEqual(told, ["inkをオフにする", "a.pngからnightを取り除く", "keeping the 2 proposed images",
    "提案画像 2枚を残す; 2/9"]);
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
