/** A page of the pack as elements. Text is put in as text, and an address that is neither a page of the pack nor a
 * site is not linked. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { t } from "../common/words.js";
import { addressOf, fileOf, pageAt } from "./address.js";
import { parseMarkdown, plainText } from "./markdown.js";

const OUTSIDE = { target: "_blank", rel: "noopener noreferrer" };
const PICTURE = /^[\w./-]+\.(?:png|jpg|webp)$/;

/**
 * Read a page from where the pack is served.
 * @param {string} page its bare name
 * @returns {Promise<{title: string, body: HTMLElement}>} what has an anchor has it in `data-anchor`; if the page cannot be
 * read, the body says why
 */
export const loadPage = (page) => readPage(page).catch(({ message }) => ({
  title: t("Page not found"), body: element("p", "lb-ui-note lb-ui-error", { textContent: message }),
}));

async function readPage(page) {
  const response = await fetch(fileOf(page, import.meta.url));
  if (!response.ok) {
    throw new Error(t("The page '{page}' cannot be read ({status}). Reload ComfyUI, or install the pack again.",
      { page, status: response.status }));
  }
  const tree = parseMarkdown(await response.text());
  const body = element("article", "lb-reader-text");
  body.append(...makeAll(tree, page));
  return { title: plainText(tree.find(({ tag }) => tag === "h1") ?? page), body };
}

const makeAll = (branches, page) =>
  branches.map((branch) => (typeof branch === "string" ? branch : (MAKERS[branch.tag] ?? makePlain)(branch, page)));

function makePlain({ tag, id, start, children }, page) {
  const made = element(tag);
  if (id) made.dataset.anchor = id;
  if (start) made.start = start;
  made.append(...makeAll(children, page));
  return made;
}

/** Elements that need more than their children. */
const MAKERS = { a: makeLink, img: makePicture, table: makeTable };

function makeLink({ href, children }, page) {
  const text = makeAll(children, page);
  const target = href.startsWith("#") ? { page, anchor: decodeURIComponent(href.slice(1)) } : pageAt(href, undefined, true);
  const properties = target ? { href: addressOf(target, import.meta.url) }
    : href.startsWith("https://") ? { href, ...OUTSIDE } : {};
  const made = element(target || properties.href ? "a" : "span", "", properties);
  made.append(...text);
  return made;
}

function makePicture({ src, alt }, page) {
  return PICTURE.test(src) ? element("img", "", { src: new URL(src, fileOf(page, import.meta.url)).href, alt, loading: "lazy" })
    : element("span", "", { textContent: alt });
}

/** A table that scrolls by itself where the window is too narrow for it. */
function makeTable(branch, page) {
  const around = element("div", "lb-reader-table");
  around.append(makePlain(branch, page));
  return around;
}

/** Bring what has an anchor, or the beginning, into view. @param {HTMLElement} place scrolls around the page */
export function goTo(place, anchor) {
  const target = anchor && [...place.querySelectorAll("[data-anchor]")].find(({ dataset }) => dataset.anchor === anchor);
  if (target) target.scrollIntoView({ block: "start" });
  else place.scrollTop = 0;
}
