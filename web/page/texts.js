/** Texts that the host showed in nodes. Front ends from 1.58 on take them away when a run ends, and with them what the
 * nodes reported. Loading this module has no effect. */

export class NodeTexts {
  constructor() {
    Object.assign(this, { workflow: null, texts: new Map() });
  }

  /** A node of a workflow shows a text. Texts of another workflow, whose nodes may have the same ids, are forgotten. */
  note(workflow, id, text) {
    if (workflow !== this.workflow) Object.assign(this, { workflow, texts: new Map() });
    this.texts.set(String(id), text);
  }

  /** [id, text] of each node of the workflow that showed one. */
  of(workflow) {
    return workflow === this.workflow ? [...this.texts] : [];
  }
}
