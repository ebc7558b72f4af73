import assert from "node:assert/strict";
import test from "node:test";

const {
  blockOffers, changeRow, lineOf, nameOffers, newRow, parseLine, parseText, plainName, switchRow, textOf, withBlock,
  withStep, withWholeLine, writtenNames,
} = await import("../../../web/stack/text.js");
const { StackStore } = await import("../../../web/stack/store.js");

const row = (line, told) => newRow(parseLine(line, told));
const kinds = (text) => parseText(text).rows.map(({ kind }) => kind);

test("a line is a LoRA with its parts, in any of its spellings", () => {
  const parts = (line) => {
    const { kind, off, name, strength, clip, blocks, tag } = row(line);
    return [kind, off, name, strength, clip, blocks, tag];
  };
  assert.deepEqual(parts("girl"), ["lora", "", "girl", "", "", "", false]);
  assert.deepEqual(parts(" ink:0.50 :.3: style + mid* = 0.5 "), [
    "lora", "", "ink", "0.5", "0.3", "style + mid* = 0.5", false]);
  assert.deepEqual(parts("ink : : -1e-1"), ["lora", "", "ink", "", "-0.1", "", false]);
  assert.deepEqual(parts("<LORA:girl:0.8:0.6>"), ["lora", "", "girl", "0.8", "0.6", "", true]);
  assert.deepEqual(parts("off ink : 0.5"), ["lora", "off ", "ink", "0.5", "", "", false]);
  assert.deepEqual(parts("#ink : 0.5"), ["lora", "#", "ink", "0.5", "", "", false]);
});

test("comments, empty lines and what cannot be taken apart are no LoRAs", () => {
  assert.deepEqual(kinds("# my girls\n\noff\nOFF a:b:c:d:e\noffice : 1\n\\<lora:x>"), [
    "note", "blank", "note", "note", "lora", "raw"]);
  const raw = ["girl : much", ": 0.5", "girl : 11", "girl : nan", "a:1:1:b:c", "<lora:a:1:1:b>", "<lora:a> <lora:b>"];
  assert.deepEqual(raw.map((line) => row(line).kind), raw.map(() => "raw"));
});

test("the server settles what only the listed names can tell", () => {
  assert.deepEqual([row("off shoulder").name, row("off shoulder", { on: true }).name], ["shoulder", "off shoulder"]);
  assert.deepEqual([row("# girl").kind, row("# girl", { named: true }).kind], ["note", "lora"]);
});

test("a text that nobody edits stays as it is to the letter", () => {
  for (const text of ["", "\n", "girl", "  girl :0.50\n\n# a  note \noff  ink:1\n", "a\r\n<lora:b:1>\r\n", "a\n\n\nb"]) {
    assert.equal(textOf(parseText(text)), text);
  }
});

test("an edit writes its own line anew and no other", () => {
  const { rows, ...ends } = parseText("# note\r\n girl:0.8\r\noff  ink : 0.5 :0.3\r\n");
  const edited = rows.map((other) => (other.name === "girl" ? changeRow(other, { strength: "0.75" }) : other));
  assert.equal(textOf({ rows: edited, ...ends }), "# note\r\ngirl : 0.75\r\noff  ink : 0.5 :0.3\r\n");
});

test("rows are written as short as they can be, and read again as they were", () => {
  const lines = ["girl", "girl : 0.8", "ink : : 0.3", "ink : 0.5 : : style", "ink : : : style", "off ink", "# ink : 1",
    "<lora:girl:0.8>", "<lora:girl::0.3>"];
  assert.deepEqual(lines.map((line) => lineOf(row(line))), lines);
  assert.equal(lineOf(changeRow(row("<lora:girl:0.8>"), { blocks: "style" })), "girl : 0.8 : : style");
  assert.equal(lineOf(newRow({ strength: "0.7" })), "");
});

test("what made a row off makes it off again", () => {
  assert.equal(switchRow(switchRow(row("## ink : 0.5"))).raw, "## ink : 0.5");
  assert.deepEqual([switchRow(row("ink")).raw, switchRow(row("off ink")).raw], ["off ink", "ink"]);
});

test("a whole line that is typed as a name is taken apart", () => {
  const typed = (name) => withWholeLine(changeRow(row("x : 0.7"), { name })).raw;
  assert.deepEqual([typed("girl:0.5"), typed("<lora:girl:0.5:0.2>"), typed("ink:::style"), typed("girl:much")], [
    "girl : 0.5", "<lora:girl:0.5:0.2>", "ink : 0.7 : : style", "girl:much : 0.7"]);
});

