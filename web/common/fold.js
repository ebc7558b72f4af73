/** Folds a node's advanced inputs in the classic canvas, as Vue nodes do by themselves, and makes a new node only as
 * high as what is in sight. Loading this module has no effect. */

import { button, element } from "./dom.js";
import { isLinked, promotedNames } from "./graph.js";
import { foldsInputs, showsAdvanced } from "./host.js";
import { t } from "./words.js";

/** Pixels of the button's row, and of the space around the button. */
const HEIGHT = 34;
const MARGIN = 5;
const NAME = "more_inputs";
const folds = new WeakMap();

/** The widgets of a node that its schema calls advanced. */
const advancedWidgets = (node) => (node.widgets ?? []).filter(({ options }) => options?.advanced);

/** What the button says: how many settings it shows, or that it folds them. */
export function foldLabel(open, count) {
  if (open) return t("Show fewer settings");
  return count === 1 ? t("Show 1 more setting") : t("Show {count} more settings", { count });
}

/**
 * Fold a node's advanced inputs, once, with a button that shows them. Call it before the node's panel is added, so that
 * the button stands above it.
 * @returns {Fold|null} null if the node has no advanced input
 */
export function foldInputs(node) {
  if (!folds.has(node)) folds.set(node, advancedWidgets(node).length ? new Fold(node) : null);
  return folds.get(node);
}

/** The height in pixels of a node without its folded inputs. */
export function heightInSight(node) {
  return folds.get(node)?.height() ?? node.computeSize()[1];
}

/** Whether the host's renderer has changed, or what it shows: fold what must be folded now. */
export function foldAgain(nodes) {
  for (const node of nodes) folds.get(node)?.apply();
}

class Fold {
  constructor(node) {
    this.node = node;
    this.widgets = advancedWidgets(node);
    this.button = button("", t("Show or hide the settings that are rarely changed"), () => this.toggle());
    const place = element("div", "lb-ui lb-ui-fold");
    place.append(this.button);
    const widget = node.addDOMWidget(NAME, `lora_bootstrap_${NAME}`, place, {
      serialize: false, hideOnZoom: false, canvasOnly: true, margin: MARGIN,
      getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT,
    });
    widget.serialize = false; // neither in the prompt nor among the saved widget values
    this.apply();
    node.setSize([node.size[0], this.height()]);
  }

  /** Whether the folded inputs are shown; in Vue nodes the host keeps the same. */
  get open() {
    return foldsInputs() || Boolean(this.node.showAdvanced) || showsAdvanced();
  }

  toggle() {
    const { node } = this;
    const before = node.computeSize()[1];
    node.showAdvanced = !node.showAdvanced;
    this.apply();
    node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - before]);
    node.setDirtyCanvas?.(true, true);
  }

  /** Hide what is folded. What comes over a link stays in sight, as in Vue nodes, and so does what a subgraph's node
   * shows of its own: hidden here, it would be hidden there. */
  apply() {
    const promoted = promotedNames(this.node);
    const folded = this.open ? [] : this.widgets.filter(({ name }) =>
      !isLinked(this.node, name) && !promoted.includes(name));
    this.hide(folded);
    const { length } = this.open ? this.widgets : folded;
    this.button.value = foldLabel(this.open, length);
    this.button.hidden = !length || showsAdvanced();
  }

  /** A workflow is being opened: a link may show a folded input. The saved size of the node is remembered. */
  configure(saved) {
    this.saved = saved?.size?.[1];
    this.apply();
  }

  /** Undo that the host, as it opens a workflow, makes Vue nodes as high as all inputs together. */
  restoreHeight() {
    const { node } = this;
    if (this.saved && foldsInputs() && !node.showAdvanced) {
      node.setSize([node.size[0], Math.max(this.saved, this.height())]);
    }
  }

  /** Hide these widgets and show the others. The host's layout of the classic canvas leaves out only `hidden`. */
  hide(folded) {
    for (const widget of this.widgets) {
      const hidden = folded.includes(widget);
      if (Boolean(widget.hidden) !== hidden) widget.hidden = hidden;
    }
  }

  height() {
    this.hide(this.widgets);
    const height = this.node.computeSize()[1];
    this.apply();
    return height;
  }
}
