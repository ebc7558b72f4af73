/** Says at a widget that its value comes over a link: what the widget holds is not used then, and looks as if it were
 * unset. Loading this module has no effect. */

import { isLinked } from "../common/graph.js";

const MARK = " ← linked";
/** Widget → the label that it had. */
const own = new WeakMap();

/** Label what is linked, and give what no longer is its own label back. */
export function markLinked(node) {
  for (const widget of node.widgets ?? []) {
    const linked = isLinked(node, widget.name);
    if (linked === own.has(widget)) continue;
    if (linked) {
      own.set(widget, widget.label);
      widget.label = `${widget.label ?? widget.name}${MARK}`;
    } else {
      widget.label = own.get(widget);
      own.delete(widget);
    }
  }
}
