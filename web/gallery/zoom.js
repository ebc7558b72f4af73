/** One candidate in the close view, beside the original's crops: crop, flip, tags, note, and everything known about it.
 * Loading this module has no effect. */

import { TagChips } from "../common/chips.js";
import { button, element, field, makeTerms } from "../common/dom.js";
import { figureName, figureWords } from "../common/figures.js";
import { hostUrl } from "../common/host.js";
import { FittedPicture } from "../common/picture.js";
import { fill, t, word } from "../common/words.js";
import { AgainForm } from "./again.js";
import { kinOf, loraWords } from "./card.js";
import { CropPicture } from "./crop.js";
import { cropOf, cropProblem, stateWord } from "./picks.js";

const SIDES = [word("left"), word("top"), word("right"), word("bottom")];
/** Scores in their order. The first ones are shown even if they were not measured. */
const SCORES = ["likeness", "tag_recall", "novelty", "mark", "sharpness_z", "burn_z", "trait_colours", "face_likeness",
  "same_pose", "colour_shift", "detail_change"];
const ALWAYS = SCORES.slice(0, 3);

/** Key → action, while no text field is in use. */
const KEYS = {
  " ": (zoom, stay) => zoom.decide("keep", stay),
  k: (zoom, stay) => zoom.decide("keep", stay),
  x: (zoom, stay) => zoom.decide("reject", stay),
  delete: (zoom, stay) => zoom.decide("reject", stay),
  u: (zoom, stay) => zoom.decide("", stay),
  c: (zoom) => zoom.compare(zoom.against + 1),
  f: (zoom) => zoom.flip(),
  a: (zoom) => zoom.again.toggle(),
  s: (zoom) => zoom.panel.sendToWorkflow(zoom.name),
  arrowleft: (zoom) => zoom.go(-1),
  arrowright: (zoom) => zoom.go(1),
};

