/** What is wrong with a node's values, before the workflow is queued. Loading this module has no effect. */

import { postJson } from "./api.js";
import { valueWidgets } from "./graph.js";

/**
 * What the node would refuse of its values, in its own words; "" if nothing is known to be wrong.
 * @param {object} node
 * @param {string[]} names the inputs whose values to look at; what comes over a link is known only in a run
 */
export async function findProblem(node, names) {
  const known = names.map((name) => [name, valueWidgets(node, name)[0]]).filter(([, widget]) => widget);
  const values = Object.fromEntries(known.map(([name, widget]) => [name, widget.value]));
  const { problems } = await postJson("/lora_bootstrap/check", { node: node.comfyClass, values });
  return problems.map(({ text }) => text).join(" ");
}
