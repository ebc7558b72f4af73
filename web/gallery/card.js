/** One candidate in the gallery's grid: its thumbnail, the decision on it, and small buttons for the mouse. Loading
 * this module has no effect. */

import { button, element } from "../common/dom.js";
import { figureName } from "../common/figures.js";
import { t } from "../common/words.js";
import { UNTOUCHED, isKept, stateWord } from "./picks.js";

/** Marks, so that colour alone carries no meaning. */
const MARKS = { keep: "✓", reject: "✕", proposed: "★" };

/** How a card is drawn: kept, rejected, proposed, or open. "taken" is kept, but not by hand. */
function look(candidate, pick, mode) {
  if (pick.state) return pick.state;
  if (isKept(candidate, UNTOUCHED, mode)) return "taken";
  return candidate.proposed ? "proposed" : "open";
}

const likeness = ({ scores }) => (scores?.likeness === undefined ? "" : scores.likeness.toFixed(2));

/** What stands below a card: its likeness first, which is never cut, then its view; the name if nothing is known. */
export const captionOf = (candidate) =>
  [likeness(candidate), ...Object.values(candidate.view)].filter(Boolean).join(" · ") || candidate.name;

/** How a candidate relates to others, as [badge, words]. */
export const kinOf = ({ again_of: again, repaired_from: repaired, replaced_by: replaced }) => [
  ["↻", again && !repaired && t("drawn again of {name}", { name: again })],
  ["✚", repaired && t("repaired from {name}", { name: repaired })],
  ["→", replaced && t("replaced by {name}", { name: replaced })],
].filter(([, words]) => words);

/** The LoRA that drew an image, and how strong it was, also where that changed over the steps. */
export function loraWords({ lora, strength, curve }) {
  if (!lora) return t("none");
  const words = t("{name} at {strength}", { name: lora, strength });
  return curve ? `${words} (${curve})` : words;
}

export class GalleryCard {
  /** @param {object} grid `store`, `mode()`, `thumb(candidate)`, `decide(name, state)`, `zoom(name)`,
   * `again(name)`, `focus(name)` */
  constructor(grid) {
    Object.assign(this, { grid, candidate: null, drawn: null, at: null });
    this.build();
  }

  build() {
    this.element = element("li", "lb-gallery-card");
    this.face = element("input", "lb-gallery-face", { type: "button", value: "", tabIndex: -1 });
    this.image = element("img", "lb-gallery-thumb", { loading: "lazy", decoding: "async", draggable: false, alt: "" });
    this.mark = element("span", "lb-gallery-mark");
    this.badges = element("span", "lb-gallery-badges");
    this.caption = element("span", "lb-gallery-caption");
    for (const part of [this.mark, this.badges, this.caption]) part.setAttribute("aria-hidden", "true");
    this.keepButton = this.decider("✓", "keep");
    this.rejectButton = this.decider("✕", "reject");
    this.againButton = button("↻", "", () => this.grid.again(this.candidate.name));
    this.againButton.tabIndex = -1;
    const buttons = element("span", "lb-gallery-deciders");
    buttons.append(this.keepButton, this.againButton, this.rejectButton);
    this.element.append(this.image, this.face, this.mark, this.badges, this.caption, buttons);
    this.face.addEventListener("click", () => this.grid.focus(this.candidate.name));
    this.face.addEventListener("dblclick", () => this.grid.zoom(this.candidate.name));
  }

  /** A small button for the mouse; the keyboard has K and X. */
  decider(label, state) {
    const input = button(label, "", () => {
      this.grid.focus(this.candidate.name);
      this.grid.decide(this.candidate.name, state);
    });
    input.tabIndex = -1;
    return input;
  }

  /** Show this candidate, which may be another than before. */
  show(candidate) {
    const { name } = candidate;
    if (name !== this.candidate?.name) {
      this.element.dataset.name = name;
      for (const [input, title] of [
        [this.keepButton, t("Keep {name} (K)", { name })], [this.rejectButton, t("Reject {name} (X)", { name })],
        [this.againButton, t("Draw {name} again (A)", { name })]]) {
        input.title = title;
        input.setAttribute("aria-label", title);
      }
      this.image.removeAttribute("src"); // the previous candidate's
      this.filled = null;
    }
    this.candidate = candidate;
  }

  /** Draw what has changed since the last drawing. */
  update(place, count) {
    const { candidate, grid } = this;
    const pick = grid.store.pickOf(candidate.name);
    const mode = grid.mode();
    const { proposed, replaced_by: replaced } = candidate; // which change when another one is rejected
    if (this.drawn === pick && this.shown === candidate && this.mode === mode && this.at === place &&
      this.count === count && this.proposed === proposed && this.replaced === replaced) return;
    Object.assign(this, { drawn: pick, shown: candidate, mode, at: place, count, proposed, replaced });
    const state = look(candidate, pick, mode);
    this.element.dataset.state = state;
    this.element.classList.toggle("lb-gallery-flipped", pick.flip);
    this.mark.textContent = MARKS[state === "taken" ? "keep" : state] ?? "";
    this.face.setAttribute("aria-label", this.label(pick, mode));
    this.element.setAttribute("aria-posinset", place + 1);
    this.element.setAttribute("aria-setsize", count);
    this.keepButton.setAttribute("aria-pressed", String(pick.state === "keep"));
    this.rejectButton.setAttribute("aria-pressed", String(pick.state === "reject"));
    this.drawWords(pick);
  }

  /** Load its thumbnail. */
  fill() {
    const { thumb } = this.candidate;
    if (this.filled === thumb) return;
    this.filled = thumb;
    this.image.src = this.grid.thumb(this.candidate);
  }

  label(pick, mode) {
    const { name, view, twins } = this.candidate;
    const like = likeness(this.candidate);
    return [
      name, Object.values(view).join(", "), t(stateWord(this.candidate, pick, mode)), like && `${figureName("likeness")} ${like}`,
      twins === null ? "" : t("near copies: group {group}", { group: twins + 1 }),
      ...kinOf(this.candidate).map(([, words]) => words),
    ].filter(Boolean).join("; ");
  }

  drawWords(pick) {
    const { candidate } = this;
    const { twins } = candidate;
    const badges = [
      [twins === null ? "" : `≈${twins + 1}`, t("Near copy of others with this number")], [pick.flip && "⇋", t("Flipped")],
      ...kinOf(candidate), [pick.crop && "⌗", t("Cropped")], [pick.note && "✎", pick.note],
      [pick.tags && "#", t("Tags changed by hand")],
    ].filter(([mark]) => mark);
    this.badges.replaceChildren(...badges.map(([textContent, title]) => element("span", "", { textContent, title })));
    if (twins !== null) this.element.style.setProperty("--lb-twins", twins);
    this.element.classList.toggle("lb-gallery-twin", twins !== null);
    this.caption.textContent = captionOf(candidate);
    this.face.title = [candidate.name, captionOf(candidate), candidate.reason].join("\n");
  }
}
