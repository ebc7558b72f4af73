/** Reads what was dropped or pasted: files, and folders with all that is in them. It needs a browser's events, not the
 * host. Loading this module has no effect. */

import { Refused } from "../common/errors.js";
import { t } from "../common/words.js";

/** Whether a drag carries files. What they are is known only when they are dropped. */
export const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/**
 * The files of a drop, with their paths in the folders that were dropped. Must be called while the event is handled,
 * because the browser forgets afterwards.
 * @param {DataTransfer} data
 * @returns {Promise<{path: string, file: File|null}[]>} null for what cannot be read
 */
export function readDropped(data) {
  const items = [...(data.items ?? [])].filter(({ kind }) => kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  if (entries.length && entries.every(Boolean)) return readEntries(entries);
  return Promise.resolve(asFiles(data.files));
}

/** Chosen or pasted files. */
export const asFiles = (files) => [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));

async function readEntries(entries) {
  const files = [];
  for (const entry of entries) {
    const parts = entry.isDirectory ? await listFolder(entry).catch(() => null) : null;
    if (parts) files.push(...await readEntries(parts));
    else files.push({ path: entry.fullPath.replace(/^\//, ""), file: await asFile(entry) });
  }
  return files;
}

/** The file of an entry; null if it cannot be read, or is a folder. */
const asFile = (entry) => new Promise((resolve) => {
  if (entry.isDirectory) resolve(null);
  else entry.file(resolve, () => resolve(null));
});

/** A browser gives a folder's entries in parts, and an empty part at the end. */
async function listFolder(entry) {
  const [reader, all] = [entry.createReader(), []];
  for (let part = null; part === null || part.length;) {
    part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    all.push(...part);
  }
  return all;
}

/** The first frame of an image in a format that only the browser reads, as PNG. */
export async function convertToPng(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Refused(t("{name} cannot be read by this browser. Save it as png.", file));
  });
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
