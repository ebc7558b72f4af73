/** The routes that the list in LoRA Stack asks. Loaded alone, it does nothing. */

import { getJson, postJson } from "../common/api.js";

/** What the lines of a text name, and the advice. */
export const askStack = (entries) => postJson("/lora_bootstrap/stack", { entries });

/** The LoRAs that the host's loaders list. */
export const fetchNames = () => getJson("/models/loras");
