/** The goal of a project, and a note for each of its rounds, on the project's panel. What is typed is saved when the
 * field is left. Loading this module has no effect. */

import { element, field } from "../common/dom.js";
import { Conflict } from "../common/errors.js";
import { t, word } from "../common/words.js";

/** Letters of a note, as many as the server takes. */
const LONGEST = 4000;
const GOAL = "goal";

/** Names of the fields: the goal, and the rounds by their number. */
export const noteNames = (project) => [GOAL, ...Object.keys(project?.round_notes ?? {})];
export const noteText = (project, name) => (name === GOAL ? project.goal : project.round_notes[name]) ?? "";

/** The body of the route that saves a field. */
export const noteChange = (project, name, text) => ({
  project: project.name,
  revision: project.notes_revision,
  ...(name === GOAL ? { goal: text } : { rounds: { [name]: text } }),
});

/**
 * Save a field. Where another field was saved meanwhile, it is sent once more.
 * @param {object} project as it was shown when the field was left
 * @param {{save: function, fetch: function}} routes `saveNotes` and `fetchProject`
 */
export async function saveNote(project, name, text, { save, fetch }) {
  let shown = project;
  try {
    project.notes_revision = (await save(noteChange(shown, name, text))).revision;
  } catch (error) {
    shown = error instanceof Conflict ? await fetch(project.name) : null;
    if (!shown || noteText(shown, name) !== noteText(project, name)) throw error;
    project.notes_revision = (await save(noteChange(shown, name, text))).revision;
  }
}

const titleOf = (name) => (name === GOAL ? t("Goal") : t("Round {round}", { round: name }));
const HINTS = { [GOAL]: word("what this LoRA is for") };
const HINT = word("what this round is to bring, and what it brought");

export class ProjectNotes {
  /** @param {object} panel `project`, `save(project, name, text)` which resolves to whether it was saved */
  constructor(panel) {
    this.panel = panel;
    this.fields = new Map(); // name → input
    this.element = element("dl", "lb-ui-terms lb-project-notes");
    this.element.setAttribute("aria-label", t("Goal and notes"));
  }

  /** Show what is saved. What is being typed stays. */
  draw(project) {
    const names = noteNames(project);
    if (names.join() !== [...this.fields.keys()].join()) this.build(names);
    for (const [name, input] of this.fields) {
      const text = noteText(project, name);
      const typed = input.dataset.project === project.name && input.value !== input.dataset.saved;
      if (!typed && input.value !== text) input.value = text;
      if (!typed) Object.assign(input.dataset, { saved: text, project: project.name });
    }
  }

  build(names) {
    this.fields = new Map(names.map((name) => [name, this.buildField(name)]));
    this.element.replaceChildren(...[...this.fields].flatMap(([name, input]) => {
      const value = element("dd");
      value.append(input);
      return [element("dt", "", { textContent: titleOf(name) }), value];
    }));
  }

  buildField(name) {
    const input = field("text", "lb-ui-filter", titleOf(name), t(HINTS[name] ?? HINT));
    input.maxLength = LONGEST;
    input.addEventListener("change", () => this.save(name, input));
    return input;
  }

  async save(name, input) {
    const { project } = this.panel;
    const text = input.value.trim();
    input.value = text; // as the server saves it
    if (input.dataset.project !== project?.name || text === input.dataset.saved) return;
    if (await this.panel.save(project, name, text)) input.dataset.saved = text;
  }
}
