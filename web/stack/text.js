/** The text of LoRA Stack as rows, and rows as text: the same lines that `trainer/stacks/prompt.py` reads. The server
 * says whether a LoRA exists, and gives the guides' advice. Pure functions; loading this module has no effect.
 *
 * @typedef {object} Row a line of the text
 * @property {number} id
 * @property {"lora" | "note" | "raw" | "blank"} kind a LoRA (on or off), a comment, a line that is not parsed, an empty
 * line
 * @property {string} raw the line exactly as in the text
 * @property {string} off the prefix that turns the line off; "" if it is on
 * @property {string} name
 * @property {string} strength as written; "" is 1
 * @property {string} clip "" is the same as `strength`
 * @property {string} blocks "" is all
 * @property {boolean} tag whether it is written as <lora:name:0.8>
 */

/** The line breaks of Python's str.splitlines. */
const ENDS = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const MOST_STRENGTH = 10;
const ENDINGS = [".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"];
const OFF = "off ";
const MOST_PARTS = { tag: 3, line: 4 };

let numbered = 0;

/** A row with its own id. */
export const newRow = (row) => ({
  id: (numbered += 1), kind: "lora", raw: "", off: "", name: "", strength: "", clip: "", blocks: "", tag: false, ...row,
});

/**
 * A text as rows.
 * @param {string} text
 * @returns {{rows: Row[], end: string, trailing: boolean}} `end` separates the lines; `trailing` is whether it also
 * ends the text
 */
export function parseText(text) {
  const lines = text.split(ENDS);
  const trailing = lines.length > 1 && lines[lines.length - 1] === "";
  if (trailing || text === "") lines.pop();
  const rows = lines.map((line) => newRow(parseLine(line)));
  return { rows, end: text.match(ENDS)?.[0] ?? "\n", trailing };
}

export function textOf({ rows, end, trailing }) {
  return rows.map(({ raw }) => raw).join(end) + (trailing && rows.length ? end : "");
}

/**
 * A line as a row without an id.
 * @param {string} line
 * @param {object} told
 * @param {boolean} told.on whether a leading "off" is part of a LoRA's name
 * @param {boolean} told.named whether the text after a # names an existing LoRA
 */
