/** Decisions by hand on candidates, and what follows from them: what counts as kept, quotas, history and undo. Pure
 * functions, no host. */

import { t, word } from "../common/words.js";

/** @typedef {{state: ""|"keep"|"reject", tags: string[]|null, crop: number[]|null, flip: boolean, note: string}} Pick
 * @typedef {{label: string, at: string|null, changes: Map<string, {before: Pick, after: Pick}>, ways?: object}} Step */

/** The pick of a candidate that nobody has decided on. @type {Pick} */
export const UNTOUCHED = Object.freeze({ state: "", tags: null, crop: null, flip: false, note: "" });
/** Beginnings of the labels of steps that undo or redo another. They are saved in the history. */
const UNDONE = "undone: ";
const REDONE = "done again: ";
/** The smallest side of a crop in pixels. The server refuses smaller ones. */
const LEAST_SIDE = 16;

export const isSame = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

/** The fields of `after` that differ from `before`. */
export function difference(before, after) {
  return Object.fromEntries(Object.keys(after).filter((name) => !isSame(before[name], after[name]))
    .map((name) => [name, after[name]]));
}

export const isEmpty = (object) => Object.keys(object).length === 0;

// -- what counts ----------------------------------------------------------------------------------------------------

/** Whether a candidate counts as kept: by hand, or, if undecided, because it was carried over (in manual mode) or is
 * proposed (in other modes). */
export function isKept(candidate, pick, mode) {
  if (pick.state) return pick.state === "keep";
  return mode === "manual" ? candidate.carried : candidate.proposed;
}

/** A candidate's state in words, in English, as a filter takes them; `t` shows it. */
export function stateWord(candidate, pick, mode) {
  if (pick.state) return { keep: word("kept"), reject: word("rejected") }[pick.state];
  if (isKept(candidate, pick, mode)) return candidate.carried ? word("kept from an earlier round") : word("kept as proposed");
  return candidate.proposed ? word("undecided, proposed") : word("undecided");
}

/**
 * How far the quotas are met.
 * @param {object} quotas axis → tag → how many are wanted
 * @param {object[]} kept the candidates that count as kept
 * @returns {{axis: string, rows: {tag: string, kept: number, wanted: number}[]}[]} axes without quotas are left out
 */
export function quotaRows(quotas, kept) {
  const counts = new Map();
  for (const { view } of kept) {
    for (const [axis, tag] of Object.entries(view)) {
      counts.set(`${axis}/${tag}`, (counts.get(`${axis}/${tag}`) ?? 0) + 1);
    }
  }
  return Object.entries(quotas).map(([axis, tags]) => ({
    axis,
    rows: Object.entries(tags).map(([tag, wanted]) => ({ tag, kept: counts.get(`${axis}/${tag}`) ?? 0, wanted })),
  })).filter(({ rows }) => rows.length);
}

/** What to do next, after "11 of 16 kept". */
export function toDo(kept, target, mode) {
  if (kept < target && mode === "manual") return t("pick {count} more, then press Run", { count: target - kept });
  return kept < target ? t("press Run to choose, or keep more by hand") : t("press Run to continue");
}

// -- crops ----------------------------------------------------------------------------------------------------------

/**
 * The box between two corners, in whole pixels of the image, inside it, and not too small to train on.
 * @param {{width: number, height: number}} size
 * @param {number[]} from [x, y]
 * @param {number[]} to [x, y]
 * @returns {number[]|null} [left, top, right, bottom]; null for the whole image
 */
export function boxBetween({ width, height }, from, to) {
  const across = side(from[0], to[0], width);
  const down = side(from[1], to[1], height);
  return cropOf({ width, height }, [across[0], down[0], across[1], down[1]]);
}

function side(a, b, length) {
  const least = Math.min(LEAST_SIDE, length);
  const [from, to] = [Math.min(a, b), Math.max(a, b)].map((value) => Math.round(Math.min(length, Math.max(0, value))));
  if (to - from >= least) return [from, to];
  const start = Math.min(Math.max(0, b < a ? to - least : from), length - least); // it grows the way it was drawn
  return [start, start + least];
}

