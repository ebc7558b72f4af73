/** Which candidates the gallery shows, in which order, and where the arrow keys lead. Pure functions. */

import { parseFilter, sameTag } from "../common/tags.js";
import { stateWord } from "./picks.js";

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => a.round - b.round || collator.compare(a.name, b.name);
const unmeasured = (candidate, score) => candidate.scores?.[score] ?? -Infinity;
const falling = (score) => (a, b) => {
  const [first, second] = [unmeasured(a, score), unmeasured(b, score)];
  return first === second ? 0 : second - first;
};

/** Places of the reserve begin after those of all that are proposed. */
const RESERVE = 1e6;

/** The rank in a reason such as "pick 3 of 12" or "... (reserve 3)". Candidates without one come last. */
function place({ proposed, reason }) {
  const [, pick, reserve] = reason.match(/\bpick (\d+) of|\(reserve (\d+)\)/) ?? [];
  if (reserve) return RESERVE + Number(reserve);
  return proposed ? Number(pick ?? RESERVE) : Infinity;
}

const byPlace = (a, b) => (place(a) === place(b) ? 0 : place(a) - place(b));
const byView = (a, b) => ["angle", "framing"].reduce(
  (found, axis) => found || collator.compare(a.view[axis] ?? "", b.view[axis] ?? ""), 0);

/** Name of the order, as on its button → how two candidates compare. */
const ORDERS = {
  proposed: [byPlace, falling("likeness"), byName],
  likeness: [falling("likeness"), byName],
  mark: [falling("mark"), byName],
  novelty: [falling("novelty"), byName],
  view: [byView, byName],
  name: [byName],
};
export const ORDER_NAMES = Object.keys(ORDERS);

/** The candidates in that order; equal ones are sorted by name. */
export function sortCandidates(candidates, name) {
  const orders = ORDERS[name];
  return [...candidates].sort((a, b) => orders.reduce((found, order) => found || order(a, b), 0));
}

/** The candidates that are proposed and, after them, the reserve, in order; and how many are proposed. */
export function rankCandidates(candidates) {
  const ranked = candidates.filter((candidate) => place(candidate) < Infinity);
  return { ranked: sortCandidates(ranked, "proposed"), count: candidates.filter(({ proposed }) => proposed).length };
}

/** Propose as many as before: for each that is rejected, the next of the reserve moves up. */
export function moveUp({ ranked, count }, isRejected) {
  let open = count;
  for (const candidate of ranked) {
    candidate.proposed = open > 0;
    if (open > 0 && !isRejected(candidate)) open -= 1;
  }
}

/** Note in each candidate which repaired copy replaces it; "" for none. A copy that was rejected replaces nothing. */
export function noteReplaced(candidates, isRejected) {
  const copies = candidates.filter((candidate) => candidate.repaired_from && !isRejected(candidate));
  const names = new Map(copies.map(({ name, repaired_from: old }) => [old, name]));
  for (const candidate of candidates) candidate.replaced_by = names.get(candidate.name) ?? "";
}

/** The same, with near copies moved up next to the first of their group. */
export function groupTwins(candidates) {
  const groups = new Map();
  for (const candidate of candidates) {
    if (candidate.twins === null || candidate.twins === undefined) continue;
    groups.set(candidate.twins, [...(groups.get(candidate.twins) ?? []), candidate]);
  }
  const seen = new Set();
  return candidates.flatMap((candidate) => {
    const group = groups.get(candidate.twins);
    if (!group) return [candidate];
    if (seen.has(candidate.twins)) return [];
    seen.add(candidate.twins);
    return group;
  });
}

/** The candidate that another was repaired from or drawn again of; "" for one of the plan. */
export const originOf = ({ repaired_from: repaired, again_of: again }) => repaired || again || "";

