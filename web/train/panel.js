/** The panel in a training node: status, chart, previews, and the Stop & keep button. It knows runs, not the host's
 * workflow; extension.js tells it which run to show. Loading this module has no effect. */

import { element, showNote } from "../common/dom.js";
import { EVENTS, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { PlanLine } from "../common/plan.js";
import { t, word } from "../common/words.js";
import { drawChart, readAt, svg } from "./chart.js";
import { RunCompare } from "./compare.js";
import { smoothPoints } from "./plot.js";
import { isLive, trainedText } from "./presets.js";
import { fetchRun, resumeRun, stopRun } from "./routes.js";
import { SmoothingSlider } from "./smoothing.js";
import { fromReply, hasGap, remarksOf, shortenName, statusLine, withEvent } from "./state.js";
import { PreviewStrip } from "./strip.js";

/** Pixels that the panel needs: what will be trained and one line before the first run, then also status, proofs,
 * chart, legend and previews, what the next run will train, and a line for each note. */
const HEIGHT = { idle: 124, run: 395, note: 15 };
/** How often to fetch the losses in between while steps are faster than events. */
const GAP_MS = 5000;

/** Status → what the button does, and what it says once pressed. */
const BUTTONS = {
  training: {
    label: word("Stop & keep"),
    title: word("Stop after this step, keep the LoRA trained so far, and continue the workflow"),
    pressed: word("stopping after this step"),
    act: (run) => stopRun(run.run),
  },
  stopped: {
    label: word("Train on"),
    title: word("Queue the workflow again and continue from where this run was stopped"),
    pressed: word("queued to continue training"),
    act: (run, host) => resumeRun(run.run).then(host.queue),
  },
};

export class TrainPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => string|null} host.where the run's name, or null if only the running node knows it
   * @param {(event: object) => boolean} host.owns whether a progress event belongs to this node
   * @param {(() => Promise<string>)|null} host.plan what will be trained, in one line; null if the node does not train
   * @param {string} host.idleText what to show before the first run
   * @param {() => void} host.resized called when the panel needs another height
   * @param {(() => Promise<void>)|null} host.queue queues the workflow; null if the node does not train
   */
  constructor(host) {
    super(host);
    this.run = null;
    this.folder = null; // folder of the run that the last event of this node named
    this.pressed = null; // what the button has said since it was pressed
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-train", t("Training progress"));
    this.status = element("span", "lb-train-status");
    this.button = element("button", "lb-train-button", { type: "button", hidden: true });
    this.button.addEventListener("click", () => this.press());
    this.head = element("div", "lb-train-head");
    this.head.append(this.status, this.button);
    this.note.hidden = true;
    this.proofs = element("ul", "lb-train-proofs", { hidden: true });
    this.proofs.setAttribute("aria-label", t("What the run has proved"));
    this.curves = element("div", "lb-train-body", { hidden: true });
    this.strip = new PreviewStrip();
    this.curves.append(this.buildChart(), this.buildLegend(), this.strip.element);
    this.remarks = element("ul", "lb-train-remarks", { hidden: true });
    this.plan = new PlanLine(this.host.plan);
    this.compare = new RunCompare(() => this.showHeight());
    this.body.append(this.head, this.plan.element, this.note, this.proofs, this.curves, this.remarks,
      this.compare.element, this.live);
    this.showHeight();
  }

  buildChart() {
    this.plot = element("div", "lb-train-frame");
    this.chart = svg("svg", { class: "lb-train-chart", role: "img" });
    this.cursor = svg("line", { class: "lb-train-cursor" });
    this.plot.append(this.chart);
    this.plot.addEventListener("pointermove", (event) => this.read(event));
    this.plot.addEventListener("pointerleave", () => this.read(null));
    return this.plot;
  }

  buildLegend() {
    this.legend = element("div", "lb-train-legend");
    for (const [kind, text] of [["raw", t("loss")], ["smoothed", t("smoothed")], ["validation", t("validation")]]) {
      this.legend.append(element("span", `lb-train-key lb-train-key-${kind}`, { textContent: text }));
    }
    this.reading = element("div", "lb-train-reading", { hidden: true });
    this.smoothing = new SmoothingSlider(() => this.schedule());
    const words = element("div", "lb-train-words");
    words.append(this.legend, this.reading);
    const row = element("div", "lb-train-caption");
    row.append(words, this.smoothing.element);
    return row;
  }

  begin(signal) {
    listen({
      [EVENTS.progress]: (event) => this.follow(event),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.plan.lookSoon(),
    }, signal);
    this.observer = new ResizeObserver(() => this.schedule());
    this.observer.observe(this.plot);
    this.strip.open();
  }

  close() {
    super.close();
    this.observer?.disconnect();
    this.strip.close();
  }

  minHeight() {
    return this.run ? HEIGHT.run + HEIGHT.note * remarksOf(this.run).length + this.compare.height : HEIGHT.idle;
  }

  subject() {
    return this.host.where() ?? this.folder;
  }

  /** The kind or a link may have changed too. */
  look() {
    this.ask();
    this.plan.look();
  }

  async askRoute(isLate) {
    const name = this.subject();
    try {
      const reply = name ? await fetchRun(name, this.life.signal) : null;
      if (isLate()) return;
      this.problem = null;
      this.show(reply && fromReply(reply));
    } catch (error) {
      if (!isLate()) this.complain(t("Cannot read the run {name}: {problem}", { name, problem: error.message }));
    }
  }

  /** Update the run from an event. */
  follow(event) {
    if (!this.host.owns(event) && event.run !== this.run?.run) return;
    this.folder = event.run;
    const next = withEvent(this.run, event);
    // another run, or the end of this one; the route knows more than the event
    if (next) this.show(next);
    else this.ask();
    if (next && hasGap(next) && Date.now() - this.asker.at > GAP_MS) this.ask();
  }

  show(run) {
    const before = this.run;
    this.run = run;
    if (before?.run !== run?.run || before?.status !== run?.status) this.pressed = null;
    this.showHeight();
    if (before?.status !== run?.status) this.announce(run);
    this.schedule();
  }

  /** Announce changes of status, but not every step, to a screen reader. */
  announce(run) {
    this.problem = null;
    this.say(run ? statusLine(run) : "");
  }

  draw() {
    const { run } = this;
    this.curves.hidden = !run;
    this.proofs.hidden = !run?.proofs.length;
    this.body.dataset.status = run?.status ?? "idle";
    this.drawHead();
    this.plan.show(trainedText(run), isLive(run));
    this.compare.follow(run && !isLive(run) ? run.run : null);
    if (!run) return this.drawIdle();
    showNote(this.note, this.problem ?? (this.wrong || (run.status === "failed" ? run.message : null)), true);
    this.proofs.replaceChildren(...run.proofs.map(proofMark));
    const remarks = remarksOf(run);
    this.remarks.hidden = !remarks.length;
    this.remarks.replaceChildren(...remarks.map(
      (text) => element("li", "", { textContent: shortenName(text), title: text })));
    this.drawCurves();
    this.strip.show(run.samples);
  }

  /** The run with the loss smoothed as the slider says. */
  get smoothed() {
    const { weight } = this.smoothing;
    return weight === null ? this.run : { ...this.run, smoothed: smoothPoints(this.run.losses, weight) };
  }

  drawHead() {
    const { run } = this;
    const button = BUTTONS[run?.status];
    this.head.hidden = !run;
    this.button.hidden = !button || (run.status === "stopped" && !this.host.queue);
    this.button.disabled = this.pressed !== null;
    this.button.textContent = button ? t(button.label) : "";
    this.button.title = button ? t(button.title) : "";
    this.status.textContent = run && [statusLine(run), this.pressed].filter(Boolean).join(" · ");
  }

  drawIdle() {
    const wrong = this.problem ?? this.wrong;
    showNote(this.note, wrong || this.host.idleText, Boolean(wrong));
  }

  drawCurves() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (width < 40 || height < 40) return; // not laid out yet: the observer calls again
    this.drawing = drawChart(this.chart, this.smoothed, width, height);
    this.legend.lastChild.hidden = !this.drawing.right;
    const { related } = this.drawing.checks;
    this.legend.lastChild.textContent = related ? t("validation ÷ base model (right)") : t("validation (right)");
  }

  /** Show the values under the pointer in place of the legend; null restores the legend. */
  read(event) {
    const box = this.chart.getBoundingClientRect();
    const across = event && ((event.clientX - box.left) / box.width) * this.plot.clientWidth;
    const found = event && this.drawing && this.run ? readAt(this.smoothed, this.drawing, across) : null;
    this.legend.hidden = Boolean(found);
    this.reading.hidden = !found;
    this.cursor.remove();
    if (!found) return;
    this.reading.textContent = found.text;
    for (const [name, value] of [["x1", found.x], ["x2", found.x], ["y1", 6], ["y2", this.drawing.bottom]]) {
      this.cursor.setAttribute(name, value);
    }
    this.chart.append(this.cursor);
  }

  async press() {
    const button = BUTTONS[this.run?.status];
    if (!button) return;
    this.pressed = t(button.pressed);
    this.drawHead();
    try {
      await button.act(this.run, this.host);
    } catch (error) {
      this.pressed = null;
      this.complain(t("{action} failed: {problem}", { action: t(button.label), problem: error.message }));
    }
  }

  complain(text) {
    this.problem = text;
    this.say(text);
    this.schedule();
  }
}

/** A tick or a cross with what was proved; a cross says why in full. */
function proofMark({ name, passed, words }) {
  const said = name === "coverage" && passed ? words : name;
  const item = element("li", "lb-train-proof", { title: words });
  item.dataset.passed = passed;
  item.textContent = passed ? `✓ ${said}` : `✗ ${name}: ${words}`;
  return item;
}
