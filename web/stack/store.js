/** What the list of LoRA Stack knows: the rows of the node's text, edits and undo, and what the server says about them.
 * It needs neither a document nor the host: the routes and the text are passed in. */

import { StepStore } from "../common/store.js";
import { t, word } from "../common/words.js";
import { changeRow, newRow, parseLine, parseText, switchRow, textOf, withMoved, withStep, withWholeLine } from
  "./text.js";

/** After this many milliseconds without another edit, the server is asked and the host is notified. */
const ASK_MS = 250;
const FRESH_MS = 3000;
const NOTHING = { lines: [], files: {}, total: 0, start: "", advice: [] };

export class StackStore extends StepStore {
  /**
   * @param {object} owner
   * @param {(text: string) => Promise<object>} owner.ask the answer of POST /lora_bootstrap/stack
   * @param {() => Promise<string[]>} owner.names the LoRAs that the host lists
   * @param {(text: string) => void} owner.write puts the text into the node
   * @param {() => void} owner.settled called when an edit is over
   * @param {() => void} owner.changed called after every change of the store
   */
  constructor(owner) {
    super();
    Object.assign(this, {
      owner, rows: [], end: "\n", trailing: false, text: "", told: NOTHING, verdicts: new Map(), names: [], listed: 0,
      problem: null, turn: 0, dirty: false, touched: new Set(),
    });
  }

  /** Rows that are shown. */
  get shown() {
    return this.rows.filter(({ kind }) => kind !== "blank");
  }

  row(id) {
    return this.rows.find((row) => row.id === id);
  }

  /** The server's answer about a row's line, if there is one yet. */
  verdict(id) {
    return this.verdicts.get(id);
  }

  /** The server's answer about the one file that a row names; null if there is none. */
  file(id) {
    const name = this.verdict(id)?.loras[0]?.name;
    return name ? this.told.files[name] : null;
  }

  // -- the text -----------------------------------------------------------------------------------------------------

  /** Take over the node's text, which may have been changed elsewhere. */
  read(text) {
    if (text === this.text) return;
    Object.assign(this, parseText(text), { text, past: [], future: [], verdicts: new Map(), touched: new Set() });
    this.askSoon(0);
    this.owner.changed();
  }

  /**
   * Change the rows, as one undo step.
   * @param {string} label what was done, shown in undo
   * @param {(rows: object[]) => object[]} change
   * @param {string|null} field the next edit of the same field is merged into this step
   */
  edit(label, change, field = null) {
    const before = this.rows;
    const rows = change(before);
    if (rows === before) return false;
    const last = this.past[this.past.length - 1];
    if (!(field && last?.field === field && !this.future.length)) this.record({ label, field, rows: before });
    this.take(rows);
    return true;
  }

  take(rows) {
    this.rows = rows;
    this.text = textOf(this);
    this.dirty = true;
    this.owner.write(this.text);
    this.askSoon();
    this.owner.changed();
  }

  /** The next edit is a new step, whatever its field. */
  seal() {
    const last = this.past[this.past.length - 1];
    if (last) last.field = null;
  }

  /** Restore a step's text, and record the present one for the other direction. */
  moveStep(step, from, to) {
    super.moveStep({ ...step, field: null, rows: this.rows }, from, to);
  }

  repeatStep({ rows }) {
    this.take(rows);
    return true;
  }

  // -- edits --------------------------------------------------------------------------------------------------------

  /** Put a value into one row. @param {string} label @param {object} change fields of the row */
  set(id, label, change) {
    const [field] = Object.keys(change);
    this.touched.add(id);
    return this.edit(label, (rows) => this.replaceRow(rows, id, (row) => changeRow(row, change)), `${id}.${field}`);
  }

  /** Rewrite a line that is not a LoRA. */
  setLine(id, raw) {
    this.touched.add(id);
    const written = (row) => ({ ...row, raw });
    return this.edit(t("changing a line"), (rows) => this.replaceRow(rows, id, written), `${id}.raw`);
  }

  /** The field was left: a text line that now names a LoRA becomes a LoRA row, and so does a whole line typed as a
   * name. */
  settle(id) {
    const row = this.row(id);
    if (row && row.kind !== "lora") this.become(id, { ...row, ...newRow(parseLine(row.raw)), id });
    else if (row) this.become(id, withWholeLine(row));
    this.seal();
  }

  become(id, next) {
    const row = this.row(id);
    if (row.kind === next.kind && row.name === next.name) return;
    const rows = this.replaceRow(this.rows, id, () => next);
    if (row.raw !== next.raw) return this.edit(t("reading a line"), () => rows);
    this.rows = rows; // the text is the same
    this.owner.changed();
  }

  toggle(id) {
    const row = this.row(id);
    this.touched.add(id);
    return this.edit(t(row.off ? word("switching {name} on") : word("switching {name} off"), { name: row.name }),
      (rows) => this.replaceRow(rows, id, switchRow));
  }

  /** Add a row without a name below all others. @returns {number} its id */
  add() {
    const row = newRow({ strength: String(this.told.start) });
    this.touched.add(row.id);
    this.edit(t("adding a LoRA"), (rows) => [...rows, row]);
    return row.id;
  }

  remove(id) {
    const { name, kind } = this.row(id);
    const what = kind === "lora" ? name || t("a LoRA") : t("a line");
    return this.edit(t("removing {what}", { what }), (rows) => rows.filter((row) => row.id !== id));
  }

  /** Move a row before or after the next one. */
  move(id, by) {
    return this.edit(t("moving a row"), (rows) => withStep(rows, id, by));
  }

  /** Move a row to another row's position. */
  drop(id, onto) {
    if (id === onto || !this.row(onto)) return false;
    return this.edit(t("moving a row"), (rows) => withMoved(rows, id, rows.findIndex((row) => row.id === onto)));
  }

  replaceRow(rows, id, change) {
    return rows.map((row) => (row.id === id ? change(row) : row));
  }

  // -- the server ---------------------------------------------------------------------------------------------------

  askSoon(delay = ASK_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), delay);
  }

  /** Stop asking. Answers still on their way no longer count. */
  stop() {
    clearTimeout(this.timer);
    this.turn += 1;
  }

  /** Ask the server about the present text. Never throws. */
  async ask() {
    const turn = (this.turn += 1);
    const asked = this.rows;
    if (this.dirty) this.owner.settled();
    this.dirty = false;
    try {
      const told = await this.owner.ask(this.text);
      if (turn !== this.turn) return;
      this.told = told;
      this.problem = null;
      this.verdicts = new Map(asked.map(({ id }, index) => [id, told.lines[index]]));
      this.reconsider();
    } catch (error) {
      if (turn !== this.turn) return;
      this.problem = error.message;
    }
    this.owner.changed();
  }

  /** Read the lines again that only the server can interpret, except those that were edited here. */
  reconsider() {
    this.rows = this.rows.map((row) => {
      const verdict = this.verdict(row.id);
      if (!verdict || this.touched.has(row.id) || !row.raw.trim()) return row;
      return { ...row, ...parseLine(row.raw, { on: !verdict.off, named: Boolean(verdict.loras[0]?.name) }) };
    });
  }

  /** Fetch the host's list, unless that was just done. Never throws. */
  list() {
    if (Date.now() - this.listed >= FRESH_MS) {
      this.listed = Date.now();
      this.listing = this.owner.names().then((names) => {
        this.names = names;
      }, () => {
        this.listed = 0; // the server is unreachable: try again next time
      });
    }
    return this.listing;
  }

  /** The host's list of LoRAs may have changed. */
  refresh() {
    this.listed = 0;
    this.askSoon(0);
  }
}
