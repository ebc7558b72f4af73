/** The viewer of sweeps in the whole window: one sweep or two side by side, as planes of images, and a close view of
 * one image. It knows sweeps, not the host's workflow; extension.js passes in the host's actions. Loading this module
 * has no effect. */

import { getBytes } from "../common/api.js";
import { Asker } from "../common/asker.js";
import { Choice } from "../common/choice.js";
import { button, element, field, showNote } from "../common/dom.js";
import { KeyHelp } from "../common/help.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { UndoControls } from "../common/undo.js";
import { t, word } from "../common/words.js";
import {
  SHOWN_NAMES, SHOWN_WORDS, choicesOn, makeFilter, nameOf, openingView, recommendedRow, sameIn, titleOf, turnView,
  viewOf, viewShowing,
} from "./axes.js";
import { SweepCell } from "./cell.js";
import { SweepGrid } from "./grid.js";
import { progressText } from "./node.js";
import { withPlainTexts } from "./png.js";
import { fetchArchive, fetchSweep, promoteCell, saveMarks } from "./routes.js";
import { SweepStore } from "./store.js";

/** Before the next question it waits this many times as long as the route's last answer took. */
const PATIENCE = 4;
const ROUTES = { fetch: fetchSweep, save: saveMarks };
const HELP = [
  ["← ↑ → ↓, Home, End", word("go from cell to cell")],
  [word("Enter or a click"), word("open the close view")],
  ["B, H", word("mark the best; hide")],
  [word("Wheel, + and −"), word("zoom in, zoom out")],
  [word("Drag, Shift+arrows"), word("move the plane")],
  [word("0 or a double click beside cells"), word("fit everything")],
  ["Ctrl+Z, Ctrl+Shift+Z", word("undo, redo")],
  ["Esc", word("back")],
];

const inAll = (here, all) => (all === 1 ? t("{here} here, 1 cell in all", { here })
  : t("{here} here, {all} cells in all", { here, all }));
const dayOf = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/** One sweep on its plane. */
class Pane {
  constructor(viewer) {
    this.viewer = viewer;
    this.store = new SweepStore(ROUTES, () => viewer.schedule());
    this.asker = new Asker(() => this.name, () => this.store.load(this.name), PATIENCE);
    this.element = element("section", "lb-sweep-pane");
    this.title = element("div", "lb-sweep-pane-title");
    this.grid = new SweepGrid(this);
    this.element.append(this.title, this.grid.element);
  }

  picture(address) {
    return hostUrl(address);
  }

  moveOthers(view) {
    this.viewer.moveOthers(this, view);
  }

  openCell(cell) {
    this.viewer.openCell(this, cell);
  }

  makeCurrent() {
    this.viewer.pane = this;
  }

  /** Ask the route for a sweep. Further calls while one is waiting are merged with it. */
  ask(name = this.name) {
    this.name = name;
    if (name) this.asker.ask();
  }

  close() {
    this.asker.stop();
    this.grid.close();
    this.store.flush().then(() => this.store.forget());
  }
}

class SweepViewer {
  /**
   * @param {object} [actions] actions of the host; those left out are not offered
   * @param {(file: File) => Promise<void>} [actions.loadWorkflow] opens the workflow stored in an image
   * @param {() => void} [actions.refreshed] called when the host's lists of LoRAs have changed
   * @param {{rows?: string, columns?: string}} [sides] the axes that the node has chosen
   */
  constructor(actions = {}, sides = {}) {
    Object.assign(this, { actions, sides, turned: false });
    this.archive = [];
    this.view = { rows: null, columns: null, pages: {} };
    this.shown = "all";
    this.panes = [new Pane(this)];
    this.pane = this.panes[0];
    this.closely = new SweepCell(this);
    this.build();
  }

  get main() {
    return this.panes[0];
  }

  // -- building -----------------------------------------------------------------------------------------------------

