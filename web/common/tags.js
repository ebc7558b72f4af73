/** Captions as tags: reading, changing, counting, completing and filtering them. Pure functions, no host. A tag is the
 * same as in `trainer/captions/tags.py`: a part between commas, equal in any case and spelling. */

import { t } from "./words.js";

/** @typedef {{id: string, name: string, tags: string[], thumb: string, width: number, height: number}} Picture */

/** The parts of a caption between commas, with single spaces and without empty parts. */
export const splitTags = (caption) => caption.split(",").map(oneLine).filter(Boolean);

export const joinTags = (tags) => tags.join(", ");

/** The text with single spaces only, as captions are saved. */
export const oneLine = (text) => text.trim().split(/\s+/).join(" ");

/** The form in which tags are compared: `Long_Hair` and `long hair` are the same tag. */
export const sameTag = (tag) => oneLine(tag.replaceAll("_", " ").replaceAll("\\", "")).toLowerCase();

/** Each tag once, at its first position. */
export function uniqueTags(tags) {
  const found = new Map();
  for (const tag of tags) if (!found.has(sameTag(tag))) found.set(sameTag(tag), tag);
  return [...found.values()];
}

/** The tags, with those of `more` that are missing added at the end. */
export function withAdded(tags, more) {
  const held = new Set(tags.map(sameTag));
  return [...tags, ...uniqueTags(more).filter((tag) => !held.has(sameTag(tag)))];
}

export function withRemoved(tags, gone) {
  const unwanted = new Set(gone.map(sameTag));
  return tags.filter((tag) => !unwanted.has(sameTag(tag)));
}

export const withoutIndex = (tags, index) => tags.filter((_, at) => at !== index);

/** The tags with the one at `from` moved to `to`; unchanged if that is beyond either end. */
export function withMoved(tags, from, to) {
  if (to < 0 || to >= tags.length) return tags;
  const rest = withoutIndex(tags, from);
  return [...rest.slice(0, to), tags[from], ...rest.slice(to)];
}

/** The tags with those in `text` in place of the one at `index`. Other occurrences of the same tags are removed. */
export function withReplaced(tags, index, text) {
  const put = uniqueTags(splitTags(text));
  const others = (part) => withRemoved(part, put);
  return [...others(tags.slice(0, index)), ...put, ...others(tags.slice(index + 1))];
}

/**
 * How many images have each tag, most frequent first, then by name.
 * @param {Iterable<string[]>} sets the tags of each image
 * @returns {{tag: string, same: string, count: number}[]} each tag as it is spelled at its first occurrence
 */
export function countTags(sets) {
  const counts = new Map();
  for (const tags of sets) {
    for (const tag of uniqueTags(tags)) {
      const same = sameTag(tag);
      const known = counts.get(same);
      if (known) known.count += 1;
      else counts.set(same, { tag, same, count: 1 });
    }
  }
  return [...counts.values()].sort((a, b) => b.count - a.count || (a.same < b.same ? -1 : 1));
}

/** How well a tag matches what was typed: 0 begins with it, 1 one of its words does, 2 contains it, null not at all. */
function fit(same, typed) {
  const at = same.indexOf(typed);
  if (at <= 0) return at === 0 ? 0 : null;
  return same.includes(` ${typed}`) ? 1 : 2;
}

/**
 * Tags that complete what was typed: best match first, then most frequent.
 * @param {{tag: string, same: string, count: number}[]} vocabulary as `countTags` orders it
 * @param {string} typed
 * @param {string[]} held tags that are already there and are not offered
 * @param {number} limit
 */
export function findCompletions(vocabulary, typed, held, limit) {
  const wanted = sameTag(typed);
  if (!wanted) return [];
  const known = new Set(held.map(sameTag));
  return vocabulary
    .map((entry) => ({ ...entry, fit: known.has(entry.same) ? null : fit(entry.same, wanted) }))
    .filter((entry) => entry.fit !== null)
    .sort((a, b) => a.fit - b.fit) // stable sort: frequency decides among equals
    .slice(0, limit);
}

/**
 * The terms of a filter, separated by commas. A leading - excludes images with the term. In quotes it is a whole tag,
 * otherwise text that a tag or the image's name contains.
 */
export function parseFilter(text) {
  return splitTags(text).map((part) => {
    const without = part.length > 1 && part.startsWith("-");
    const term = without ? part.slice(1).trim() : part;
    const whole = term.match(/^"(.*?)"?$/);
    return { without, whole: Boolean(whole), text: sameTag(whole ? whole[1] : term) };
  }).filter(({ text }) => text);
}

/** Whether an image passes every term of a filter. */
export function passesFilter(name, tags, terms) {
  return terms.every(({ without, whole, text }) => {
    const same = tags.map(sameTag);
    const found = whole ? same.includes(text) : same.some((tag) => tag.includes(text)) || sameTag(name).includes(text);
    return found !== without;
  });
}

/** Names in a sentence: the first few, and how many more. */
export function listNames(names, limit = 3) {
  const more = names.length - limit;
  const first = names.slice(0, limit).join(", ");
  return more > 0 ? t("{names} and {more} more", { names: first, more }) : first;
}
