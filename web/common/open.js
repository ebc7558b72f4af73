/** How one panel opens another's large view, though features do not know each other: whoever has one offers it for its
 * node. Loading this module has no effect. */

const openers = new WeakMap();

/** @param {object} node @param {() => void} open opens the large view of the node's panel */
export const offerOpening = (node, open) => openers.set(node, open);

/** Open the large view of a node's panel. @returns {boolean} whether there is one */
export function openPanel(node) {
  const open = openers.get(node);
  open?.();
  return Boolean(open);
}