test("a row moves past empty lines, and not beyond the ends", () => {
  const { rows } = parseText("a\n\nb\nc");
  const moved = (index, by) => withStep(rows, rows[index].id, by).map(({ raw }) => raw);
  assert.deepEqual(moved(0, 1), ["", "b", "a", "c"]);
  assert.deepEqual(moved(2, -1), ["b", "a", "", "c"]);
  assert.equal(withStep(rows, rows[0].id, -1), rows);
  assert.equal(withStep(rows, rows[3].id, 1), rows);
});

test("names are offered best fit first, by their letters too, and without endings where that is no doubt", () => {
  const names = writtenNames(["chars/girl.safetensors", "girl_ink.safetensors", "ink.safetensors", "ink.pt",
    "old\\inkwash.safetensors", "#never.safetensors", "a:b.safetensors"]);
  assert.deepEqual(names, ["chars/girl", "girl_ink", "ink.safetensors", "ink.pt", "old/inkwash"]);
  const offered = (typed, limit = 9) => nameOffers(names, typed, limit).map(({ tag }) => tag);
  assert.deepEqual(offered("ink"), ["ink.safetensors", "ink.pt", "old/inkwash", "girl_ink"]);
  assert.deepEqual(offered("CHARS"), ["chars/girl"]);
  assert.deepEqual(offered("ikw"), ["old/inkwash"]);
  assert.deepEqual([offered("zz"), offered("", 2)], [[], ["chars/girl", "girl_ink"]]);
  assert.equal(plainName("a\\b.safetensors"), "a/b");
});

test("blocks are offered as presets, groups and names, each part once", () => {
  const file = { presets: { all: "every block", style: "SDXL's style block" },
    blocks: ["mid_block", "up_blocks.0.attentions.0", "up_blocks.0.attentions.1"] };
  const offered = (typed) => blockOffers(file, typed, 9).map(({ tag }) => tag);
  assert.deepEqual(offered(""), ["all", "style", "up_blocks*", "mid_block", ...file.blocks.slice(1)]);
  assert.deepEqual(offered("style + up"), ["up_blocks*", ...file.blocks.slice(1)]);
  assert.deepEqual(offered("mid_block + not "), ["style", "up_blocks*", ...file.blocks.slice(1)]);
  assert.deepEqual([withBlock("st", "style"), withBlock("mid_block+not u", "up_blocks*")], [
    "style", "mid_block + not up_blocks*"]);
});

/** A store over a text, and a server that tells of each line what `verdict` makes of it. */
function fakeStack(text, verdict = () => ({})) {
  const stack = { text, asked: [], settled: 0, answers: [] };
  const store = new StackStore({
    ask: async (entries) => {
      stack.asked.push(entries);
      const lines = entries.split("\n").map((line) => ({ off: false, error: "", loras: [], ...verdict(line) }));
      return { lines, files: {}, total: 1, start: 0.7, advice: [] };
    },
    names: async () => ["girl.safetensors"],
    write: (written) => { stack.text = written; },
    settled: () => { stack.settled += 1; },
    changed: () => {},
  });
  store.read(text);
  store.stop(); // no timers
  store.askSoon = () => {};
  return Object.assign(stack, { store, id: (index) => store.rows[index].id });
}

test("typing in one field is one step of undoing, and leaving it begins another", () => {
  const stack = fakeStack("girl : 0.5\noff ink");
  const { store } = stack;
  for (const value of ["0.6", "0.65"]) store.set(stack.id(0), "x", { strength: value });
  store.settle(stack.id(0));
  store.set(stack.id(0), "y", { strength: "0.7" });
  store.toggle(stack.id(1));
  assert.equal(stack.text, "girl : 0.7\nink");
  assert.equal(store.undo().label, "switching ink on");
  assert.deepEqual([store.undo().label, stack.text], ["y", "girl : 0.65\noff ink"]);
  assert.deepEqual([store.undo().label, stack.text], ["x", "girl : 0.5\noff ink"]);
  assert.equal(store.undo(), null);
  assert.deepEqual([store.redo().label, store.redo().label, stack.text], ["x", "y", "girl : 0.7\noff ink"]);
  store.remove(stack.id(0));
  assert.deepEqual([store.redo(), stack.text], [null, "off ink"]);
});

