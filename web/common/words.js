/** The panels' own texts in the language that the user has set. What the server says stays as it says it. Loading this
 * module has no effect. */

/** Languages of which there is a file in web/locales; tests/nodes/make_locales.py writes them. */
const LANGUAGES = ["zh", "ja", "ko"];
let words = {};

/** A text with its {names} replaced by their values. What is saved is filled in English, for whoever reads it later. */
export const fill = (text, values = {}) => text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);

/**
 * A text in the user's language, or as it is written here if it has no translation. Call it when the text is shown: the
 * translations are there before the host makes a node, but not yet when a module is loaded.
 * @param {string} english a text with {names} of values
 * @param {object} values name → value
 */
export const t = (english, values = {}) => fill(words[english] ?? english ?? "", values);

/** Name a text of a table, which `t` shows later, to tests/nodes/make_locales.py. */
export const word = (english) => english;

/** Show these translations from now on. @param {object} translations English text → translation */
export function useWords(translations) {
  words = translations;
}

/** Read the translations into a language, if there are any; whatever fails, the texts are English. */
export async function loadWords(language) {
  if (!LANGUAGES.includes(language)) return;
  const answer = await fetch(new URL(`../locales/${language}.json`, import.meta.url)).catch(() => null);
  if (answer?.ok) useWords(await answer.json().catch(() => ({})));
}
