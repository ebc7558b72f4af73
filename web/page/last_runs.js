/** What nodes showed in the last run, for a page that was loaded again since. Pure functions; loading this module has no
 * effect. */

import { t, word } from "../common/words.js";

/** How a text begins that no run of this page has shown. With other values it would be of something else by now. */
const OF = {
  same: word("From the last Run:"),
  other: word("From an earlier Run, with other values:"),
};
const BREAK = "  \n"; // in Markdown too

/** A node by its id in a run: "12", or "12:5" for node 5 of the subgraph on node 12. Null if there is none. */
export function nodeOf(graph, id) {
  const [first, ...rest] = String(id).split(":");
  const nodes = graph?.nodes ?? graph?._nodes ?? [];
  const node = nodes.find((one) => String(one.id) === first) ?? null;
  return rest.length ? node && nodeOf(node.subgraph, rest.join(":")) : node;
}

/** Whether a node still has the values of its last run. Values that are not widgets of the node are ignored. */
const isSame = (node, values) => (node.widgets ?? []).every(({ name, value }) =>
  !(name in values) || JSON.stringify(values[name]) === JSON.stringify(value));

/**
 * What to show again of a workflow.
 * @param {object} graph the root
 * @param {{node: string, kind: string, values: object, text?: string, told?: object}[]} runs as the route tells them
 * @returns {{id: string, node: object, text: string, told: object|null}[]} `text` to show in the node, "" if none;
 *   `told` as after a run, null if the node's values have changed since
 */
export function toShowAgain(graph, runs) {
  return runs.map((run) => ({ run, node: nodeOf(graph, run.node) }))
    .filter(({ run, node }) => node?.comfyClass === run.kind)
    .map(({ run, node }) => {
      const same = isSame(node, run.values);
      const text = run.text ? `${t(same ? OF.same : OF.other)}${BREAK}${run.text}` : "";
      return { id: run.node, node, text, told: same ? run.told ?? null : null };
    });
}
