/** The sheet of Preview Dataset after a reload of the page: the host keeps the image until it is started again, but its
 * front end forgets which it was. Pure functions. Loading this module has no effect. */

/** The node's property in which the sheet of its last run is remembered. */
export const PROPERTY = "sheet";

/**
 * Show the sheets of a workflow that was opened.
 * @param {object[]} nodes those of the graph itself; the host does not say where a run finds those of a subgraph
 * @param {(image: object) => Promise<boolean>} isThere whether the host still has an image
 * @param {(node: object) => boolean} isPlaced whether a node is still in the workflow: another may be open by then
 * @param {(node: object, output: object) => void} show shows what a run of the node would show
 */
export async function showSheets(nodes, isThere, isPlaced, show) {
  for (const node of nodes) {
    const image = node.properties?.[PROPERTY];
    if (!image || node.imgs?.length || !await isThere(image)) continue;
    if (isPlaced(node)) show(node, { images: [image] });
  }
}
