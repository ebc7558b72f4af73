/** Drawing a view again: the form for one candidate, and the list of what waits for a Run. Loading this module has no
 * effect. */

import { button, element, field } from "../common/dom.js";
import { t } from "../common/words.js";

/** Seeds that are offered are below this, so that they can be read and typed. The server takes larger ones. */
const OFFERED_SEEDS = 2 ** 31;
const MOST_STRENGTH = 4;

/** Another seed than those, for a view that is drawn again. */
export function anotherSeed(known, random = Math.random) {
  let seed = Math.floor(random() * OFFERED_SEEDS);
  while (known.includes(seed)) seed = (seed + 1) % OFFERED_SEEDS;
  return seed;
}

/**
 * What the form asks for, as the route wants it. A prompt that is left as it was is not sent.
 * @param {object} candidate
 * @param {{seed: string, strength: string|null, prompt: string}} typed `strength`: null if it cannot be chosen
 * @returns {{wish: object}|{problem: string}}
 */
export function wishOf(candidate, { seed, strength, prompt }) {
  const whole = /^\d+$/.test(seed.trim()) ? Number(seed) : NaN;
  if (!Number.isSafeInteger(whole)) return { problem: t("seed: use a whole number of 0 or more") };
  const amount = strength?.trim() === "" ? NaN : Number(strength);
  if (strength !== null && !(Math.abs(amount) <= MOST_STRENGTH)) {
    return { problem: t("strength: use a number from -{most} to {most}", { most: MOST_STRENGTH }) };
  }
  const text = prompt.trim();
  if (!text) return { problem: t("prompt: write what to draw") };
  return {
    wish: {
      candidate: candidate.name, seed: whole, prompt: text === candidate.prompt ? "" : text,
      strength: strength === null ? null : amount,
    },
  };
}

/** What a wish asks for, in words. */
export function wishWords({ candidate, seed, strength, prompt }) {
  return [t("{name} again", { name: candidate }), t("seed {seed}", { seed }),
    strength === null ? "" : t("strength {strength}", { strength }),
    prompt ? t("prompt: {prompt}", { prompt }) : ""].filter(Boolean).join(" · ");
}

/** The wishes that wait, one line each, with a button that takes it back. */
export function wishRows(wishes, takeBack) {
  return wishes.map((wish) => {
    const row = element("li");
    const words = wishWords(wish);
    const back = button(t("Take back"), t("Do not draw {name} again", { name: wish.candidate }), () => takeBack(wish));
    row.append(element("span", "", { textContent: words, title: words }), back);
    return row;
  });
}

export class WishList {
  /** @param {object} panel the gallery: `takeBack(wish)` */
  constructor(panel) {
    this.panel = panel;
    this.shown = ""; // ids of the wishes in the list
    this.element = element("div", "lb-gallery-wishes", { hidden: true });
    this.title = element("span", "lb-gallery-axis-name", { textContent: t("Drawn at the next Run") });
    this.list = element("ul");
    this.list.setAttribute("aria-label", t("Images to draw again at the next Run"));
    this.element.append(this.title, this.list);
  }

  show(wishes) {
    const ids = wishes.map(({ id }) => id).join();
    if (ids === this.shown) return; // so that a button keeps its focus
    this.shown = ids;
    this.element.hidden = !wishes.length;
    this.list.replaceChildren(...wishRows(wishes, (wish) => this.panel.takeBack(wish)));
  }
}

export class AgainForm {
  /** @param {object} panel the gallery: `store`, `drawing()`, `drawAgain(wish, now)`, `takeBack(wish)`, `say(text)`,
   * `zoom` */
  constructor(panel) {
    this.panel = panel;
    this.candidate = null;
    this.element = element("div", "lb-gallery-again", { hidden: true });
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", t("Draw this view again"));
    this.seed = this.input("number", t("seed"), t("Again: seed"), { min: 0, step: 1 });
    this.strength = this.input("number", t("strength"), t("Again: LoRA strength"), { step: 0.05 });
    this.prompt = this.input("text", t("prompt"), t("Again: prompt"), {});
    this.now = button(t("Draw now"), "", () => this.submit(true));
    this.later = button(t("At the next Run"), t("Draw it when you press Run"), () => this.submit(false));
    this.note = element("span", "lb-ui-error lb-ui-note");
    this.why = element("span", "lb-ui-note");
    this.wishes = new WishList(panel);
    this.element.append(this.now, this.later, this.note, this.why, this.wishes.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  input(type, text, label, more) {
    const input = Object.assign(field(type, "lb-gallery-field", label, text), more);
    const row = element("label", "", { textContent: text });
    row.append(input);
    this.element.append(row);
    return input;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  /** Offer the candidate that is shown, with another seed. */
  open() {
    const { candidate } = this;
    const seeds = this.panel.store.candidates.map(({ seed }) => seed);
    this.seed.value = anotherSeed([...seeds, ...this.panel.store.again.map(({ seed }) => seed)]);
    this.strength.value = candidate.strength;
    this.prompt.value = candidate.prompt;
    this.element.hidden = false;
    this.complain("");
    this.draw();
    this.seed.focus();
    this.seed.select();
  }

  close() {
    const inside = this.element.contains(document.activeElement);
    this.element.hidden = true;
    if (inside) this.panel.zoom.own.face.focus({ preventScroll: true });
  }

  /** Another candidate is shown. */
  show(candidate) {
    if (candidate === this.candidate) return;
    const same = candidate.name === this.candidate?.name;
    this.candidate = candidate;
    if (!same) this.close();
  }

  draw() {
    if (!this.isOpen) return;
    const { draws, fixed } = this.panel.drawing();
    this.strength.disabled = Boolean(fixed);
    this.strength.title = fixed;
    this.why.textContent = fixed;
    this.why.hidden = !fixed;
    this.now.disabled = !draws;
    this.now.title = draws ? t("Queue this round now")
      : t("No Save Candidates of this workflow leads to this gallery");
    this.wishes.show(this.panel.store.again.filter(({ candidate }) => candidate === this.candidate.name));
  }

  submit(now) {
    const { candidate, seed, strength, prompt } = this;
    const { wish, problem = "" } = wishOf(candidate, {
      seed: seed.value, prompt: prompt.value, strength: strength.disabled ? null : strength.value,
    });
    this.complain(problem);
    if (!wish) return this.panel.say(problem);
    seed.value = anotherSeed([Number(seed.value), candidate.seed]);
    return this.panel.drawAgain(wish, now);
  }

  complain(problem) {
    this.note.textContent = problem;
    this.note.hidden = !problem;
  }

  key(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    if (event.key === "Enter" && event.target.type === "button") return;
    if (event.key === "Enter") this.submit(!this.now.disabled);
    else this.close();
    event.preventDefault();
    event.stopPropagation();
  }
}

/** What the gallery says once wishes are saved. */
export const wishedWords = ({ candidate }, now) =>
  (now ? t("{name} is drawn again now", { name: candidate })
    : t("{name} is drawn again at the next Run", { name: candidate }));
