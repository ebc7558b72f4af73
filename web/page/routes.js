/** The routes that concern the whole page. Loading this module has no effect. */

import { getJson, postJson } from "../common/api.js";

/** Let the server know that this tab shows the pack's panels. */
export const tellPanels = (tab) => postJson("/lora_bootstrap/panels", { tab });

/** What nodes of a workflow showed in the last run that this tab queued. */
export const fetchLastRuns = (workflow, tab) => getJson("/lora_bootstrap/last_runs", { workflow, tab });
