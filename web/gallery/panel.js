/** The curation gallery: the candidates of a round, the picks, quotas, undo. It knows rounds, not the host's workflow;
 * extension.js tells it which round to show. Loading this module has no effect. */

import { ProgressBar } from "../common/bar.js";
import { button, element, field, showNote } from "../common/dom.js";
import { explain, figureName, figureWords } from "../common/figures.js";
import { KeyHelp } from "../common/help.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { countText } from "../common/tags.js";
import { UndoControls } from "../common/undo.js";
import { t, word } from "../common/words.js";
import { wishedWords } from "./again.js";
import { GalleryDialog } from "./dialog.js";
import { GalleryFacts } from "./facts.js";
import { GalleryGrid } from "./grid.js";
import { ORDER_NAMES, filterCandidates, groupTwins, putBeside, sortCandidates } from "./order.js";
import { toDo } from "./picks.js";
import { fetchCandidates, savePicks, saveWishes, shelf } from "./routes.js";
import { GalleryStore } from "./store.js";
import { GalleryZoom } from "./zoom.js";

/** Pixels that the gallery needs: one line before there are images, then everything. */
const HEIGHT = { idle: 72, pictures: 430 };
/** Before the next question it waits this many times as long as the route's last answer took. */
const PATIENCE = 4;

/** State → label of the decision in undo and history, and its announcement. */
const DECISIONS = {
  keep: { label: (name) => `keeping ${name}`, said: word("kept") },
  reject: { label: (name) => `rejecting ${name}`, said: word("rejected") },
  "": { label: (name) => `leaving ${name} undecided`, said: word("undecided") },
};
const HELP = [
  ["← ↑ → ↓, Home, End", word("go from image to image")], [word("K or Space"), word("keep, and go to the next")],
  [word("X or Delete"), word("reject, and go to the next")], ["Shift+K, Shift+X", word("decide and stay")],
  ["U", word("clear the decision")], [word("Enter or Z"), word("open the close view: crop, flip, tags, note")],
  ["C, F", word("there: compare with the next crop; flip")], ["A", word("draw this view again")],
  ["S", word("in the close view: send it to Load Candidate")], ["Ctrl+Z, Ctrl+Shift+Z", word("undo, redo")],
  ["Esc", word("back")],
];

/** Orders that no figure is named like. */
const ORDERS = { proposed: word("proposed"), view: word("view"), name: word("name") };
const orderName = (name) => (ORDERS[name] ? t(ORDERS[name]) : figureName(name));
const shownText = (count, total) => (count === 1 ? t("1 image of {total}", { total })
  : t("{count} images of {total}", { count, total }));
const cropsText = (count) => (count === 1 ? t("Including 1 crop of the original")
  : t("Including {count} crops of the original", { count }));

