/** The route of a project. Loading this module has no effect. */

import { getJson } from "../common/api.js";

/** Where a project stands, or null if there is no project of that name. */
export const fetchProject = (name) => getJson("/lora_bootstrap/project", { name, or: "null" });
