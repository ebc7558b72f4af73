/** The routes that the list in LoRA Stack uses. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";

/** The LoRAs that the lines of a text name, and the advice. */
export const askStack = (entries) => postJson("/lora_bootstrap/stack", { entries });

/** The LoRAs that the host's loaders list. */
export const fetchNames = () => getJson("/models/loras");