test("a text that was changed elsewhere is taken over, and its own is not", () => {
  const stack = fakeStack("girl");
  const [{ id }] = stack.store.rows;
  stack.store.set(id, "x", { strength: "0.5" });
  stack.store.read(stack.text);
  assert.deepEqual([stack.store.rows[0].id, stack.store.past.length], [id, 1]);
  stack.store.read("ink");
  assert.deepEqual([stack.store.rows[0].name, stack.store.past.length], ["ink", 0]);
});

test("a new row is no line before it has a name, and begins where the server says", async () => {
  const stack = fakeStack("girl\n");
  await stack.store.ask();
  const id = stack.store.add();
  assert.equal(stack.text, "girl\n\n");
  stack.store.set(id, "x", { name: "ink" });
  assert.equal(stack.text, "girl\nink : 0.7\n");
  assert.deepEqual(stack.store.shown.map(({ name }) => name), ["girl", "ink"]);
});

test("a line that is mended becomes a LoRA when its field is left, and keeps its place", () => {
  const stack = fakeStack("girl : much\nink");
  const id = stack.id(0);
  stack.store.setLine(id, "girl : 0.5");
  assert.equal(stack.store.row(id).kind, "raw");
  stack.store.settle(id);
  assert.deepEqual([stack.store.row(id).kind, stack.store.row(id).strength, stack.text], ["lora", "0.5",
    "girl : 0.5\nink"]);
});

test("what the server says of a line stays with its row, and an answer to an older text counts no more", async () => {
  const stack = fakeStack("girl\nink", (line) => ({ error: line === "ink" ? "gone" : "" }));
  await stack.store.ask();
  const ink = stack.id(1);
  stack.store.move(ink, -1);
  assert.equal(stack.store.verdict(ink).error, "gone");
  const older = stack.store.ask();
  stack.store.set(ink, "x", { name: "girl2" });
  await Promise.all([older, stack.store.ask()]);
  assert.deepEqual([stack.store.verdict(ink).error, stack.asked.at(-1), stack.settled], ["", "girl2\ngirl", 2]);
});

test("lines are read again as the server understood them, but not under one's hands", async () => {
  const stack = fakeStack("off shoulder\n# girl\n# hat", (line) => ({
    off: line.startsWith("#"), loras: [{ name: line === "# hat" ? "" : "x.safetensors", near: [] }] }));
  stack.store.setLine(stack.id(1), "# girl");
  await stack.store.ask();
  assert.deepEqual(stack.store.rows.map(({ kind, name, off }) => [kind, name, off]), [
    ["lora", "off shoulder", ""], ["note", "", ""], ["note", "", ""]]);
});

test("what goes wrong is told until it goes well", async () => {
  const stack = fakeStack("girl");
  const { ask } = stack.store.owner;
  stack.store.owner.ask = async () => { throw new Error("the text is too long for a list."); };
  await stack.store.ask();
  assert.equal(stack.store.problem, "the text is too long for a list.");
  stack.store.owner.ask = ask;
  await stack.store.ask();
  assert.equal(stack.store.problem, null);
});

test("what is linked before a stack is told with its name, its source and its strength", async () => {
  const { linkedBefore, rowText } = await import("../../../web/stack/before.js");
  const train = { comfyClass: "LoraBootstrap_TrainLora", title: "Train LoRA" };
  const graph = (linked, feeders = {}, strength = 0.8) => ({
    isLinked: (_, name) => linked.includes(name), inputValue: () => strength, 
    linkedRunName: () => (feeders.run?.comfyClass ? "akane" : null),
    findFeeder: (_, fits) => feeders[Object.keys(feeders).find((name) => fits({ name }))] ?? null,
  });
  const told = (...given) => linkedBefore({}, graph(...given)).map(rowText);
  assert.deepEqual(told([]), []);
  assert.deepEqual(told(["run"], { run: train }), ["akane at 0.8, from Train LoRA"]);
  assert.deepEqual(told(["LORA_STACK", "run"], { run: { title: "Other" }, LORA_STACK: { title: "LoRA Stack" } }, undefined),
    ["LoRAs, from LoRA Stack", "last checkpoint at 0.8, from Other"]);
  assert.deepEqual(told(["run"], {}, "linked"), ["last checkpoint, from a linked node"]);
});