  build() {
    this.dialog = element("dialog", "lb-ui-dialog lb-sweep-dialog");
    this.dialog.setAttribute("aria-label", t("Viewer of sweeps"));
    this.body = element("div", "lb-ui lb-sweep");
    this.note = element("p", "lb-ui-note");
    this.live = element("span", "lb-ui-unseen");
    this.live.setAttribute("aria-live", "polite");
    this.places = element("div", "lb-sweep-panes");
    this.places.append(this.main.element);
    this.body.append(this.buildHead(), this.buildTools(), this.help.element, this.note, this.places,
      this.closely.element, this.live);
    this.dialog.append(this.body);
    this.dialog.addEventListener("close", () => this.close());
    this.dialog.addEventListener("cancel", (event) => {
      if (!this.back()) return;
      event.preventDefault(); // Esc goes back one step, and does not close at once
    });
    this.body.addEventListener("keydown", (event) => this.key(event));
  }

  buildHead() {
    this.sweepChoice = new Choice(t("Sweep"), (name) => this.show(name));
    this.besideChoice = new Choice(t("Side by side"), (name) => this.showBeside(name));
    this.status = element("span", "lb-ui-status");
    this.undo = new UndoControls(() => this.pane.store, (text) => this.say(text));
    this.help = new KeyHelp(HELP, (text) => this.say(text));
    const head = element("div", "lb-ui-head");
    head.append(this.sweepChoice.element, this.besideChoice.element, this.status, ...this.undo.buttons,
      this.help.button, button(t("Close"), t("Close the viewer (Esc)"), () => this.close()));
    return head;
  }