export class GalleryZoom {
  /** @param {object} panel the gallery: `store`, `grid`, `large`, `mode()`, `decide(name, state, stay)`,
   * `sendToWorkflow(name)`, `say(text)`, and what AgainForm needs */
  constructor(panel) {
    this.panel = panel;
    this.name = null;
    this.against = 0; // index of the crop shown beside it
    this.element = element("div", "lb-gallery-zoom", { hidden: true });
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", t("One candidate"));
    this.element.append(this.buildHead(), this.buildStage(), this.buildSide());
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  buildHead() {
    this.title = element("span", "lb-ui-status");
    this.back = button(t("Back"), t("Back to all candidates (Esc)"), () => this.leave());
    this.before = button("‹", t("Previous (←)"), () => this.go(-1));
    this.after = button("›", t("Next (→)"), () => this.go(1));
    this.before.setAttribute("aria-label", t("Previous"));
    this.after.setAttribute("aria-label", t("Next"));
    this.deciders = [[t("Keep"), "keep", "K"], [t("Reject"), "reject", "X"], [t("Undecided"), "", "U"]].map(
      ([label, state, key]) => [state, button(label, t("{label}, and go on ({key})", { label, key }),
        () => this.decide(state, false))]);
    this.flipButton = button(t("Flip"), t("Mirror it left to right (F)"), () => this.flip());
    this.againButton = button(t("Again"), t("Draw this view again (A)"), () => this.again.toggle());
    this.sendButton = button(t("Send"), t("Send it to Load Candidate, to repair it in the workflow (S)"), () =>
      this.panel.sendToWorkflow(this.name));
    const head = element("div", "lb-ui-head");
    head.append(this.back, this.before, this.after, this.title, ...this.deciders.map(([, input]) => input),
      this.flipButton, this.againButton, this.sendButton);
    return head;
  }

  buildStage() {
    this.own = new CropPicture((crop) => this.cropTo(crop));
    this.other = new FittedPicture("lb-gallery-other");
    this.otherName = element("div", "lb-ui-name");
    this.strip = element("div", "lb-gallery-strip");
    this.strip.setAttribute("role", "group");
    this.strip.setAttribute("aria-label", t("Crops of the original"));
    const compared = element("div", "lb-gallery-compared");
    compared.append(this.other.element, this.otherName, this.strip);
    this.stage = element("div", "lb-gallery-stage");
    this.stage.append(this.own.element, compared);
    this.compared = compared;
    return this.stage;
  }

  buildSide() {
    this.reason = element("p", "lb-gallery-reason");
    this.tagsPlace = element("div", "lb-gallery-tags");
    this.note = field("text", "lb-gallery-note", t("Note on this candidate"), t("note"));
    this.note.maxLength = 2000; // the server's limit
    this.note.addEventListener("change", () => this.noteTo(this.note.value));
    this.facts = element("dl", "lb-ui-terms");
    const side = element("div", "lb-ui-side");
    this.again = new AgainForm(this.panel);
    side.append(this.again.element, this.reason, this.tagsPlace, this.note, this.buildCropFields(), this.facts);
    return side;
  }

  buildCropFields() {
    this.sides = SIDES.map((side) => {
      const input = element("input", "lb-gallery-number", { type: "number", min: 0, step: 1 });
      input.setAttribute("aria-label", t("Crop: {side}, in pixels", { side: t(side) }));
      input.addEventListener("change", () => this.typedCrop());
      return input;
    });
    this.cropReset = button(t("Reset"), t("Use the whole image"), () => this.cropTo(null));
    this.cropReset.setAttribute("aria-label", t("Reset the crop"));
    this.cropNote = element("span", "lb-ui-error lb-ui-note");
    const fields = element("div", "lb-gallery-crop");
    const title = element("span", "", { textContent: t("Crop in pixels, or drag on the image") });
    fields.append(title, ...this.sides.map((input, index) => {
      const label = element("label", "", { textContent: t(SIDES[index]) });
      label.append(input);
      return label;
    }), this.cropReset, this.cropNote);
    return fields;
  }

  // -- opening and closing ------------------------------------------------------------------------------------------

  get isOpen() {
    return this.name !== null;
  }

  get candidate() {
    return this.panel.store.byName.get(this.name) ?? null;
  }

  /** @param {boolean} fromNode whether leaving leads back to the node instead of the large view */
  open(name, fromNode) {
    this.fromNode = fromNode;
    for (const frame of [this.own, this.other]) frame.open();
    this.show(name);
  }

  close() {
    if (!this.isOpen) return;
    this.commit();
    this.chips.completion.close();
    this.name = null;
    this.element.hidden = true;
    for (const frame of [this.own, this.other]) frame.close();
    this.panel.schedule();
  }

  leave() {
    const { fromNode, panel } = this;
    this.close();
    panel.draw(); // so that there is a card to focus
    if (fromNode) panel.large.close();
    else panel.grid.focus(panel.grid.at);
  }

  /** Accept what is still being typed. */
  commit() {
    if (!this.isOpen) return;
    this.chips.commit();
    if (this.note.value.trim() !== this.pick.note) this.noteTo(this.note.value);
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  get pick() {
    return this.panel.store.pickOf(this.name);
  }

  /** Show another candidate. If the focus is in the tags, it stays there. */
  show(name) {
    const typing = this.isOpen && this.chips.element.contains(document.activeElement);
    this.commit();
    this.chips?.completion.close();
    this.name = name;
    this.drawn = null;
    this.panel.grid.at = name;
    this.buildChips();
    this.element.hidden = false;
    this.again.show(this.candidate);
    this.panel.draw();
    (typing ? this.chips.input : this.own.face).focus({ preventScroll: true });
    this.panel.say(this.own.face.getAttribute("aria-label"));
  }

  buildChips() {
    const { panel, name } = this;
    const { store } = panel;
    this.chips = new TagChips({
      name,
      tags: () => store.tagsOf(name),
      editable: () => true,
      edit: (label, change, values) => store.editTags(fill(label, values), name, change),
      vocabulary: () => store.vocabulary(),
      go: (by) => this.go(by),
      focused: () => {},
      say: (text) => panel.say(text),
    });
    this.tagsPlace.replaceChildren(this.chips.element);
  }

  draw() {
    if (!this.isOpen) return;
    const { candidate, pick, panel } = this;
    if (!candidate) {
      this.leave();
      return;
    }
    this.chips.update();
    this.again.show(candidate);
    this.again.draw();
    this.drawTitle(candidate);
    const key = [this.name, panel.store.version, panel.mode()].join();
    if (this.drawn === key) return;
    if (this.drawn?.split(",")[0] !== this.name) this.drawFixed(candidate);
    this.drawn = key;
    for (const [state, input] of this.deciders) input.setAttribute("aria-pressed", String(pick.state === state));
    this.flipButton.setAttribute("aria-pressed", String(pick.flip));
    this.own.draw(pick);
    this.drawCrop(candidate, pick);
    if (this.noted !== pick.note || document.activeElement !== this.note) this.note.value = this.noted = pick.note;
  }

  drawTitle(candidate) {
    const { grid } = this.panel;
    const state = t(stateWord(candidate, this.pick, this.panel.mode()));
    const place = grid.places.has(this.name) ? t("{place} of {count}",
      { place: grid.places.get(this.name) + 1, count: grid.shown.length }) : "";
    const title = [this.name, place, state].filter(Boolean).join(" · ");
    if (this.title.textContent === title) return;
    this.title.textContent = title;
    this.element.dataset.state = this.pick.state;
    this.own.face.setAttribute("aria-label", `${title}; ${Object.values(candidate.view).join(", ")}`);
    this.before.disabled = !this.step(-1);
    this.after.disabled = !this.step(1);
  }

  /** Draw what a decision does not change. */
  drawFixed(candidate) {
    const { name, full, width, height } = candidate;
    this.own.show(hostUrl(full), name, { width, height });
    this.sides.forEach((input, index) => { input.max = index % 2 ? height : width; });
    this.cropDrawn = undefined;
    this.noted = null;
    this.reason.textContent = `${candidate.proposed ? t("Proposed") : t("Not proposed")}: ${candidate.reason}`;
    this.facts.replaceChildren(...makeTerms(this.factRows(candidate)));
    this.compare(this.against);
  }

  /** Offer to draw it again. */
  openAgain() {
    if (this.isOpen && !this.again.isOpen) this.again.open();
  }

  factRows(candidate) {
    const { scores, prompt, seed, round, width, height, view, generator, reference } = candidate;
    const kin = kinOf(candidate).map(([, words]) => words).join(", ");
    const made = [[t("generator"), generator], [t("reference"), reference]].filter(([, text]) => text);
    const names = [...new Set([...SCORES, ...Object.keys(scores)])];
    const measured = names.filter((name) => name in scores || ALWAYS.includes(name)).map((name) =>
      [figureName(name), name in scores ? scores[name].toFixed(2) : t("not measured"), figureWords(name)]);
    return [...measured, [t("view"), Object.values(view).join(", ")], [t("prompt"), prompt], [t("seed"), seed], ...made,
      ["LoRA", loraWords(candidate)], [t("round"), round], [t("pixels"), `${width} × ${height}`],
      ...(kin ? [[t("made"), kin]] : [])];
  }

  drawCrop({ width, height }, { crop }) {
    const shown = String(crop);
    if (shown === this.cropDrawn) return;
    this.cropDrawn = shown;
    this.sides.forEach((input, index) => { input.value = (crop ?? [0, 0, width, height])[index]; });
    this.cropReset.disabled = !crop;
    this.complain("");
  }

  /** Show one crop large and all of them small. */
  compare(index) {
    const { crops } = this.panel.store;
    this.compared.hidden = !crops.length;
    if (!crops.length) return;
    this.against = index % crops.length;
    const { name, caption, full } = crops[this.against];
    this.other.show(hostUrl(full), t("Original crop {name}", { name }));
    this.otherName.textContent = t("original: {name}", { name });
    this.otherName.title = caption;
    if (this.stripOf !== crops) this.drawStrip(crops);
    [...this.strip.children].forEach((input, at) => input.setAttribute("aria-pressed", String(at === this.against)));
  }

  drawStrip(crops) {
    this.stripOf = crops;
    this.strip.replaceChildren(...crops.map(({ name, thumb }, index) => {
      const small = element("input", "lb-gallery-small", {
        type: "image", src: hostUrl(thumb), alt: t("Compare with {name}", { name }),
        title: t("Compare with {name} (C)", { name }),
      });
      small.addEventListener("click", () => this.compare(index));
      return small;
    }));
  }

  // -- deciding -----------------------------------------------------------------------------------------------------

  /** The name that many places further; if a filter removed this candidate, the one now in its place. */
  step(by) {
    const { grid } = this.panel;
    if (grid.places.has(this.name)) return grid.next(this.name, by);
    return grid.at === this.name ? null : grid.at;
  }

  go(by) {
    const next = this.step(by);
    if (next) this.show(next);
    return Boolean(next);
  }

  decide(state, stay) {
    this.panel.decide(this.name, state, stay);
  }

  edit(label, change) {
    this.panel.store.edit(`${label} ${this.name}`, [this.name], change);
  }

  flip() {
    this.edit("flipping", ({ flip }) => ({ flip: !flip }));
    this.panel.say(this.pick.flip ? t("flipped") : t("not flipped"));
  }

  noteTo(text) {
    const note = text.trim();
    if (note !== this.pick.note) this.edit("changing the note on", () => ({ note }));
  }

  cropTo(crop) {
    this.edit(crop ? "cropping" : "uncropping", () => ({ crop }));
    this.draw(); // at once, because a later drawing would overwrite what is typed into the next field
    this.panel.say(crop ? t("cropped to {box}", { box: crop.join(", ") }) : t("not cropped"));
    this.complain("");
  }

  typedCrop() {
    const box = this.sides.map((input) => input.valueAsNumber);
    const problem = cropProblem(this.candidate, box);
    this.complain(problem);
    if (problem) this.panel.say(problem);
    else this.cropTo(cropOf(this.candidate, box));
  }

  complain(problem) {
    this.cropNote.textContent = problem;
    for (const input of this.sides) input.setAttribute("aria-invalid", String(Boolean(problem)));
  }

  key(event) {
    const typing = event.target.matches("input:is([type=text], [type=number])");
    if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
    const key = event.key.toLowerCase();
    const pressing = key === " " && event.target !== this.own.face; // on a button
    if (!KEYS[key] || pressing) return;
    KEYS[key](this, event.shiftKey);
    event.preventDefault();
    event.stopPropagation();
  }
}
