/** Compares the run of a training node with another one, below its chart. Loading this module has no effect. */

import { Choice } from "../common/choice.js";
import { element } from "../common/dom.js";
import { t } from "../common/words.js";
import { fetchDifferences, fetchOthers } from "./routes.js";

const NONE = "";

/** The options of the choice: no comparison, or one of these runs. */
export const comparable = (others) => [
  { value: NONE, label: t("no other run") }, ...others.map((value) => ({ value, label: value }))];

export class RunCompare {
  /** @param {() => void} resized called when another height is needed */
  constructor(resized) {
    Object.assign(this, { resized, run: null, others: [], other: NONE, lines: [] });
    this.choice = new Choice(t("compare with"), (other) => this.compare(other));
    this.text = element("pre", "lb-train-differences", { hidden: true });
    this.element = element("div", "lb-train-compare", { hidden: true });
    this.element.append(this.choice.element, this.text);
  }

  /** The run whose panel this is, by its folder; null while there is none. */
  follow(run) {
    if (run === this.run) return;
    Object.assign(this, { run, other: NONE, lines: [], others: [] });
    this.draw();
    if (run) this.ask(fetchOthers(run), (others) => Object.assign(this, { others }));
  }

  compare(other) {
    Object.assign(this, { other, lines: [] });
    this.draw();
    if (other) this.ask(fetchDifferences(this.run, other), (lines) => Object.assign(this, { lines }));
  }

  /** Use an answer, unless the panel shows another run or choice by then. */
  async ask(answer, use) {
    const { run, other } = this;
    const isLate = () => run !== this.run || other !== this.other;
    try {
      const told = await answer;
      if (!isLate()) use(told);
    } catch (error) {
      if (!isLate()) this.lines = [t("The runs cannot be compared: {problem}", { problem: error.message })];
    }
    if (!isLate()) this.draw();
  }

  draw() {
    this.element.hidden = !this.others.length;
    this.choice.show(comparable(this.others), this.other);
    this.text.hidden = !this.lines.length;
    this.text.textContent = this.lines.join("\n");
    this.resized();
  }

  get height() {
    return this.element.hidden ? 0 : HEIGHT.choice + (this.lines.length ? HEIGHT.text : 0);
  }
}

/** Pixels of the choice, and of the text, which scrolls. */
const HEIGHT = { choice: 28, text: 150 };