/** The same, with each that was drawn again or repaired right after the one that it comes from. */
export function putBeside(candidates) {
  const names = new Set(candidates.map(({ name }) => name));
  const followers = new Map();
  for (const candidate of candidates) {
    const origin = originOf(candidate);
    if (names.has(origin)) followers.set(origin, [...(followers.get(origin) ?? []), candidate]);
  }
  if (!followers.size) return candidates;
  const [placed, done] = [[], new Set()];
  const place = (candidate) => {
    if (done.has(candidate)) return;
    done.add(candidate);
    placed.push(candidate);
    (followers.get(candidate.name) ?? []).forEach(place);
  };
  candidates.filter((candidate) => !names.has(originOf(candidate))).forEach(place);
  candidates.forEach(place); // files may name each other in a circle
  return placed;
}

/**
 * How many images each generator drew, and how many of them are kept; none unless several generators drew.
 * @param {object[]} candidates
 * @param {object[]} kept
 * @returns {{generator: string, kept: number, drawn: number}[]} by name
 */
export function generatorRows(candidates, kept) {
  const named = [...new Set(candidates.map(({ generator }) => generator))].filter(Boolean).sort(collator.compare);
  if (named.length < 2) return [];
  const count = (list, name) => list.filter(({ generator }) => generator === name).length;
  return named.map((name) => ({ generator: name, kept: count(kept, name), drawn: count(candidates, name) }));
}

/** What a filter searches in a candidate besides its tags and state. It never changes, so it is computed once. */
const fixedWords = new WeakMap();

function wordsOf(candidate) {
  if (!fixedWords.has(candidate)) {
    const { name, prompt, lora, generator, reference, view, twins } = candidate;
    const words = [
      name, ...prompt.split(","), lora, generator, reference, ...Object.values(view), twins === null ? "" : "similar",
      candidate.again_of && "again", candidate.repaired_from && "repaired",
    ];
    fixedWords.set(candidate, words.filter(Boolean).map(sameTag).filter(Boolean));
  }
  return fixedWords.get(candidate);
}

/** What a filter searches in a pick. */
function pickWords(candidate, pick, mode) {
  const said = [
    ...stateWord(candidate, pick, mode).split(", "), candidate.proposed ? "proposed" : "",
    candidate.replaced_by ? "replaced" : "", pick.flip ? "flipped" : "", pick.crop ? "cropped" : "", pick.note, ...(pick.tags ?? []),
  ];
  return said.map(sameTag).filter(Boolean);
}

/**
 * The candidates that pass a filter: text in name, prompt, tags, LoRA, generator, reference, note or state; "whole
 * words" in quotes; - excludes.
 * @param {object[]} candidates
 * @param {string} filter
 * @param {(candidate: object) => object} pickOf
 * @param {string} mode the node's mode
 */
export function filterCandidates(candidates, filter, pickOf, mode) {
  const terms = parseFilter(filter);
  if (!terms.length) return candidates;
  return candidates.filter((candidate) => {
    const words = [...wordsOf(candidate), ...pickWords(candidate, pickOf(candidate), mode)];
    return terms.every(({ without, whole, text }) =>
      (whole ? words.includes(text) : words.some((word) => word.includes(text))) !== without);
  });
}

/** Key → where it leads from `at` in a grid of `count` cards with `columns` in a row and `page` rows in view. */
const MOVES = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  ArrowUp: (at, { columns }) => (at < columns ? at : at - columns),
  ArrowDown: (at, { columns, count }) => below(at, columns, count),
  PageUp: (at, { columns, page }) => at - columns * Math.min(page, Math.floor(at / columns)),
  PageDown: (at, { columns, page, count }) => below(at, columns * page, count, columns),
  Home: () => 0,
  End: (at, { count }) => count - 1,
};

/** That many cards further, but not past the last row. From above a gap at its end it leads to the last card. */
function below(at, by, count, columns = by) {
  if (at + by < count) return at + by;
  const rows = Math.floor((count - 1) / columns) - Math.floor(at / columns);
  return rows > 0 ? Math.min(at + rows * columns, count - 1) : at;
}

/** @returns {number|null} the index that a key leads to; null for a key that leads nowhere */
export function moveFocus(key, at, grid) {
  const move = MOVES[key];
  return move && grid.count ? Math.min(grid.count - 1, Math.max(0, move(at, grid))) : null;
}
