/** Where a bootstrap project stands: its crops, its stages, what the next Run will do, and the figures of its rounds.
 * It knows projects, not the host's workflow; extension.js tells it which to show. Loading this module has no effect.
 * */

import { button, element, makeTerms, showNote } from "../common/dom.js";
import { explain, figureName, figureWords } from "../common/figures.js";
import { finite } from "../common/format.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { t, word } from "../common/words.js";
import { IDLE, begun, galleryRound, isRunOf, packingLine, withCandidate, withProject, withTraining } from "./live.js";
import { ProjectNotes, noteNames, saveNote } from "./notes.js";
import { archiveAddress, fetchProject, reportAddress, saveNotes, sendArchive } from "./routes.js";

/** Pixels that the panel needs: a line and two buttons before the first run, also for proposed tags, then crops, the next
 * step, stages, and a row for each round, each note and each role of the tags. */
const HEIGHT = { idle: 128, proposal: 138, project: 224, stage: 13, round: 20, note: 26, role: 17 };

/** State of a stage → its mark and the word for it, so that colour alone carries no meaning. */
const MARKS = { done: ["✓", word("done")], next: ["▶", word("next")], later: ["○", word("later")] };
const told = (value) => (finite(value) === null ? "–" : value.toFixed(2));
const percent = (share) => (finite(share) === null ? told(share) : `${Math.round(share * 100)} %`);
const figure = (key, format = told) =>
  [() => figureName(key), (figures) => format(figures[key]), () => figureWords(key)];
const KEPT = [word("{kept} of {candidates}"), word("{kept} proposed of {candidates}")];
/** Columns of the table: title, text, and what the figure says. Called once there are translations. */
const COLUMNS = [
  [() => t("round"), ({ round }) => String(round), () => ""],
  [() => t("kept"), ({ kept, candidates, proposed }) => t(KEPT[Number(Boolean(proposed))], { kept, candidates }),
    () => t("How many of the drawn images were kept.")],
  figure("likeness"), figure("drift"), figure("diversity"), figure("base_diversity"), figure("burn"),
  figure("tag_recall"), figure("mark"), figure("real_share", percent),
];
const EMPTY = word(
  "Give an image, its tags and a trigger, then press Run. The project begins with crops of the image.");
const PROPOSED = word("These tags were found in the image. Change in tags what is wrong, then press Run again.");
/** Role of tags → how their line begins. */
const ROLES = {
  identity: word("The character's tags"), view: word("This image's tags"), dropped: word("Left out of prompts"),
};
const RUN = word("Queue the workflow");

