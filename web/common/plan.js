/** A line that says what a node will do with what is left to a preset or to the model, in the server's words. Loading
 * this module has no effect. */

import { postJson } from "./api.js";
import { element } from "./dom.js";
import { findFeeder, isLinked, valueWidgets } from "./graph.js";

const DEBOUNCE_MS = 300;
const SETTINGS = "LoraBootstrap_TrainSettings";
/** Nodes that only hold a value, in their first widget. */
const PRIMITIVE = /^Primitive/;
/** Nodes to walk at most from a model up to its loader. */
const FAR = 50;

const called = (wanted) => ({ name }) => name === wanted;

/** The widgets' values of a node, as far as they are known before a run; what comes over a link mostly is not. */
export function knownValues(node) {
  const widgets = (node.widgets ?? []).filter((widget) => widget.serialize !== false);
  return Object.fromEntries(widgets.map(({ name }) => [name, knownValue(node, name)])
    .filter(([, value]) => value !== undefined));
}

function knownValue(node, name) {
  if (!isLinked(node, name)) return valueWidgets(node, name)[0]?.value;
  const outer = valueWidgets(node, name)[0];
  if (outer) return outer.value;
  const from = findFeeder(node, called(name));
  return PRIMITIVE.test(from?.comfyClass ?? from?.type ?? "") ? from.widgets?.[0]?.value : undefined;
}

/** The loader at the top of the models that lead to a node, with its widgets; null if none is linked. */
export function modelSource(node) {
  let found = null;
  for (let at = node, far = 0; at && far < FAR; far += 1) {
    at = findFeeder(at, ({ name }) => /^model/i.test(name));
    found = at ?? found;
  }
  return found && { node: found.comfyClass ?? "", values: knownValues(found) };
}

/** What the route is asked about a node. */
export function planQuestion(node) {
  const settings = findFeeder(node, called("settings"));
  return {
    node: node.comfyClass,
    values: knownValues(node),
    model: modelSource(node),
    settings: settings?.comfyClass === SETTINGS ? knownValues(settings) : null,
  };
}

/** What the node will do, as one line; "" if there is nothing to say. */
export const fetchPlan = async (node) => (await postJson("/lora_bootstrap/plan", planQuestion(node))).text;

/** The figures of a line, after what is done with them. */
const figuresOf = (line) => line.slice(line.indexOf(": ") + 1);

/** What was done, and what will be done if that is something else. */
export function planText({ done, plan, isLive }) {
  const isNews = !done || (!isLive && figuresOf(done) !== figuresOf(plan));
  return [done, isNews ? plan : ""].filter(Boolean).join("\n");
}

/** The line itself. */
export class PlanLine {
  /** @param {(() => Promise<string>)|null} ask what the node will do; null for a node that does nothing */
  constructor(ask) {
    Object.assign(this, { ask, plan: "", done: "", isLive: false });
    this.element = element("p", "lb-ui-note lb-ui-plan", { hidden: true });
  }

  /** Ask again once changes have paused: those of linked nodes count too. */
  lookSoon() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.look(), DEBOUNCE_MS);
  }

  /** Ask again: values may have changed. */
  async look() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const text = (await this.ask?.().catch(() => "")) ?? ""; // what is wrong with the server is shown elsewhere
    if (turn !== this.turn) return;
    this.plan = text;
    this.draw();
  }

  /**
   * @param {string} done what is already done, shown first; "" for nothing
   * @param {boolean} isLive whether it is still being done: then the next run is not announced yet
   */
  show(done, isLive = false) {
    Object.assign(this, { done, isLive });
    this.draw();
  }

  draw() {
    const text = planText(this);
    if (text === this.element.textContent) return;
    this.element.textContent = text;
    this.element.title = text;
    this.element.hidden = !text;
  }
}
