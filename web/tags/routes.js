/** The routes of the tag editor. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";

/** A dataset with the captions of its images. Throws Refused with status 404 until its node has run. */
export const fetchDataset = (id) => getJson("/lora_bootstrap/dataset", { id });

/** Save captions. Throws a Conflict if they were changed elsewhere since the body's revision.
 * @param {boolean} leaving whether the request must outlive the page */
export const saveCaptions = (body, leaving) =>
  postJson("/lora_bootstrap/dataset/captions", body, { keepalive: leaving });

/** Save the changes of one name under another one too. @returns {Promise<{edits: number}>} */
export const copyEdits = (from, to) => postJson("/lora_bootstrap/dataset/copy", { from, to }, { keepalive: true });