export function parseLine(line, { on = false, named = false } = {}) {
  const text = line.trim();
  if (!text) return { kind: "blank", raw: line };
  const off = text.match(/^#+\s*/)?.[0] ?? (on ? "" : `${text} `.match(/^off +/i)?.[0] ?? "");
  const entry = parseEntry(text.slice(off.length));
  if (!entry) return { kind: off ? "note" : "raw", raw: line };
  const comment = off.startsWith("#") && !named && !entry.strength && !entry.tag;
  return comment ? { kind: "note", raw: line } : { kind: "lora", raw: line, off, ...entry };
}

/** The parts of a written LoRA; null if it is not a LoRA or contains several. */
function parseEntry(text) {
  const tag = text.match(/^<lora:([^<>]*)>$/i);
  if (!tag && text.startsWith("<")) return null;
  const parts = (tag ? tag[1] : text).split(":").map((part) => part.trim());
  const [name, strength = "", clip = "", blocks = ""] = parts;
  if (!name || parts.length > MOST_PARTS[tag ? "tag" : "line"] || ![strength, clip].every(isStrength)) return null;
  return { name, strength: plainNumber(strength), clip: plainNumber(clip), blocks, tag: Boolean(tag) };
}

const isStrength = (text) => text === "" || (NUMBER.test(text) && Math.abs(Number(text)) <= MOST_STRENGTH);

/** A number in the form that a number field accepts. */
const plainNumber = (text) => (text === "" ? "" : String(Number(text)));

/** A row as its line. A row without a name is an empty line. */
export function lineOf({ off, name, strength, clip, blocks, tag }) {
  if (!name.trim()) return "";
  const parts = [name.trim(), strength, clip, blocks.trim()];
  while (parts[parts.length - 1] === "") parts.pop();
  const asTag = tag && parts.length <= MOST_PARTS.tag;
  return off + (asTag ? `<lora:${parts.join(":")}>` : parts.map((part) => (part && ` ${part}`)).join(" :").trimStart());
}

/** The row with some fields changed, and its line rewritten. */
export function changeRow(row, change) {
  const next = { ...row, ...change };
  return { ...next, raw: lineOf(next) };
}

/** The row switched on or off, with the same prefix as before. */
export const switchRow = (row) => changeRow(row, row.off ? { off: "", was: row.off } : { off: row.was ?? OFF });

/** If a whole line was typed as the name, read it as a line. */
export function withWholeLine(row) {
  const entry = /[:<]/.test(row.name) ? parseEntry(row.name.trim()) : null;
  if (!entry) return row;
  const given = Object.entries(entry).filter(([field, value]) => field === "tag" || value !== "");
  return changeRow(row, Object.fromEntries(given));
}

/** The rows with one of them moved past the next visible row, `by` -1 or 1; unchanged if it cannot move. */
export function withStep(rows, id, by) {
  const from = rows.findIndex((row) => row.id === id);
  let to = from + by;
  while (rows[to]?.kind === "blank") to += by;
  return from < 0 || !rows[to] ? rows : withMoved(rows, id, to);
}

/** The rows with the one of that id moved to a position. */
export function withMoved(rows, id, to) {
  const row = rows.find((other) => other.id === id);
  const rest = rows.filter((other) => other !== row);
  return [...rest.slice(0, to), row, ...rest.slice(to)];
}

// -- completion -------------------------------------------------------------------------------------------------------

const slashes = (name) => name.replaceAll("\\", "/");

/** A listed name with / for folders, and without its ending. */
export function plainName(name) {
  const ending = ENDINGS.find((other) => name.endsWith(other)) ?? "";
  return slashes(name.slice(0, name.length - ending.length));
}

const last = (name) => name.slice(name.lastIndexOf("/") + 1);

/** Listed names as written in a line, without the ending if that is unambiguous. Names that no line can contain are
 * left out. */
export function writtenNames(names) {
  const counts = new Map();
  for (const name of names) counts.set(plainName(name), (counts.get(plainName(name)) ?? 0) + 1);
  return names.map((name) => (counts.get(plainName(name)) > 1 ? slashes(name) : plainName(name)))
    .filter((name) => !/[:\n]|^[#<]/.test(name));
}

/** How well a name matches what was typed; 0 is best, null not at all. */
function fit(name, typed) {
  const [whole, own] = [name.toLowerCase(), last(name).toLowerCase()];
  if (own === typed || whole === typed) return 0;
  if (own.startsWith(typed)) return 1;
  if (own.split(/[\s_.-]+/).some((word) => word.startsWith(typed))) return 2;
  if (own.includes(typed)) return 3;
  if (whole.includes(typed)) return 4;
  return inOrder(whole, typed) ? 5 : null;
}

/** Whether the name contains all letters, in that order. */
function inOrder(name, letters) {
  let at = -1;
  return [...letters].every((letter) => letter === " " || (at = name.indexOf(letter, at + 1)) >= 0);
}

/** Names that complete what was typed, best match first; all names if nothing was typed. */
export function nameOffers(names, typed, limit) {
  const wanted = plainName(typed.trim()).toLowerCase();
  return names.map((name) => ({ tag: name, count: "", fit: wanted ? fit(name, wanted) : 0 }))
    .filter((offer) => offer.fit !== null)
    .sort((a, b) => a.fit - b.fit) // stable sort: the host's order decides among equals
    .slice(0, limit);
}

/** The part of a text of blocks that is being typed: the text before it, and the part after "not". */
function lastBlock(text) {
  const [, before, term] = text.match(/^(.*\+\s*)?(.*)$/s);
  const not = term.match(/^not\s+/)?.[0] ?? "";
  return { before: before ?? "", not, term: term.slice(not.length).trim() };
}

/**
 * Presets, groups and names of blocks that complete what was typed.
 * @param {{presets: Object<string, string>, blocks: string[]}} file as from the server
 */
export function blockOffers({ presets, blocks }, typed, limit) {
  const { before, not, term } = lastBlock(typed);
  const held = new Set(before.split("+").map((part) => part.trim().replace(/^not\s+/, "")));
  const groups = new Map();
  for (const block of blocks) groups.set(block.split(".")[0], (groups.get(block.split(".")[0]) ?? 0) + 1);
  const offers = [
    ...Object.entries(presets).map(([tag, title]) => ({ tag, count: title })),
    ...[...groups].filter(([, count]) => count > 1)
      .map(([group, count]) => ({ tag: `${group}*`, count: `${count} blocks` })),
    ...blocks.map((tag) => ({ tag, count: "" })),
  ];
  return offers.filter(({ tag }) => tag.includes(term) && !held.has(tag) && !(not && tag === "all")).slice(0, limit);
}

/** The text of blocks with the part that is being typed completed. */
export function withBlock(text, chosen) {
  const { before, not } = lastBlock(text);
  return `${before.replace(/\s*\+\s*$/, " + ")}${not && "not "}${chosen}`;
}