export class ProjectPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => string|null} host.where the project's name
   * @param {() => void} host.resized called when the panel needs another height
   * @param {() => Promise<void>} host.queue queues the workflow
   * @param {(round: number) => (() => void)|null} host.gallery opens the gallery of a round; null if there is none
   */
  constructor(host) {
    super(host);
    this.project = null;
    this.proposal = null; // tags that a tagger proposed, by role, before there is a project
    this.now = IDLE;
    this.saved = Promise.resolve(); // when the notes that were left are saved
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-project", t("Bootstrap project"));
    this.next = element("p", "lb-project-next");
    this.runButton = button(t("Run"), t(RUN), () => this.host.queue());
    this.runButton.classList.add("lb-project-run");
    this.galleryButton = button("", t("Go to the gallery and open it in the whole window"),
      () => this.openGallery());
    this.head = element("div", "lb-ui-head lb-project-head");
    this.head.append(this.runButton, this.galleryButton);
    this.notes = new ProjectNotes(this);
    this.buildKeeping();
    this.roles = element("dl", "lb-ui-terms lb-project-roles");
    this.roles.setAttribute("aria-label", t("Tags by role"));
    this.crops = element("ul", "lb-project-crops");
    this.crops.setAttribute("aria-label", t("Crops of the image"));
    this.stages = element("ol", "lb-project-stages");
    this.stages.setAttribute("aria-label", t("Stages"));
    this.rounds = element("table", "lb-project-rounds");
    this.rounds.setAttribute("aria-label", t("Figures of the rounds"));
    this.body.append(this.note, this.next, this.head, this.crops, this.stages, this.rounds, this.notes.element,
      this.roles, this.keeping, this.live);
    this.draw();
  }

  /** Report, download and import of the whole project. */
  buildKeeping() {
    this.reportButton = button(t("Report"),
      t("Open the report in a new tab: images, picks, figures and curves on one page"),
      () => window.open(reportAddress(this.name), "_blank", "noopener"));
    this.downloadButton = button(t("Download"),
      t("Download the project and its LoRAs as one zip: a backup, or to move it"), () => this.download());
    this.importButton = button(t("Import"), t("Read a project from such a zip. Nothing is overwritten."),
      () => this.chooser.click());
    this.chooser = element("input", "", { type: "file", accept: ".zip", hidden: true });
    this.chooser.addEventListener("change", () => this.importFile());
    this.keeping = element("div", "lb-ui-head lb-project-keeping");
    this.keeping.append(this.reportButton, this.downloadButton, this.importButton, this.chooser);
  }

  /** Let the server pack the project. The browser shows the download only once that is done. */
  download() {
    this.packing = this.name;
    this.tellKept(packingLine({ name: this.name }).text);
    element("a", "", { href: archiveAddress(this.name), download: `${this.name}.zip` }).click();
  }

  /** How far the server is with packing, or why it cannot. Only what this panel has asked for is shown. */
  tellPacking(told) {
    if (told.name !== this.packing || told.name !== this.name) return;
    const { text, isOver, isError } = packingLine(told);
    if (isOver) {
      this.packing = null;
      this.say(text);
    }
    this.kept = { text, isError, of: this.name };
    this.schedule();
  }

  async importFile() {
    const [file] = this.chooser.files;
    this.chooser.value = "";
    if (!file) return;
    this.importButton.disabled = true;
    this.tellKept(t("Reading {file}.", { file: file.name }));
    try {
      this.tellKept(importedLine(await sendArchive(file)));
    } catch (error) {
      this.tellKept(t("{file} was not imported: {problem}", { file: file.name, problem: error.message }), true);
    }
    this.importButton.disabled = false;
  }

  /** What became of an import or a note, until the panel shows another project, a note is saved, or a Run begins. */
  tellKept(text, isError = false) {
    this.kept = { text, isError, of: this.name };
    this.say(text);
    this.schedule();
  }

  /** Save a note, once those before it are saved; whether that was done. */
  save(project, name, text) {
    this.saved = this.saved.then(() => this.sendNote(project, name, text));
    return this.saved;
  }

  async sendNote(project, name, text) {
    try {
      await saveNote(project, name, text, { save: saveNotes, fetch: fetchProject });
      this.kept = null;
      return true;
    } catch (error) {
      const values = { project: project.name, problem: error.message };
      this.tellKept(t("A note on {project} was not saved: {problem}", values), true);
      return false;
    } finally {
      this.ask();
    }
  }

  begin(signal) {
    const mine = (act, step = null) => (detail) => {
      if (step) this.tell(step(this.now, this.name, detail));
      if (act(detail)) this.ask();
    };
    const end = () => {
      this.tell(IDLE);
      this.ask();
    };
    listen({
      [EVENTS.begun]: () => {
        this.kept = null;
        this.tell(begun());
      },
      [EVENTS.archive]: (told) => this.tellPacking(told),
      [EVENTS.project]: mine(({ name }) => name === this.name, withProject),
      [EVENTS.candidates]: mine(({ project }) => project === this.name, withCandidate),
      [EVENTS.progress]: mine(({ name }) => isRunOf(this.name, name), withTraining),
      [EVENTS.executed]: () => this.ask(),
      [EVENTS.status]: (told) => queueIsEmpty(told) && this.tell(IDLE), // also for what another tab has queued
      [EVENTS.success]: end,
      [EVENTS.failed]: end,
      [EVENTS.cancelled]: end,
      [EVENTS.back]: end,
      [EVENTS.graph]: () => this.lookSoon(),
    }, signal);
  }

  /** Something began, went on or ended; a screen reader is told what, but not every step. */
  tell(live) {
    const stageBefore = this.now.stage;
    if (live === this.now) return;
    this.now = live;
    if (live.stage !== stageBefore) this.say(live.text);
    this.schedule();
  }

  openGallery() {
    this.host.gallery(galleryRound(this.project?.stages ?? []))?.();
  }

  async askRoute(isLate) {
    this.name = this.host.where();
    try {
      const project = this.name ? await fetchProject(this.name) : null;
      if (isLate()) return;
      Object.assign(this, { project, problem: null });
    } catch (error) {
      if (isLate()) return;
      this.problem = t("Cannot read the project {project}: {problem}", { project: this.name, problem: error.message });
    }
    this.schedule();
  }

  /** Show whose the proposed tags are; null for none. @param {{roles: object, warnings: string[]}|null} proposal */
  propose(proposal) {
    this.proposal = proposal;
    this.schedule();
  }

  minHeight() {
    const roles = HEIGHT.role * roleRows((this.project ?? this.proposal)?.roles).length;
    if (!this.project) return this.proposal ? HEIGHT.proposal + roles : HEIGHT.idle;
    const { stages, rounds } = this.project;
    const rows = rounds.length && rounds.length + 1;
    const notes = HEIGHT.note * noteNames(this.project).length;
    return HEIGHT.project + roles + notes + HEIGHT.stage * stages.length + HEIGHT.round * rows;
  }

  draw() {
    const { project } = this;
    const proposal = project ? null : this.proposal;
    const told = project ?? proposal;
    const wrong = this.problem ?? (this.wrong || project?.stopped_because || told?.warnings.join("\n"));
    const kept = this.kept?.of === this.name ? this.kept : null;
    const idle = t(proposal ? PROPOSED : EMPTY);
    showNote(this.note, kept?.text || wrong || (project ? "" : idle), kept ? kept.isError : Boolean(wrong));
    for (const part of [this.crops, this.stages, this.notes.element, this.reportButton, this.downloadButton]) {
      part.hidden = !project;
    }
    this.roles.hidden = !told;
    if (told) this.roles.replaceChildren(...makeTerms(roleRows(told.roles)));
    this.rounds.hidden = !project?.rounds.length;
    this.showHeight();
    this.drawHead();
    if (!project) return;
    this.drawCrops(project.crops);
    this.notes.draw(project);
    this.stages.replaceChildren(...project.stages.map((one) => stage(one, this.now)));
    this.rounds.replaceChildren(head(), ...project.rounds.map(round));
  }

  /** What happens now, or else what the next Run does. */
  drawHead() {
    const { project, now: live } = this;
    const text = live.text || project?.next || "";
    this.next.hidden = !text;
    if (this.next.textContent !== text) this.next.textContent = text;
    this.next.dataset.live = Boolean(live.text);
    this.runButton.disabled = live.own;
    this.runButton.title = t(live.own ? word("The workflow is running") : RUN);
    const round = galleryRound(project?.stages ?? []);
    this.galleryButton.hidden = round === null || !this.host.gallery(round);
    this.galleryButton.value = t("Open the gallery of round {round}", { round });
    const waits = project?.stages.some(({ name, state }) => state === "next" && name === `curate-${round}`);
    this.galleryButton.classList.toggle("lb-project-waits", Boolean(waits && !live.own));
    this.runButton.classList.toggle("lb-project-waits", !waits && !live.own);
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

/** What an import has brought, and how to go on with it. */
export function importedLine({ name, archived, picture, warnings = [] }) {
  const came = name === archived ? word("Imported as {name}.")
    : word("Imported as {name}, because a project or run is already called {archived}.");
  const next = picture
    ? word("To go on with it, set name, trigger and tags to its own; load its image, output/{picture}.")
    : word("To go on with it, set name, trigger and tags to its own.");
  const told = [came, next].map((sentence) => t(sentence, { name, archived, picture }));
  return [...told, ...warnings.map((warning) => `⚠ ${warning}`)].join(" ");
}

const queueIsEmpty = (told) => told?.exec_info?.queue_remaining === 0;

const roleRows = (roles = {}) => Object.entries(ROLES).map(([role, title]) => [t(title), (roles[role] ?? []).join(", ")])
  .filter(([, tags]) => tags);

function stage({ name, title, state, text }, live) {
  const item = element("li", "lb-project-stage");
  item.dataset.state = state;
  const [sign, words] = MARKS[state] ?? MARKS.later;
  const mark = element("span", "lb-project-mark", { textContent: sign, title: t(words) });
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", t(words));
  item.append(mark, element("span", "lb-project-title", { textContent: title }),
    element("span", "lb-project-text", { textContent: name === live.stage && live.done ? live.done : text }));
  return item;
}

/** Title of each column of the rounds, and what its figure says. */
export const columnHeads = () => COLUMNS.map(([title, , words]) => [title(), words()]);

function head() {
  const row = element("tr");
  row.append(...columnHeads().map(([textContent, words]) =>
    explain(element("th", "", { textContent, scope: "col" }), words)));
  return row;
}

function round(figures) {
  const row = element("tr");
  row.append(...COLUMNS.map(([, of]) => element("td", "", { textContent: of(figures) })));
  return row;
}
