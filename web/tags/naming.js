/** Gives each Edit Tags node a name of its own for its changes by hand, and a new one to each copy of it. It reads and
 * writes nodes, and needs neither the host nor a document. Loading this module has no effect. */

import { valueWidgets } from "../common/graph.js";
import { isAutomatic, isElsewhere, isNamed, makeName, nameCopy, renamedDataset } from "./names.js";

const WIDGET = "edits";
/** The node's property that says which dataset it was last run with, and in which workflow. */
export const PROPERTY = "tag_editor";

const nameOf = (node) => String(valueWidgets(node, WIDGET)[0]?.value ?? "").trim();
const datasetOf = (node) => node.properties?.[PROPERTY]?.id ?? null;

/** The workflow that a node belongs to. */
export const workflowOf = (node) => (node.graph?.rootGraph ?? node.graph)?.id ?? null;

/** The dataset that the editor shows: the one of the last run, unless the node has another name now. */
export function recallDataset(node) {
  const id = datasetOf(node);
  return id && (!valueWidgets(node, WIDGET).length || isNamed(id, nameOf(node))) ? node.properties[PROPERTY] : null;
}

/**
 * When a node is placed outside of the loading of a workflow, it is a copy; unless a node of that name is removed at the
 * same time, because then it was moved, such as into a subgraph.
 */
export class Naming {
  /** @param {(node: object, from: string, to: string) => void} copied called for each copy that has a new name */
  constructor(copied) {
    Object.assign(this, { copied, loading: false, placed: new Set(), early: new WeakSet(), removed: [], copies: [] });
  }

  /** A workflow is about to be loaded. */
  begin() {
    this.loading = true;
  }

  /** A workflow was loaded: it may be from before there were names, a copy of another, or hold one name twice. */
  end() {
    this.loading = false;
    const names = new Set();
    for (const node of this.placed) {
      const name = nameOf(node);
      const copy = names.has(name) || isElsewhere(node.properties?.[PROPERTY]?.of, workflowOf(node));
      if (copy && isAutomatic(name)) this.copy(node, name);
      this.ensure(node);
      names.add(nameOf(node));
    }
  }

  /** Give a node a name if it has none. */
  ensure(node) {
    if (!nameOf(node)) this.rename(node, makeName(datasetOf(node)));
  }

  place(node) {
    this.placed.add(node);
    if (this.early.delete(node)) this.configure(node);
  }

  /** The node got the values that were saved with it, or with the node that it is a copy of. */
  configure(node) {
    if (!node.graph) this.early.add(node); // it may never be placed, but only be saved again
    if (this.loading || !node.graph) return;
    const name = nameOf(node);
    const at = this.removed.indexOf(name);
    if (at >= 0) this.removed.splice(at, 1);
    else if (isAutomatic(name)) this.copy(node, name);
    this.ensure(node);
  }

  /** Whether the node is a copy whose changes are still to be copied. */
  isCopy(node) {
    return this.copies.some((copy) => copy.node === node);
  }

  remove(node) {
    this.placed.delete(node);
    const name = nameOf(node);
    const moved = this.copies.find(({ from }) => from === name);
    if (!moved) this.removed.push(name);
    else this.rename(moved.node, name);
    this.copies = this.copies.filter((copy) => copy !== moved);
    this.settleSoon();
  }

  copy(node, from) {
    const to = nameCopy(from);
    this.rename(node, to);
    this.copies.push({ node, from, to });
    this.settleSoon();
  }

  rename(node, name) {
    const before = node.properties?.[PROPERTY];
    if (before && isNamed(before.id, nameOf(node))) {
      node.properties[PROPERTY] = { ...before, id: renamedDataset(before.id, name), of: workflowOf(node) };
    }
    for (const widget of valueWidgets(node, WIDGET)) widget.value = name;
  }

  /** What happens at the same time is over when the host has finished: then what is still a copy is one. */
  settleSoon() {
    this.settling ??= Promise.resolve().then(() => {
      const { copies } = this;
      Object.assign(this, { copies: [], removed: [], settling: null });
      for (const { node, from, to } of copies) {
        this.rename(node, to); // also on the pasted subgraph's node, which had its old values in the meantime
        this.copied(node, from, to);
      }
    });
  }
}
