/** The routes of a project. Loading this module has no effect. */

import { getJson, postFile, postJson } from "../common/api.js";
import { hostUrl } from "../common/host.js";

/** Where a project stands, or null if there is no project of that name. */
export const fetchProject = (name) => getJson("/lora_bootstrap/project", { name, or: "null" });

const address = (part, query) => hostUrl(`/lora_bootstrap/project/${part}?${new URLSearchParams(query)}`);

/** Address of the report, a page by itself. */
export const reportAddress = (name) => address("report", { name });

/** Address of the project as a zip. */
export const archiveAddress = (name) => address("archive", { name });

/**
 * Read a project from a zip.
 * @param {File} file
 * @returns {Promise<{name: string, archived: string, picture: string, warnings: string[]}>}
 */
export const sendArchive = (file) => postFile("/lora_bootstrap/project/archive", { file: file.name }, file);

/** Save the goal, or the note of a round. Throws Conflict if somebody else has saved. */
export const saveNotes = (body) => postJson("/lora_bootstrap/project/notes", body);
