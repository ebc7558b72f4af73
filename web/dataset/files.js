/** What is to be done with files that were dropped, chosen or pasted, by their names. Pure functions. Loading this
 * module has no effect. */

import { t, word } from "../common/words.js";

/** Ending → how the pack takes such a file. */
const KINDS = {
  png: "image", jpg: "image", jpeg: "image", webp: "image", bmp: "image",
  jfif: "jpeg", jpe: "jpeg",
  gif: "convert", avif: "convert",
  txt: "caption", caption: "caption",
};
/** The endings that a file chooser offers. */
export const ACCEPTED = Object.keys(KINDS).map((ending) => `.${ending}`).join(",");
const OF_SYSTEMS = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$|desktop\.ini$)/i;

/** [the path up to its last dot, what follows in small letters]. */
function splitPath(path) {
  const at = path.lastIndexOf(".");
  return at > path.lastIndexOf("/") ? [path.slice(0, at), path.slice(at + 1).toLowerCase()] : [path, ""];
}

/** The path with another stem of the file's name. */
export const withStemOf = (path, saved) => `${splitPath(saved)[0]}.${splitPath(path)[1]}`;

/**
 * The one folder that all paths lie in, and the paths without it; "" if there is none.
 * @param {{path: string, file: Blob}[]} files
 */
export function withoutRoot(files) {
  const roots = new Set(files.map(({ path }) => (path.includes("/") ? path.slice(0, path.indexOf("/")) : "")));
  const [root] = roots;
  if (roots.size !== 1 || !root) return { root: "", files };
  return { root, files: files.map(({ path, file }) => ({ path: path.slice(root.length + 1), file })) };
}

/**
 * What to send, in order.
 * @param {{path: string, file: Blob|null}[]} files null for what cannot be read
 * @returns {{images: {path: string, file: Blob, convert: boolean, captions: {path: string, file: Blob}[]}[],
 *   captions: {path: string, file: Blob}[], refused: string[], unread: string[]}} images with the captions of their
 *   name; captions of no image; paths of other files, and of what cannot be read
 */
export function planUpload(files) {
  const plan = { images: [], captions: [], refused: [], unread: [] };
  const texts = new Map();
  const visible = files.filter(({ path }) => !OF_SYSTEMS.test(path)).sort((a, b) => compare(a.path, b.path));
  for (const { path, file } of visible) {
    const [stem, ending] = splitPath(path);
    const kind = KINDS[ending];
    if (!file) plan.unread.push(path);
    else if (!kind) plan.refused.push(path);
    else if (kind === "caption") addTo(texts, stem.toLowerCase(), { path, file });
    else {
      const known = kind === "jpeg" ? `${stem}.jpg` : path;
      plan.images.push({ path: known, file, convert: kind === "convert", captions: [] });
    }
  }
  const used = new Set();
  for (const image of plan.images) {
    const key = splitPath(image.path)[0].toLowerCase();
    image.captions = texts.get(key) ?? texts.get(image.path.toLowerCase()) ?? [];
    for (const caption of image.captions) used.add(caption);
  }
  plan.captions = [...texts.values()].flat().filter((caption) => !used.has(caption));
  return plan;
}

const compare = (a, b) => a.localeCompare(b, undefined, { numeric: true });

function addTo(map, key, value) {
  map.set(key, [...(map.get(key) ?? []), value]);
}

/** The folders that fit what was typed: those that begin with it first, then in the server's order. */
export function findFolders(folders, typed, most) {
  const words = typed.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const begins = ({ name }) => Boolean(words.length) && name.toLowerCase().startsWith(words[0]);
  const fitting = folders.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
  return [...fitting.filter(begins), ...fitting.filter((folder) => !begins(folder))].slice(0, most)
    .map(({ name, images }) => ({ tag: name, count: String(images) }));
}

/** What is counted → one of it, and several. */
const COUNTED = {
  image: [word("1 image"), word("{count} images")], caption: [word("1 caption"), word("{count} captions")],
  file: [word("1 file"), word("{count} files")], other: [word("1 other file"), word("{count} other files")],
  moving: [word("1 GIF or AVIF file"), word("{count} GIF or AVIF files")],
};
const counted = (count, what) => t(COUNTED[what][count === 1 ? 0 : 1], { count });

/** What a folder holds, in a sentence. */
export function folderText({ images, captions }) {
  if (!images) return t("There are no images in this folder.");
  return `${counted(images, "image")}, ${counted(captions, "caption")}`;
}

const listCounts = (counts) =>
  counts.filter(([count]) => count).map(([count, what]) => counted(count, what)).join(t(" and "));

/** What became of an upload: a sentence, and what is wrong. */
export function resultText({ folder, added, captions, known, frames = 0, refused, ...sent }) {
  const parts = [
    added || captions ? t("Added {files} to {folder}.", { files: listCounts([[added, "image"], [captions, "caption"]]), folder }) : "",
    known ? t(known === 1 ? word("{files} was there already.") : word("{files} were there already."),
      { files: counted(known, "file") }) : "",
    frames ? t("Only the first frame of {files} was taken.", { files: counted(frames, "moving") }) : "",
  ];
  return { text: parts.filter(Boolean).join(" "), wrong: listRefused([...unsentText(sent), ...refused]) };
}

/** What of an upload that was stopped or that lost the server was not sent. */
function unsentText({ done = 0, total = 0, lost = false }) {
  if (done >= total) return [];
  const count = total - done;
  const unsent = t(count === 1 ? word("{count} of {files} was not sent.") : word("{count} of {files} were not sent."),
    { count, files: counted(total, "file") });
  const why = lost ? t("The server does not answer, so {sentence}", { sentence: unsent }) : unsent;
  return [`${why} ${t("Add them again: what is there already is not doubled.")}`];
}

const SHOWN = 5;

function listRefused(refused) {
  if (!refused.length) return "";
  const more = refused.length - SHOWN;
  return [...refused.slice(0, SHOWN), ...(more > 0 ? [t("… and {files}.", { files: counted(more, "other") })] : [])].join("\n");
}
