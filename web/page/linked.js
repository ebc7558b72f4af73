/** Says at a widget that its value comes over a link: what the widget holds is not used then, and looks as if it were
 * unset. Loading this module has no effect. */

import { isLinked } from "../common/graph.js";
import { t } from "../common/words.js";

/** The mark in the user's language, and in English, in which it may have been set before. */
const marks = () => [` ← ${t("linked")}`, " ← linked"];
/** A label as it is without the mark; undefined if that is the name alone. */
function withoutMark(label, name) {
  const mark = marks().find((one) => label?.endsWith(one));
  if (!mark) return label;
  const own = label.slice(0, -mark.length);
  return own === name ? undefined : own;
}

/** Label what is linked, and give what no longer is its own label back. The host offers the label when a widget is
 * renamed, and saves with the input what is entered. */
export function markLinked(node) {
  for (const widget of node.widgets ?? []) {
    const own = withoutMark(widget.label, widget.name);
    const label = isLinked(node, widget.name) ? `${own ?? widget.name}${marks()[0]}` : own;
    if (label !== widget.label) widget.label = label;
  }
  for (const input of node.inputs ?? []) {
    const own = withoutMark(input.label, input.name);
    if (own !== input.label) input.label = own;
  }
}
