/** Where a bootstrap project stands: its crops, its stages, what the next Run will do, and the figures of its rounds.
 * It knows projects, not the host's workflow; extension.js tells it which to show. Loading this module has no effect.
 * */

import { element, showNote } from "../common/dom.js";
import { finite } from "../common/format.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { fetchProject } from "./routes.js";

/** Pixels that the panel needs: one line before the first run, then crops, the next step, stages, and a row for each
 * round. */
const HEIGHT = { idle: 72, project: 126, stage: 13, round: 20 };

/** State → mark, so that colour alone carries no meaning. */
const MARKS = { done: "✓", next: "▶", later: "○" };
const COLUMNS = [
  ["round", ({ round }) => String(round)],
  ["kept", ({ kept, candidates, proposed }) => `${kept} ${proposed ? "proposed " : ""}of ${candidates}`],
  ["drift", ({ drift }) => told(drift)], ["diversity", ({ diversity }) => told(diversity)],
  ["base's", ({ base_diversity: base }) => told(base)], ["burn", ({ burn }) => told(burn)],
  ["likeness", ({ likeness }) => told(likeness)], ["tags", ({ tag_recall: recall }) => told(recall)],
  ["real", ({ real_share: share }) => (finite(share) === null ? told(share) : `${Math.round(share * 100)} %`)],
];
const IDLE = "Give an image, its tags and a trigger, then press Run. The project begins with crops of the image.";

const told = (value) => (finite(value) === null ? "–" : value.toFixed(2));

export class ProjectPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => string|null} host.where the project's name
   * @param {() => void} host.resized called when the panel needs another height
   */
  constructor(host) {
    super(host);
    this.project = null;
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-project", "Bootstrap project");
    this.next = element("p", "lb-project-next");
    this.next.setAttribute("aria-live", "polite");
    this.crops = element("ul", "lb-project-crops");
    this.crops.setAttribute("aria-label", "Crops of the image");
    this.stages = element("ol", "lb-project-stages");
    this.stages.setAttribute("aria-label", "Stages");
    this.rounds = element("table", "lb-project-rounds");
    this.rounds.setAttribute("aria-label", "Figures of the rounds");
    this.body.append(this.note, this.next, this.crops, this.stages, this.rounds);
    this.draw();
  }

  begin(signal) {
    const mine = (act) => (detail) => act(detail) && this.ask();
    listen({
      [EVENTS.project]: mine(({ name }) => name === this.name),
      [EVENTS.candidates]: mine(({ project }) => project === this.name),
      [EVENTS.progress]: mine(({ name }) => name === this.name || name?.startsWith(`${this.name}-style-`)),
      [EVENTS.executed]: () => this.ask(),
      [EVENTS.success]: () => this.ask(),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.lookSoon(),
    }, signal);
  }

  async askRoute(isLate) {
    this.name = this.host.where();
    try {
      const project = this.name ? await fetchProject(this.name) : null;
      if (isLate()) return;
      Object.assign(this, { project, problem: null });
    } catch (error) {
      if (isLate()) return;
      this.problem = `Cannot read the project ${this.name}: ${error.message}`;
    }
    this.schedule();
  }

  minHeight() {
    if (!this.project) return HEIGHT.idle;
    const { stages, rounds } = this.project;
    const rows = rounds.length && rounds.length + 1;
    return HEIGHT.project + HEIGHT.stage * stages.length + HEIGHT.round * rows;
  }

  draw() {
    const { project } = this;
    const wrong = this.problem ?? (this.wrong || project?.stopped_because || project?.warnings.join("\n"));
    showNote(this.note, wrong || (project ? "" : IDLE), Boolean(wrong));
    for (const part of [this.next, this.crops, this.stages]) part.hidden = !project;
    this.rounds.hidden = !project?.rounds.length;
    this.showHeight();
    if (!project) return;
    if (this.next.textContent !== project.next) this.next.textContent = project.next;
    this.drawCrops(project.crops);
    this.stages.replaceChildren(...project.stages.map(stage));
    this.rounds.replaceChildren(head(), ...project.rounds.map(round));
  }

  drawCrops(crops) {
    const shown = crops.map(({ thumb }) => thumb).join();
    if (shown === this.shownCrops) return;
    this.shownCrops = shown;
    this.crops.hidden = !crops.length;
    this.crops.replaceChildren(...crops.map(({ name, caption, thumb }) => {
      const item = element("li");
      item.append(element("img", "", {
        src: hostUrl(thumb), alt: caption || name, title: `${name}: ${caption}`, loading: "lazy", decoding: "async",
        draggable: false,
      }));
      return item;
    }));
  }
}

function stage({ title, state, text }) {
  const item = element("li", "lb-project-stage");
  item.dataset.state = state;
  const mark = element("span", "lb-project-mark", { textContent: MARKS[state] ?? MARKS.later, title: state });
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", state);
  item.append(mark, element("span", "lb-project-title", { textContent: title }),
    element("span", "lb-project-text", { textContent: text }));
  return item;
}

function head() {
  const row = element("tr");
  row.append(...COLUMNS.map(([name]) => element("th", "", { textContent: name, scope: "col" })));
  return row;
}

function round(figures) {
  const row = element("tr");
  row.append(...COLUMNS.map(([, of]) => element("td", "", { textContent: of(figures) })));
  return row;
}