  buildTools() {
    this.sideChoices = {
      rows: new Choice(t("Rows"), (name) => this.turn("rows", name)),
      columns: new Choice(t("Columns"), (name) => this.turn("columns", name)),
    };
    this.pagesPlace = element("span", "lb-sweep-pages");
    this.pageChoices = new Map();
    this.shownChoice = new Choice(t("Show"), (value) => this.filter(value));
    this.words = field("search", "lb-ui-filter lb-sweep-words", t("Words in the prompt"), t("words in the prompt"));
    this.words.addEventListener("input", () => this.filter(this.shown));
    this.count = element("span", "lb-ui-count");
    this.tools = element("div", "lb-ui-tools");
    const zoom = element("span", "lb-sweep-zoom");
    const by = (label, title, name, act) => {
      const made = button(label, title, act);
      made.setAttribute("aria-label", name);
      return made;
    };
    zoom.append(by("−", t("Zoom out (−)"), t("Zoom out"), () => this.pane.grid.zoomBy(1 / 1.3)),
      by("+", t("Zoom in (+)"), t("Zoom in"), () => this.pane.grid.zoomBy(1.3)),
      by(t("Fit"), t("Fit everything (0)"), t("Fit"), () => this.pane.grid.fit()));
    this.tools.append(this.sideChoices.rows.element, this.sideChoices.columns.element, this.pagesPlace,
      this.shownChoice.element, this.words, this.count, zoom);
    return this.tools;
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  /** Open the window. @param {string|null} name a sweep's name; null for the newest */
  async open(name = null) {
    if (this.life) return;
    this.life = new AbortController();
    const { signal } = this.life;
    this.before = document.activeElement;
    document.body.append(this.dialog);
    this.dialog.showModal();
    listen({
      [EVENTS.cells]: ({ name: told }) => this.readAgain(told),
      [EVENTS.marks]: ({ name: told, revision }) => this.readAgain(told, revision),
      [EVENTS.back]: () => this.panes.forEach((pane) => pane.ask()),
    }, signal);
    this.main.grid.open();
    if (name) this.main.ask(name);
    this.schedule();
    await this.readArchive();
    if (!name && this.archive.length) this.show(this.archive[0].name);
  }

  close() {
    if (!this.life) return;
    this.closely.close();
    this.life.abort();
    this.life = null;
    for (const pane of this.panes) pane.close();
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.dialog.remove();
    this.before?.focus?.({ preventScroll: true });
  }

  async readArchive() {
    try {
      this.archive = await fetchArchive();
      this.problem = null;
    } catch (error) {
      this.problem = t("Cannot read the sweeps: {problem}", { problem: error.message });
    }
    this.schedule();
  }

  /** Something in a sweep has changed: refresh. @param {number} [revision] the revision of its marks */
  readAgain(name, revision) {
    if (!this.archive.some((entry) => entry.name === name)) this.readArchive();
    for (const pane of this.panes) {
      if (pane.name === name && !(revision <= pane.store.revision)) pane.ask();
    }
  }

  // -- what is shown ------------------------------------------------------------------------------------------------

  show(name) {
    this.closely.close();
    this.main.ask(name);
    this.readArchive();
  }

  /** Show a second sweep beside the first. @param {string|null} name null for none */
  showBeside(name) {
    this.closely.close();
    const [, second] = this.panes;
    if (!name && second) {
      second.close();
      second.element.remove();
      this.panes.pop();
      this.pane = this.main;
    } else if (name && second) second.ask(name);
    else if (name) {
      const pane = new Pane(this);
      this.panes.push(pane);
      this.places.append(pane.element);
      pane.grid.open();
      pane.ask(name);
    }
    this.schedule();
  }

  turn(side, name) {
    this.view = turnView(this.view, side, name);
    this.turned = true;
    this.redrawn = true;
    this.schedule();
  }

  page(axis, choice) {
    this.view = { ...this.view, pages: { ...this.view.pages, [axis]: choice } };
    this.turned = true;
    this.redrawn = true;
    this.schedule();
  }

  filter(shown) {
    this.shown = shown;
    this.redrawn = true;
    this.schedule();
  }

  /** One plane was moved: move the other along. */
  moveOthers(from, view) {
    for (const { grid } of this.panes.filter((pane) => pane !== from)) {
      if (grid.table && grid.place) grid.moveTo({ ...view }, true);
    }
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  schedule() {
    if (!this.life) return;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    if (!this.life) return;
    for (const pane of this.panes) this.drawPane(pane);
    this.redrawn = false;
    this.drawHead();
    this.drawTools();
    this.drawNote();
    this.closely.draw();
    const close = this.closely.isOpen;
    this.places.hidden = this.tools.hidden = close;
  }

  drawPane(pane) {
    const { store, grid } = pane;
    pane.element.classList.toggle("lb-sweep-empty", !store.sweep);
    pane.title.hidden = this.panes.length < 2;
    pane.title.textContent = store.sweep ? [store.sweep.title, store.name].filter(Boolean).join(" · ") : "";
    if (!store.sweep) return;
    const fits = makeFilter(this.shown, this.words.value, store.marks);
    // hiding marked cells changes the table with each mark; a search does not
    const key = [store.sweep, fits && this.shown === "not hidden" ? store.version : 0];
    if (this.redrawn || pane.drawn?.some((part, index) => part !== key[index]) || !pane.drawn) {
      const first = pane.drawn?.[0]?.name !== store.sweep.name;
      pane.drawn = key;
      if (first && pane === this.main) {
        this.view = this.turned ? viewOf(store.sweep.axes, this.view) : openingView(store.sweep, this.sides);
      }
      this.view = this.viewFor(pane, fits);
      grid.show(pane === this.main ? this.view : viewOf(store.sweep.axes, this.view), fits);
      if (first && pane === this.main && !this.closely.isOpen) this.focusLater();
      if (pane !== this.main && this.main.grid.view) grid.moveTo({ ...this.main.grid.view }, true);
    } else grid.update();
  }

  /** The view, or, if no cell on its pages matches the filter, the view with the first cell that does. */
  viewFor(pane, fits) {
    if (!fits || pane !== this.main) return this.view;
    const { sweep } = pane.store;
    const first = sweep.cells.filter(fits);
    const onPage = (cell) => sweep.axes.every(({ name }, index) => [this.view.rows, this.view.columns].includes(name) ||
      cell.at[index] === null || cell.at[index] === this.view.pages[name]);
    return !first.length || first.some(onPage) ? this.view : viewShowing(sweep, this.view, first[0]);
  }

  focusLater() {
    if (this.words === document.activeElement || this.body.contains(document.activeElement) &&
      document.activeElement !== this.body && document.activeElement.getAttribute("role") === "combobox") return;
    requestAnimationFrame(() => this.life && this.main.grid.focus());
  }

  drawHead() {
    const { store, name } = this.main;
    const option = ({ name: value, title, changed, done, cells }) =>
      ({ value, label: title && title !== value ? `${value} (${title})` : value,
        note: `${done === cells ? done : t("{done} of {cells}", { done, cells })} · ${dayOf(changed)}` });
    const known = this.archive.map(option);
    if (name && !known.some(({ value }) => value === name)) known.unshift({ value: name, label: name });
    this.sweepChoice.show(known, name ?? null);
    const runs = this.archive.find((entry) => entry.name === name)?.runs ?? [];
    const near = ({ runs: others }) => others.some((run) => runs.includes(run));
    const others = this.archive.filter((entry) => entry.name !== name);
    const sorted = [...others.filter(near), ...others.filter((entry) => !near(entry))];
    this.besideChoice.show([{ value: null, label: t("nothing") }, ...sorted.map(option)], this.panes[1]?.name ?? null);
    this.status.textContent = store.sweep ? this.progress(store) : "";
    this.undo.draw();
  }

  progress({ counts, pending, saving, problem }) {
    const saved = problem || !(saving || pending.length);
    return [progressText(counts), saved ? "" : t("saving…")].filter(Boolean).join(" · ");
  }

  drawTools() {
    const { sweep } = this.main.store;
    this.tools.hidden = !sweep;
    if (!sweep) return;
    const { rows, columns, pages } = this.view;
    const axes = sweep.axes.map(({ name }) => ({ value: name, label: titleOf(name) }));
    this.sideChoices.rows.show(axes, rows);
    this.sideChoices.columns.show(axes, columns);
    const others = sweep.axes.filter(({ name }) => name !== rows && name !== columns);
    for (const { name } of others) this.drawPage(sweep, name, pages[name]);
    for (const [name, choice] of this.pageChoices) {
      choice.element.hidden = choice.options.length < 2 || !others.some((axis) => axis.name === name);
    }
    this.shownChoice.show(SHOWN_NAMES.map((value) => ({ value, label: t(SHOWN_WORDS[value]) })), this.shown);
    const { table } = this.main.grid;
    const fit = makeFilter(this.shown, this.words.value, this.main.store.marks);
    const all = fit ? sweep.cells.filter(fit).length : 0;
    this.count.textContent = fit && table ? inAll(table.count, all) : "";
  }

  drawPage(sweep, name, choice) {
    if (!this.pageChoices.has(name)) {
      const made = new Choice(titleOf(name), (value) => this.page(name, value));
      this.pageChoices.set(name, made);
      this.pagesPlace.append(made.element);
    }
    const options = choicesOn(sweep, this.view, name).map(({ choice: value, label }) => ({ value, label }));
    this.pageChoices.get(name).show(options, choice);
  }

  drawNote() {
    const { store, name } = this.main;
    const problem = this.problem ?? this.panes.map((pane) => pane.store.problem).find(Boolean) ?? null;
    const notice = this.panes.map((pane) => pane.store.notice).find(Boolean);
    const none = !store.sweep && !name && this.archive.length === 0;
    const idle = none ? t("There are no sweeps yet. Run a grid to make one.") : "";
    const row = store.sweep && recommendedRow(store.sweep);
    const advice = row ? t("Recommended: {cell}. {why}", { cell: row.label, why: store.sweep.scores.why ?? "" }) : "";
    const text = problem ?? notice ?? (idle || advice);
    showNote(this.note, text, problem !== null);
    this.note.title = row ? (store.sweep.scores.notes ?? []).join("\n") : "";
    if (text !== this.told && (problem ?? notice)) this.say(text);
    this.told = text;
  }

  say(text) {
    this.live.textContent = text;
  }

  // -- one cell -----------------------------------------------------------------------------------------------------

  picture(address) {
    return hostUrl(address);
  }

  openCell(pane, cell) {
    this.pane = pane;
    this.closely.open(cell);
    this.schedule();
  }

  /** Show the next cell in a direction on the plane in the close view. */
  step(down, across) {
    const { grid } = this.pane;
    const next = grid.at && grid.table.next(grid.at, down, across);
    if (!next) return;
    grid.at = next;
    this.closely.show(grid.cellAt);
  }

  /** Return from the close view to the plane. */
  returnToPlane() {
    this.draw();
    requestAnimationFrame(() => this.life && this.pane.grid.focus());
  }

  /** The same cell of the sweep beside it, or null. */
  other(cell) {
    const store = this.panes.find((pane) => pane !== this.pane)?.store;
    return store?.sweep ? sameIn(store.sweep, store.places, this.pane.store.sweep, cell) : null;
  }

  otherTitle() {
    return this.panes.find((pane) => pane !== this.pane)?.name ?? "";
  }

  // -- doing --------------------------------------------------------------------------------------------------------

  best(cell) {
    this.tell(this.pane.store.toggleBest(cell, nameOf(this.pane.store.sweep, cell)));
  }

  hide(cell) {
    this.tell(this.pane.store.toggleHidden(cell, nameOf(this.pane.store.sweep, cell)));
  }

  rate(cell, aspect) {
    this.tell(this.pane.store.rateNext(cell, aspect, nameOf(this.pane.store.sweep, cell)));
  }

  tell({ label }) {
    this.say(label);
    this.schedule();
  }

  /** Copy a cell's LoRA to the host's LoRAs. @returns {Promise<{text: string, failed: boolean}>} */
  async use(cell, name) {
    const { pane } = this;
    try {
      const { message } = await promoteCell({ name: pane.name, key: cell.key, as: name });
      pane.ask();
      this.actions.refreshed?.();
      return { text: message, failed: false };
    } catch (error) {
      return { text: error.message, failed: true };
    }
  }

  async loadWorkflow(cell) {
    try {
      const bytes = await getBytes(cell.full);
      const file = new File([withPlainTexts(bytes)], `${this.pane.name}-${cell.key}.png`, { type: "image/png" });
      this.close();
      await this.actions.loadWorkflow(file);
    } catch (error) {
      this.pane.store.notice = t("Cannot load the workflow: {problem}", { problem: error.message });
      this.schedule();
    }
  }

  async copyPrompt({ prompt }) {
    try {
      await navigator.clipboard.writeText(prompt);
      this.say(t("prompt copied"));
    } catch {
      // pages not served over HTTPS have no clipboard API; the older way still works
      const area = element("textarea", "lb-ui-unseen", { value: prompt });
      this.dialog.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      this.closely.copyButton.focus();
    }
    this.closely.copyButton.value = t("Copied");
    setTimeout(() => { this.closely.copyButton.value = t("Copy prompt"); }, 1500);
  }

  // -- keys ---------------------------------------------------------------------------------------------------------

  key(event) {
    const typing = event.target.matches("input:is([type=text], [type=search])");
    if (this.undo.key(event) || event.ctrlKey || event.metaKey || event.altKey || typing) return;
    if (!this.plainKey(event.key.toLowerCase(), event.target)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  plainKey(key, target) {
    const cell = target.classList.contains("lb-sweep-face") ? this.pane.grid.cellAt : null;
    if (key === "?") this.help.toggle();
    else if (key === "b" && cell) this.best(cell);
    else if (key === "h" && cell) this.hide(cell);
    else return false;
    return true;
  }

  /** Go back one step. @returns {boolean} whether there was one */
  back() {
    if (this.help.isOpen) this.help.toggle();
    else if (this.closely.isOpen) this.closely.leave();
    else return false;
    return true;
  }
}

/** Open the viewer. @returns {SweepViewer} */
export function openSweepViewer(name, actions, sides) {
  const viewer = new SweepViewer(actions, sides);
  viewer.open(name);
  return viewer;
}
