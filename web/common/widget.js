/** Panels of the pack in their nodes, the same way for each: a DOM widget, which both of the host's renderers draw, its
 * stylesheet, and what hangs on the node's own callbacks. Loaded alone, it does nothing. */

/** Load a stylesheet. @param {string} file beside the module @param {string} module its `import.meta.url` */
export function linkStyle(file, module) {
  const { href } = new URL(`./${file}`, module);
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}

/**
 * Put a panel into a node, which is made wide enough for it.
 * @param {object} node
 * @param {string} name the widget's
 * @param {{element: HTMLElement, minHeight: () => number}} panel
 * @param {number} width the least width of the node in pixels
 * @returns {object} the widget
 */
export function addPanelWidget(node, name, panel, width) {
  const widget = node.addDOMWidget(name, `lora_bootstrap_${name}`, panel.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => panel.minHeight(),
  });
  widget.serialize = false; // neither in the prompt nor among the saved widgets' values
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], node.computeSize()[1])]);
  return widget;
}

/** Lay the node out again. It grows while it is drawn, so that only the next drawing shows it grown. */
export function resized(node) {
  node.setDirtyCanvas?.(true, true);
  setTimeout(() => node.setDirtyCanvas?.(true, true), 100);
}

/** Do something after one node's or widget's own callback, with what it was given. */
export function after(owner, callback, act) {
  const before = owner[callback];
  owner[callback] = function (...given) {
    const result = before?.apply(this, given);
    act(...given);
    return result;
  };
}
