/** The card of a release in short: warnings, previews, how to use it, consent and rights, limits. Loading this module
 * has no effect. */

import { element, makeTerms } from "../common/dom.js";
import { hostUrl } from "../common/host.js";
import { Panel } from "../common/panel.js";
import { t, word } from "../common/words.js";
import { listsOf, previewPath } from "./card.js";

/** Pixels that the panel needs before the first run, and with a card, which scrolls. */
const HEIGHT = { idle: 60, card: 360 };
const EMPTY = word("Press Run to write the release. Its card is shown here.");

export class ReleasePanel extends Panel {
  /** @param {{resized: () => void}} host `resized` is called when the panel needs another height */
  constructor(host) {
    super(host);
    this.card = null;
    this.buildBody("lb-ui lb-release", t("Release"));
    this.draw();
  }

  begin() {} // what is shown comes with a run

  look() {
    this.schedule();
  }

  /** @param {object|null} card as the node tells it; null before the first run */
  show(card) {
    this.card = card;
    if (card) this.say([t("Released {title}.", { title: card.title }), ...card.warnings].join(" "));
    this.schedule();
  }

  minHeight() {
    return this.card ? HEIGHT.card : HEIGHT.idle;
  }

  draw() {
    this.note.hidden = Boolean(this.card);
    this.note.textContent = t(EMPTY);
    this.body.replaceChildren(this.note, ...(this.card ? drawCard(this.card) : []), this.live);
    this.showHeight();
  }
}

function drawCard(card) {
  const title = element("h3", "lb-release-title", { textContent: card.title });
  const warnings = card.warnings.map((text) => element("p", "lb-release-warning", { textContent: `⚠ ${text}` }));
  const what = element("p", "lb-release-what", { textContent: card.what });
  const rows = element("dl", "lb-ui-terms");
  rows.append(...makeTerms(card.rows));
  return [title, ...warnings, what, ...drawPreviews(card), rows, ...listsOf(card).flatMap(drawList)];
}

/** The previews in a row, each with its prompt on hover. */
function drawPreviews({ folder, previews }) {
  if (!previews.length) return [element("p", "lb-ui-note", { textContent: t("No previews.") })];
  const row = element("ul", "lb-release-previews");
  row.setAttribute("aria-label", t("Previews"));
  for (const preview of previews) {
    const item = element("li", "", { title: preview.text });
    item.append(element("img", "", { src: hostUrl(previewPath(folder, preview)), alt: preview.text, decoding: "async" }));
    row.append(item);
  }
  return [row];
}

function drawList([heading, lines]) {
  const list = element("ul", "lb-release-list");
  list.append(...lines.map((textContent) => element("li", "", { textContent })));
  return [element("h4", "lb-release-heading", { textContent: heading }), list];
}
