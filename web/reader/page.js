/** A page of the pack in a tab of its own, for web/guides/index.html. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { linkStyles } from "../common/styles.js";
import { loadWords, t } from "../common/words.js";
import { pageAt } from "./address.js";
import { goTo, loadPage } from "./render.js";

/** Show the page that the address asks for. @param {HTMLElement} place */
export async function showPage(place) {
  linkStyles(import.meta.url, "../common/base.css", "reader.css");
  // ComfyUI's setting is not known outside it; until it is changed, it is the browser's language
  await loadWords(navigator.language.split("-")[0]);
  const show = async () => {
    const asked = pageAt(`${location.pathname}${location.search}${location.hash}`, location.pathname.split("/")[2]);
    const { page, anchor } = asked ?? { page: "README", anchor: "" };
    const { title, body } = await loadPage(page);
    document.title = `${title} · LoRA Bootstrap`;
    const contents = element("a", "", { href: "index.html", textContent: t("All guides") });
    const around = element("main", "lb-ui lb-reader");
    around.append(contents, body);
    place.replaceChildren(around);
    goTo(document.documentElement, anchor);
  };
  window.addEventListener("hashchange", show);
  await show();
}