export class GalleryPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => {project: string|null, round: number}} host.where which round to show
   * @param {() => string} host.mode the node's mode; in "manual" only what was picked by hand counts as kept
   * @param {() => number} host.keep how many images the node wants; 0 for the project's target
   * @param {() => void} host.resized called when the gallery needs another height
   * @param {() => Promise<void>} host.queue queues the workflow
   * @param {() => Promise<void>} host.draw queues it as far as this round
   * @param {() => {draws: boolean, fixed: string}} host.drawing what it can draw again, as from `readDrawing`
   * @param {(place: string) => void} host.sendToWorkflow puts a candidate into Load Candidate
   */
  constructor(host) {
    super(host, PATIENCE);
    this.store = new GalleryStore({ fetch: fetchCandidates, save: savePicks, wish: saveWishes },
      () => this.schedule(), shelf);
    this.order = ORDER_NAMES[0];
    this.made = null; // progress of the images being drawn, from the last event
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-gallery", t("Gallery of candidates"));
    this.body.dataset.captureWheel = "true"; // tells the host that the wheel scrolls what has the focus
    this.grid = new GalleryGrid(this);
    this.facts = new GalleryFacts(this);
    this.zoom = new GalleryZoom(this);
    this.main = element("div", "lb-gallery-main");
    this.main.append(this.grid.element, this.facts.element);
    this.body.append(this.buildHead(), this.note, this.help.element, this.buildTools(), this.main, this.zoom.element,
      this.live);
    this.large = new GalleryDialog(this);
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.showHeight();
  }

  buildHead() {
    this.head = element("div", "lb-ui-head");
    this.status = element("span", "lb-ui-status");
    this.bar = new ProgressBar(t("Images kept"));
    this.proposedButton = button(t("Keep proposed"), "", () => this.keepProposed());
    this.undo = new UndoControls(() => this.store, (text) => this.say(text));
    this.largeButton = button(t("Large view"), "", () => this.large.toggle());
    this.help = new KeyHelp(HELP, (text) => this.say(text));
    this.runButton = button(t("Run"), "", () => this.run());
    this.runButton.classList.add("lb-gallery-run");
    this.head.append(this.status, this.proposedButton, ...this.undo.buttons, this.largeButton, this.help.button,
      this.runButton, this.bar.element);
    return this.head;
  }

  /** What only the large view has: filter and order. */
  buildTools() {
    this.filter = field("search", "lb-ui-filter", t("Filter the candidates"), t("filter: text, \"whole word\", -without"));
    this.filter.title = t("Name, prompt, tags, LoRA, generator, note, or one of: {words}",
      { words: "kept, rejected, undecided, proposed, similar, again, repaired, replaced" }); // as they are typed
    this.filter.addEventListener("input", () => this.schedule());
    const orders = element("span", "lb-gallery-orders", { textContent: t("Sort by") });
    orders.setAttribute("role", "radiogroup");
    orders.setAttribute("aria-label", t("Sort by"));
    orders.append(...ORDER_NAMES.map((name) => this.orderChoice(name)));
    const similar = element("label", "lb-ui-everyone", { title: t("Put near copies next to one another") });
    this.similar = element("input", "lb-ui-check", { type: "checkbox" });
    this.similar.addEventListener("change", () => this.schedule());
    similar.append(this.similar, t("similar together"));
    this.count = element("span", "lb-ui-count");
    this.tools = element("div", "lb-ui-tools", { hidden: true });
    this.tools.append(this.filter, orders, similar, this.count);
    return this.tools;
  }

  orderChoice(name) {
    const label = explain(element("label", "lb-ui-everyone"), figureWords(name));
    const input = element("input", "lb-ui-check", { type: "radio", value: name, checked: name === this.order });
    input.addEventListener("change", () => this.sortBy(name));
    this.orders = { ...this.orders, [name]: input };
    label.append(input, orderName(name));
    return label;
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  begin(signal) {
    this.grid.open();
    listen({
      [EVENTS.candidates]: (told) => this.showMaking(told),
      [EVENTS.project]: (told) => this.followRound(told),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.lookSoon(),
    }, signal);
    this.watchPage(signal, () => this.ask(), () => this.leave());
  }

  /** Save and end: the node was removed. */
  close() {
    this.large.close();
    super.close();
    this.grid.close();
    this.leave().then(() => this.life || this.store.forget() || this.schedule()); // unless it was placed again
  }

  /** Accept what is still being typed, and save: a run begins, or the page is closing. */
  leave() {
    this.zoom.commit();
    return this.store.flush(true);
  }

  /** Save for a run, which reads what is saved. Throws an Error if that fails. */
  async saveForRun() {
    await this.leave();
    await this.store.flushForRun();
  }

  subject() {
    const { project, round } = this.host.where();
    return JSON.stringify([project, round]);
  }

  async askRoute() {
    const { project, round } = this.host.where();
    if (project) await this.store.load(project, round);
    else this.store.forget();
    this.schedule();
  }

  /** Images were drawn: show them as they arrive. */
  showMaking({ project, round, made, total }) {
    const here = this.host.where();
    if (project !== here.project || round !== here.round) return;
    this.made = made < total ? { made, total } : null;
    this.ask();
    this.schedule();
  }

  /** What is kept in an earlier round is carried into this one, also before it is run. */
  followRound({ name }) {
    const { project, round } = this.host.where();
    if (name === project && round > 1) this.ask();
  }

  /** The node ran. */
  showResult() {
    this.made = null;
    this.ask();
  }

  minHeight() {
    return this.store.candidates.length && !this.large.isOpen ? HEIGHT.pictures : HEIGHT.idle;
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  draw() {
    const empty = !this.store.candidates.length;
    for (const part of [this.head, this.main]) part.hidden = empty;
    this.drawNote();
    this.showHeight();
    if (empty) this.zoom.close();
    if (empty) return;
    this.drawShown();
    this.drawHead();
    this.facts.draw();
    this.zoom.draw();
    const zoomed = this.zoom.isOpen;
    this.main.hidden = zoomed;
    this.tools.hidden = zoomed || !this.large.isOpen;
  }

  idleText() {
    const { project, round } = this.store;
    if (!project) return t("Link a project. Its candidates then appear here, for you to pick.");
    const words = this.store.there
      ? word("Round {round} of {project} has no candidates yet. They appear here as they are drawn.")
      : word("Project {project} has no round {round} yet. Press Run to draw its candidates.");
    return t(words, { project, round });
  }

  drawNote() {
    const { store } = this;
    const empty = !store.candidates.length;
    const text = store.problem ?? store.notice ?? (empty ? this.idleText() : "");
    showNote(this.note, text, store.problem !== null);
    if (text !== this.told && (store.problem ?? store.notice)) this.say(text);
    this.told = text;
  }

  /** Find out which cards to show, if anything relevant has changed; otherwise redraw only the changed cards. */
  drawShown() {
    const { store } = this;
    const filter = this.filter.value.trim();
    const told = filter ? [store.version, this.mode()] : []; // what a filter's words may refer to
    const key = [filter, this.order, this.similar.checked, ...told].join();
    if (key === this.shownBy && this.drawn === store.candidates) return this.grid.update();
    if (this.drawn !== store.candidates || this.orderedBy !== this.order) {
      this.ordered = putBeside(sortCandidates(store.candidates, this.order));
    }
    Object.assign(this, { shownBy: key, drawn: store.candidates, orderedBy: this.order });
    const fits = filterCandidates(this.ordered, filter, ({ name }) => store.pickOf(name), this.mode());
    this.grid.show(this.similar.checked ? groupTwins(fits) : fits);
    this.count.textContent = filter ? shownText(fits.length, this.ordered.length) : "";
    return undefined;
  }

  drawHead() {
    const { store } = this;
    const mode = this.mode();
    const [kept, target] = [store.keptCount(mode), this.target()];
    const saving = store.saving || store.pending.length ? t("saving…") : store.history.length ? t("saved") : null;
    const made = this.made && t("{made} of {total} drawn", this.made);
    const told = [t("{kept} of {target} kept", { kept, target }), toDo(kept, target, mode), made, store.problem ? null : saving];
    this.status.textContent = told.filter(Boolean).join(" · ");
    this.status.title = cropsText(store.crops.length);
    this.bar.show(Math.min(kept, target), target, t("{done} of {cells}", { done: kept, cells: target }));
    this.runButton.disabled = kept < target && mode === "manual";
    this.runButton.title = this.runButton.disabled ? t("Pick enough images first")
      : t("Queue the workflow to continue");
    const open = store.openProposals().length;
    this.proposedButton.disabled = !open;
    this.proposedButton.title = open ? t("Keep the {count} proposed images that are undecided", { count: open })
      : t("All proposed images are decided");
    this.undo.draw();
  }

  // -- for its parts -------------------------------------------------------------------------------------------------

  mode() {
    return this.host.mode();
  }

  /** How many images are wanted, including the crops. */
  target() {
    return this.host.keep() || this.store.target;
  }

  keptText() {
    return t("{kept} of {target} kept", { kept: this.store.keptCount(this.mode()), target: this.target() });
  }

  thumb(candidate) {
    return hostUrl(candidate.thumb);
  }

  // -- deciding -----------------------------------------------------------------------------------------------------

  /**
   * Decide on a candidate. The same decision again clears it.
   * @param {boolean} stay whether the focus stays there instead of moving to the next one
   */
  decide(name, state, stay) {
    const candidate = this.store.byName.get(name);
    if (!candidate) return;
    const again = state && this.store.pickOf(name).state === state;
    const next = stay || again ? null : this.grid.next(name, 1);
    const { label, said } = DECISIONS[again ? "" : state];
    this.store.edit(label(name), [name], () => ({ state: again ? "" : state }));
    this.say(`${name} ${t(said)}; ${this.keptText()}`);
    if (this.zoom.isOpen && next) this.zoom.show(next);
    else if (next) this.grid.focus(next);
  }

  keepProposed() {
    const names = this.store.openProposals().map(({ name }) => name);
    const label = `keeping the ${countText(names.length, "proposed image")}`;
    this.store.edit(label, names, () => ({ state: "keep" }));
    const said = t(names.length === 1 ? word("1 proposed image kept") : word("{count} proposed images kept"),
      { count: names.length });
    this.say(`${said}; ${this.keptText()}`);
  }

  zoomOn(name) {
    if (!this.store.byName.has(name)) return;
    const fromNode = !this.large.isOpen;
    if (fromNode) this.large.open();
    this.zoom.open(name, fromNode);
  }

  // -- repairing ----------------------------------------------------------------------------------------------------

  drawing() {
    return this.host.drawing();
  }

  /** Ask for a view again. @param {boolean} now whether to queue the workflow for it */
  async drawAgain(wish, now) {
    if (!await this.store.changeWishes({ add: [wish] })) return;
    this.say(wishedWords(wish, now));
    if (!now) return;
    await this.leave();
    await this.host.draw();
  }

  async takeBack(wish) {
    if (await this.store.changeWishes({ remove: [wish.id] })) this.say(t("{name} is not drawn again", { name: wish.candidate }));
  }

  /** Put a candidate into the workflow, and show the workflow. */
  async sendToWorkflow(name) {
    const { project, round } = this.store;
    await this.leave();
    this.zoom.close();
    this.large.close();
    this.host.sendToWorkflow(`${project}/${round}/${name}`);
  }

  async run() {
    await this.leave();
    await this.host.queue();
  }

  sortBy(name) {
    this.order = name;
    for (const [other, input] of Object.entries(this.orders)) input.checked = other === name;
    this.schedule();
  }

  // -- keys ---------------------------------------------------------------------------------------------------------

  key(event) {
    const typing = event.target.matches("input:is([type=text], [type=search], [type=number])");
    if (this.undo.key(event) || event.ctrlKey || event.metaKey || typing) return;
    if (!this.plainKey(event.key.toLowerCase())) return;
    event.preventDefault();
    event.stopPropagation();
  }

  plainKey(key) {
    if (key === "?") this.help.toggle();
    else if (key === "escape" && this.help.isOpen) this.help.toggle();
    else if (key === "escape" && this.zoom.isOpen) this.zoom.leave();
    else return false;
    return true;
  }
}
