/** The route of a project. Loaded alone, it does nothing. */

import { getJson } from "../common/api.js";

/** Where a project stands, or null if there is none of that name. */
export const fetchProject = (name) => getJson("/lora_bootstrap/project", { name, or: "null" });