/** The crop, or null if it is the whole image. */
export function cropOf({ width, height }, [left, top, right, bottom]) {
  return left === 0 && top === 0 && right === width && bottom === height ? null : [left, top, right, bottom];
}

/** What is wrong with a typed crop, or "". */
export function cropProblem({ width, height }, [left, top, right, bottom]) {
  const sides = [left, top, right, bottom];
  if (!sides.every(Number.isInteger)) return t("use whole numbers of pixels");
  if (left < 0 || top < 0 || right > width || bottom > height) return t("the image is {width} × {height}", { width, height });
  if (right - left < LEAST_SIDE || bottom - top < LEAST_SIDE) {
    return t("use at least {least} pixels on each side", { least: LEAST_SIDE });
  }
  return "";
}

// -- undoing --------------------------------------------------------------------------------------------------------

/** A step from the route's history. */
export function stepOf({ at, label, changes }) {
  return { at, label, changes: new Map(changes.map(({ candidate, before, after }) => [candidate, { before, after }])) };
}

const turnChanges = (changes) =>
  new Map([...changes].map(([name, { before, after }]) => [name, { before: after, after: before }]));

const sameNames = (a, b) => a.size === b.size && [...a.keys()].every((name) => b.has(name));

/** Remove the latest step with that label and those candidates from a list. */
function takeStep(steps, label, { changes }) {
  const at = steps.findLastIndex((step) => step.label === label && sameNames(step.changes, changes));
  return at < 0 ? null : steps.splice(at, 1)[0];
}

/**
 * What can be undone and redone after these steps, given oldest first. Undo is a step like any other, so all of it
 * survives a reload.
 * @param {Step[]} steps
 * @returns {{past: Step[], future: Step[]}} the next one to undo or redo is the last
 */
export function stackSteps(steps) {
  const [past, future] = [[], []];
  for (const step of steps) {
    const undone = step.label.startsWith(UNDONE) ? step.label.slice(UNDONE.length) : null;
    const redone = step.label.startsWith(REDONE) ? step.label.slice(REDONE.length) : null;
    if (undone !== null) {
      future.push(takeStep(past, undone, step) ?? { ...step, label: undone, changes: turnChanges(step.changes) });
    } else if (redone !== null) {
      past.push(takeStep(future, redone, step) ?? { ...step, label: redone });
    } else {
      past.push(step);
      future.length = 0;
    }
  }
  return { past, future };
}

/** "undo" or "redo" → label of the new step, and the fields it restores. */
export const WAYS = {
  undo: { label: (label) => `${UNDONE}${label}`, back: ({ before, after }) => difference(after, before) },
  redo: { label: (label) => `${REDONE}${label}`, back: ({ before, after }) => difference(before, after) },
};

/**
 * All values that the fields changed by these steps go through, from first to last. The server may have any of them,
 * since steps may be on their way to it.
 * @returns {Object<string, Object<string, any[]>>} candidate → field → values
 */
export function waysOf(steps) {
  const ways = {};
  for (const { changes, ways: known = {} } of steps) {
    for (const [name, { before, after }] of changes) {
      const fields = (ways[name] ??= {});
      for (const field of Object.keys(difference(before, after))) {
        const [first, ...rest] = known[name]?.[field] ?? [before[field], after[field]];
        fields[field] = [...(fields[field] ?? [first]), ...rest];
      }
    }
  }
  return ways;
}

/** Several steps joined into one, for a closing page with time for a single request; `ways` lists what was joined. */
export function joinSteps(steps) {
  const changes = new Map();
  for (const step of steps) {
    for (const [name, { before, after }] of step.changes) {
      changes.set(name, { before: changes.get(name)?.before ?? before, after });
    }
  }
  const { label } = steps[steps.length - 1];
  const told = steps.length > 1 ? `${label}, and ${steps.length - 1} before it` : label;
  return { at: null, label: told, changes, ways: waysOf(steps) };
}
