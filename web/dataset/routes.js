/** The routes of folders of images. Loading this module has no effect. */

import { getJson, postFile } from "../common/api.js";

/** The folders that hold images. @returns {Promise<{name: string, images: number}[]>} */
export const fetchFolders = async () => (await getJson("/lora_bootstrap/folders")).folders;

/** What is in a folder; or its `problem`, if it does not exist. */
export const fetchFolder = (name, recursive) =>
  getJson("/lora_bootstrap/folder", { name, recursive: recursive ? "1" : "0" });

/**
 * Put a file into a folder that was made for uploads; without one, into a new one named like `wanted`.
 * @returns {Promise<{folder: string, name: string, known: boolean}>}
 */
export const sendFile = ({ folder, wanted, path, file }, signal) =>
  postFile("/lora_bootstrap/folder/file", { folder, wanted, file: path }, file, { signal });
