/** Reads the Markdown of the pack's own guides and help pages into a tree of elements: headings, paragraphs, lists,
 * tables, code, links, images and emphasis, as GitHub shows them. Markup in the text stays text. Loading this module has
 * no effect.
 *
 * @typedef {string | {tag: string, id?: string, href?: string, src?: string, alt?: string, start?: number,
 *   children: Branch[]}} Branch */

const HEADING = /^(#{1,4}) +(.+)$/;
const ITEM = /^(?:[-*]|(\d+)\.) +/;
const FENCE = /^```/;
const ROW = /^\|.*\|$/;
const RULE = /^\|(?: *:?-+:? *\|)+$/;
/** What has a meaning within a line, in the order in which it is looked for. */
const SPANS = [
  [/\\([\\`*_[\]()#|!-])/, ([, character]) => character],
  [/`([^`]+)`/, ([, code]) => ({ tag: "code", children: [code] })],
  [/!\[([^\]]*)\]\(([^()\s]*)\)/, ([, alt, src]) => ({ tag: "img", src, alt, children: [] })],
  [/\[((?:[^\][]|\[[^\]]*\])+)\]\(([^()\s]*)\)/, ([, text, href]) => ({ tag: "a", href, children: parseSpans(text) })],
  [/\*\*(?=\S)(.+?)\*\*(?!\*)/, ([, text]) => ({ tag: "strong", children: parseSpans(text) })],
  [/\*(?=\S)([^*]+)\*/, ([, text]) => ({ tag: "em", children: parseSpans(text) })],
];

/** @param {string} text Markdown @returns {Branch[]} */
export function parseMarkdown(text) {
  const taken = new Map();
  return parseBlocks(text.replaceAll("\r", "").split("\n"), (title) => anchorOf(title, taken));
}

/** The anchor of a heading, as GitHub makes it. @param {Map<string, number>} taken anchors of the page so far */
export function anchorOf(title, taken = new Map()) {
  const plain = title.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
  const anchor = plain.replace(/[^\p{L}\p{N}\p{M} _-]/gu, "").replaceAll(" ", "-");
  const times = taken.get(anchor) ?? 0;
  taken.set(anchor, times + 1);
  return times ? `${anchor}-${times}` : anchor;
}

/** The text of a tree without its markup. */
export const plainText = (branch) =>
  typeof branch === "string" ? branch : (Array.isArray(branch) ? branch : branch.children).map(plainText).join("");

function parseBlocks(lines, anchor) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    const [block, next] = READERS.find(([starts]) => starts(lines, at))[1](lines, at, anchor);
    if (block) blocks.push(block);
    at = next;
  }
  return blocks;
}

/** Kinds of block, the first that begins at a line is read: (lines, at, anchor) → [block, the line after it]. */
const READERS = [
  [(lines, at) => !lines[at].trim(), (lines, at) => [null, at + 1]],
  [(lines, at) => HEADING.test(lines[at]), readHeading],
  [(lines, at) => FENCE.test(lines[at]), readCode],
  [(lines, at) => startsTable(lines, at), readTable],
  [(lines, at) => ITEM.test(lines[at]), readList],
  [() => true, readParagraph],
];

const startsTable = (lines, at) => ROW.test(lines[at].trim()) && RULE.test(lines[at + 1]?.trim() ?? "");

const startsBlock = (lines, at) => READERS.slice(0, -1).some(([starts]) => starts(lines, at));

function readHeading(lines, at, anchor) {
  const [, marks, title] = lines[at].match(HEADING);
  const children = parseSpans(title.trim());
  return [{ tag: `h${marks.length}`, id: anchor(plainText(children)), children }, at + 1];
}

function readCode(lines, at) {
  const end = lines.findIndex((line, index) => index > at && FENCE.test(line));
  const last = end < 0 ? lines.length : end;
  const code = { tag: "code", children: [lines.slice(at + 1, last).join("\n")] };
  return [{ tag: "pre", children: [code] }, last + 1];
}

function readTable(lines, at) {
  let end = at + 2;
  while (end < lines.length && ROW.test(lines[end].trim())) end += 1;
  const head = { tag: "thead", children: [tableRow(lines[at], "th")] };
  const body = { tag: "tbody", children: lines.slice(at + 2, end).map((line) => tableRow(line, "td")) };
  return [{ tag: "table", children: [head, body] }, end];
}

function tableRow(line, tag) {
  const cells = line.trim().slice(1, -1).split(/(?<!\\)\|/);
  return { tag: "tr", children: cells.map((cell) => ({ tag, children: parseSpans(cell.trim()) })) };
}

/** A list: its items with the indented lines below them, which may hold blocks of their own. */
function readList(lines, at, anchor) {
  const first = lines[at].match(ITEM)[1];
  const children = [];
  let next = at;
  while (next < lines.length && ITEM.test(lines[next]) && Boolean(lines[next].match(ITEM)[1]) === Boolean(first)) {
    const [mark] = lines[next].match(ITEM);
    let end = next + 1;
    while (end < lines.length && belongsToItem(lines, end)) end += 1;
    const inside = lines.slice(next + 1, end).map((line) => line.replace(/^ {1,4}/, ""));
    children.push({ tag: "li", children: parseItem([lines[next].slice(mark.length), ...inside], anchor) });
    next = end;
  }
  return [first ? { tag: "ol", start: Number(first), children } : { tag: "ul", children }, next];
}

const belongsToItem = (lines, at) =>
  lines[at].startsWith("  ") || (!lines[at].trim() && lines[at + 1]?.startsWith("  ")) || !startsBlock(lines, at);

/** An item of one paragraph is its words, without the space around a paragraph. */
function parseItem(lines, anchor) {
  const blocks = parseBlocks(lines, anchor);
  return blocks[0]?.tag === "p" ? [...blocks[0].children, ...blocks.slice(1)] : blocks;
}

function readParagraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !startsBlock(lines, end)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trim()).join(" ");
  return [{ tag: "p", children: parseSpans(text) }, end];
}

/** @param {string} text a line @returns {Branch[]} */
function parseSpans(text) {
  const found = SPANS.map(([pattern, make]) => ({ match: text.match(pattern), make })).filter(({ match }) => match);
  if (!found.length) return text ? [text] : [];
  const { match, make } = found.reduce((first, next) => (next.match.index < first.match.index ? next : first));
  const before = text.slice(0, match.index);
  return joined([...(before ? [before] : []), make(match), ...parseSpans(text.slice(match.index + match[0].length))]);
}

/** Neighbouring texts as one. */
function joined(branches) {
  return branches.reduce((all, branch) => {
    if (typeof branch === "string" && typeof all.at(-1) === "string") all.push(all.pop() + branch);
    else all.push(branch);
    return all;
  }, []);
}
