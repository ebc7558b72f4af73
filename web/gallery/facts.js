/** What the gallery shows of a round besides its images: quotas, figures, notes, and the history. Loading this module
 * has no effect. */

import { button, element } from "../common/dom.js";
import { explain, figureName, figureWords } from "../common/figures.js";
import { finite } from "../common/format.js";
import { t } from "../common/words.js";
import { WishList } from "./again.js";
import { generatorRows } from "./order.js";
import { quotaRows } from "./picks.js";

/** The figures of a round, and the base's figure to compare one with, if any. */
const SHOWN = [["likeness"], ["drift"], ["diversity", "base_diversity"], ["burn"], ["tag_recall"], ["mark"]];

const told = (value) => (finite(value) === null ? t("not measured") : value.toFixed(2));

/**
 * A round's figures in one line, as parts of text and what each says: "12 proposed: ", "likeness 0.61", " · ",
 * "drift 0.12", ...
 * @param {object|null} figures
 * @param {boolean} current whether they are of what is picked now
 * @returns {[string, string][]} none if there are no figures
 */
export function figuresParts(figures, current) {
  if (!figures?.kept) return [];
  const { kept: count } = figures;
  const what = figures.proposed ? t("{count} proposed", { count })
    : current ? t("{count} kept", { count }) : t("{count} kept at the last Run", { count });
  const parts = SHOWN.map((keys) => [figureText(figures, ...keys), figureWords(keys[0])]);
  const rest = current ? [] : [[t(". The next Run measures what is picked now."), ""]];
  const joined = parts.flatMap((part, at) => (at ? [[" · ", ""], part] : [part]));
  return [[`${what}: `, ""], ...joined, ...rest];
}

function figureText(figures, key, base) {
  const against = base && finite(figures[base]) !== null ? ` (${t("base")} ${told(figures[base])})` : "";
  return `${figureName(key)} ${told(figures[key])}${against}`.replaceAll(" ", "\u00a0");
}

/** How full a quota is, in words. */
export function quotaWords({ tag, kept, wanted }) {
  if (kept <= wanted) return t("{kept} of the {wanted} wanted images with {tag}", { kept, wanted, tag });
  return t("{kept} images with {tag}, {more} more than wanted", { kept, tag, more: kept - wanted });
}

export class GalleryFacts {
  /** @param {object} panel the gallery: `store`, `mode()`, `large`, `filter`, `schedule()`, `takeBack(wish)` */
  constructor(panel) {
    this.panel = panel;
    this.element = element("div", "lb-gallery-facts");
    this.quotas = element("div", "lb-gallery-quotas");
    this.quotas.setAttribute("role", "group");
    this.quotas.setAttribute("aria-label", t("Images kept and wanted for each view"));
    this.figures = element("p", "lb-ui-note");
    this.notes = element("div", "lb-gallery-notes");
    this.history = element("ol", "lb-gallery-history", { reversed: true });
    this.historyTitle = element("h3", "lb-gallery-title", { textContent: t("History") });
    this.past = element("div", "lb-gallery-past");
    this.past.append(this.historyTitle, this.history);
    this.wishes = new WishList(panel);
    this.element.append(this.wishes.element, this.quotas, this.figures, this.notes, this.past);
  }

  draw() {
    const { store } = this.panel;
    const mode = this.panel.mode();
    const large = this.panel.large.isOpen;
    const key = [store.version, mode, large, this.panel.filter.value].join();
    if (key === this.drawn) return;
    this.drawn = key;
    this.wishes.show(store.again);
    this.drawQuotas(store, mode, large);
    const parts = figuresParts(store.figures, store.isMeasured(mode));
    this.figures.replaceChildren(...parts.map(([textContent, words]) =>
      explain(element("span", words && "lb-ui-figure", { textContent }), words)));
    this.figures.hidden = !parts.length;
    this.figures.title = store.eye ? t("Likeness as measured by {eye}", store) : t("Likeness was not measured");
    this.notes.replaceChildren(...store.notes.map((text) => element("p", "lb-ui-note", { textContent: text })));
    this.past.hidden = !large;
    if (large) this.drawHistory(store);
  }

  drawQuotas(store, mode, large) {
    const kept = store.keptCandidates(mode);
    const axes = quotaRows(store.quotas, kept);
    const generators = generatorRows(store.candidates, kept);
    this.quotas.hidden = !axes.length && !generators.length;
    this.quotas.replaceChildren(...axes.map(({ axis, rows }) => {
      const group = element("div", "lb-gallery-axis");
      group.append(element("span", "lb-gallery-axis-name", { textContent: axis }),
        ...rows.map((row) => this.quota(row, large)));
      return group;
    }));
    if (generators.length) this.quotas.append(this.generators(generators, large));
  }

  /** How many images of each generator are kept. In the large view, each is a button that filters by it. */
  generators(rows, large) {
    const group = element("div", "lb-gallery-axis");
    group.append(element("span", "lb-gallery-axis-name", { textContent: t("generator") }),
      ...rows.map(({ generator, kept, drawn }) => {
        const row = element("span", "lb-gallery-quota");
        row.title = t("{kept} of {drawn} images by {generator} are kept", { kept, drawn, generator });
        row.style.setProperty("--lb-share", kept / drawn);
        row.append(large ? this.filterChoice(generator) : element("span", "", { textContent: generator }),
          element("span", "lb-ui-count", { textContent: `${kept}/${drawn}` }));
        return row;
      }));
    return group;
  }

  /** One tag's bar. In the large view, it is a button that filters by the tag. */
  quota({ tag, kept, wanted }, large) {
    const row = element("span", "lb-gallery-quota", { title: quotaWords({ tag, kept, wanted }) });
    row.classList.toggle("lb-gallery-full", kept === wanted);
    row.classList.toggle("lb-gallery-over", kept > wanted);
    row.style.setProperty("--lb-share", Math.min(1, kept / Math.max(1, wanted)));
    const words = large ? this.filterChoice(tag) : element("span", "", { textContent: tag });
    row.append(words, element("span", "lb-ui-count", { textContent: `${kept}/${wanted}${kept > wanted ? " +" : ""}` }));
    return row;
  }

  filterChoice(tag) {
    const { panel } = this;
    const filter = `"${tag}"`;
    const chosen = panel.filter.value.trim() === filter;
    const choice = button(tag, t("Show candidates with {tag}", { tag }), () => {
      panel.filter.value = chosen ? "" : filter;
      panel.schedule();
    });
    choice.setAttribute("aria-pressed", String(chosen));
    return choice;
  }

  /** The history, latest first. */
  drawHistory(store) {
    const steps = store.doneSteps();
    this.historyTitle.textContent = steps.length ? t("History") : t("History: nothing done yet");
    this.history.replaceChildren(...steps.map(({ at, label }) => {
      const entry = element("li");
      const when = at ? new Date(at) : null;
      const clock = when?.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) ?? t("now");
      const time = element("time", "lb-ui-count", { textContent: clock, title: when?.toLocaleString() ?? "" });
      entry.append(time, ` ${label}`);
      return entry;
    }));
  }
}
