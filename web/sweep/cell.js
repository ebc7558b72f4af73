/** One cell of a sweep in the close view, beside the same cell without the LoRA or of another sweep, with everything
 * known about it and what can be done with it. Loading this module has no effect. */

import { Choice } from "../common/choice.js";
import { button, element, field, makeTerms } from "../common/dom.js";
import { SWEEP_FIGURES, figureName, figureWords } from "../common/figures.js";
import { FittedPicture } from "../common/picture.js";
import { t, word } from "../common/words.js";
import { nameOf } from "./axes.js";
import { factRows } from "./facts.js";
import { ASPECTS } from "./store.js";

/** The measured figures, in their order. */
const SCORES = ["likeness", "prompt", "diversity", "copies", "burn", "validation", "backgrounds", "artefacts", "by_eye",
  "score"];
/** Rating → how a button shows it, and says it. */
const RATINGS = { 1: ["+", word("good")], "-1": ["−", word("bad")], 0: ["", word("not rated")] };
const STATES = { failed: word("Failed"), missing: word("Not made yet") };
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
/** What an image can be compared with. */
const BESIDE = { bare: word("no LoRA"), other: word("the other sweep"), none: word("nothing") };

export class SweepCell {
  /**
   * @param {object} viewer `actions` the host's actions, `other(cell)`: the same cell of the sweep beside it,
   *   `best(cell)`, `hide(cell)`, `rate(cell, aspect)`, `step(down, across)`, `picture(address)`, `use(cell, name)`,
   *   `say(text)`, `returnToPlane()`
   */
  constructor(viewer) {
    this.viewer = viewer;
    this.cell = null;
    this.beside = "bare";
    this.element = element("div", "lb-sweep-close", { hidden: true });
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", t("One cell"));
    this.element.append(this.buildHead(), this.buildStage(), this.buildSide());
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  buildHead() {
    const { viewer } = this;
    this.title = element("span", "lb-ui-status");
    this.back = button(t("Back"), t("Back to all cells (Esc)"), () => this.leave());
    this.bestButton = button(t("Best"), t("Mark it as the best (B)"), () => viewer.best(this.cell));
    this.hideButton = button(t("Hide"), t("Hide it (H)"), () => viewer.hide(this.cell));
    this.loadButton = button(t("Load workflow"), t("Open the workflow that made it"),
      () => viewer.loadWorkflow(this.cell));
    this.copyButton = button(t("Copy prompt"), t("Copy its prompt"), () => viewer.copyPrompt(this.cell));
    this.besideChoice = new Choice(t("Beside it"), (value) => this.compare(value));
    const head = element("div", "lb-ui-head");
    head.append(this.back, this.title, this.besideChoice.element, this.bestButton, this.hideButton, this.copyButton,
      this.loadButton);
    return head;
  }

  buildStage() {
    this.own = this.buildPicture("lb-sweep-own");
    this.other = this.buildPicture("lb-sweep-other");
    this.own.frame.element.tabIndex = -1;
    this.stage = element("div", "lb-sweep-stage");
    this.stage.append(this.own.element, this.other.element);
    return this.stage;
  }

  buildPicture(className) {
    const figure = element("figure", `lb-sweep-figure ${className}`);
    const frame = new FittedPicture("");
    const failure = element("p", "lb-sweep-failure");
    const caption = element("figcaption", "lb-ui-name");
    figure.append(frame.element, failure, caption);
    return { element: figure, frame, failure, caption };
  }

  buildSide() {
    this.side = element("div", "lb-ui-side lb-sweep-side");
    this.scoreTitle = element("p", "lb-sweep-verdict");
    this.scores = element("dl", "lb-ui-terms");
    this.facts = element("dl", "lb-ui-terms");
    this.asField = field("text", "lb-sweep-as", t("Name of the LoRA file"), t("name"));
    this.asField.maxLength = 120;
    this.asField.addEventListener("keydown", (event) => event.key === "Enter" && this.use());
    const title = t("Copy its LoRA to ComfyUI's LoRAs, and mark the cell as the best");
    this.useButton = button(t("Use this one"), title, () => this.use());
    this.used = element("p", "lb-sweep-used");
    this.used.setAttribute("role", "status");
    const use = element("div", "lb-sweep-use");
    use.append(this.asField, this.useButton, this.used);
    this.usePlace = use;
    this.side.append(this.buildRatings(), this.scoreTitle, this.scores, use, this.facts);
    return this.side;
  }

  buildRatings() {
    const ratings = element("div", "lb-sweep-ratings");
    ratings.setAttribute("role", "group");
    ratings.setAttribute("aria-label", t("By eye"));
    this.ratingButtons = new Map(ASPECTS.map((aspect) => {
      const title = t("Rate the {aspect} by eye: good, bad, not rated. Score Sweep counts it when it runs again",
        { aspect: t(aspect) });
      return [aspect, button(t(aspect), title, () => this.viewer.rate(this.cell, aspect))];
    }));
    const name = element("span", "lb-sweep-ratings-name", { textContent: t("by eye") });
    name.setAttribute("aria-hidden", "true"); // the group is called the same
    ratings.append(name, ...this.ratingButtons.values());
    this.ratings = ratings;
    return ratings;
  }

  // -- opening and closing ------------------------------------------------------------------------------------------

  get isOpen() {
    return this.cell !== null;
  }

  get store() {
    return this.viewer.pane.store;
  }

  open(cell) {
    this.element.hidden = false;
    for (const { frame } of [this.own, this.other]) frame.open();
    this.show(cell);
    this.bestButton.focus({ preventScroll: true });
  }

  leave() {
    this.close();
    this.viewer.returnToPlane();
  }

  close() {
    if (!this.isOpen) return;
    this.cell = null;
    this.element.hidden = true;
    for (const { frame } of [this.own, this.other]) frame.close();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  show(cell) {
    this.cell = cell;
    this.asField.value = "";
    this.used.textContent = "";
    this.draw();
    this.viewer.say(this.title.textContent);
  }

  /** Draw the store's present state of the cell. */
  draw() {
    if (!this.isOpen) return;
    const { store, viewer } = this;
    this.cell = store.places.get(this.cell.at.join()) ?? this.cell;
    const { cell } = this;
    const marks = [store.isBest(cell) && t("best"), store.isRecommended(cell) && t("recommended"),
      store.isHidden(cell) && t("hidden")].filter(Boolean);
    this.title.textContent = [nameOf(store.sweep, cell), ...marks].join(" · ");
    this.bestButton.setAttribute("aria-pressed", String(store.isBest(cell)));
    this.hideButton.setAttribute("aria-pressed", String(store.isHidden(cell)));
    this.drawPicture(this.own, cell, nameOf(store.sweep, cell));
    this.drawBeside(cell);
    this.drawRatings(cell);
    this.drawScore(store.score(cell));
    this.facts.replaceChildren(...makeTerms(factRows(store.sweep, cell)));
    this.usePlace.hidden = !cell.lora;
    this.asField.placeholder = cell.run ? `${cell.run}` : t("name");
    this.loadButton.disabled = cell.state !== "done" || !viewer.actions.loadWorkflow;
    this.copyButton.disabled = !cell.prompt;
  }

  drawPicture({ element: figure, frame, failure, caption }, cell, name) {
    figure.dataset.state = cell.state;
    frame.element.hidden = cell.state !== "done";
    failure.hidden = cell.state === "done";
    failure.textContent = cell.state === "done" ? "" : [t(STATES[cell.state]), cell.error].filter(Boolean).join(": ");
    if (cell.state === "done") frame.show(this.viewer.picture(cell.full), name);
    caption.textContent = caption.title = name;
  }

  /** Draw what it can be compared with, and that image. */
  drawBeside(cell) {
    const others = { bare: this.store.bare(cell), other: this.viewer.other(cell), none: null };
    const names = Object.keys(BESIDE).filter((name) => name === "none" || others[name]);
    const beside = names.includes(this.beside) ? this.beside : names[0];
    this.besideChoice.show(names.map((value) => ({ value, label: t(BESIDE[value]) })), beside);
    this.besideChoice.element.hidden = names.length < 2;
    const other = others[beside];
    this.other.element.hidden = !other;
    if (!other) return;
    const called = `${this.viewer.otherTitle()}: ${nameOf(this.store.sweep, cell)}`;
    const name = beside === "bare" ? t("without the LoRA") : called;
    this.drawPicture(this.other, other, name);
  }

  compare(beside) {
    this.beside = beside;
    this.draw();
  }

  drawRatings(cell) {
    this.ratings.hidden = cell.state !== "done";
    for (const [aspect, rate] of this.ratingButtons) {
      const rating = this.store.rating(cell, aspect);
      const [sign, rated] = RATINGS[rating];
      rate.value = [t(aspect), sign].filter(Boolean).join(" ");
      rate.dataset.rating = rated;
      rate.setAttribute("aria-label", `${t(aspect)}: ${t(rated)}`);
    }
  }

  drawScore(row) {
    this.scoreTitle.hidden = !row;
    this.scores.hidden = !row;
    if (!row) return;
    const gates = row.gates?.length ? t("fails {gates}", { gates: row.gates.join(", ") }) : "";
    const told = [row.label, row.verdict, gates, row.advice].filter(Boolean).join(" · ");
    this.scoreTitle.textContent = told;
    this.scoreTitle.dataset.verdict = row.verdict ?? "";
    this.scores.replaceChildren(...makeTerms(SCORES.map((name) => [figureName(name, SWEEP_FIGURES),
      typeof row[name] === "number" ? row[name].toFixed(2) : t("not measured"), figureWords(name, SWEEP_FIGURES)])));
  }

  // -- doing --------------------------------------------------------------------------------------------------------

  async use() {
    const { cell } = this;
    this.useButton.disabled = true;
    const { text, failed } = await this.viewer.use(cell, this.asField.value.trim());
    this.useButton.disabled = false;
    if (this.cell?.at.join() !== cell.at.join()) return;
    this.used.textContent = text;
    this.used.classList.toggle("lb-ui-error", failed);
  }

  key(event) {
    const typing = event.target.matches("input:is([type=text], [type=search])");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    const key = event.key.toLowerCase();
    if (arrow) this.viewer.step(...arrow);
    else if (key === "b") this.viewer.best(this.cell);
    else if (key === "h") this.viewer.hide(this.cell);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
